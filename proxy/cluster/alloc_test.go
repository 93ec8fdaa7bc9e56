//go:build !race

package cluster

import (
	"io"
	"testing"

	"github.com/weftmesh/weft/proxy/filter"
)

func TestPickDoesNotAllocate(t *testing.T) {
	e := endpoints(20)
	for i := range e.Localities[0].Endpoints {
		e.Localities[0].Endpoints[i].Labels = map[string]string{"v": "1"}
		e.Localities[0].Endpoints[i].Weight = uint32(i + 1)
	}
	e.Localities[0].Weight = 1
	key := filter.SubsetKey(map[string]string{"v": "1"})
	for name, s := range map[string]Spec{
		"round robin":   {Endpoints: e},
		"least request": {Endpoints: e, LB: LB{Policy: LeastRequest}},
		"random":        {Endpoints: e, LB: LB{Policy: Random, LocalityWeighted: true}},
		"ring":          {Endpoints: e, LB: LB{Policy: RingHash}},
		"maglev":        {Endpoints: e, LB: LB{Policy: Maglev}},
		"subset":        {Endpoints: e, LB: LB{Subsets: &Subsets{Selectors: []Selector{{Names: []string{"v"}}}}}},
		"zones":         {Endpoints: zoned(1, 19), LB: LB{Zone: &Zone{Percent: 99, MinHosts: 1}}},
		"original":      {Type: OriginalDst, LB: LB{Policy: Provided}},
	} {
		s.Outlier = &Outlier{Consecutive5xx: 5}
		c := static(t, s)
		if s.LB.Zone != nil {
			c = inZone(t, zoned(5, 5), s)
		}
		first, _ := c.Pick(&Pick{Dst: addr(1), Subset: key})
		if first == nil {
			t.Fatalf("%s: no host", name)
		}
		first.Attach(slot, func() io.Closer { return &pool{} })
		avoid := []*Host{first}
		random := uint64(0)
		if n := testing.AllocsPerRun(200, func() {
			random++
			p := Pick{Random: mix(random), Hash: random, HasHash: true, Subset: key, Dst: addr(1), Avoid: avoid, Tries: 3}
			h, _ := c.Pick(&p)
			if h == first && first.Attached(slot) == nil {
				t.Fatal("nothing attached")
			}
			h.Begin()
			h.ReportStatus(200)
			h.End(true)
			c.Stats().Status(200)
			var u filter.Upstream
			h.Fill(&u)
		}); n != 0 {
			t.Errorf("%s: %v allocations per request, want 0", name, n)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for name, policy := range map[string]Policy{"round robin": RoundRobin, "least request": LeastRequest, "ring": RingHash, "maglev": Maglev} {
		c := static(b, Spec{Endpoints: endpoints(100), LB: LB{Policy: policy}})
		b.Run(name, func(b *testing.B) {
			p := Pick{HasHash: true}
			for b.Loop() {
				p.Random = mix(p.Random)
				p.Hash = p.Random
				c.Pick(&p)
			}
		})
	}
}

func TestAggregateDoesNotAllocate(t *testing.T) {
	m := newManager(t)
	update(t, m, []*Spec{
		{Name: "x", Type: Aggregate, LB: LB{Policy: Provided}, Clusters: []string{"a", "b"}},
		{Name: "a", Endpoints: from(1, 2, 2)}, {Name: "b", Endpoints: from(11, 11, 99)},
	})
	x, random := m.Get("x"), uint64(0)
	if n := testing.AllocsPerRun(100, func() {
		random++
		p := Pick{Random: mix(random)}
		if h, _ := x.Pick(&p); h == nil {
			t.Fatal("no host")
		}
	}); n != 0 {
		t.Errorf("%v allocations per choice, want 0", n)
	}
}
