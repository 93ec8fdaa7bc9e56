//go:build !race

package balance

import (
	"sync/atomic"
	"testing"
)

func TestPickDoesNotAllocate(t *testing.T) {
	w := []uint64{1, 2, 3}
	for name, b := range map[string]Balancer{
		"round robin": RoundRobin(w, 0), "random": Random(w), "least request": LeastRequest(w, actives(1, 2, 3), Least{Choices: 3}),
		"full scan": LeastRequest(w, actives(1, 2, 3), Least{FullScan: true}),
		"bounded":   Bounded(Maglev(w, keys(3), 251), w, Load{Active: actives(9, 9, 9), Total: new(atomic.Int64), Factor: 100}),
		"ring":      Ring(w, keys(3), RingSize{Min: 1024, Max: 2048}), "maglev": Maglev(w, keys(3), 251),
	} {
		key := uint64(1)
		if n := testing.AllocsPerRun(100, func() { key += uint64(b.Pick(key, 1)) }); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
}
