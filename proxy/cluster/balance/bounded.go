package balance

import (
	"math"
	"sync/atomic"
)

// Load is what Bounded looks at.
type Load struct {
	// Active requests by index, and Total of all.
	Active []*atomic.Int64
	Total  *atomic.Int64
	// Factor in percent is how much of its share of all an index may have.
	Factor uint32
}

// Bounded is consistent hashing with bounded loads: an index that has more than
// Factor percent of its share of the active requests hands new ones on, to
// indices in an order that the hash decides.
func Bounded(by Balancer, weights []uint64, l Load) Balancer {
	return bounded{by, normalize(weights), l}
}

type bounded struct {
	by     Balancer
	shares []float64
	load   Load
}

// Pick implements Balancer.
func (b bounded) Pick(hash uint64, try int) int {
	first := b.by.Pick(hash, try)
	slots := float64((uint64(max(b.load.Total.Load(), 0)+1)*uint64(b.load.Factor) + 99) / 100)
	least := b.overload(first, slots)
	if least <= 1 {
		return first
	}
	best, n := first, uint64(len(b.shares))
	start, step := mix(hash)%n, uint64(1)
	if n > 2 {
		step += mix(hash+1) % (n - 1)
		for gcd(step, n) != 1 {
			step = step%(n-1) + 1
		}
	}
	for k := range n {
		i := int((start + k*step) % n)
		o := b.overload(i, slots)
		if o <= 1 && i != first {
			return i
		}
		if o < least {
			best, least = i, o
		}
	}
	return best
}

// overload is how full an index is: above 1 it has too much.
func (b bounded) overload(i int, slots float64) float64 {
	return float64(b.load.Active[i].Load()) / max(1, math.Ceil(slots*b.shares[i]))
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
