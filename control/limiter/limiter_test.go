package limiter

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/control/limiter/metric"
	"github.com/weftmesh/weft/control/model"
)

// mesh is a service with some ready replicas.
func mesh(replicas int, rules ...model.LimitRule) *model.Snapshot {
	l := &model.SmartLimiter{Service: "a.default.svc.cluster.local", Rules: rules}
	l.Key = model.Key{Kind: model.KindSmartLimiter, Namespace: "default", Name: "a"}
	s := &model.Snapshot{
		Services: []*model.Service{{Host: l.Service, Name: "a", Namespace: "default", Selector: map[string]string{"app": "a"}}},
		Limiters: []*model.SmartLimiter{l},
		Policies: []*model.TrafficPolicySet{{Host: l.Service, Subsets: []model.Subset{{Name: "v1", Labels: map[string]string{"version": "v1"}}}}},
	}
	for i := range replicas {
		labels := map[string]string{"app": "a", "version": fmt.Sprintf("v%d", i%2+1)}
		s.Workloads = append(s.Workloads, &model.Workload{Name: fmt.Sprintf("a-%d", i), App: "a", Namespace: "default", Labels: labels, Ready: true})
	}
	s.Workloads = append(s.Workloads, &model.Workload{Name: "a-x", App: "a", Namespace: "default", Labels: map[string]string{"app": "a"}})
	return s
}

func rule(condition, quota string) model.LimitRule {
	return model.LimitRule{Field: "spec.descriptors[0]", Set: model.WholeService, Condition: condition, Quota: quota, Interval: time.Second, Strategy: model.LimitSingle}
}

func source() (*Source, *metric.Store) {
	store := metric.NewStore()
	s := New(nil, store, slog.New(slog.DiscardHandler))
	s.patience = 0
	return s, store
}

// inForce evaluates, and says what is in force of the first rule.
func inForce(s *Source, snap *model.Snapshot) string {
	d, _ := s.evaluate(snap)
	out := ""
	for _, o := range d.Upserts {
		out += said(o.(*model.Limits))
	}
	for _, f := range d.Findings {
		out += " " + f.Code
	}
	return out
}

func TestConditionAndReplicas(t *testing.T) {
	s, store := source()
	known := rule("{cpu}>0.8", "30/{pod}")
	cpu := func(of string, used float64) {
		if err := store.Set(metric.Subject{Namespace: "default", Workload: of}, "cpu", used, 0); err != nil {
			t.Fatal(err)
		}
	}
	snap := mesh(3, known)
	s.patience = time.Hour
	if got := inForce(s, snap); got != "limits off" {
		t.Errorf("before there can be numbers: %s", got)
	}
	s.patience = 0
	if got := inForce(s, snap); got != "limits off WEFT0282" {
		t.Errorf("without numbers: %s", got)
	}
	if names, _ := store.Wanted(); fmt.Sprint(names) != "[cpu pod]" {
		t.Errorf("wanted %v", names)
	}
	snap.Processes = []*model.Process{{CPU: 0.5}}
	snap.Processes[0].Key = model.Key{Kind: model.KindProcess, Namespace: "default", Name: "a"}
	for i, used := range []float64{0.5, 0.4, 0.6} {
		cpu(fmt.Sprintf("a-%d", i), used)
	}
	if got := inForce(s, snap); got != "limits 10" {
		t.Errorf("a hundred per cent: %s", got)
	}
	cpu("a-0", 0.1)
	if got := inForce(s, snap); got != "limits off" {
		t.Errorf("73 per cent: %s", got)
	}
	if _, different := s.evaluate(snap); different {
		t.Error("nothing has changed, and it is sent again")
	}
	if got := inForce(s, mesh(5, rule("true", "30/{pod}"))); got != "limits 6" {
		t.Errorf("five replicas: %s", got)
	}
}

// TestNewsOfLimits: that nothing is in force yet is no news, and is sent all the same.
func TestNewsOfLimits(t *testing.T) {
	s, _ := source()
	for _, c := range []struct {
		snap *model.Snapshot
		want string
	}{
		{mesh(1, rule("{pod}>2", "30/{pod}")), ""}, {mesh(2, rule("{pod}>2", "30/{pod}")), ""},
		{mesh(3, rule("{pod}>2", "30/{pod}")), "SmartLimiter default/a: limits 10"}, {mesh(1, rule("{pod}>2", "30/{pod}")), "SmartLimiter default/a: limits off"},
	} {
		if d, different := s.evaluate(c.snap); d.Why != c.want || !different {
			t.Errorf("%q, different %v, want %q", d.Why, different, c.want)
		}
	}
}

func TestStrategiesSetsAndFaults(t *testing.T) {
	with := func(change func(*model.LimitRule)) model.LimitRule {
		r := rule("true", "100")
		change(&r)
		return r
	}
	for want, r := range map[string]model.LimitRule{
		"limits 25":           with(func(r *model.LimitRule) { r.Strategy = model.LimitAverage }),
		"limits 12.5":         with(func(r *model.LimitRule) { r.Strategy, r.Quota = model.LimitAverage, "50/{{._base.pod}}" }),
		"limits 100":          with(func(r *model.LimitRule) { r.Strategy = model.LimitGlobal }),
		"limits 2":            with(func(r *model.LimitRule) { r.Set, r.Quota = "v1", "{pod}" }),
		"limits 4":            with(func(r *model.LimitRule) { r.Set, r.Quota = "v1", "{{._base.pod}}" }),
		"limits off WEFT0281": with(func(r *model.LimitRule) { r.Set = "v9" }),
		"limits off WEFT0282": with(func(r *model.LimitRule) { r.Quota = "1/{queue}" }),
		"limits off":          with(func(r *model.LimitRule) { r.Condition = "{pod}>4" }),
		"limits 0":            with(func(r *model.LimitRule) { r.Quota = "{pod}-9" }),
	} {
		s, _ := source()
		if got := inForce(s, mesh(4, r)); got != want {
			t.Errorf("%+v: %s, want %s", r, got, want)
		}
	}
	s, _ := source()
	snap := mesh(1, rule("true", "1"))
	snap.Services = nil
	if got := inForce(s, snap); !strings.Contains(got, CodeService) {
		t.Errorf("no service: %s", got)
	}
}

func TestFolds(t *testing.T) {
	s, store := source()
	for i, v := range []float64{10, 30} {
		of := metric.Subject{Namespace: "default", Workload: fmt.Sprintf("a-%d", i)}
		for _, name := range []string{"rps", "p99", "queue", "cpu"} {
			if err := store.Set(of, name, v, 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := store.Set(of, "errors", float64(i), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Set(metric.Subject{Service: "a.default.svc.cluster.local"}, "whole", 7, 0); err != nil {
		t.Fatal(err)
	}
	for quota, want := range map[string]string{
		"{rps}": "limits 40", "{rps.max}": "limits 30", "{p99}": "limits 30", "{queue}": "limits 20", "{queue.sum}": "limits 40", "{queue.min}": "limits 10",
		"{queue.count}": "limits 2", "{cpu.sum}": "limits 40", "100*{errors}": "limits 75", "{whole}": "limits 7", "{{.v1.rps}}": "limits 10",
	} {
		if got := inForce(s, mesh(2, rule("true", quota))); got != want {
			t.Errorf("%s: %s, want %s", quota, got, want)
		}
	}
}

// TestSwitchedOff: a SlimeBoot that has the module off ends its effect, and nothing else does.
func TestSwitchedOff(t *testing.T) {
	s, _ := source()
	snap := mesh(2, rule("true", "30/{pod}"))
	boot := func(modules map[string]bool) *model.Boot { return &model.Boot{Modules: modules} }
	for _, tc := range []struct {
		boots []*model.Boot
		want  string
	}{
		{nil, "limits 15"},
		{[]*model.Boot{boot(map[string]bool{model.ModuleLimiter: false})}, ""},
		{[]*model.Boot{boot(map[string]bool{model.ModulePlugin: false})}, "limits 15"},
		{[]*model.Boot{boot(map[string]bool{model.ModuleLimiter: false}), boot(map[string]bool{model.ModuleLimiter: true})}, "limits 15"},
	} {
		snap.Boots = tc.boots
		if got := inForce(s, snap); got != tc.want {
			t.Errorf("%v: %q, want %q", tc.boots, got, tc.want)
		}
	}
}
