package cow

import (
	"maps"
	"math/rand/v2"
	"testing"
)

// TestMap changes maps at random beside plain ones; old versions stay as they are.
func TestMap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	var m Map[int, int]
	plain := map[int]int{}
	type version struct {
		m     Map[int, int]
		plain map[int]int
	}
	var all []version
	for i := range 2000 {
		set := map[int]int{}
		for range rnd.IntN(4) {
			set[rnd.IntN(300)] = i
		}
		var gone []int
		for range rnd.IntN(3) {
			gone = append(gone, rnd.IntN(300))
		}
		m = m.With(set, gone...)
		for _, k := range gone {
			delete(plain, k)
		}
		maps.Copy(plain, set)
		if i%100 == 0 {
			all = append(all, version{m, maps.Clone(plain)})
		}
	}
	for _, v := range append(all, version{m, plain}) {
		if got := maps.Collect(v.m.All); !maps.Equal(got, v.plain) || v.m.Len() != len(v.plain) {
			t.Fatalf("got %d entries and Len %d, want %d", len(got), v.m.Len(), len(v.plain))
		}
		for k := range 300 {
			got, ok := v.m.Find(k)
			want, there := v.plain[k]
			if got != want || ok != there || v.m.Get(k) != want {
				t.Fatalf("key %d is %d %v, want %d %v", k, got, ok, want, there)
			}
		}
	}
}
