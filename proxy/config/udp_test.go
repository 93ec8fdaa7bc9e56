package config

import (
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
)

func TestRefusedUDP(t *testing.T) {
	const (
		addr  = "address: {socket_address: {protocol: UDP, address: 127.0.0.1, port_value: 53}}, "
		ext   = "type.googleapis.com/envoy.extensions.filters."
		proxy = `"@type": ` + ext + "udp.udp_proxy.v3.UdpProxyConfig, stat_prefix: p, "
	)
	filter := func(more string) string {
		return addr + "listener_filters: [{name: u, typed_config: {" + proxy + more + "}}]"
	}
	const network = "type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3."
	for _, c := range []struct{ name, listener, want string }{
		{"no filter", addr, "listener_filters: want just one, udp_proxy"},
		{"a filter of connections", addr + `listener_filters: [{name: d, typed_config: {"@type": ` + ext + "listener.tls_inspector.v3.TlsInspector}}]", "TlsInspector is not supported for UDP"},
		{"chains", filter("cluster: c") + ", filter_chains: [{}]", "filter_chains: is for listeners of connections"},
		{"no cluster", filter("idle_timeout: 1s"), ""}, // the API's own check speaks of it
		{"no time", filter("cluster: c, idle_timeout: 0s"), "idle_timeout: want more than 0"},
		{"tunnels", filter("cluster: c, tunneling_config: {proxy_host: a, target_host: b, default_target_port: 1}"), "tunneling_config: not supported"},
		{"session filters", filter("cluster: c, session_filters: [{name: x}]"), "session_filters: not supported"},
		{"QUIC", filter("cluster: c") + ", udp_listener_config: {quic_options: {}}", "udp_listener_config.quic_options: not supported"},
		{"size", filter("cluster: c") + ", udp_listener_config: {downstream_socket_config: {max_rx_datagram_size: 0}}", "MaxRxDatagramSize"},
		{"TCP", "address: {socket_address: {address: 127.0.0.1, port_value: 53}}, udp_listener_config: {}", "udp_listener_config: needs an address with protocol UDP"},
		{"both", filter("cluster: c") + ", additional_addresses: [{address: {socket_address: {address: 127.0.0.1, port_value: 54}}}]", "additional_addresses[0].address.socket_address.protocol: is not that of the first address"},
		{"input of connections", filter(`matcher: {matcher_tree: {input: {name: x, typed_config: {"@type": ` + network + `ServerNameInput}}, exact_match_map: {map: {x: {action: {name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.Route, cluster: c}}}}}}}`), "ServerNameInput is not supported for datagrams"},
		{"action", filter(`matcher: {on_no_match: {action: {name: x, typed_config: {"@type": type.googleapis.com/google.protobuf.StringValue, value: c}}}}`), "matcher.on_no_match.action.typed_config"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &listenerv3.Listener{}
			fromYAML(t, "{name: l, "+c.listener+"}", m)
			err := check(m)
			if err == nil {
				_, err = newDecoder().decodeListener(m)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
