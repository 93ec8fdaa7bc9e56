package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"
)

// workload is one line of the table.
type workload struct {
	name string
	// work is how many units a round has: requests, or megabytes.
	work int
	unit string
	// serve starts the upstream, bootstrap describes the proxy, drive does the
	// work and returns latencies.
	serve     func() (upstream, error)
	bootstrap func(port int, up string) string
	drive     func(ctx context.Context, addr string, n int) ([]time.Duration, error)
}

// upstream is a server to proxy to.
type upstream interface {
	io.Closer
	Addr() string
}

func (w workload) show(cpu time.Duration) string {
	if w.unit == "GB" {
		return fmt.Sprintf("%d ms/GB", cpu.Microseconds()) // a unit of work is a megabyte
	}
	return fmt.Sprintf("%.1f µs", float64(cpu.Nanoseconds())/1000)
}

var workloads = []workload{
	{"HTTP/1.1 1 KiB, 32 connections", 60000, "request", http1Server(1 << 10), httpBootstrap(false), closedLoop(32)},
	{"HTTP/1.1 1 KiB, 256 connections", 60000, "request", http1Server(1 << 10), httpBootstrap(false), closedLoop(256)},
	{"HTTP/1.1 64 KiB, 32 connections", 15000, "request", http1Server(64 << 10), httpBootstrap(false), closedLoop(32)},
	{"HTTP/2 unary, 8 connections × 1", 20000, "request", http2Server(1 << 10), httpBootstrap(true), http2Loop(8, 1)},
	{"HTTP/2 unary, 8 × 10", 30000, "request", http2Server(1 << 10), httpBootstrap(true), http2Loop(8, 10)},
	{"HTTP/1.1 open loop, 1000/s", 4000, "request", http1Server(1 << 10), httpBootstrap(false), openLoop(1000)},
	{"TCP bulk, 8 connections", 3000, "GB", bulkServer, tcpBootstrap, bulk(8)},
}

// hosts are the virtual hosts that a route table has beside the one that is called.
const hosts = 50

// httpBootstrap has routing by 50 hosts, header rewriting, request ids and
// statistics: what a sidecar at least does.
func httpBootstrap(two bool) func(port int, up string) string {
	return func(port int, up string) string {
		var vhosts strings.Builder
		for i := range hosts {
			fmt.Fprintf(&vhosts, `            - name: h%[1]d
              domains: ["h%[1]d.example.com", "h%[1]d.example.com:8080"]
              routes:
              - match: {prefix: "/api"}
                route: {cluster: up, timeout: 15s}
                request_headers_to_add: [{header: {key: x-bench, value: "%[1]d"}}]
                response_headers_to_remove: [x-upstream]
              - match: {prefix: "/"}
                direct_response: {status: 404}
`, i)
		}
		protocol := ""
		if two {
			protocol = `    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
`
		}
		return head + fmt.Sprintf(`  listeners:
  - name: in
    address: {socket_address: {address: 127.0.0.1, port_value: %d}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            name: r
            virtual_hosts:
%s`, port, vhosts.String()) + cluster(up) + protocol
	}
}

func tcpBootstrap(port int, up string) string {
	return head + fmt.Sprintf(`  listeners:
  - name: in
    address: {socket_address: {address: 127.0.0.1, port_value: %d}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: in
          cluster: up
`, port) + cluster(up)
}

const head = `node: {id: bench, cluster: bench}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
static_resources:
`

func cluster(up string) string {
	host, port, _ := strings.Cut(up, ":")
	return fmt.Sprintf(`  clusters:
  - name: up
    type: STATIC
    connect_timeout: 1s
    circuit_breakers: {thresholds: [{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}]}
    load_assignment:
      cluster_name: up
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}]}]
`, host, port)
}
