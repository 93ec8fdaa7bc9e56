package main

import (
	"fmt"
	"strings"
)

// redisBootstrap has two routes by prefix, as both engines read it.
func redisBootstrap(ports []int, up, _ string) []string {
	return []string{head + listener(ports[0], "", `      - name: envoy.filters.network.redis_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy
          stat_prefix: in
          settings: {op_timeout: 5s}
          prefix_routes:
            routes: [{prefix: "books:", cluster: up}]
            catch_all_route: {cluster: up}
`) + maglev(up)}
}

// maglev is the cluster with the balancer that Redis needs.
func maglev(up string) string {
	return cluster(up) + "    lb_policy: MAGLEV\n"
}

// messageBootstrap carries a protocol of messages by the routes of HTTP. declared is its declaration, empty: it has a codec.
func messageBootstrap(protocol, declared, vhosts string) func(ports []int, up, dir string) []string {
	return func(ports []int, up, _ string) []string {
		return []string{head + listener(ports[0], "", fmt.Sprintf(`      - name: weft.filters.network.message_proxy
        typed_config:
          "@type": type.googleapis.com/weft.wire.v1.MessageProxy
          protocol: %s
%s          manager:
            "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
            stat_prefix: in
            generate_request_id: false
            http_filters:
            - name: envoy.filters.http.router
              typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
            route_config:
              name: r
              virtual_hosts:
%s`, protocol, declared, vhosts)) + cluster(up)}
	}
}

// dubboRoutes are 50 services, each with a route by method and field, and one for the rest.
func dubboRoutes() string {
	var b strings.Builder
	for i := range hosts {
		fmt.Fprintf(&b, `              - name: s%[1]d
                domains: ["org.example.Service%[1]d"]
                routes:
                - match: {prefix: "/", headers: [{name: ":method", string_match: {exact: method%[1]d}}, {name: user, string_match: {exact: jason}}]}
                  route: {cluster: up}
                - match: {prefix: "/"}
                  route: {cluster: other}
`, i)
	}
	return b.String()
}

// envoyDubbo says the same in the words of Envoy's dubbo_proxy.
func envoyDubbo(ports []int, up, _ string) []string {
	var b strings.Builder
	b.WriteString(`      - name: envoy.filters.network.dubbo_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.dubbo_proxy.v3.DubboProxy
          stat_prefix: in
          protocol_type: Dubbo
          serialization_type: Hessian2
          route_config:
`)
	for i := range hosts {
		fmt.Fprintf(&b, `          - name: s%[1]d
            interface: org.example.Service%[1]d
            routes:
            - match: {method: {name: {exact: method%[1]d}}, headers: [{name: user, string_match: {exact: jason}}]}
              route: {cluster: up}
            - match: {method: {name: {safe_regex: {regex: ".*"}}}}
              route: {cluster: other}
`, i)
	}
	return []string{head + listener(ports[0], "", b.String()) + cluster(up)}
}

// thriftRoutes are 50 methods.
func thriftRoutes() string {
	var b strings.Builder
	b.WriteString("              - name: all\n                domains: [\"*\"]\n                routes:\n")
	for i := range hosts {
		fmt.Fprintf(&b, `                - match: {prefix: "/", headers: [{name: ":method", string_match: {exact: method%d}}]}
                  route: {cluster: up}
`, i)
	}
	return b.String()
}

// envoyThrift says the same in the words of Envoy's thrift_proxy.
func envoyThrift(ports []int, up, _ string) []string {
	var b strings.Builder
	b.WriteString(`      - name: envoy.filters.network.thrift_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.thrift_proxy.v3.ThriftProxy
          stat_prefix: in
          transport: FRAMED
          protocol: BINARY
          thrift_filters:
          - name: envoy.filters.thrift.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.thrift_proxy.router.v3.Router}
          route_config:
            name: r
            routes:
`)
	for i := range hosts {
		fmt.Fprintf(&b, "            - {match: {method_name: method%d}, route: {cluster: up}}\n", i)
	}
	return []string{head + listener(ports[0], "", b.String()) + cluster(up)}
}

const quoteRoutes = `              - name: all
                domains: ["*"]
                routes:
                - {match: {prefix: /, headers: [{name: desk, string_match: {exact: closed}}]}, direct_response: {status: 403}}
                - {match: {prefix: /}, route: {cluster: up}}
`

// quoteDeclared is what the codec of examples/own-codec says in Go.
const quoteDeclared = `          declared:
            framing: {header: 9, length: {offset: 0, size: 4}}
            type: {offset: 8, size: 1, text: true, values: {request: [Q], response: [A], error: [E], heartbeat: [P], heartbeatReply: [R]}}
            id: {offset: 4, size: 4}
            parts: [{name: words, format: words, separator: "\n"}]
            service: [{part: words, index: 0, of: requests}]
            fields: [{name: desk, part: words, index: 1, of: requests}]
`
