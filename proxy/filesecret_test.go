package proxy_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/proxy/config"
	"github.com/weftmesh/weft/test/freeport"
)

// TestSecretInFile: a certificate in a file, whose parts are in further files, is
// exchanged when either is replaced by a move; what cannot be read changes nothing.
func TestSecretInFile(t *testing.T) {
	ca := newPKI(t)
	ca.issue("one", 10)
	ca.issue("two", 11)
	ca.issue("three", 12)
	move := func(name, text string) {
		t.Helper()
		ca.write("new", "", []byte(text))
		if err := os.Rename(filepath.Join(ca.dir, "new"), filepath.Join(ca.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	secret := func(cert string) string {
		return fmt.Sprintf("resources: [{\"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret, name: s, "+
			"tls_certificate: {certificate_chain: {filename: %[1]s/%[2]s.pem}, private_key: {filename: %[1]s/%[2]s.key}}}]", ca.dir, cert)
	}
	move("sds.yaml", secret("one"))
	addr := freeport.Addr(t)
	runStatic(t, strings.ReplaceAll(`
static_resources:
  listeners:
  - name: l
    address: {L}
    filter_chains:
    - filters: [`+tcpTo+`]
      transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificate_sds_secret_configs: [{name: s, sds_config: {path_config_source: {path: DIR/sds.yaml, watched_directory: {path: DIR}}, resource_api_version: V3}}]
`, "DIR", ca.dir)+staticUp, map[string]string{"L": addr, "UP": echoServer(t)})
	cfg := &tls.Config{RootCAs: x509.NewCertPool(), InsecureSkipVerify: true} //nolint:gosec // the name is what is compared
	until := func(want string) {
		t.Helper()
		got, failed := "", error(nil)
		for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			c := tls.Client(connect(t, addr), cfg)
			if err := c.SetDeadline(end); err != nil {
				t.Fatal(err)
			}
			err := c.Handshake()
			if failed = err; err == nil {
				got = c.ConnectionState().PeerCertificates[0].DNSNames[0]
			}
			c.Close()
			if err == nil && got == want {
				return
			}
		}
		t.Fatalf("the certificate is that of %q, want %q; the last handshake: %v", got, want, failed)
	}
	until("one")
	move("sds.yaml", secret("two"))
	until("two")
	move("sds.yaml", "resources: []") // refused, and "two" stays
	parts := secret("two")
	chain, err := os.ReadFile(filepath.Join(ca.dir, "three.pem"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(ca.dir, "three.key"))
	if err != nil {
		t.Fatal(err)
	}
	until("two")
	move("sds.yaml", parts)
	move("two.pem", string(chain))
	move("two.key", string(key))
	until("three")
}

// TestControlPlaneSecretInFile: the roots that the control plane is checked against are a
// secret in a file, as Envoy Gateway writes it, and a new file is read for the next connection.
func TestControlPlaneSecretInFile(t *testing.T) {
	mine, theirs := newPKI(t), newPKI(t)
	cert := mine.issue("xds", 10)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			_ = nc.(*tls.Conn).Handshake() // the client tells
			nc.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	trust := func(roots *pki) {
		mine.write("sds.json", "", fmt.Appendf(nil, `{"resources": [{"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", "name": "ca", `+
			`"validation_context": {"trusted_ca": {"filename": "%s/root.pem"}}}]}`, roots.dir))
	}
	text := strings.NewReplacer("DIR", mine.dir, "ADDR", socket(ln.Addr().String())).Replace(`
dynamic_resources: {ads_config: {api_type: DELTA_GRPC, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}}
static_resources:
  clusters:
  - name: xds
    connect_timeout: 1s
    load_assignment: {cluster_name: xds, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: ADDR}}}]}]}
    transport_socket:
      name: tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: xds
        common_tls_context: {validation_context_sds_secret_config: {name: ca, sds_config: {path_config_source: {path: DIR/sds.json}, resource_api_version: V3}}}
`)
	if _, err := config.ParseBootstrap([]byte(text)); err == nil || !strings.Contains(err.Error(), "sds_config.path_config_source.path") {
		t.Errorf("without the file: %v", err)
	}
	trust(theirs)
	b, err := config.ParseBootstrap([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	dial := func() error {
		nc, err := b.ADS.Dial(t.Context(), b.ADS.Network, b.ADS.Address)
		if err == nil {
			nc.Close()
		}
		return err
	}
	if err := dial(); err == nil {
		t.Error("a control plane is trusted whose root is not")
	}
	trust(mine)
	if err := dial(); err != nil {
		t.Errorf("after the exchange: %v", err)
	}
}
