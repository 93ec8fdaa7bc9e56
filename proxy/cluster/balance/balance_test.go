package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func count(b Balancer, n, picks int) []int {
	rnd := rand.New(rand.NewPCG(1, 2))
	got := make([]int, n)
	for range picks {
		got[b.Pick(rnd.Uint64(), 0)]++
	}
	return got
}

// near checks counts against shares within a share of the total.
func near(t *testing.T, what string, weights []uint64, got []int, tolerance float64) {
	t.Helper()
	total, all := 0.0, 0
	for i, w := range weights {
		total += float64(w)
		all += got[i]
	}
	for i, w := range weights {
		want := float64(w) / total * float64(all)
		if math.Abs(float64(got[i])-want) > tolerance*float64(all) {
			t.Errorf("%s: index %d got %d of %d, want %.0f (all: %v)", what, i, got[i], all, want, got)
		}
	}
}

func TestRoundRobin(t *testing.T) {
	b := RoundRobin([]uint64{1, 1, 1}, 1)
	var order []int
	for range 7 {
		order = append(order, b.Pick(0, 0))
	}
	if diff := cmp.Diff([]int{1, 2, 0, 1, 2, 0, 1}, order); diff != "" {
		t.Error(diff)
	}
	for _, weights := range [][]uint64{{9, 1}, {1, 9}, {1, 2, 3, 4}, {100, 100, 1}, {7, 7, 7, 6}} {
		var sum uint64
		for _, w := range weights {
			sum += w
		}
		// Whole rounds give the exact share.
		got := count(RoundRobin(weights, 0), len(weights), int(sum)*20)
		near(t, fmt.Sprint("round robin ", weights), weights, got, 0.002)
	}
}

func TestRoundRobinSpreadsEvenly(t *testing.T) {
	b := RoundRobin([]uint64{5, 1}, 0)
	run, longest := 0, 0
	for range 60 {
		if b.Pick(0, 0) == 0 {
			run++
			longest = max(longest, run)
		} else {
			run = 0
		}
	}
	if longest != 5 {
		t.Errorf("the heavy one came %d times in a row, want 5", longest)
	}
}

func TestRandom(t *testing.T) {
	for _, weights := range [][]uint64{{1, 1}, {90, 10}, {1, 2, 3, 4, 1000}, {5}, {1 << 40, 1 << 40, 1 << 41}} {
		near(t, fmt.Sprint("random ", weights), weights, count(Random(weights), len(weights), 20_000), 0.012)
	}
}

func actives(n ...int64) (out []*atomic.Int64) {
	for _, v := range n {
		a := new(atomic.Int64)
		a.Store(v)
		out = append(out, a)
	}
	return out
}

func TestLeastRequest(t *testing.T) {
	weights := []uint64{1, 1, 1}
	near(t, "idle", weights, count(LeastRequest(weights, actives(0, 0, 0), Least{Choices: 2}), 3, 9000), 0.02)
	got := count(LeastRequest(weights, actives(0, 5, 10), Least{Choices: 2}), 3, 9000)
	if got[2] != 0 {
		t.Errorf("the busiest of three was picked %d times: of two choices it is never the lesser", got[2])
	}
	if got[0] < 5700 || got[0] > 6300 {
		t.Errorf("the idle one was picked %d of 9000 times, want 6000 ± 300", got[0])
	}
	near(t, "weighted and idle", []uint64{3, 1}, count(LeastRequest([]uint64{3, 1}, actives(0, 0), Least{Choices: 2}), 2, 9000), 0.02)
	if n := LeastRequest([]uint64{1}, actives(3), Least{}).Pick(1, 0); n != 0 {
		t.Errorf("index %d of one", n)
	}
}

// TestLeastRequestLevels runs requests of random length: weights must show in
// the number of active requests.
func TestLeastRequestLevels(t *testing.T) {
	weights, active := []uint64{1, 3}, actives(0, 0)
	b := LeastRequest(weights, active, Least{Choices: 2})
	rnd := rand.New(rand.NewPCG(5, 6))
	var open []int
	sum := [2]int64{}
	for range 20_000 {
		i := b.Pick(rnd.Uint64(), 0)
		active[i].Add(1)
		open = append(open, i)
		if len(open) > 100 {
			k := rnd.IntN(len(open))
			active[open[k]].Add(-1)
			open[k] = open[len(open)-1]
			open = open[:len(open)-1]
		}
		sum[0] += active[0].Load()
		sum[1] += active[1].Load()
	}
	if ratio := float64(sum[1]) / float64(sum[0]); ratio < 2.6 || ratio > 3.4 {
		t.Errorf("active requests are %.2f to 1, want 3 to 1", ratio)
	}
}

func keys(n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("10.0.0.%d:80", i))
	}
	return out
}

func ones(n int) []uint64 {
	out := make([]uint64, n)
	for i := range out {
		out[i] = 1
	}
	return out
}

// makers of consistent balancers.
var makers = map[string]func([]uint64, []string) Balancer{
	"ring":   func(w []uint64, k []string) Balancer { return Ring(w, k, RingSize{Min: 1024, Max: 8 << 20}) },
	"maglev": func(w []uint64, k []string) Balancer { return Maglev(w, k, 65537) },
}

func TestConsistentIsStable(t *testing.T) {
	const n, hashes = 10, 20_000
	for name, make := range makers {
		all := make(ones(n), keys(n))
		less := make(ones(n-1), keys(n)[:n-1]) // the last one has gone
		moved, belonged := 0, 0
		for h := range uint64(hashes) {
			hash := mix(h)
			before, after := all.Pick(hash, 0), less.Pick(hash, 0)
			switch {
			case before == n-1:
				belonged++
			case before != after:
				moved++
			}
			if all.Pick(hash, 0) != before {
				t.Fatalf("%s: two choices for one hash", name)
			}
		}
		// The ring gives those that stay some points more, up to its least size;
		// Maglev trades a little stability for evenness.
		if bound := map[string]int{"ring": hashes / 10, "maglev": hashes / 20}[name]; moved > bound {
			t.Errorf("%s: %d of %d hashes moved between others, want at most %d", name, moved, hashes, bound)
		}
		if belonged < hashes/n/2 || belonged > hashes/n*2 {
			t.Errorf("%s: %d hashes belonged to the one that went, want about %d", name, belonged, hashes/n)
		}
	}
}

func TestConsistentFollowsWeights(t *testing.T) {
	weights := []uint64{1, 2, 5}
	for name, make := range makers {
		tolerance := map[string]float64{"ring": 0.06, "maglev": 0.01}[name]
		near(t, name, weights, count(make(weights, keys(3)), 3, 20_000), tolerance)
	}
}

func TestConsistentIgnoresOrder(t *testing.T) {
	forward := keys(5)
	backward := []string{forward[4], forward[3], forward[2], forward[1], forward[0]}
	for name, make := range makers {
		a, b := make(ones(5), forward), make(ones(5), backward)
		for h := range uint64(1000) {
			if i, k := a.Pick(mix(h), 0), b.Pick(mix(h), 0); forward[i] != backward[k] {
				t.Fatalf("%s: hash %d belongs to %s or %s, by the order of hosts", name, h, forward[i], backward[k])
			}
		}
	}
}

func TestConsistentFindsAnotherOnTry(t *testing.T) {
	for name, make := range makers {
		b := make(ones(3), keys(3))
		for h := range uint64(100) {
			seen := map[int]bool{}
			for try := range 100 {
				seen[b.Pick(mix(h), try)] = true
			}
			if len(seen) != 3 {
				t.Errorf("%s: 100 tries reach %d of 3", name, len(seen))
			}
		}
	}
}

func TestFullScan(t *testing.T) {
	weights := []uint64{1, 1, 1, 1}
	got := count(LeastRequest(weights, actives(3, 1, 1, 2), Least{FullScan: true}), 4, 9000)
	if got[0]+got[3] > 0 || got[1] < 4200 || got[2] < 4200 {
		t.Errorf("%v, want the two least busy ones alike", got)
	}
}

func TestLeastRequestWithoutBias(t *testing.T) {
	none, weights := 0.0, []uint64{3, 1}
	near(t, "no bias", weights, count(LeastRequest(weights, actives(100, 0), Least{Choices: 2, Bias: &none}), 2, 8000), 0.01)
}

func TestBounded(t *testing.T) {
	active := actives(0, 0, 0)
	var total atomic.Int64
	b := Bounded(Maglev(ones(3), keys(3), 251), ones(3), Load{Active: active, Total: &total, Factor: 150})
	plain := Maglev(ones(3), keys(3), 251)
	for h := range uint64(100) {
		if b.Pick(mix(h), 0) != plain.Pick(mix(h), 0) {
			t.Fatal("an idle set does not follow the hash")
		}
	}
	const hot = 7 // all requests have this hash
	for range 300 {
		active[b.Pick(hot, 0)].Add(1)
		total.Add(1)
	}
	for i, a := range active {
		if n := a.Load(); n > 152 || i == plain.Pick(hot, 0) && n < 149 {
			t.Errorf("%d of 300 requests went to %d, at most 150 may", n, i)
		}
	}
}

// TestMurmur compares with libstdc++'s hash of strings.
func TestMurmur(t *testing.T) {
	for s, want := range map[string]uint64{
		"": 0x553e93901e462a6e, "a": 0x454ddee488c1ed6b, "10.0.0.1:80_0": 0xbd8f6461ecffb28c, "0123456789abcdef": 0x934b0d760642ed86,
	} {
		if got := Murmur2([]byte(s)); got != want {
			t.Errorf("%q: %#x, want %#x", s, got, want)
		}
	}
}

func TestRingSize(t *testing.T) {
	r := Ring(ones(3), keys(3), RingSize{Min: 1024, Max: 8 << 20}).(ring)
	if n := len(r.points); n != 1026 { // 342 points each
		t.Errorf("%d points, want 1026", n)
	}
	r = Ring([]uint64{1, 1000}, keys(2), RingSize{Min: 1024, Max: 100}).(ring)
	if n := len(r.points); n > 101 {
		t.Errorf("%d points, want at most the greatest size of 100", n)
	}
}

func TestPeek(t *testing.T) {
	for _, weights := range [][]uint64{{1, 1, 1}, {3, 1, 2}} {
		b := RoundRobin(weights, 5).(*roundRobin)
		var seen, got []int
		for i := range 12 {
			seen = append(seen, b.Peek(i))
		}
		for range 12 {
			got = append(got, b.Pick(0, 0))
		}
		if diff := cmp.Diff(got, seen); diff != "" {
			t.Errorf("%v: %s", weights, diff)
		}
	}
}
