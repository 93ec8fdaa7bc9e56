package scope_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/wire"
)

func sidecar(name string, labels map[string]string) scope.Proxy {
	return scope.Proxy{
		ID:   wire.NodeID{Type: wire.Sidecar, Name: name, Namespace: "shop", IP: "10.0.0.1"},
		Meta: wire.NodeMetadata{Labels: labels},
	}
}

func meta(namespace, name string) model.Meta {
	return model.Meta{Key: model.Key{Kind: model.KindTelemetry, Namespace: namespace, Name: name}}
}

// TestTelemetryTellsGroupsApart: what selects some proxies must not be given to
// others of their group.
func TestTelemetryTellsGroupsApart(t *testing.T) {
	a, b := sidecar("a", map[string]string{"app": "a"}), sidecar("b", map[string]string{"app": "b"})
	rule := []model.MetricsRule{{Overrides: []model.MetricOverride{{Disabled: new(true)}}}}
	for name, tc := range map[string]struct {
		mesh  func(*model.Mesh)
		t     *model.Telemetry
		apart bool
	}{
		"for all":            {t: &model.Telemetry{Meta: meta("shop", "t"), Metrics: rule}},
		"for one":            {t: &model.Telemetry{Meta: meta("shop", "t"), Selector: map[string]string{"app": "a"}, Metrics: rule}, apart: true},
		"in another":         {t: &model.Telemetry{Meta: meta("other", "t"), Selector: map[string]string{"app": "a"}, Metrics: rule}},
		"spans have names":   {t: &model.Telemetry{Meta: meta("shop", "t"), Tracing: []model.TracingRule{{}}}, apart: true},
		"spans without a CR": {mesh: func(m *model.Mesh) { m.DefaultTracing = []string{"otel"} }, apart: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := &model.Snapshot{Mesh: model.DefaultMesh()}
			if tc.mesh != nil {
				tc.mesh(s.Mesh)
			}
			if tc.t != nil {
				s.Telemetry = []*model.Telemetry{tc.t}
			}
			x := scope.NewIndex(s)
			ga, _ := x.Group(a)
			gb, _ := x.Group(b)
			if (ga != gb) != tc.apart {
				t.Errorf("groups %q and %q, want apart: %v", ga, gb, tc.apart)
			}
		})
	}
}

// TestTelemetryOrder: mesh, namespace, workload; the narrower beats the wider.
func TestTelemetryOrder(t *testing.T) {
	drop := func(metric string, v bool) []model.MetricsRule {
		return []model.MetricsRule{{Overrides: []model.MetricOverride{{Metric: metric, Disabled: &v}}}}
	}
	otel := &model.Provider{Name: "otel", Kind: model.ProviderOpenTelemetry}
	zip := &model.Provider{Name: "zip", Kind: model.ProviderZipkin}
	als := &model.Provider{Name: "als", Kind: model.ProviderHTTPLog}
	type summary struct {
		Metrics []scope.MetricOverride
		Off     bool
		Tracer  string
		Random  float64
		Logs    []string
	}
	all := []*model.Telemetry{
		{Meta: meta("istio-system", "mesh"), Metrics: drop("requests_total", true), Tracing: []model.TracingRule{{Sampling: new(50.0)}}, Logs: []model.LogRule{{Providers: []string{"envoy"}}}},
		{Meta: meta("shop", "ns"), Metrics: drop("response_bytes", true), Tracing: []model.TracingRule{{Mode: model.ServerSide, Providers: []string{"zip"}}}, Logs: []model.LogRule{{Mode: model.ServerSide, Providers: []string{"als"}}}},
		{Meta: meta("shop", "a"), Selector: map[string]string{"app": "a"}, Metrics: drop("requests_total", false), Tracing: []model.TracingRule{{Disabled: new(true)}}, Logs: []model.LogRule{{Disabled: true}}},
	}
	for name, tc := range map[string]struct {
		list []*model.Telemetry
		app  string
		side model.Mode
		want summary
	}{
		"nothing is said": {nil, "b", model.ClientSide, summary{Tracer: "otel", Random: 1, Logs: []string{"file"}}},
		"the mesh":        {all[:1], "b", model.ClientSide, summary{Metrics: []scope.MetricOverride{{Metric: "requests_total", Drop: true}}, Tracer: "otel", Random: 50, Logs: []string{"envoy"}}},
		"the namespace, its servers": {all[:2], "b", model.ServerSide, summary{
			Metrics: []scope.MetricOverride{{Metric: "requests_total", Drop: true}, {Metric: "response_bytes", Drop: true}}, Tracer: "zip", Random: 50, Logs: []string{"als"},
		}},
		"the namespace, its clients": {all[:2], "b", model.ClientSide, summary{
			Metrics: []scope.MetricOverride{{Metric: "requests_total", Drop: true}, {Metric: "response_bytes", Drop: true}}, Tracer: "otel", Random: 50, Logs: []string{"envoy"},
		}},
		"the workload": {all, "a", model.ServerSide, summary{
			Metrics: []scope.MetricOverride{{Metric: "requests_total"}, {Metric: "response_bytes", Drop: true}}, Random: 50,
		}},
		"all metrics off": {[]*model.Telemetry{{Meta: meta("shop", "x"), Metrics: drop("", true)}}, "b", model.ClientSide, summary{Off: true, Tracer: "otel", Random: 1, Logs: []string{"file"}}},
		"metrics that go elsewhere": {[]*model.Telemetry{{Meta: meta("shop", "x"), Metrics: []model.MetricsRule{{Providers: []string{"otel"}}}}}, "b", model.ClientSide,
			summary{Off: true, Tracer: "otel", Random: 1, Logs: []string{"file"}}},
	} {
		t.Run(name, func(t *testing.T) {
			m := model.DefaultMesh()
			m.Providers, m.DefaultTracing, m.AccessLogFile = []*model.Provider{otel, zip, als}, []string{"otel"}, "file"
			v := scope.Build(scope.NewIndex(&model.Snapshot{Mesh: m, Telemetry: tc.list}), sidecar("a", map[string]string{"app": tc.app}))
			got := v.Telemetry(tc.side)
			s := summary{Off: got.Metrics.Off, Random: got.Tracing.Sampling}
			if !s.Off {
				s.Metrics = got.Metrics.Overrides
			}
			if p := got.Tracing.Provider; p != nil {
				s.Tracer = p.Name
			}
			for _, l := range got.Logs {
				name := l.Provider.Name
				if l.Provider.Path == "file" {
					name = "file"
				}
				s.Logs = append(s.Logs, name)
			}
			if d := cmp.Diff(tc.want, s); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}
