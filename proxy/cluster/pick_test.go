package cluster

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/weftmesh/weft/proxy/filter"
)

func TestPolicies(t *testing.T) {
	weighted := endpoints(2)
	weighted.Localities[0].Endpoints[0].Weight = 90
	weighted.Localities[0].Endpoints[1].Weight = 10
	for name, policy := range map[string]Policy{"round robin": RoundRobin, "least request": LeastRequest, "random": Random, "ring hash": RingHash, "maglev": Maglev} {
		c := static(t, Spec{Endpoints: weighted, LB: LB{Policy: policy}})
		within(t, name, picks(c, 10_000, Pick{}), map[int]int{1: 9000, 2: 1000}, 120)
	}
}

func TestConsistentHash(t *testing.T) {
	for name, policy := range map[string]Policy{"ring hash": RingHash, "maglev": Maglev} {
		c := static(t, Spec{Endpoints: endpoints(5), LB: LB{Policy: policy}})
		used := map[string]int{}
		for hash := range uint64(200) {
			got := picks(c, 20, Pick{HasHash: true, Hash: mix(hash)})
			if len(got) != 1 {
				t.Fatalf("%s: one hash went to %v", name, got)
			}
			for a := range got {
				used[a]++
			}
		}
		if len(used) != 5 {
			t.Errorf("%s: 200 hashes went to %v only", name, used)
		}
	}
}

func TestAvoid(t *testing.T) {
	for _, policy := range []Policy{RoundRobin, LeastRequest, Random, RingHash, Maglev} {
		c := static(t, Spec{Endpoints: endpoints(2), LB: LB{Policy: policy}})
		one := host(t, c, 1)
		got := picks(c, 200, Pick{Avoid: []*Host{one}, Tries: 30, HasHash: true, Hash: 5})
		within(t, "avoid", got, map[int]int{2: 200}, 0)
		all := slices.Collect(c.Hosts)
		if got := picks(c, 10, Pick{Avoid: all, Tries: 3}); got["none"] != 0 {
			t.Errorf("policy %d: with all hosts to avoid none was picked: %v", policy, got)
		}
	}
}

// groups makes priorities or localities: each is a list of healths.
func groups(f func(i int, l *Locality), healths ...[]Health) *Endpoints {
	e, n := &Endpoints{}, 0
	for i, hs := range healths {
		l := Locality{Zone: string(rune('a' + i))}
		for _, h := range hs {
			n++
			l.Endpoints = append(l.Endpoints, Endpoint{Addr: addr(n), Health: h})
		}
		f(i, &l)
		e.Localities = append(e.Localities, l)
	}
	return e
}

func TestPriorities(t *testing.T) {
	byPriority := func(i int, l *Locality) { l.Priority = uint32(i) }
	const h, u, d = Healthy, Unhealthy, Degraded
	for name, c := range map[string]struct {
		e    *Endpoints
		lb   LB
		pick Pick
		want map[int]int // of 10,000
		none bool
	}{
		"first only":         {e: groups(byPriority, []Health{h, h}, []Health{h}), want: map[int]int{1: 5000, 2: 5000}},
		"overprovisioned":    {e: groups(byPriority, []Health{h, h, h, u}, []Health{h}), want: map[int]int{1: 3333, 2: 3333, 3: 3333}},
		"spills over":        {e: groups(byPriority, []Health{h, u}, []Health{h}), want: map[int]int{1: 7000, 3: 3000}},
		"first is gone":      {e: groups(byPriority, []Health{u, Draining}, []Health{h, h}), want: map[int]int{3: 5000, 4: 5000}},
		"unknown is healthy": {e: groups(byPriority, []Health{Unknown, Timeout}, []Health{h}), want: map[int]int{1: 7000, 3: 3000}},
		"degraded helps":     {e: groups(byPriority, []Health{h, d}), want: map[int]int{1: 7000, 2: 3000}},
		"healthy comes before degraded": {
			e: groups(byPriority, []Health{h, d}, []Health{h}), want: map[int]int{1: 7000, 3: 3000},
		},
		"nothing, no panic": {e: groups(byPriority, []Health{u}, []Health{u}), none: true},
		"total panic follows the hosts": {
			e: groups(byPriority, []Health{u, u, u}, []Health{u}), lb: LB{PanicPercent: 50},
			want: map[int]int{1: 2500, 2: 2500, 3: 2500, 4: 2500},
		},
		"panic of one":    {e: groups(byPriority, []Health{h, u, u, u}), lb: LB{PanicPercent: 50}, want: map[int]int{1: 2500, 2: 2500, 3: 2500, 4: 2500}},
		"no panic at 50%": {e: groups(byPriority, []Health{h, u}), lb: LB{PanicPercent: 50}, want: map[int]int{1: 10_000}},
		"no panic while others serve": {
			e: groups(byPriority, []Health{h, u, u, u}, []Health{h}), lb: LB{PanicPercent: 50}, want: map[int]int{1: 3500, 5: 6500},
		},
		"fail on panic": {e: groups(byPriority, []Health{h, u, u, u}), lb: LB{PanicPercent: 50, FailOnPanic: true}, none: true},
		"skip the first": {
			e: groups(byPriority, []Health{h, u}, []Health{h}), pick: Pick{SkipPriorities: 1}, want: map[int]int{3: 10_000},
		},
		"skip all is skip none": {
			e: groups(byPriority, []Health{h, u}, []Health{h}), pick: Pick{SkipPriorities: 3}, want: map[int]int{1: 7000, 3: 3000},
		},
		"hash keeps to the loads": {
			e: groups(byPriority, []Health{h, h}, []Health{h}), lb: LB{Policy: RingHash}, want: map[int]int{1: 5000, 2: 5000},
		},
	} {
		cl := static(t, Spec{Endpoints: c.e, LB: c.lb})
		got := picks(cl, 10_000, c.pick)
		if c.none {
			if got["none"] != 10_000 {
				t.Errorf("%s: %v, want none", name, got)
			}
			if _, flags := cl.Pick(&Pick{}); flags != filter.FlagNoHealthyUpstream {
				t.Errorf("%s: flags %v", name, flags)
			}
			continue
		}
		tolerance := 200
		if c.lb.Policy == RingHash {
			tolerance = 600 // of the ring itself
		}
		within(t, name, got, c.want, tolerance)
	}
}

func TestOverprovisioningFactor(t *testing.T) {
	e := groups(func(i int, l *Locality) { l.Priority = uint32(i) }, []Health{Healthy, Unhealthy}, []Health{Healthy})
	e.Overprovisioning = 100
	within(t, "factor of 1", picks(static(t, Spec{Endpoints: e}), 10_000, Pick{}), map[int]int{1: 5000, 3: 5000}, 200)
	e = groups(func(i int, l *Locality) { l.Priority = uint32(i) }, []Health{Healthy, Unhealthy}, []Health{Healthy})
	e.WeightedPriorityHealth = true
	e.Localities[0].Endpoints[1].Weight = 9
	within(t, "weighted health", picks(static(t, Spec{Endpoints: e}), 10_000, Pick{}), map[int]int{1: 1400, 3: 8600}, 200)
}

func TestLocalityWeights(t *testing.T) {
	weights := func(ws ...uint32) func(int, *Locality) { return func(i int, l *Locality) { l.Weight = ws[i] } }
	const h, u = Healthy, Unhealthy
	for name, c := range map[string]struct {
		e    *Endpoints
		want map[int]int
	}{
		"by weight":       {groups(weights(80, 20), []Health{h}, []Health{h, h}), map[int]int{1: 8000, 2: 1000, 3: 1000}},
		"none for zero":   {groups(weights(1, 0), []Health{h}, []Health{h}), map[int]int{1: 10_000}},
		"loses by health": {groups(weights(50, 50), []Health{h, u, u, u}, []Health{h}), map[int]int{1: 2593, 5: 7407}},
		"overprovisioned": {groups(weights(50, 50), []Health{h, h, h, u}, []Health{h}), map[int]int{1: 1667, 2: 1667, 3: 1667, 5: 5000}},
	} {
		for _, policy := range []Policy{RoundRobin, Maglev} {
			cl := static(t, Spec{Endpoints: c.e, LB: LB{Policy: policy, LocalityWeighted: true}})
			within(t, name, picks(cl, 10_000, Pick{}), c.want, 250)
		}
	}
}

func TestSubsets(t *testing.T) {
	e := endpoints(4)
	for i, l := range []map[string]string{{"v": "1", "zone": "a"}, {"v": "1"}, {"v": "2"}, {}} {
		e.Localities[0].Endpoints[i].Labels = l
	}
	e.Localities[0].Endpoints[2].Health = Unhealthy
	key := func(kv ...string) Pick {
		m := map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return Pick{Subset: filter.SubsetKey(m)}
	}
	fallback := func(f Fallback) *Fallback { return &f }
	e.Localities[0].Endpoints[3].Lists = map[string][]string{"os": {"linux", "bsd"}}
	selectors := []Selector{
		{Names: []string{"v"}}, {Names: []string{"v", "zone"}, Fallback: fallback(KeysSubset), Keep: []string{"v"}},
		{Names: []string{"os"}, Fallback: fallback(AnyEndpoint)}, {Names: []string{"one"}, Single: true, Fallback: fallback(NoFallback)},
	}
	e.Localities[0].Endpoints[0].Labels["one"], e.Localities[0].Endpoints[1].Labels["one"] = "1", "1"
	for name, c := range map[string]struct {
		s    Subsets
		pick Pick
		want map[int]int // of 1000; nil: none
	}{
		"one label":            {Subsets{}, key("v", "1"), map[int]int{1: 500, 2: 500}},
		"two labels":           {Subsets{}, key("zone", "a", "v", "1"), map[int]int{1: 1000}},
		"no such":              {Subsets{}, key("v", "9"), nil},
		"not a selector":       {Subsets{}, key("zone", "a"), nil},
		"unhealthy":            {Subsets{}, key("v", "2"), nil},
		"no criteria":          {Subsets{}, Pick{}, nil},
		"no criteria, any":     {Subsets{Fallback: AnyEndpoint}, Pick{}, map[int]int{1: 333, 2: 333, 4: 333}},
		"any":                  {Subsets{Fallback: AnyEndpoint}, key("v", "9"), map[int]int{1: 333, 2: 333, 4: 333}},
		"default":              {Subsets{Fallback: DefaultSubset, Default: map[string]string{"v": "1"}}, key("v", "9"), map[int]int{1: 500, 2: 500}},
		"default is empty":     {Subsets{Fallback: DefaultSubset, Default: map[string]string{"v": "7"}}, key("v", "9"), nil},
		"default, panic any":   {Subsets{Fallback: DefaultSubset, Default: map[string]string{"v": "7"}, PanicAny: true}, key("v", "9"), map[int]int{1: 333, 2: 333, 4: 333}},
		"fewer keys":           {Subsets{}, key("zone", "b", "v", "1"), map[int]int{1: 500, 2: 500}},
		"fewer keys, none":     {Subsets{}, key("zone", "b", "v", "9"), nil},
		"own fallback":         {Subsets{}, key("os", "hurd"), map[int]int{1: 333, 2: 333, 4: 333}},
		"own is none":          {Subsets{Fallback: AnyEndpoint}, key("one", "2"), nil},
		"list":                 {Subsets{ListAsAny: true}, key("os", "bsd"), map[int]int{4: 1000}},
		"list is none":         {Subsets{}, key("os", "bsd"), map[int]int{1: 333, 2: 333, 4: 333}},
		"single host":          {Subsets{}, key("one", "1"), map[int]int{1: 1000}},
		"subset before others": {Subsets{Fallback: AnyEndpoint}, key("v", "1"), map[int]int{1: 500, 2: 500}},
	} {
		c.s.Selectors = selectors
		got := picks(static(t, Spec{Endpoints: e, LB: LB{Subsets: &c.s}}), 1000, c.pick)
		if c.want == nil {
			if got["none"] != 1000 {
				t.Errorf("%s: %v, want none", name, got)
			}
			continue
		}
		within(t, name, got, c.want, 1)
	}
	within(t, "a cluster without subsets ignores the criteria",
		picks(static(t, Spec{Endpoints: e}), 900, key("v", "9")), map[int]int{1: 300, 2: 300, 4: 300}, 1)
}

func TestDrop(t *testing.T) {
	e := endpoints(1)
	e.DropPercent = 25
	c := static(t, Spec{Endpoints: e})
	dropped := 0
	for range 10_000 {
		switch f := c.Drop(rand.Uint64()); f {
		case 0:
		case filter.FlagDropOverload:
			dropped++
		default:
			t.Fatalf("flags %v, want DO", f)
		}
	}
	if dropped < 2300 || dropped > 2700 {
		t.Errorf("%d dropped, want 2500 ± 200", dropped)
	}
	e = endpoints(1)
	e.DropPercent = 100
	for _, r := range []uint64{0, 1, math.MaxUint64} {
		if f := static(t, Spec{Endpoints: e}).Drop(r); f != filter.FlagUnconditionalDropOverload {
			t.Errorf("flags %v, want UDO", f)
		}
	}
	if f := static(t, Spec{Endpoints: endpoints(1)}).Drop(0); f != 0 {
		t.Errorf("flags %v without a wish to drop", f)
	}
}

func TestLeastRequestLooksAtActive(t *testing.T) {
	c := static(t, Spec{Endpoints: endpoints(2), LB: LB{Policy: LeastRequest}})
	host(t, c, 1).Begin()
	within(t, "one is busy", picks(c, 100, Pick{}), map[int]int{2: 100}, 0)
	host(t, c, 1).End(true)
	if got := picks(c, 1000, Pick{}); len(got) != 2 {
		t.Errorf("idle again: %v", got)
	}
}

func TestOriginalDst(t *testing.T) {
	c := static(t, Spec{Type: OriginalDst, LB: LB{Policy: Provided}})
	dst := netip.MustParseAddrPort("[fd00::9]:8080")
	h, flags := c.Pick(&Pick{Dst: dst})
	if h == nil || h.Addr() != dst || flags != 0 {
		t.Fatalf("host %v, flags %v", h, flags)
	}
	if again, _ := c.Pick(&Pick{Dst: dst}); again != h {
		t.Error("another host for the same address")
	}
	if none, flags := c.Pick(&Pick{}); none != nil || flags != filter.FlagNoHealthyUpstream {
		t.Errorf("without a destination: %v, %v", none, flags)
	}
	c = static(t, Spec{Type: OriginalDst, LB: LB{Policy: Provided}, Original: Original{Port: 15}})
	if h, _ := c.Pick(&Pick{Dst: dst}); h.Addr().Port() != 15 {
		t.Errorf("address %v, want port 15", h.Addr())
	}
}
