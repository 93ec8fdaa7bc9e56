package scope

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/control/model"
)

func fenceSnapshot(fences []*model.Fence, boots ...*model.Boot) *model.Snapshot {
	s := &model.Snapshot{Version: 1, Fences: fences, Boots: boots}
	for _, name := range []string{"client", "a", "b", "c"} {
		svc := &model.Service{Host: name + ".default.svc.cluster.local", Name: name, Namespace: "default", Selector: map[string]string{"app": name}}
		svc.Key = model.Key{Kind: model.KindService, Namespace: "default", Name: name}
		svc.Labels = map[string]string{"tier": name}
		svc.Exports.Public = true
		svc.Ports = []model.ServicePort{{Name: "http", Port: 80, Protocol: model.HTTP}, {Name: "dns", Port: 53, Protocol: model.UDP}}
		s.Services = append(s.Services, svc)
	}
	return s
}

func client() Proxy {
	w := &model.Workload{Name: "client-0", App: "client", Namespace: "default", Labels: map[string]string{"app": "client"}}
	return Proxy{Workload: w}
}

func fenceOf(closed bool, hosts ...model.FenceHost) *model.Fence {
	return &model.Fence{Meta: model.Meta{Key: model.Key{Kind: model.KindServiceFence, Namespace: "default", Name: "client"}}, Enabled: true, Closed: closed, Hosts: hosts}
}

func seen(x *Index, p Proxy) string {
	var out []string
	for _, s := range Build(x, p).Services {
		out = append(out, s.Name)
	}
	return strings.Join(out, " ")
}

// TestFences: an open fence leaves what may be asked for as it is, a closed one admits what it lists.
func TestFences(t *testing.T) {
	past, future := time.Now().Unix()-10, time.Now().Unix()+1000
	a := model.FenceHost{Host: "a.default.svc.cluster.local"}
	for name, tc := range map[string]struct {
		fence *model.Fence
		sees  string
		fixed int
	}{
		"open":      {fenceOf(false, a), "a b c client", 1},
		"closed":    {fenceOf(true, a), "a", 1},
		"expired":   {fenceOf(true, a, model.FenceHost{Host: "b.default.svc.cluster.local", Until: past}), "a", 1},
		"not yet":   {fenceOf(true, a, model.FenceHost{Host: "b.default.svc.cluster.local", Until: future}), "a b", 2},
		"namespace": {fenceOf(true, model.FenceHost{Host: "default/*"}), "a b c client", 0},
		"labels": {func() *model.Fence {
			f := fenceOf(true, a)
			f.Labels = []map[string]string{{"tier": "c"}}
			return f
		}(), "a c", 2},
	} {
		x := NewIndex(fenceSnapshot([]*model.Fence{tc.fence}))
		p := x.Layout(client(), false)
		if !p.OnDemand {
			t.Errorf("%s: not on demand", name)
		}
		if got := seen(x, p); got != tc.sees {
			t.Errorf("%s: sees %s, want %s", name, got, tc.sees)
		}
		if got := x.Static([]*model.Fence{tc.fence}); len(got) != tc.fixed {
			t.Errorf("%s: has %v", name, got)
		}
	}
}

// TestWhoIsFenced: by the fence's name, its service, labels, and what says so without a fence.
func TestWhoIsFenced(t *testing.T) {
	boot := func(on bool, s model.FenceSettings) *model.Boot {
		return &model.Boot{Modules: map[string]bool{model.ModuleLazyload: on}, Fences: &s}
	}
	fenced := func(s *model.Snapshot, change func(*model.Workload)) bool {
		p := client()
		if change != nil {
			change(p.Workload)
		}
		s.Workloads = []*model.Workload{p.Workload}
		_, on := NewIndex(s).FencesOf(&p)
		return on
	}
	up := fenceOf(false)
	fromService := fenceOf(false)
	fromService.FromService = true
	down := fenceOf(false)
	down.Enabled = false
	mark := func(key, value string, namespace bool) *model.Snapshot {
		s := fenceSnapshot(nil)
		m := &s.Services[0].Meta
		if namespace {
			n := &model.Namespace{Meta: model.Meta{Key: model.Key{Kind: model.KindNamespace, Name: "default"}}}
			s.Namespaces, m = []*model.Namespace{n}, &n.Meta
		}
		if key == model.LabelFenced {
			m.Labels = map[string]string{key: value}
		} else {
			m.Annotations = map[string]string{key: value}
		}
		return s
	}
	auto := fenceSnapshot(nil, boot(true, model.FenceSettings{Auto: true, Default: true, Namespaces: []string{"default"}}))
	elsewhere := fenceSnapshot(nil, boot(true, model.FenceSettings{Auto: true, Default: true, Except: []string{"default"}}))
	for name, tc := range map[string]struct {
		got, want bool
	}{
		"nothing":             {fenced(fenceSnapshot(nil), nil), false},
		"by name":             {fenced(fenceSnapshot([]*model.Fence{up}), nil), true},
		"of another name":     {fenced(fenceSnapshot([]*model.Fence{up}), func(w *model.Workload) { w.Labels = map[string]string{"app": "x"} }), false},
		"by its service":      {fenced(fenceSnapshot([]*model.Fence{fromService}), nil), true},
		"down":                {fenced(fenceSnapshot([]*model.Fence{down}), nil), false},
		"module off":          {fenced(fenceSnapshot([]*model.Fence{up}, boot(false, model.FenceSettings{})), nil), false},
		"another label":       {fenced(fenceSnapshot([]*model.Fence{up}, boot(true, model.FenceSettings{WorkloadLabel: "svc"})), func(w *model.Workload) { w.Labels = map[string]string{"svc": "client"} }), true},
		"annotation":          {fenced(mark(model.AnnotationLazyXDS, "true", false), nil), true},
		"label":               {fenced(mark(model.LabelFenced, "true", false), nil), true},
		"label of namespace":  {fenced(mark(model.LabelFenced, "true", true), nil), true},
		"says no":             {fenced(mark(model.LabelFenced, "false", true), nil), false},
		"by default":          {fenced(auto, nil), true},
		"excepted namespaces": {fenced(elsewhere, nil), false},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %t", name, tc.got)
		}
	}
}

// TestDeadlineMakesAnew: when a deadline has passed, the next index is made anew.
func TestDeadlineMakesAnew(t *testing.T) {
	host := model.FenceHost{Host: "a.default.svc.cluster.local", Until: time.Now().Unix() + 1}
	s := fenceSnapshot([]*model.Fence{fenceOf(true, host)})
	x := NewIndex(s)
	if got := seen(x, client()); got != "a" {
		t.Fatalf("sees %q", got)
	}
	deadline := time.Now().Add(time.Minute)
	for time.Now().Unix() <= host.Until {
		if time.Now().After(deadline) {
			t.Fatal("time stands still")
		}
		time.Sleep(50 * time.Millisecond)
	}
	next := *s
	next.Version++
	if got := seen(x.Next(&next), client()); got != "" {
		t.Errorf("sees %q after the deadline", got)
	}
}

func TestAliases(t *testing.T) {
	b := &model.Boot{Modules: map[string]bool{model.ModuleLazyload: true}, Fences: &model.FenceSettings{
		Aliases: []model.DomainAlias{{Pattern: `^(?P<s>[^.]+)\.(?P<n>[^.]+)\.svc`, Templates: []string{"{{.s}}.{{ .n }}.mesh"}}},
	}}
	f := fenceOf(true, model.FenceHost{Host: "a.default.svc.cluster.local"})
	x := NewIndex(fenceSnapshot([]*model.Fence{f}, b))
	if got := x.listed(f, time.Now()); !slices.Equal(got, []string{"a.default.mesh", "a.default.svc.cluster.local"}) {
		t.Error(got)
	}
}
