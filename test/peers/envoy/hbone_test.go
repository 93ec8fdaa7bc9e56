package envoy

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/numbered"
)

// hbone are two proxies, each the one or the other: what a client says to the
// first goes as Istio builds it, through internal listeners and a CONNECT over
// HTTP/2 and mutual TLS, to the second, and from there to the address that the first
// has been told.
type hbone struct {
	first, second, backend string // addresses
	dir                    string
}

// originate is the first proxy: the endpoint's metadata says where the tunnel leads.
const originate = `
node: {id: first, cluster: c}
admin: {address: {socket_address: {address: %[1]s, port_value: %[2]d}}}
bootstrap_extensions: [{name: i, typed_config: {"@type": type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener}}]
static_resources:
  listeners:
  - name: outbound
    address: {socket_address: {address: %[1]s, port_value: 10000}}
    filter_chains: [{filters: [{name: tcp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: o, cluster: encap}}]}]
  - name: connect_originate
    internal_listener: {}
    listener_filters: [{name: o, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst}}]
    filter_chains: [{filters: [{name: tcp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: e, cluster: connect_originate, tunneling_config: {hostname: "%%DOWNSTREAM_LOCAL_ADDRESS%%"}}}]}]
  clusters:
  - name: encap
    connect_timeout: 60s
    load_assignment: {cluster_name: encap, endpoints: [{lb_endpoints: [{endpoint: {address: {envoy_internal_address: {server_listener_name: connect_originate, endpoint_id: "%[3]s"}}}, metadata: {filter_metadata: {envoy.filters.listener.original_dst: {local: "%[3]s"}}}}]}]}
    transport_socket: {name: i, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport, passthrough_metadata: [{kind: {host: {}}, name: envoy.filters.listener.original_dst}], transport_socket: {name: raw, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}}}
  - name: connect_originate
    type: ORIGINAL_DST
    lb_policy: CLUSTER_PROVIDED
    connect_timeout: 60s
    original_dst_lb_config: {upstream_port_override: 15008}
    typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {allow_connect: true}}}}
    transport_socket: {name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, common_tls_context: {alpn_protocols: [h2], tls_certificates: [{certificate_chain: {filename: %[4]s/cert-client.pem}, private_key: {filename: %[4]s/key-client.pem}}], validation_context: {trusted_ca: {filename: %[4]s/ca.pem}}}}}
`

// terminate is the second: the CONNECT's authority becomes, by filter state that is
// shared once, the original destination at an internal listener.
const terminate = `
node: {id: second, cluster: c}
admin: {address: {socket_address: {address: %[1]s, port_value: %[2]d}}}
bootstrap_extensions: [{name: i, typed_config: {"@type": type.googleapis.com/envoy.extensions.bootstrap.internal_listener.v3.InternalListener}}]
static_resources:
  listeners:
  - name: connect_terminate
    address: {socket_address: {address: %[1]s, port_value: 15008}}
    filter_chains:
    - transport_socket: {name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, require_client_certificate: true, common_tls_context: {alpn_protocols: [h2], tls_certificates: [{certificate_chain: {filename: %[4]s/cert-a.pem}, private_key: {filename: %[4]s/key-a.pem}}], validation_context: {trusted_ca: {filename: %[4]s/ca.pem}}}}}
      filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: t
          upgrade_configs: [{upgrade_type: CONNECT}]
          http2_protocol_options: {allow_connect: true}
          route_config: {name: r, virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {connect_matcher: {}}, route: {cluster: main_internal, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}}]}]}
          http_filters:
          - name: connect_authority
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.set_filter_state.v3.Config, on_request_headers: [{object_key: envoy.filters.listener.original_dst.local_ip, format_string: {text_format_source: {inline_string: "%%REQ(:AUTHORITY)%%"}}, shared_with_upstream: ONCE}]}
          - {name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  - name: main_internal
    internal_listener: {}
    listener_filters: [{name: o, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst}}]
    filter_chains: [{filters: [{name: tcp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: m, cluster: passthrough}}]}]
  clusters:
  - name: main_internal
    connect_timeout: 60s
    load_assignment: {cluster_name: main_internal, endpoints: [{lb_endpoints: [{endpoint: {address: {envoy_internal_address: {server_listener_name: main_internal}}}}]}]}
    transport_socket: {name: i, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport, transport_socket: {name: raw, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}}}
  - {name: passthrough, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 60s}
`

// TestHBONE: either end may be either proxy.
func TestHBONE(t *testing.T) {
	certDir := t.TempDir()
	if err := makeCerts(certDir); err != nil {
		t.Fatal(err)
	}
	pid := os.Getpid()
	for i, c := range []struct{ first, second string }{
		{"weft", "weft"}, {"weft", "envoy"}, {"envoy", "weft"}, {"envoy", "envoy"},
	} {
		t.Run(c.first+" to "+c.second, func(t *testing.T) {
			base := fmt.Sprintf("127.%d.%d.", 80+pid>>8&0x3f, pid&0xff)
			h := hbone{
				first: base + fmt.Sprint(11+2*i), second: base + fmt.Sprint(12+2*i), dir: certDir,
			}
			h.backend = echoes(t, h.second)
			h.start(t, c.second, terminate, h.second)
			h.start(t, c.first, originate, h.first)
			h.carries(t)
		})
	}
}

func (h *hbone) start(t *testing.T, engine, boot, addr string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), addr)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	raw := fmt.Appendf(nil, boot, addr, adminPort, h.backend, h.dir)
	p := place{proxy: addr}
	if engine == "envoy" {
		startEnvoy(t, dir, raw, p)
	} else {
		startWeft(t, dir, raw, p)
	}
}

// echoes is a server that sends back what it gets.
func echoes(t *testing.T, ip string) string {
	t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer nc.Close()
				_, _ = io.Copy(nc, nc)
			})
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return ln.Addr().String()
}

// carries sends much, and half-closes, on several connections at once. Some of them are
// read from slowly, so that all on the way have to wait and go on again and again.
func (h *hbone) carries(t *testing.T) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range uint16(8) {
		wg.Go(func() {
			nc, err := net.Dial("tcp", net.JoinHostPort(h.first, "10000"))
			if err != nil {
				t.Error(err)
				return
			}
			defer nc.Close()
			_ = nc.SetDeadline(time.Now().Add(5 * time.Minute))
			if err := numbered.Echo(nc, i, 4<<20, i%2 == 1); err != nil {
				t.Errorf("connection %d: %v", i, err)
				return
			}
			_ = nc.(*net.TCPConn).CloseWrite()
			if n, err := nc.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("after the half-close: %d bytes, %v", n, err)
			}
		})
	}
	wg.Wait()
}
