package main

import (
	"fmt"
	"path/filepath"
	"strings"
)

// hosts are the virtual hosts that a route table has beside the one that is called.
const hosts = 50

const head = `node: {id: bench, cluster: bench}
admin: {address: {socket_address: {address: 127.0.0.1, ` + noAdmin + `}}}
static_resources:
`

// noAdmin stands in head for a port that nobody knows.
const noAdmin = "port_value: 0"

// httpBootstrap has routing by 50 hosts, header rewriting, request ids and
// statistics: what a sidecar at least does.
func httpBootstrap(two bool) func(ports []int, up, dir string) []string {
	return func(ports []int, up, _ string) []string {
		protocol := ""
		if two {
			protocol = http2Options
		}
		return []string{head + listener(ports[0], "", httpFilter()) + cluster(up) + protocol}
	}
}

// listener is the YAML of a listener with one filter chain.
func listener(port int, tls, filters string) string {
	return fmt.Sprintf(`  listeners:
  - name: in
    address: {socket_address: {address: 127.0.0.1, port_value: %d}}
    filter_chains:
    - %sfilters:
%s`, port, tls, filters)
}

// httpFilter is a connection manager with its routes.
func httpFilter() string {
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
	return `      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            name: r
            virtual_hosts:
` + vhosts.String()
}

func tcpBootstrap(ports []int, up, _ string) []string {
	return []string{head + listener(ports[0], "", `      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: in
          cluster: up
`) + cluster(up)}
}

const http2Options = `    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
`

func cluster(up string) string {
	host, port, _ := strings.Cut(up, ":")
	return fmt.Sprintf(`  clusters:
  - name: up
    type: STATIC
    connect_timeout: 5s
    circuit_breakers: {thresholds: [{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}]}
    load_assignment:
      cluster_name: up
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}]}]
`, host, port)
}

// pairBootstraps are two proxies: HTTP/1.1 in, HTTP/2 over mutual TLS between, HTTP/1.1 out.
func pairBootstraps(ports []int, up, dir string) []string {
	first := head + listener(ports[0], "", httpFilter()) + cluster(fmt.Sprintf("127.0.0.1:%d", ports[1])) + http2Options +
		fmt.Sprintf(`    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: up
        common_tls_context: {alpn_protocols: [h2], %s}
`, tlsParts(dir))
	return []string{first, serverBootstrap(ports[1:], up, dir)[0]}
}

// serverBootstrap takes mutual TLS.
func serverBootstrap(ports []int, up, dir string) []string {
	return tlsServer(ports, up, tlsParts(dir))
}

// classicBootstrap takes mutual TLS with X25519 alone: without the share of ML-KEM that both agree on
// with a client that offers it.
func classicBootstrap(ports []int, up, dir string) []string {
	return tlsServer(ports, up, "tls_params: {ecdh_curves: [X25519]}, "+tlsParts(dir))
}

func tlsServer(ports []int, up, parts string) []string {
	tls := fmt.Sprintf(`transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context: {alpn_protocols: [h2, http/1.1], %s}
      `, parts)
	return []string{head + listener(ports[0], tls, httpFilter()) + cluster(up)}
}

// tlsParts are certificate and trust of both sides.
func tlsParts(dir string) string {
	makeCerts(dir)
	return fmt.Sprintf(`tls_certificates: [{certificate_chain: {filename: %q}, private_key: {filename: %q}}], `+
		`validation_context: {trusted_ca: {filename: %q}, match_typed_subject_alt_names: [{san_type: URI, matcher: {prefix: "spiffe://cluster.local/"}}]}`,
		filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "ca.pem"))
}
