package h2

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestTable does to a table what it does to a map.
func TestTable(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var tb Table[int]
	m := map[uint32]*int{}
	for step := range 20000 {
		id := 1 + 2*rnd.Uint32N(200)
		if rnd.IntN(2) == 0 || step/1000%2 == 1 {
			tb.Delete(id)
			delete(m, id)
		} else {
			v := step
			tb.Put(id, &v)
			m[id] = &v
		}
		if got := tb.Get(id); got != m[id] || tb.Len() != len(m) {
			t.Fatalf("step %d: %d entries, want %d", step, tb.Len(), len(m))
		}
		if step%100 == 0 {
			if d := cmp.Diff(m, maps.Collect(tb.All()), cmp.Comparer(func(a, b *int) bool { return a == b })); d != "" {
				t.Fatalf("step %d (-want +got):\n%s", step, d)
			}
		}
	}
	tb.Clear()
	if tb.Len() != 0 || tb.Get(1) != nil {
		t.Error("not empty after Clear")
	}
}

// TestTableAll: in order, and what is removed meanwhile does not come.
func TestTableAll(t *testing.T) {
	var tb Table[int]
	for _, id := range []uint32{9, 1, 17, 5, 33, 3} {
		tb.Put(id, new(int))
	}
	var got []uint32
	for id := range tb.All() {
		got = append(got, id)
		tb.Delete(id)
		tb.Delete(17)
	}
	if want := []uint32{1, 3, 5, 9, 33}; !slices.Equal(got, want) || tb.Len() != 0 {
		t.Errorf("got %v, want %v; %d are left", got, want, tb.Len())
	}
}
