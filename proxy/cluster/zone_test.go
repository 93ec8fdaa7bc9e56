package cluster

import (
	"math"
	"strings"
	"testing"
	"testing/synctest"
)

// zoned makes zones a, b, … with so many hosts each, numbered through.
func zoned(sizes ...int) *Endpoints {
	hs := make([][]Health, len(sizes))
	for i, n := range sizes {
		hs[i] = make([]Health, n)
	}
	return groups(func(int, *Locality) {}, hs...)
}

// inZone makes the cluster "c" for a proxy in zone a of a local cluster.
func inZone(t testing.TB, local *Endpoints, s Spec) *Cluster {
	t.Helper()
	m := NewManager(t.Context(), Options{Dialer: refuse{}, LocalCluster: "local", Place: &Place{Zone: "a"}})
	s.Name = "c"
	if err := m.Update([]*Spec{&s, {Name: "local", Type: EDS}}, nil); err != nil {
		t.Fatal(err)
	}
	m.drainQueue()
	if err := m.SetEndpoints("local", local); err != nil {
		t.Fatal(err)
	}
	m.drainQueue()
	return m.Get("c")
}

// drainQueue does what Run does, once.
func (m *Manager) drainQueue() {
	m.qmu.Lock()
	queue := m.queue
	m.queue = nil
	m.qmu.Unlock()
	for _, f := range queue {
		f()
	}
}

// perZone are shares in percent by zone, of hosts numbered through.
func perZone(got map[string]int, sizes ...int) (out []float64) {
	total := 0
	for _, n := range got {
		total += n
	}
	n := 0
	for _, size := range sizes {
		sum := 0
		for range size {
			n++
			sum += got[addr(n).String()]
		}
		out = append(out, 100*float64(sum)/float64(total))
	}
	return out
}

func TestZones(t *testing.T) {
	one := &Zone{Percent: 100, MinHosts: 1}
	for name, c := range map[string]struct {
		local    *Endpoints
		upstream []int
		lb       LB
		want     []float64
	}{
		"all directly":          {local: zoned(5, 5), upstream: []int{3, 3}, want: []float64{100, 0}},
		"more than enough":      {local: zoned(2, 8), upstream: []int{4, 4}, want: []float64{100, 0}},
		"half of it":            {local: zoned(5, 5), upstream: []int{2, 6}, want: []float64{50, 50}},
		"by what is left":       {local: zoned(40, 40, 20), upstream: []int{10, 20, 10}, want: []float64{62.5, 25, 12.5}},
		"Envoy's own example":   {local: zoned(4, 4, 2), upstream: []int{5, 10, 5}, lb: LB{Zone: one}, want: []float64{62.5, 25, 12.5}},
		"too few hosts":         {local: zoned(5, 5), upstream: []int{2, 3}, want: []float64{40, 60}},
		"few hosts allowed":     {local: zoned(5, 5), upstream: []int{1, 1}, lb: LB{Zone: one}, want: []float64{100, 0}},
		"a part is considered":  {local: zoned(5, 5), upstream: []int{5, 5}, lb: LB{Zone: &Zone{Percent: 50, MinHosts: 1}}, want: []float64{75, 25}},
		"one zone of proxies":   {local: zoned(10), upstream: []int{2, 6}, want: []float64{25, 75}},
		"no proxies here":       {local: zoned(0, 5, 5), upstream: []int{3, 3}, want: []float64{50, 50}},
		"forced":                {local: zoned(10), upstream: []int{2, 6}, lb: LB{Zone: &Zone{Percent: 100, MinHosts: 1, ForceMin: 2}}, want: []float64{100, 0}},
		"not enough to force":   {local: zoned(5, 5), upstream: []int{2, 6}, lb: LB{Zone: &Zone{Percent: 100, MinHosts: 1, ForceMin: 3}}, want: []float64{50, 50}},
		"weighted localities":   {local: zoned(5, 5), upstream: []int{3, 3}, lb: LB{LocalityWeighted: true}, want: []float64{25, 75}},
		"least request":         {local: zoned(5, 5), upstream: []int{2, 6}, lb: LB{Policy: LeastRequest}, want: []float64{50, 50}},
		"random":                {local: zoned(5, 5), upstream: []int{2, 6}, lb: LB{Policy: Random}, want: []float64{50, 50}},
		"hashing has no zones":  {local: zoned(5, 5), upstream: []int{3, 3}, lb: LB{Policy: Maglev}, want: []float64{50, 50}},
		"proxies are in danger": {local: groups(func(int, *Locality) {}, []Health{Healthy, Unhealthy, Unhealthy}, []Health{Unhealthy}), upstream: []int{3, 3}, lb: LB{PanicPercent: 50}, want: []float64{50, 50}},
	} {
		t.Run(name, func(t *testing.T) {
			e := zoned(c.upstream...)
			e.Localities[0].Weight = 1
			for i := range e.Localities[1:] {
				e.Localities[i+1].Weight = 3
			}
			cl := inZone(t, c.local, Spec{Endpoints: e, LB: c.lb})
			got := perZone(picks(cl, 20_000, Pick{}), c.upstream...)
			for i, w := range c.want {
				if math.Abs(got[i]-w) > 1.5 {
					t.Errorf("zones got %.1f %%, want %.1f %%", got, c.want)
					break
				}
			}
		})
	}
}

// TestZonesFollow changes who is where.
func TestZonesFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := inZone(t, zoned(5, 5), Spec{Endpoints: zoned(3, 3)})
		stop := run(t, c.m)
		for _, step := range []struct {
			local *Endpoints
			want  float64
		}{{zoned(5, 5), 100}, {zoned(6, 2), 66.7}, {zoned(6), 50}, {nil, 50}, {zoned(1, 1), 100}} {
			if err := c.m.SetEndpoints("local", step.local); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := perZone(picks(c, 20_000, Pick{}), 3, 3); math.Abs(got[0]-step.want) > 1.5 {
				t.Errorf("%.1f %% stay in the own zone, want %.1f %%", got[0], step.want)
			}
		}
		stop()
	})
}

func TestZoneStatistics(t *testing.T) {
	c := inZone(t, zoned(5, 5), Spec{Endpoints: zoned(2, 6)})
	picks(c, 1000, Pick{})
	st := c.Stats()
	if a, b := st.LBZoneSampled.Load(), st.LBZoneCross.Load(); a+b != 1000 || a < 400 || b < 400 {
		t.Errorf("%d sampled and %d across, want 500 each", a, b)
	}
	for _, name := range []string{"lb_zone_routing_all_directly", "lb_zone_cluster_too_small", "lb_local_cluster_not_ok", "lb_zone_no_capacity_left"} {
		if n := stat(c, name); n != "0" {
			t.Errorf("%s is %s", name, n)
		}
	}
	if n := stat(c, "lb_recalculate_zone_structures"); strings.Trim(n, "0") == "" {
		t.Errorf("recalculated %s times", n)
	}
}
