package listener

import (
	"strings"
	"testing"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/cluster"
	"github.com/weftmesh/weft/wire"
)

// TestUserTLS: what TLS of a Sidecar's ingress carries is what its port speaks.
func TestUserTLS(t *testing.T) {
	v := scope.Build(scope.NewIndex(&model.Snapshot{}), scope.Proxy{
		ID: wire.NodeID{Type: wire.Sidecar, Namespace: "default", Name: "a", IP: "10.244.0.2"},
	})
	b := newBuilder(v, func(f model.Finding) { t.Error(f) })
	for protocol, want := range map[model.Protocol]string{
		model.HTTP: "http_connection_manager", model.HTTPS: "http_connection_manager", model.TLS: "tcp_proxy", model.TCP: "tcp_proxy",
		model.MessagesOf("dubbo"): "dubbo",
	} {
		list := b.inboundChains(&port{
			Inbound: cluster.Inbound{Port: 80, Protocol: protocol}, tls: &tlsv3.DownstreamTlsContext{}, to: "inbound|80||", match: 80, name: "0.0.0.0_80",
		})
		if len(list) != 1 || list[0].TransportSocket == nil {
			t.Fatalf("%s: %v", protocol, list)
		}
		if last := list[0].Filters[len(list[0].Filters)-1]; !strings.Contains(last.String(), want) {
			t.Errorf("%s: want %s in %v", protocol, want, last)
		}
	}
}

// TestInboundChains is the matrix of what a port speaks and what it demands.
// A line is "transport first-ALPN → kind, mTLS or not".
func TestInboundChains(t *testing.T) {
	v := scope.Build(scope.NewIndex(&model.Snapshot{}), scope.Proxy{
		ID: wire.NodeID{Type: wire.Sidecar, Namespace: "default", Name: "a", IP: "10.244.0.2"},
	})
	b := newBuilder(v, func(f model.Finding) { t.Error(f) })
	for _, tc := range []struct {
		protocol model.Protocol
		mode     model.MTLSMode
		want     []string
	}{
		{model.HTTP, model.MTLSStrict, []string{"tls - → http mtls"}},
		{model.HTTP, model.MTLSPermissive, []string{"tls istio → http mtls", "raw_buffer - → http"}},
		{model.HTTP, model.MTLSDisable, []string{"- - → http"}},
		{model.GRPC, model.MTLSStrict, []string{"tls - → http mtls"}},
		{model.TCP, model.MTLSStrict, []string{"tls - → tcp mtls"}},
		{model.TCP, model.MTLSPermissive, []string{"tls istio-peer-exchange → tcp mtls", "tls istio-http/1.0 → tcp mtls", "raw_buffer - → tcp", "tls - → tcp"}},
		{model.TCP, model.MTLSDisable, []string{"- - → tcp"}},
		{model.HTTPS, model.MTLSStrict, []string{"tls - → tcp mtls"}},
		{model.Unknown, model.MTLSStrict, []string{"tls istio-http/1.0 → http mtls", "tls - → tcp mtls"}},
		{model.Unknown, model.MTLSPermissive, []string{
			"tls istio-http/1.0 → http mtls", "tls istio-peer-exchange → tcp mtls", "raw_buffer http/1.1 → http", "raw_buffer - → tcp", "tls - → tcp",
		}},
		{model.Unknown, model.MTLSDisable, []string{"raw_buffer http/1.1 → http", "- - → tcp"}},
	} {
		t.Run(string(tc.protocol)+"/"+tc.mode.String(), func(t *testing.T) {
			var got []string
			for _, c := range b.inboundChains(&port{
				Inbound: cluster.Inbound{Port: 80, Protocol: tc.protocol}, mode: tc.mode, to: "inbound|80||", match: 80, name: "0.0.0.0_80",
			}) {
				if c.FilterChainMatch.DestinationPort.GetValue() != 80 {
					t.Errorf("a chain is not for the port: %v", c.FilterChainMatch)
				}
				line := dash(c.FilterChainMatch.TransportProtocol) + " "
				if a := c.FilterChainMatch.ApplicationProtocols; len(a) > 0 {
					line += a[0]
				} else {
					line += "-"
				}
				kind := " → tcp"
				if strings.HasSuffix(c.Filters[len(c.Filters)-1].Name, "http_connection_manager") {
					kind = " → http"
				}
				line += kind
				if c.TransportSocket != nil {
					line += " mtls"
				}
				got = append(got, line)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
