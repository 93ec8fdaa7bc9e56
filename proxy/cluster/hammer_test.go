package cluster

import (
	"context"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
)

// TestHammer picks and reports from many goroutines while everything changes:
// a cluster with endpoints never leaves a request without a host.
func TestHammer(t *testing.T) {
	m := newManager(t)
	run(t, m)
	spec := func(p Policy) []*Spec {
		return []*Spec{
			{Name: "c", Type: EDS, LB: LB{Policy: p, PanicPercent: 50}, Outlier: &Outlier{Consecutive5xx: 2, Enforce5xx: 100, MaxEjectionPercent: 100, Interval: time.Millisecond, BaseEjection: time.Millisecond}},
			{Name: "o", Type: OriginalDst, LB: LB{Policy: Provided}, Original: Original{Cleanup: time.Millisecond}},
		}
	}
	update(t, m, spec(RoundRobin))
	if err := m.SetEndpoints("c", endpoints(3)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 1))
			for ctx.Err() == nil {
				p := Pick{Random: rnd.Uint64(), Dst: addr(rnd.IntN(50))}
				for _, name := range []string{"c", "o"} {
					h, flags := m.Get(name).Pick(&p)
					if h == nil {
						t.Errorf("cluster %s: no host, %v", name, flags)
						return
					}
					h.Begin()
					h.Attach(slot, func() io.Closer { return &pool{} })
					h.ReportStatus(200 + 300*rnd.IntN(2))
					var u filter.Upstream
					h.Fill(&u)
					h.End(true)
				}
			}
		})
	}
	for i := range 60 {
		if err := m.SetEndpoints("c", endpoints(1+i%9)); err != nil {
			t.Error(err)
		}
		if i%5 == 0 {
			update(t, m, spec(Policy(i/5)%Provided))
		}
		for c := range m.Clusters {
			for range c.Hosts {
			}
			c.Each(func(string, StatKind, uint64) bool { return true })
		}
	}
	cancel()
	wg.Wait()
	if n := stat(m.Get("c"), "upstream_rq_active"); n != "0" {
		t.Errorf("%s requests are active at the end", n)
	}
}
