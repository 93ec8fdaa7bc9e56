package identity

import (
	"sync"
	"time"
)

// How often one workload may ask: at once, and in the long run. One that behaves asks
// twice in a certificate's life.
const (
	rateBurst     = 50
	ratePerSecond = 5
)

// rateSweep is with how many callers those are forgotten that have not asked for long.
const rateSweep = 4096

// rate bounds how often each caller asks: signing costs the others' time.
type rate struct {
	now func() time.Time

	mu      sync.Mutex
	callers map[string]*bucket // guarded by mu
}

// bucket is what a caller may still ask for, at a time.
type bucket struct {
	left float64
	at   time.Time
}

func newRate(now func() time.Time) *rate { return &rate{now: now, callers: map[string]*bucket{}} }

// allow tells whether a caller may ask now, and counts it.
func (r *rate) allow(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	b := r.callers[name]
	if b == nil {
		if len(r.callers) >= rateSweep {
			r.sweep(now)
		}
		b = &bucket{left: rateBurst, at: now}
		r.callers[name] = b
	}
	b.fill(now)
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

func (b *bucket) fill(now time.Time) {
	b.left = min(rateBurst, b.left+max(0, now.Sub(b.at).Seconds())*ratePerSecond)
	b.at = now
}

// sweep forgets who may ask for everything again.
func (r *rate) sweep(now time.Time) {
	for name, b := range r.callers {
		if b.fill(now); b.left >= rateBurst {
			delete(r.callers, name)
		}
	}
}
