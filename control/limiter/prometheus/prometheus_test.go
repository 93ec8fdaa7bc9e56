package prometheus

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/weftmesh/weft/control/limiter/metric"
	"github.com/weftmesh/weft/control/model"
)

func TestQueries(t *testing.T) {
	answers := map[string]string{
		`sum(cpu{pod=~"a-0|a\\.1",namespace="default"})`: `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1.5,"3.25"]}]}}`,
		`queue`:  `{"status":"success","data":{"resultType":"vector","result":[{"metric":{"q":"x"},"value":[1,"1"]},{"metric":{"q":"y"},"value":[1,"2"]}]}}`,
		`scalar`: `{"status":"success","data":{"resultType":"scalar","result":[1,"9"]}}`,
		`bad`:    `{"status":"error","error":"parse error"}`,
		`two`:    `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"1"]},{"metric":{},"value":[1,"2"]}]}}`,
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, ok := answers[r.FormValue("query")]
		if !ok {
			t.Errorf("asked %q", r.FormValue("query"))
		}
		_, _ = io.WriteString(w, a)
	}))
	defer server.Close()
	l := &model.SmartLimiter{Service: "a", Rules: []model.LimitRule{{Set: model.WholeService}}, Prometheus: &model.PrometheusMetrics{
		Address: server.URL, Queries: []model.PrometheusQuery{
			{Name: "cpu", Query: `sum(cpu{pod=~"$pod_name",namespace="$namespace"})`}, {Name: "queue", Query: "queue", Grouped: true},
			{Name: "s", Query: "scalar"}, {Name: "bad", Query: "bad"}, {Name: "two", Query: "two"},
		},
	}}
	l.Key.Namespace = "default"
	snap := &model.Snapshot{Services: []*model.Service{{Host: "a", Namespace: "default", Selector: map[string]string{"app": "a"}}}}
	for _, name := range []string{"a-0", "a.1"} {
		snap.Workloads = append(snap.Workloads, &model.Workload{Name: name, Namespace: "default", Labels: map[string]string{"app": "a"}, Ready: true})
	}
	store := metric.NewStore()
	New(nil, store, slog.New(slog.DiscardHandler)).limiter(t.Context(), snap, l, l.Prometheus)
	for name, want := range map[string]float64{"cpu": 3.25, "queue/x": 1, "queue/y": 2, "s": 9} {
		if got, ok := store.Get(metric.Subject{Service: "a"}, name); !ok || got != want {
			t.Errorf("%s: %v %v, want %v", name, got, ok, want)
		}
	}
	for _, name := range []string{"bad", "two"} {
		if _, ok := store.Get(metric.Subject{Service: "a"}, name); ok {
			t.Errorf("%s has a value", name)
		}
	}
}

// TestWhomToAsk: a SmartLimiter's own metrics, else those of a SlimeBoot whose limiter is on.
func TestWhomToAsk(t *testing.T) {
	own, shared := &model.PrometheusMetrics{Address: "own"}, &model.PrometheusMetrics{Address: "shared"}
	on := &model.Boot{Modules: map[string]bool{model.ModuleLimiter: true}, Metrics: shared}
	off := &model.Boot{Modules: map[string]bool{model.ModuleLimiter: false}, Metrics: shared}
	for _, tc := range []struct {
		boots []*model.Boot
		own   *model.PrometheusMetrics
		want  *model.PrometheusMetrics
	}{
		{nil, nil, nil}, {nil, own, own}, {[]*model.Boot{on}, own, own}, {[]*model.Boot{{}, on}, nil, shared}, {[]*model.Boot{off}, nil, nil},
	} {
		if got := model.MetricsOf(tc.boots, &model.SmartLimiter{Prometheus: tc.own}); got != tc.want {
			t.Errorf("%v with %v: %v", tc.boots, tc.own, got)
		}
	}
}
