package cluster

import "testing"

// from makes endpoints with the numbers first to last; those from sick on are unhealthy.
func from(first, last, sick int) *Endpoints {
	l := Locality{}
	for i := first; i <= last; i++ {
		e := Endpoint{Addr: addr(i)}
		if i >= sick {
			e.Health = Unhealthy
		}
		l.Endpoints = append(l.Endpoints, e)
	}
	return &Endpoints{Localities: []Locality{l}}
}

func TestAggregate(t *testing.T) {
	for name, c := range map[string]struct {
		a, b *Endpoints
		want map[int]int // of 1000; nil: none
	}{
		"the first is well":        {from(1, 2, 9), from(11, 11, 99), map[int]int{1: 500, 2: 500}},
		"enough of the first":      {from(1, 4, 4), from(11, 11, 99), map[int]int{1: 333, 2: 333, 3: 333}},
		"half of the first":        {from(1, 2, 2), from(11, 11, 99), map[int]int{1: 700, 11: 300}},
		"none of the first":        {from(1, 2, 1), from(11, 12, 99), map[int]int{11: 500, 12: 500}},
		"the first is empty":       {nil, from(11, 11, 99), map[int]int{11: 1000}},
		"a panic of all":           {from(1, 3, 1), from(11, 11, 11), map[int]int{1: 250, 2: 250, 3: 250, 11: 250}},
		"nothing at all":           {nil, nil, nil},
		"a priority in the middle": {within2(), from(11, 11, 99), map[int]int{1: 700, 2: 300}},
	} {
		m := newManager(t)
		update(t, m, []*Spec{
			{Name: "a", Endpoints: c.a, LB: LB{PanicPercent: 50}}, {Name: "b", Endpoints: c.b, LB: LB{PanicPercent: 50}},
			{Name: "x", Type: Aggregate, LB: LB{Policy: Provided, PanicPercent: 50}, Clusters: []string{"y", "missing", "b"}},
			{Name: "y", Type: Aggregate, LB: LB{Policy: Provided}, Clusters: []string{"a", "x"}},
		})
		got := picks(m.Get("x"), 1000, Pick{})
		if c.want == nil {
			if got["none"] != 1000 {
				t.Errorf("%s: %v, want none", name, got)
			}
			continue
		}
		within(t, name, got, c.want, 40)
	}
}

// within2 has half of priority 0 healthy, and priority 1.
func within2() *Endpoints {
	e := from(1, 1, 9)
	e.Localities[0].Endpoints = append(e.Localities[0].Endpoints, Endpoint{Addr: addr(3), Health: Unhealthy})
	l := from(2, 2, 9).Localities[0]
	l.Priority = 1
	e.Localities = append(e.Localities, l)
	return e
}

func TestAggregateFollowsItsClusters(t *testing.T) {
	m := newManager(t)
	update(t, m, []*Spec{
		{Name: "x", Type: Aggregate, LB: LB{Policy: Provided}, Clusters: []string{"a", "b"}}, {Name: "a", Type: EDS}, {Name: "b", Endpoints: from(11, 11, 99)},
	})
	x := m.Get("x")
	within(t, "before", picks(x, 10, Pick{}), map[int]int{11: 10}, 0)
	if err := m.SetEndpoints("a", endpoints(1)); err != nil {
		t.Fatal(err)
	}
	within(t, "with endpoints", picks(x, 10, Pick{}), map[int]int{1: 10}, 0)
	h, _ := x.Pick(&Pick{})
	if h.Cluster().Name() != "a" {
		t.Errorf("the host is of %s, want a", h.Cluster().Name())
	}
	update(t, m, nil, "a")
	within(t, "without the first", picks(x, 10, Pick{}), map[int]int{11: 10}, 0)
}
