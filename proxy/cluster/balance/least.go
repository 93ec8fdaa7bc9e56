package balance

import (
	"math"
	"sync/atomic"
)

// Least says how LeastRequest chooses.
type Least struct {
	// Choices is how many indices are drawn. FullScan looks at all, when the
	// weights are equal.
	Choices  int
	FullScan bool
	// Bias is the power of the active requests when weights differ; nil: 1.
	Bias *float64
}

// LeastRequest draws some indices and takes the one with the least active
// requests by weight.
func LeastRequest(weights []uint64, active []*atomic.Int64, o Least) Balancer {
	l := leastRequest{active: active, choices: max(o.Choices, 1), bias: 1}
	if o.Bias != nil {
		l.bias = *o.Bias
	}
	switch {
	case !equal(weights) && l.bias == 0: // active requests do not count at all
		return RoundRobin(weights, 0)
	case !equal(weights):
		l.weights, l.draw = weights, newAlias(weights)
	case o.FullScan:
		return fullScan(active)
	}
	return l
}

type leastRequest struct {
	active  []*atomic.Int64
	choices int
	bias    float64
	weights []uint64 // nil: equal
	draw    *alias
}

// Pick implements Balancer.
func (l leastRequest) Pick(key uint64, try int) int {
	r := mix(key + uint64(try))
	best := l.choose(r, -1)
	least := l.active[best].Load()
	for range l.choices - 1 {
		r = mix(r)
		i := l.choose(r, best)
		n := l.active[i].Load()
		better := n < least
		if l.weights != nil {
			// Draws follow the weights already, so an idle set is shared by
			// weight; under load the requests per weight are levelled.
			better = l.heavy(n)*float64(l.weights[best]) < l.heavy(least)*float64(l.weights[i])
		}
		if better {
			best, least = i, n
		}
	}
	return best
}

// heavy is how much n active requests count.
func (l leastRequest) heavy(n int64) float64 {
	if l.bias == 1 {
		return float64(n)
	}
	return math.Pow(float64(n), l.bias)
}

// choose draws an index; with equal weights not the one at hand again.
func (l leastRequest) choose(r uint64, not int) int {
	n := len(l.active)
	switch {
	case l.draw != nil:
		return l.draw.Pick(r, 0)
	case not < 0 || n == 1:
		return below(r, n)
	default:
		i := below(r, n-1)
		if i >= not {
			i++
		}
		return i
	}
}

// fullScan takes the index with the least active requests, one of them at
// random when there are several.
type fullScan []*atomic.Int64

// Pick implements Balancer.
func (f fullScan) Pick(key uint64, try int) int {
	r := mix(key + uint64(try))
	best, least, ties := 0, int64(math.MaxInt64), 0
	for i, a := range f {
		switch n := a.Load(); {
		case n < least:
			best, least, ties = i, n, 1
		case n == least:
			ties++
			if r = mix(r); below(r, ties) == 0 {
				best = i
			}
		}
	}
	return best
}
