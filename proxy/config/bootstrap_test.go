package config

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/weftmesh/weft/base/overload"
	"github.com/weftmesh/weft/wire"
)

func TestReadsItsOwnBootstrap(t *testing.T) {
	w := &wire.Bootstrap{
		Node:     wire.NodeID{Type: wire.Sidecar, IP: "10.244.0.5", Name: "reviews-v1-0", Namespace: "default", Domain: "default.svc.cluster.local"},
		Metadata: wire.NodeMetadata{Namespace: "default", Labels: map[string]string{"app": "reviews"}},
		Locality: wire.Locality{Region: "r"}, XDSSocket: "/x", Token: "t", SDSSocket: "/s", ALSSocket: "/a", Mark: 1337,
		Prometheus: netip.MustParseAddrPort("127.0.0.1:15020"), FewStats: true,
	}
	raw, err := w.YAML()
	if err != nil {
		t.Fatal(err)
	}
	b, err := ParseBootstrap(raw)
	if err != nil {
		t.Fatal(err)
	}
	if b.ADS == nil || b.ADS.Network != "unix" || b.ADS.Address != "/x" || b.ADS.Metadata["authorization"] != "Bearer t" {
		t.Errorf("ADS %+v", b.ADS)
	}
	if b.Mark != 1337 || b.Admin.String() != "127.0.0.1:15000" || !b.Listeners || !b.Clusters || b.Metadata.Labels["app"] != "reviews" {
		t.Errorf("%+v", b)
	}
	if b.KeepStat("cluster.x.upstream_rq_total") || !b.KeepStat("cluster.xds-grpc.upstream_rq_total") || !b.KeepStat("server.uptime") {
		t.Error("the statistics matcher is wrong")
	}
	r := newRig(t)
	r.opt.Decoder.Mark = b.Mark
	if err := r.Load(b); err != nil {
		t.Errorf("its own static resources are refused: %v", err)
	}
}

func TestBootstrapWithTLSAndNames(t *testing.T) {
	b, err := ParseBootstrap([]byte(`
node: {id: x}
dynamic_resources: {ads_config: {api_type: DELTA_GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}, lds_config: {ads: {}}}
static_resources:
  clusters:
  - name: xds
    type: STRICT_DNS
    connect_timeout: 1s
    load_assignment: {cluster_name: xds, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: istiod.istio-system.svc, port_value: 15012}}}}]}]}
    transport_socket: {name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, sni: istiod}}
`))
	if err != nil {
		t.Fatal(err)
	}
	if b.ADS.Address != "istiod.istio-system.svc:15012" || b.Clusters || !b.Listeners {
		t.Errorf("%+v", b)
	}
}

func TestRefusedBootstraps(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"not YAML", "{", "yaml"},
		{"unknown field", "node: {id: x}\nnodes: {}", `line 2: unknown field "nodes"`},
		{"unknown field, twice", "nodes: {nodes: {}}", `unknown field "nodes"`},
		{"unsupported field", "layered_runtime: {layers: [{name: x, rtds_layer: {name: r, rtds_config: {path: p}}}]}", "layered_runtime.layers[0].rtds_layer.rtds_config: only ads is supported"},
		{"overload action", strings.Replace(overloaded("threshold: {value: 1}"), "shrink_heap", "reset_high_memory_stream", 1), "overload_manager.actions[0].name: overload action \"envoy.overload_actions.reset_high_memory_stream\" is not supported"},
		{"overload timers missing", strings.Replace(overloaded("threshold: {value: 1}"), "shrink_heap", "reduce_timeouts", 1), "overload_manager.actions[0].typed_config: is missing"},
		{"overload timer", reducing("{timer: HTTP_DOWNSTREAM_STREAM_FLUSH, min_timeout: 1s}"), "overload_manager.actions[0].typed_config.timer_scale_factors[0].timer: HTTP_DOWNSTREAM_STREAM_FLUSH is not supported"},
		{"overload timer twice", reducing("{timer: TRANSPORT_SOCKET_CONNECT, min_timeout: 1s}, {timer: TRANSPORT_SOCKET_CONNECT, min_timeout: 2s}"), "overload_manager.actions[0].typed_config.timer_scale_factors[1].timer: there are two of that timer"},
		{"overload timers elsewhere", strings.Replace(reducing(""), "reduce_timeouts", "shrink_heap", 1), "overload_manager.actions[0].typed_config: envoy.overload_actions.shrink_heap has none"},
		{"overload trigger", strings.Replace(overloaded("threshold: {value: 1}"), "resource_monitors: [{name: x", "resource_monitors: [{name: other", 1), "overload_manager.actions[0].triggers[0].name: there is no resource monitor \"x\""},
		{"overload scale", overloaded("scaled: {scaling_threshold: 0.9, saturation_threshold: 0.8}"), "overload_manager.actions[0].triggers[0].scaled.scaling_threshold: must be below saturation_threshold"},
		{"loadshed points", strings.Replace(overloaded("threshold: {value: 1}"), "actions:", "loadshed_points:", 1), "overload_manager.loadshed_points[0].name: load-shed point"},
		{"runtime value", "layered_runtime: {layers: [{name: x, static_layer: {a: [1]}}]}", "layered_runtime.layers[0].static_layer: a: []interface {} is not supported"},
		{"no cluster", "dynamic_resources: {ads_config: {api_type: DELTA_GRPC, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}}",
			`dynamic_resources.ads_config.grpc_services[0].envoy_grpc.cluster_name: there is no static cluster "xds"`},
		{"load reports by REST", "cluster_manager: {load_stats_config: {api_type: REST, grpc_services: [{envoy_grpc: {cluster_name: x}}]}}", "cluster_manager.load_stats_config.api_type: REST is not supported"},
		{"no local cluster", "cluster_manager: {local_cluster_name: x}", `cluster_manager.local_cluster_name: there is no static cluster "x"`},
		{"REST", "dynamic_resources: {ads_config: {api_type: REST, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}}", "dynamic_resources.ads_config.api_type: REST is not supported"},
		{"no ads", "dynamic_resources: {lds_config: {ads: {}}}", "dynamic_resources.lds_config: refers to ads"},
		{"socket option", "cluster_manager: {upstream_bind_config: {socket_options: [{level: 6, name: 1, int_value: 1}]}}", "cluster_manager.upstream_bind_config.socket_options[0]: level 6"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseBootstrap([]byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func FuzzBootstrap(f *testing.F) {
	f.Add([]byte("node: {id: x}"))
	f.Add([]byte("static_resources: {clusters: [{name: xds, type: STATIC}]}\ndynamic_resources: {ads_config: {api_type: DELTA_GRPC, grpc_services: [{envoy_grpc: {cluster_name: xds}}]}}"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := ParseBootstrap(raw)
		if (b == nil) == (err == nil) {
			t.Errorf("bootstrap %v, error %v", b, err)
		}
	})
}

func TestFeaturesAreListed(t *testing.T) {
	list, err := Features()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		if f.Message == "envoy.config.cluster.v3.Cluster" {
			if !strings.Contains(strings.Join(f.Fields, " "), "outlier_detection") || !strings.Contains(strings.Join(f.Unsupported, " "), "transport_socket_matcher") {
				t.Errorf("%+v", f)
			}
			return
		}
	}
	t.Error("the cluster is missing")
}

// reducing is an overload manager that reduces timers.
func reducing(factors string) string {
	s := strings.Replace(overloaded("threshold: {value: 1}"), "shrink_heap", "reduce_timeouts", 1)
	return strings.Replace(s, "triggers:", `typed_config: {"@type": type.googleapis.com/envoy.config.overload.v3.ScaleTimersOverloadActionConfig, timer_scale_factors: [`+factors+`]}, triggers:`, 1)
}

// overloaded is an overload manager with one trigger.
func overloaded(trigger string) string {
	return `overload_manager: {resource_monitors: [{name: x, typed_config: {
  "@type": type.googleapis.com/envoy.extensions.resource_monitors.injected_resource.v3.InjectedResourceConfig, filename: /x}}],
  actions: [{name: envoy.overload_actions.shrink_heap, triggers: [{name: x, ` + trigger + `}]}]}`
}

func TestOverloadManager(t *testing.T) {
	b, err := ParseBootstrap([]byte(overloaded("threshold: {value: 0.9}")))
	if err != nil {
		t.Fatal(err)
	}
	if o := b.Overload; len(o.Monitors) != 1 || len(o.Rules) != 1 || o.Rules[0].Triggers[0].Saturation != 0.9 || o.Rules[0].Action != overload.ShrinkHeap {
		t.Errorf("%+v", o)
	}
}
