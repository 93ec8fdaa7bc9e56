package proxy_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	capb "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/proxy/xds/xdstest"
	"github.com/weftmesh/weft/test/freeport"
	"github.com/weftmesh/weft/wire"
)

// authority signs what it is asked for, for a fixed workload and a short time.
type authority struct {
	capb.UnimplementedIstioCertificateServiceServer
	key  *ecdsa.PrivateKey
	root *x509.Certificate

	mu    sync.Mutex
	calls int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{key: key, root: root}
}

// life of certificates, so that they rotate several times in the test.
const life = 2 * time.Second

// CreateCertificate implements the service.
func (a *authority) CreateCertificate(_ context.Context, r *capb.IstioCertificateRequest) (*capb.IstioCertificateResponse, error) {
	a.mu.Lock()
	a.calls++
	serial := a.calls + 1
	a.mu.Unlock()
	b, _ := pem.Decode([]byte(r.Csr))
	if b == nil {
		return nil, status.Error(codes.InvalidArgument, "no CSR")
	}
	csr, err := x509.ParseCertificateRequest(b.Bytes)
	if err != nil {
		return nil, err
	}
	id := &url.URL{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/default/sa/test"}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(serial), URIs: []*url.URL{id}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.root, csr.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	enc := func(der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	return &capb.IstioCertificateResponse{CertChain: []string{enc(der), enc(a.root.Raw)}}, nil
}

func (a *authority) count() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calls
}

const sdsSource = "sds_config: {api_config_source: {api_type: GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: sds-grpc}}]}, initial_fetch_timeout: 0s, resource_api_version: V3}"

// TestMutualTLS sends requests out of one listener with mTLS and in through
// another, while certificates live for two seconds.
func TestMutualTLS(t *testing.T) {
	ca := newAuthority(t)
	m := newMesh(t)
	m.register = func(s *grpc.Server) { capb.RegisterIstioCertificateServiceServer(s, ca) }
	out, in := freeport.Addr(t), freeport.Addr(t)
	m.cluster("app", "")
	m.endpoint("app", backend(t, "app"))
	upstream := func(san string) string {
		return `, transport_socket: {name: envoy.transport_sockets.tls, typed_config: {
  "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, sni: outbound_.80_._.app, common_tls_context: {
    alpn_protocols: [istio], tls_certificate_sds_secret_configs: [{name: default, ` + sdsSource + `}],
    combined_validation_context: {
      default_validation_context: {match_typed_subject_alt_names: [{san_type: URI, matcher: {exact: "` + san + `"}}]},
      validation_context_sds_secret_config: {name: ROOTCA, ` + sdsSource + `}}}}}`
	}
	m.cluster("peer", upstream("spiffe://cluster.local/ns/default/sa/test"))
	m.endpoint("peer", in)
	m.cluster("stranger", upstream("spiffe://cluster.local/ns/default/sa/other"))
	m.endpoint("stranger", in)
	m.listener("out", out, "", httpFilters("out"))
	m.routes("out", "{match: {path: /stranger}, route: {cluster: stranger}}, {match: {prefix: /}, route: {cluster: peer}}")
	m.listener("in", in, "", httpFilters("in")+`
  transport_socket: {name: envoy.transport_sockets.tls, typed_config: {
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, require_client_certificate: true, common_tls_context: {
      alpn_protocols: [istio, h2, http/1.1], tls_certificate_sds_secret_configs: [{name: default, `+sdsSource+`}],
      validation_context_sds_secret_config: {name: ROOTCA, `+sdsSource+`}}}}
`)
	m.routes("in", "{match: {prefix: /}, route: {cluster: app}}")
	m.listen()
	eventually(t, out, "/x", "app GET /x")
	if got := get(out, "/stranger"); !strings.HasPrefix(got, "503") {
		t.Errorf("a peer with another identity was believed: %q", got)
	}
	if got := get(in, "/x"); !strings.Contains(got, "EOF") && !strings.Contains(got, "reset") {
		t.Errorf("plain text was taken: %q", got)
	}
	first := ca.count()
	failed := 0
	for ca.count() < first+3 {
		if got := get(out, "/x"); got != "app GET /x" {
			failed++
			t.Logf("request failed: %q", got)
		}
	}
	if failed > 0 {
		t.Errorf("%d requests failed while certificates rotated", failed)
	}
	if certs := get(m.admin, "/certs"); !strings.Contains(certs, "spiffe://cluster.local/ns/default/sa/test") {
		t.Errorf("/certs: %s", certs)
	}
}

// A secret that does not parse is refused, and the listener that needs it waits.
func TestBadSecretIsRefused(t *testing.T) {
	m := newMesh(t)
	addr := freeport.Addr(t)
	m.listener("l", addr, "", httpFilters("r")+`
  transport_socket: {name: envoy.transport_sockets.tls, typed_config: {
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, common_tls_context: {
      tls_certificate_sds_secret_configs: [{name: "kubernetes://default/web", sds_config: {ads: {}, resource_api_version: V3}}]}}}
`)
	m.routes("r", toA)
	m.set("kubernetes://default/web", `{name: "kubernetes://default/web", tls_certificate: {certificate_chain: {inline_string: x}, private_key: {inline_string: key}}}`, &tlsv3.Secret{})
	m.listen()
	m.until("NACK of the secret", func(v xdstest.View) bool {
		return strings.HasPrefix(v.Nack(wire.TypeSecret), "kubernetes://default/web: tls_certificate: ")
	})
	if got := get(m.admin, "/ready"); !strings.HasPrefix(got, "503") {
		t.Errorf("ready without a certificate: %q", got)
	}
}
