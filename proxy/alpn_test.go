package proxy_test

import (
	"crypto/tls"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/weftmesh/weft/test/freeport"
)

// istio.alpn decides what a TLS server is offered.
func TestIstioALPN(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t, goleak.IgnoreCurrent()) })
	offered := make(chan string, 10)
	s := httptest.NewUnstartedServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, _ *nethttp.Request) { _, _ = io.WriteString(w, "hello") }))
	s.TLS = &tls.Config{NextProtos: []string{"http/1.1", "istio-http/1.1"}, GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		offered <- strings.Join(h.SupportedProtos, " ")
		return nil, nil
	}}
	s.StartTLS()
	t.Cleanup(s.Close)
	for metadata, want := range map[string]string{"": "istio-http/1.1 istio http/1.1", "false": "http/1.1"} {
		c := &filterCase{
			Filters: []any{map[string]any{"name": "istio.alpn", "typed_config": map[string]any{
				"@type": "type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig",
				"alpn_override": []any{
					map[string]any{"alpn_override": []any{"istio-http/1.0", "istio", "http/1.0"}},
					map[string]any{"upstream_protocol": "HTTP11", "alpn_override": []any{"istio-http/1.1", "istio", "http/1.1"}},
					map[string]any{"upstream_protocol": "HTTP2", "alpn_override": []any{"istio-h2", "istio", "h2"}},
				},
			}}},
			Cluster: map[string]any{
				"metadata": map[string]any{"filter_metadata": map[string]any{"istio": map[string]any{"alpn_override": metadata}}},
				"transport_socket": map[string]any{"name": "tls", "typed_config": map[string]any{
					"@type":              "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
					"common_tls_context": map[string]any{"alpn_protocols": []any{"http/1.1"}},
				}},
			},
		}
		addr, admin := freeport.Addr(t), freeport.Addr(t)
		startWeft(t, c.bootstrap(t, map[string]string{"addr": addr, "admin": admin, "up": s.Listener.Addr().String()}))
		ready(t, admin, addr)
		if got := get(addr, "/"); got != "hello" {
			t.Fatalf("got %q", got)
		}
		if got := <-offered; got != want {
			t.Errorf("alpn_override %q: offered %q, want %q", metadata, got, want)
		}
	}
}
