package proxy_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/freeport"
)

// inlineCertificate is one of the authority's for a workload, as a bootstrap has it.
func (a *authority) inlineCertificate(t *testing.T, account string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(7), URIs: []*url.URL{{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/shop/sa/" + account}},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.root, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{certificate_chain: {inline_string: %s}, private_key: {inline_string: %s}}`, quotedPEM(t, "CERTIFICATE", der), quotedPEM(t, "PRIVATE KEY", raw))
}

func quotedPEM(t *testing.T, kind string, der []byte) string {
	t.Helper()
	b, err := json.Marshal(string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestPeersTellOfThemselvesOverTCP: where TLS agrees on istio-peer-exchange each side
// knows the other's workload; where it does not, bytes flow all the same.
func TestPeersTellOfThemselvesOverTCP(t *testing.T) {
	for _, c := range []struct {
		name, alpn string
		told       bool
	}{{"agreed", "istio-peer-exchange, istio", true}, {"not agreed", "istio", false}} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			ca := newAuthority(t)
			out, in, admin := freeport.Addr(t), freeport.Addr(t), freeport.Addr(t)
			startWeft(t, exchangeBootstrap(t, ca, out, in, admin, c.alpn, echoServer(t)))
			eventually(t, admin, "/ready", "LIVE\n")
			for range 3 {
				if got := connects(t, out); got != "hello" {
					t.Fatalf("got %q", got)
				}
			}
			metrics := get(admin, "/stats/prometheus")
			for _, want := range []string{`reporter="source"`, `reporter="destination"`} {
				other := "destination_workload"
				if strings.Contains(want, "destination") {
					other = "source_workload"
				}
				other += `="web"`
				if got := hasSeries(metrics, "istio_tcp_connections_opened_total", want, other, `source_app="w"`); got != c.told {
					t.Errorf("%s with %s: %t, want %t\n%s", want, other, got, c.told, metrics)
				}
			}
		})
	}
}

func hasSeries(metrics, name string, parts ...string) bool {
	for line := range strings.Lines(metrics) {
		all := strings.HasPrefix(line, name+"{")
		for _, p := range parts {
			all = all && strings.Contains(line, p)
		}
		if all {
			return true
		}
	}
	return false
}

func exchangeBootstrap(t *testing.T, ca *authority, out, in, admin, alpn, echo string) string {
	t.Helper()
	address := func(a string) string {
		host, port, err := net.SplitHostPort(a)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`{socket_address: {address: %s, port_value: %s}}`, host, port)
	}
	const exchange = `{name: istio.metadata_exchange, typed_config: {"@type": type.googleapis.com/udpa.type.v1.TypedStruct, type_url: type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange, value: {protocol: istio-peer-exchange, enable_discovery: true}}}`
	const count = `{name: istio.stats, typed_config: {"@type": type.googleapis.com/stats.PluginConfig}}`
	proxy := func(cluster string) string {
		return `{name: tcp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: ` + cluster + `}}`
	}
	tls := func(side, alpn, more string) string {
		return `{name: envoy.transport_sockets.tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.` + side + `, common_tls_context: {` +
			`alpn_protocols: [` + alpn + `], tls_certificates: [` + ca.inlineCertificate(t, "web") + `], validation_context: {trusted_ca: {inline_string: ` +
			quotedPEM(t, "CERTIFICATE", ca.root.Raw) + `}}}` + more + `}}`
	}
	cluster := func(name, to, more string) string {
		return `{name: ` + name + `, type: STATIC, connect_timeout: 5s, load_assignment: {cluster_name: ` + name + `, endpoints: [{lb_endpoints: [{endpoint: {address: ` + address(to) + `}}]}]}` + more + `}`
	}
	text := `
node: {id: "sidecar~127.0.0.1~web-1.shop~shop.svc.cluster.local", cluster: web, metadata: {NAME: web-1, NAMESPACE: shop, WORKLOAD_NAME: web, SERVICE_ACCOUNT: web, LABELS: {app: w}}}
admin: {address: ` + address(admin) + `}
static_resources:
  listeners:
  - {name: out, address: ` + address(out) + `, traffic_direction: OUTBOUND, filter_chains: [{filters: [` + count + `, ` + proxy("in") + `]}]}
  - {name: in, address: ` + address(in) + `, traffic_direction: INBOUND, filter_chains: [{transport_socket: ` +
		tls("DownstreamTlsContext", "istio-peer-exchange, istio", ", require_client_certificate: true") + `, filters: [` + exchange + `, ` + count + `, ` + proxy("echo") + `]}]}
  clusters:
  - ` + cluster("in", in, `, filters: [`+exchange+`], transport_socket: `+tls("UpstreamTlsContext", alpn, "")) + `
  - ` + cluster("echo", echo, "") + "\n"
	file := filepath.Join(t.TempDir(), "bootstrap.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
