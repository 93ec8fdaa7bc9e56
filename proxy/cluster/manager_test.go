package cluster

import (
	"context"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// pool stands for what the HTTP part hangs on hosts.
type pool struct{ closed atomic.Int32 }

func (p *pool) Close() error {
	p.closed.Add(1)
	return nil
}

var slot = new(int)

func attach(h *Host) *pool {
	return h.Attach(slot, func() io.Closer { return &pool{} }).(*pool)
}

func update(t testing.TB, m *Manager, set []*Spec, remove ...string) {
	t.Helper()
	if err := m.Update(set, remove); err != nil {
		t.Fatal(err)
	}
}

func TestUpdate(t *testing.T) {
	m := newManager(t)
	update(t, m, []*Spec{{Name: "b", Version: "1", Endpoints: endpoints(1)}, {Name: "a", Endpoints: endpoints(1)}})
	first := m.Get("b")
	p := attach(host(t, first, 1))
	update(t, m, []*Spec{{Name: "b", Version: "1", Endpoints: endpoints(2)}})
	if m.Get("b") != first {
		t.Error("an update with the same version replaced the cluster")
	}
	first.Stats().UpstreamRqTotal.Add(7)
	if !first.Limits(Default).Acquire(Requests) {
		// A limit of 0 admits nothing; only the count matters here.
		first.Limits(Default).current[Requests].Add(1)
	}
	update(t, m, []*Spec{{Name: "b", Version: "2", Endpoints: endpoints(2)}})
	second := m.Get("b")
	if second == first || p.closed.Load() != 1 {
		t.Errorf("a new version: same cluster %v, pool closed %d times, want a new one and 1", second == first, p.closed.Load())
	}
	if h, _ := first.Pick(&Pick{}); h == nil {
		t.Error("a replaced cluster serves nobody who still holds it")
	}
	if n, l := stat(second, "upstream_rq_total"), second.Limits(Default).Current(Requests); n != "7" || l != 1 {
		t.Errorf("statistics %s and limits %d did not go on", n, l)
	}
	var names []string
	for c := range m.Clusters {
		names = append(names, c.Name())
	}
	if diff := cmp.Diff([]string{"a", "b"}, names); diff != "" {
		t.Error(diff)
	}
	p = attach(host(t, second, 1))
	update(t, m, nil, "b", "unknown")
	if m.Get("b") != nil || p.closed.Load() != 1 {
		t.Errorf("removed: %v, pool closed %d times", m.Get("b"), p.closed.Load())
	}
	if late := attach(host(t, second, 2)); late.closed.Load() != 1 {
		t.Error("what is attached to a host that has gone is not closed")
	}
}

func TestEndpointsKeepHosts(t *testing.T) {
	m := newManager(t)
	update(t, m, []*Spec{{Name: "c", Type: EDS, ServiceName: "svc", Transports: []Transport{{Labels: map[string]string{"tlsMode": "istio"}}}}})
	c := m.Get("c")
	set := func(e *Endpoints) {
		t.Helper()
		if err := m.SetEndpoints("svc", e); err != nil {
			t.Fatal(err)
		}
	}
	if got := picks(c, 1, Pick{}); got["none"] != 1 {
		t.Errorf("before endpoints: %v", got)
	}
	set(endpoints(3))
	one, three := host(t, c, 1), host(t, c, 3)
	p1, p3 := attach(one), attach(three)
	e := endpoints(2)
	e.Localities[0].Endpoints[0].Weight = 3
	e.Localities[0].Endpoints[0].Workload.Name = "w"
	e.Localities[0].Endpoints = append(e.Localities[0].Endpoints, e.Localities[0].Endpoints[1]) // named twice
	set(e)
	if host(t, c, 1) != one || p1.closed.Load() != 0 {
		t.Error("a host that stayed was replaced")
	}
	if p3.closed.Load() != 1 {
		t.Error("a host that went was not closed")
	}
	if one.Endpoint().Workload.Name != "w" {
		t.Error("the host does not know its new description")
	}
	within(t, "weights", picks(c, 400, Pick{}), map[int]int{1: 300, 2: 100}, 1)
	e = endpoints(2)
	e.Localities[0].Endpoints[0].TransportLabels = map[string]string{"tlsMode": "istio"}
	set(e)
	if host(t, c, 1) == one || p1.closed.Load() != 1 {
		t.Error("a host whose transport changed keeps its connections")
	}
	set(nil)
	if got := picks(c, 1, Pick{}); got["none"] != 1 {
		t.Errorf("after the end of endpoints: %v", got)
	}
	if total, changes := stat(c, "membership_total"), stat(c, "membership_change"); total != "0" || changes != "4" {
		t.Errorf("membership %s after %s changes, want 0 after 4", total, changes)
	}
}

func TestReplacementWarms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t)
		defer run(t, m)()
		update(t, m, []*Spec{{Name: "c", Type: EDS}})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if missing := m.WaitReady(ctx, "c", "x"); !cmp.Equal(missing, []string{"c", "x"}) {
			t.Errorf("missing %v, want c and x", missing)
		}
		if err := m.SetEndpoints("c", endpoints(1)); err != nil {
			t.Fatal(err)
		}
		first := m.Get("c")
		update(t, m, []*Spec{{Name: "c", Type: EDS, LB: LB{Policy: Random}}})
		if second := m.Get("c"); second == first || len(picks(second, 1, Pick{})) != 1 {
			t.Error("a replacement with known endpoints is not used at once")
		}
		serving := m.Get("c")
		update(t, m, []*Spec{{Name: "c", Type: EDS, ServiceName: "later"}})
		if m.Get("c") != serving {
			t.Error("a replacement without endpoints is used")
		}
		ready := make(chan []string)
		go func() { ready <- m.WaitReady(t.Context(), "c") }()
		synctest.Wait()
		if err := m.SetEndpoints("c", endpoints(2)); err != nil { // still for the one that serves
			t.Fatal(err)
		}
		host(t, serving, 2)
		if err := m.SetEndpoints("later", endpoints(3)); err != nil {
			t.Fatal(err)
		}
		if missing := <-ready; missing != nil {
			t.Errorf("missing %v", missing)
		}
		if m.Get("c") == serving {
			t.Error("the replacement does not take over")
		}
		host(t, m.Get("c"), 3)
	})
}

func TestUpdateRefuses(t *testing.T) {
	named := &Endpoints{Localities: []Locality{{Endpoints: []Endpoint{{Name: "x", Port: 80}}}}}
	for name, c := range map[string]struct {
		s    Spec
		want string
	}{
		"name":          {Spec{}, "no name"},
		"original":      {Spec{Name: "c", Type: OriginalDst}, "CLUSTER_PROVIDED"},
		"provided":      {Spec{Name: "c", LB: LB{Policy: Provided}}, "CLUSTER_PROVIDED"},
		"static names":  {Spec{Name: "c", Endpoints: named}, "x:80"},
		"no address":    {Spec{Name: "c", Endpoints: &Endpoints{Localities: []Locality{{Endpoints: []Endpoint{{}}}}}}, "no address"},
		"eds endpoints": {Spec{Name: "c", Type: EDS, Endpoints: endpoints(1)}, "load_assignment"},
		"no resolver":   {Spec{Name: "c", Type: StrictDNS, Endpoints: named}, "resolver"},
		"maglev size":   {Spec{Name: "c", LB: LB{Policy: Maglev, TableSize: 1024}}, "prime"},
		"ring sizes":    {Spec{Name: "c", LB: LB{Policy: RingHash, MinRing: 10, MaxRing: 5}}, "ring"},
		"panic":         {Spec{Name: "c", LB: LB{PanicPercent: 101}}, "percentage"},
		"slow start":    {Spec{Name: "c", LB: LB{Policy: Random, SlowStart: &SlowStart{}}}, "slow_start"},
		"selector":      {Spec{Name: "c", LB: LB{Subsets: &Subsets{Selectors: []Selector{{}}}}}, "keys"},
		"proxy header":  {Spec{Name: "c", ProxyProtocol: 3}, "PROXY"},
	} {
		m := newManager(t)
		err := m.Update([]*Spec{{Name: "good"}, &c.s}, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
		if m.Get("good") != nil {
			t.Errorf("%s: a refused update has been carried out in part", name)
		}
	}
	if err := newManager(t).SetEndpoints("s", named); err == nil || !strings.Contains(err.Error(), `"s"`) {
		t.Errorf("names by EDS: %v", err)
	}
}

func TestRunClosesHosts(t *testing.T) {
	m := newManager(t)
	stop := run(t, m)
	update(t, m, []*Spec{{Name: "c", Endpoints: endpoints(1)}})
	p := attach(host(t, m.Get("c"), 1))
	stop()
	if p.closed.Load() != 1 {
		t.Error("a host outlives Run")
	}
}

func TestEndpointsGetStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t)
		stop := run(t, m)
		update(t, m, []*Spec{{Name: "c", Type: EDS}})
		e := endpoints(2)
		e.StaleAfter = time.Minute
		for range 3 { // sent again in time
			if err := m.SetEndpoints("c", e); err != nil {
				t.Fatal(err)
			}
			pass(50 * time.Second)
		}
		if got := stat(m.Get("c"), "membership_total"); got != "2" {
			t.Errorf("%s endpoints, want 2", got)
		}
		pass(11 * time.Second)
		if got := stat(m.Get("c"), "membership_total"); got != "0" {
			t.Errorf("%s endpoints after their time, want none", got)
		}
		if got := stat(m.Get("c"), "assignment_stale"); got != "1" {
			t.Errorf("assignment_stale %s, want 1", got)
		}
		stop()
	})
}
