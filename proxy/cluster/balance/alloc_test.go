//go:build !race

package balance

import "testing"

func TestPickDoesNotAllocate(t *testing.T) {
	w := []uint64{1, 2, 3}
	for name, b := range map[string]Balancer{
		"round robin": RoundRobin(w, 0), "random": Random(w), "least request": LeastRequest(w, actives(1, 2, 3), 3),
		"ring": Ring(w, keys(3), 1024, 2048), "maglev": Maglev(w, keys(3), 251),
	} {
		key := uint64(1)
		if n := testing.AllocsPerRun(100, func() { key += uint64(b.Pick(key, 1)) }); n != 0 {
			t.Errorf("%s: %v allocations, want 0", name, n)
		}
	}
}
