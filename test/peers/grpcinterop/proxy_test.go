package grpcinterop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weftmesh/weft/proxy"
	"github.com/weftmesh/weft/test/dataplane"
	"github.com/weftmesh/weft/test/freeport"
)

// bootstrap has one listener and one cluster; %[1]s to %[3]s are the addresses
// of admin, listener and endpoint, %[4]s and %[5]s the sockets' TLS.
const bootstrap = `
node: {id: interop, cluster: peers}
admin: {address: {socket_address: %[1]s}}
static_resources:
  listeners:
  - name: l
    address: {socket_address: %[2]s}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: interop
          route_config: {name: r, virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: up, timeout: 0s}}]}]}
          http_filters:
          - {name: web, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb}}
          - {name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
      %[4]s
  clusters:
  - name: up
    type: STATIC
    connect_timeout: 30s
    load_assignment: {cluster_name: up, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: %[3]s}}}]}]}
    typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {
      "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}
    %[5]s
`

const tlsContext = `transport_socket: {name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.%[1]s,
        common_tls_context: {alpn_protocols: [h2],
          tls_certificates: [{certificate_chain: {filename: %[2]s/cert.pem}, private_key: {filename: %[2]s/key.pem}}],
          validation_context: {trusted_ca: {filename: %[2]s/cert.pem}, match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: peer.test}}]}}}}`

// through returns an address that leads to a server: by one proxy, or by two
// with mutual TLS between them.
func through(t *testing.T, io, way, server string) string {
	t.Helper()
	if way != "mtls" {
		return run(t, io, server, "", "")
	}
	dir := t.TempDir()
	certificate(t, dir)
	in := run(t, io, server, fmt.Sprintf(tlsContext, "DownstreamTlsContext, require_client_certificate: true", dir), "")
	return run(t, io, in, "", fmt.Sprintf(tlsContext, "UpstreamTlsContext, sni: peer.test", dir))
}

// run starts a proxy in front of an address and returns its own.
func run(t *testing.T, io, up, downstreamTLS, upstreamTLS string) string {
	t.Helper()
	listen, admin := freeport.Addr(t), freeport.Addr(t)
	text := fmt.Sprintf(bootstrap, dataplane.SocketAddress(admin), dataplane.SocketAddress(listen), dataplane.SocketAddress(up), downstreamTLS, upstreamTLS)
	dataplane.Start(t, text, admin, proxy.Options{IO: io})
	return listen
}

// certificate writes one that is root, server and client.
func certificate(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "peer"}, DNSNames: []string{"peer.test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
