// Package balance holds the load-balancing algorithms over weighted indices:
// they know nothing of hosts.
//
// A Balancer is built once for a set of weights and is safe for concurrent
// use. Pick allocates nothing and takes no lock. It has no random source: the
// caller brings a random number, or the hash for the consistent ones.
package balance

import (
	"math/bits"
	"slices"
	"sync/atomic"
)

// Balancer chooses an index.
type Balancer interface {
	// Pick chooses by key: a random number, or a hash. A higher try asks for
	// another choice for the same key.
	Pick(key uint64, try int) int
}

// mix is the finaliser of splitmix64, a bijection whose output bits depend on
// all bits of the input.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// below maps 64 random bits onto [0, n).
func below(random uint64, n int) int {
	hi, _ := bits.Mul64(random, uint64(n))
	return int(hi)
}

// equal tells whether all weights are the same.
func equal(weights []uint64) bool {
	return !slices.ContainsFunc(weights, func(w uint64) bool { return w != weights[0] })
}

// RoundRobin gives each index its share in turn, starting somewhere.
func RoundRobin(weights []uint64, start uint64) Balancer {
	r := &roundRobin{n: uint64(len(weights))}
	r.next.Store(start % (1 << 32)) // far from overflow
	if !equal(weights) {
		r.weights, r.most = weights, slices.Max(weights)
	}
	return r
}

// roundRobin goes round; of its rounds an index with a weight of w out of most
// takes part in w out of most rounds, evenly spread.
type roundRobin struct {
	next    atomic.Uint64
	n       uint64
	weights []uint64 // nil: equal
	most    uint64
}

// Pick implements Balancer.
func (r *roundRobin) Pick(uint64, int) int {
	for {
		if i, ok := r.turn(r.next.Add(1) - 1); ok {
			return i
		}
	}
}

// Peek is what Pick will choose after n others, if nobody else picks meanwhile.
func (r *roundRobin) Peek(n int) int {
	for k := r.next.Load(); ; k++ {
		i, ok := r.turn(k)
		if !ok {
			continue
		}
		if n--; n < 0 {
			return i
		}
	}
}

// turn is whose the k-th turn is, if it takes part in that round.
func (r *roundRobin) turn(k uint64) (index int, takes bool) {
	i := k % r.n
	if r.weights == nil {
		return int(i), true
	}
	// Line g·w/most steps up in w of most rounds. The offset keeps indices
	// of equal weight from taking part in the same rounds.
	w := r.weights[i]
	g := (k/r.n + i*r.most/r.n) % r.most
	return int(i), (g+1)*w/r.most > g*w/r.most
}

// Random chooses at random by weight.
func Random(weights []uint64) Balancer {
	if equal(weights) {
		return uniform(len(weights))
	}
	return newAlias(weights)
}

type uniform int

// Pick implements Balancer.
func (n uniform) Pick(key uint64, try int) int { return below(mix(key+uint64(try)), int(n)) }

// alias is Vose's table: one comparison per choice whatever the weights.
type alias struct {
	keep  []uint32 // chance to stay, of 2³²−1
	other []uint32
}

func newAlias(weights []uint64) *alias {
	n := len(weights)
	a := &alias{make([]uint32, n), make([]uint32, n)}
	total := 0.0
	for _, w := range weights {
		total += float64(w)
	}
	scaled := make([]float64, n)
	var small, large []int
	for i, w := range weights {
		scaled[i] = float64(w) * float64(n) / total
		if scaled[i] < 1 {
			small = append(small, i)
		} else {
			large = append(large, i)
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		a.keep[s], a.other[s] = uint32(scaled[s]*(1<<32-1)), uint32(l)
		scaled[l] -= 1 - scaled[s]
		if scaled[l] < 1 {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	for _, i := range append(small, large...) { // what rounding has left over
		a.keep[i], a.other[i] = 1<<32-1, uint32(i)
	}
	return a
}

// Pick implements Balancer.
func (a *alias) Pick(key uint64, try int) int {
	hi, lo := bits.Mul64(mix(key+uint64(try)), uint64(len(a.keep)))
	if uint32(lo>>32) <= a.keep[hi] {
		return int(hi)
	}
	return int(a.other[hi])
}
