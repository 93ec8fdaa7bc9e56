package config

import (
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/route"
	"github.com/weftmesh/weft/proxy/transport"
)

func TestTablesNameRealFields(t *testing.T) {
	c, err := checker()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Verify(); err != nil {
		t.Error(err)
	}
}

// fromYAML reads a message as people write it.
func fromYAML(t *testing.T, text string, m proto.Message) {
	t.Helper()
	js, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := protojson.Unmarshal(js, m); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}

func newDecoder() *Decoder {
	return &Decoder{
		Mark: 1337, Secrets: transport.NewSecretStore(),
		HTTPKinds: []filter.HTTPKind{{
			Name: "test", TypeURLs: []string{"type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"},
			ParseRoute: func(c *filter.ParseContext, _ *anypb.Any) (any, error) { return "parsed for " + c.FilterName, nil },
		}},
	}
}

func TestDecodeRoutes(t *testing.T) {
	m := &routev3.RouteConfiguration{}
	fromYAML(t, `
name: "9080"
validate_clusters: false
request_headers_to_add: [{header: {key: X-A, value: a}, append: false}]
virtual_hosts:
- name: reviews:9080
  domains: [reviews, "reviews:9080"]
  include_request_attempt_count: true
  routes:
  - name: canary
    match:
      prefix: /r
      case_sensitive: false
      headers:
      - {name: X-User, string_match: {exact: jason}}
      - {name: x-no, present_match: false}
      query_parameters: [{name: q, string_match: {safe_regex: {regex: "a+"}}}]
    route:
      weighted_clusters:
        clusters: [{name: a, weight: 90}, {name: b, weight: 10, response_headers_to_remove: [X-B]}]
      timeout: 0s
      retry_policy:
        retry_on: connect-failure,retriable-status-codes
        num_retries: 2
        retriable_status_codes: [503]
        retry_host_predicate: [{name: envoy.retry_host_predicates.previous_hosts, typed_config: {"@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}]
        host_selection_retry_max_attempts: 5
      hash_policy: [{cookie: {name: c, ttl: 0s, path: /}}]
      request_mirror_policies: [{cluster: m, runtime_fraction: {default_value: {numerator: 50}}}]
    typed_per_filter_config:
      fault: {"@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault}
    decorator: {operation: op}
  - match: {path: /old}
    redirect: {path_redirect: /new, response_code: FOUND}
  - match: {prefix: /}
    direct_response: {status: 404, body: {inline_string: gone}}
`, m)
	if err := check(m); err != nil {
		t.Fatal(err)
	}
	got, err := newDecoder().decodeRoutes(m)
	if err != nil {
		t.Fatal(err)
	}
	session := time.Duration(0)
	on, _, err := route.ParseRetryOn("connect-failure,retriable-status-codes")
	if err != nil {
		t.Fatal(err)
	}
	want := &route.Spec{
		Name:           "9080",
		RequestHeaders: route.HeaderOps{Set: []route.HeaderValue{{Name: "x-a", Value: "a"}}},
		VirtualHosts: []route.VirtualHost{{
			Name: "reviews:9080", Domains: []string{"reviews", "reviews:9080"}, AttemptCount: true,
			Routes: []route.Route{
				{
					Name: "canary", Decorator: "op",
					Match: route.Match{
						Path: "/r", IgnoreCase: true,
						Headers: []route.HeaderMatch{{Name: "x-user", Value: &route.StringMatch{Value: "jason"}}, {Name: "x-no", Absent: true}},
						Query:   []route.QueryMatch{{Name: "q", Value: &route.StringMatch{Kind: route.StringRegex, Value: "a+"}}},
					},
					FilterConfig: map[string]any{"fault": "parsed for fault"}, FilterOff: map[string]bool{"fault": false},
					Forward: &route.Forward{
						Weighted: []route.WeightedCluster{
							{Cluster: "a", Weight: 90}, {Cluster: "b", Weight: 10, ResponseHeaders: route.HeaderOps{Remove: []string{"x-b"}}},
						},
						Retry:   &route.RetryPolicy{On: on, StatusCodes: []int{503}, Retries: 2, AvoidPrevious: true, HostAttempts: 5},
						Hash:    []route.HashPolicy{{Cookie: &route.HashCookie{Name: "c", Path: "/", TTL: &session}}},
						Mirrors: []route.Mirror{{Cluster: "m", Fraction: &route.Fraction{Numerator: 50, Denominator: 100}}},
					},
				},
				{Match: route.Match{PathKind: route.PathExact, Path: "/old"}, Redirect: &route.Redirect{Path: "/new", Status: 302}},
				{Match: route.Match{Path: "/"}, Direct: &route.Direct{Status: 404, Body: "gone"}},
			},
		}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestRefusedRoutes(t *testing.T) {
	for _, c := range []struct{ name, route, want string }{
		{"unsupported action", "route: {cluster: a, flush_timeout: 1s}", "virtual_hosts[0].routes[0].route.flush_timeout: not supported"},
		{"unsupported matcher", "route: {cluster: a}, name: x, tracing: {}", "virtual_hosts[0].routes[0].tracing: not supported"},
		{"bad regex", `route: {cluster: a, regex_rewrite: {pattern: {regex: "("}, substitution: x}}`, "virtual_hosts[0].routes[0].route.regex_rewrite.pattern.regex: error parsing regexp"},
		{"bad weights", "route: {weighted_clusters: {clusters: [{name: a, weight: 1}], total_weight: 7}}", "virtual_hosts[0].routes[0].route.weighted_clusters.total_weight: is 7"},
		{"no such filter", `route: {cluster: a}, typed_per_filter_config: {x: {"@type": type.googleapis.com/google.protobuf.Empty}}`, `virtual_hosts[0].routes[0].typed_per_filter_config["x"]: type.googleapis.com/google.protobuf.Empty is not supported`},
		{"large body", "direct_response: {status: 200, body: {inline_string: " + strings.Repeat("x", 4097) + "}}", "virtual_hosts[0].routes[0].direct_response.body: has 4097 bytes"},
		{"no cluster", "route: {timeout: 1s}", "RouteAction.ClusterSpecifier: value is required"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &routev3.RouteConfiguration{}
			fromYAML(t, "{name: r, virtual_hosts: [{name: v, domains: ['*'], routes: [{match: {prefix: /}, "+c.route+"}]}]}", m)
			err := check(m)
			if err == nil {
				_, err = newDecoder().decodeRoutes(m)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

const istioCluster = `
name: outbound|9080|v1|reviews.default.svc.cluster.local
type: EDS
eds_cluster_config: {service_name: svc, eds_config: {ads: {}, initial_fetch_timeout: 0s, resource_api_version: V3}}
connect_timeout: 10s
lb_policy: LEAST_REQUEST
circuit_breakers: {thresholds: [{max_connections: 7, max_retries: 4294967295, track_remaining: true}]}
outlier_detection: {consecutive_5xx: 3, interval: 1s}
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {http2_protocol_options: {max_concurrent_streams: 99}}
common_lb_config: {locality_weighted_lb_config: {}, healthy_panic_threshold: {value: 0}}
upstream_bind_config: {source_address: {address: 127.0.0.6, port_value: 0}, socket_options: [{level: 1, name: 36, int_value: 1337}]}
metadata: {filter_metadata: {istio: {services: [{host: reviews.default.svc.cluster.local, name: reviews, namespace: default}]}}}
transport_socket_matches:
- name: tlsMode-istio
  match: {tlsMode: istio}
  transport_socket:
    name: envoy.transport_sockets.tls
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
      sni: outbound_.9080_.v1_.reviews.default.svc.cluster.local
      common_tls_context:
        alpn_protocols: [istio]
        tls_certificate_sds_secret_configs:
        - {name: default, sds_config: {api_config_source: {api_type: GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: sds-grpc}}]}, initial_fetch_timeout: 0s, resource_api_version: V3}}
        combined_validation_context:
          default_validation_context: {match_subject_alt_names: [{exact: "spiffe://cluster.local/ns/default/sa/reviews"}]}
          validation_context_sds_secret_config: {name: "kubernetes://ns/ca-cacert", sds_config: {ads: {}, resource_api_version: V3}}
- {name: tlsMode-disabled, match: {}, transport_socket: {name: envoy.transport_sockets.raw_buffer, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}}
`

func TestDecodeCluster(t *testing.T) {
	m := &clusterv3.Cluster{}
	fromYAML(t, istioCluster, m)
	if err := check(m); err != nil {
		t.Fatal(err)
	}
	c, err := newDecoder().decodeCluster(m)
	if err != nil {
		t.Fatal(err)
	}
	s := c.spec
	if c.eds != "svc" || c.edsTimeout != 0 {
		t.Errorf("eds %q, timeout %v", c.eds, c.edsTimeout)
	}
	wantNeeds := []need{{name: "default", local: true}, {name: "kubernetes://ns/ca-cacert", timeout: defaultFetchTimeout}}
	if d := cmp.Diff(wantNeeds, c.secrets, cmp.AllowUnexported(need{})); d != "" {
		t.Error(d)
	}
	if s.Protocol != cluster.HTTP2 || s.HTTP.MaxConcurrentStreams != 99 || s.LB.Policy != cluster.LeastRequest || s.LB.PanicPercent != 0 || !s.LB.LocalityWeighted {
		t.Errorf("%+v", s)
	}
	if b := s.Breakers[cluster.Default]; b.Connections != 7 || b.Pending != 1024 || b.Retries != 4294967295 {
		t.Errorf("breakers %+v", b)
	}
	if s.Outlier.Consecutive5xx != 3 || s.Outlier.Interval != time.Second || s.Outlier.MaxEjectionPercent != 10 {
		t.Errorf("outlier %+v", s.Outlier)
	}
	if s.Service != (filter.ServiceRef{Host: "reviews.default.svc.cluster.local", Name: "reviews", Namespace: "default"}) {
		t.Errorf("service %+v", s.Service)
	}
	if s.Bind.String() != "127.0.0.6" || len(s.Transports) != 2 || s.Transports[0].TLS == nil || s.Transports[1].TLS != nil {
		t.Errorf("bind %v, transports %+v", s.Bind, s.Transports)
	}
}

const tcpCheckYAML = "{timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}"

func TestRefusedClusters(t *testing.T) {
	for _, c := range []struct{ name, cluster, want string }{
		{"two health checks", "type: STATIC, health_checks: [" + tcpCheckYAML + ", " + tcpCheckYAML + "]", "health_checks: multiple health checks are not supported"},
		{"health check of redis", `type: STATIC, health_checks: [{timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, custom_health_check: {name: redis}}]`, "health_checks[0].custom_health_check: not supported"},
		{"health check path", `type: STATIC, health_checks: [{timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: x}}]`, `health_checks[0].http_health_check.path: "x" is not a path`},
		{"health check statuses", `type: STATIC, health_checks: [{timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /, expected_statuses: [{start: 200, end: 700}]}}]`, `health_checks[0].http_health_check.expected_statuses[0]: 200 to 700 is not a range`},
		{"eds over a file", "type: EDS, eds_cluster_config: {eds_config: {path_config_source: {path: /x}}}", "eds_cluster_config.eds_config.path_config_source: is supported for secrets only"},
		{"name in a static cluster", "type: STATIC, load_assignment: {cluster_name: c, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: a.b, port_value: 1}}}}]}]}",
			`load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address: "a.b" is not an IP address`},
		{"pools", "type: STATIC, circuit_breakers: {thresholds: [{max_connection_pools: 1}]}", "circuit_breakers.thresholds[0].max_connection_pools: not supported"},
		{"HTTP/1.0 upstream", "type: STATIC, http_protocol_options: {accept_http_10: true}", "http_protocol_options.accept_http_10: is for listeners only"},
		{"HTTP/1.0 upstream, explicitly", `type: STATIC, typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {default_host_for_http_10: x}}}}`,
			"explicit_http_config.http_protocol_options.default_host_for_http_10: is for listeners only"},
		{"another mark", "type: STATIC, upstream_bind_config: {socket_options: [{level: 1, name: 36, int_value: 7}]}", "upstream_bind_config.socket_options[0]: level 1, name 36: only SO_MARK"},
		{"load balancing", "type: ORIGINAL_DST, lb_policy: RANDOM", "lb_policy: CLUSTER_PROVIDED"},
		{"tls", `type: STATIC, transport_socket: {name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, common_tls_context: {tls_params: {cipher_suites: [NULL-MD5]}}}}`,
			`transport_socket.typed_config.common_tls_context.tls_params.cipher_suites[0]: "NULL-MD5" is not supported`},
		{"static secret", `type: STATIC, transport_socket: {name: x, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, common_tls_context: {validation_context_sds_secret_config: {name: ca}}}}`,
			`validation_context_sds_secret_config.name: there is no static secret "ca"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &clusterv3.Cluster{}
			fromYAML(t, "{name: c, connect_timeout: 1s, "+c.cluster+"}", m)
			err := check(m)
			if err == nil {
				_, err = newDecoder().decodeCluster(m)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
