package localrate

import (
	"math"
	"sync/atomic"
	"time"
)

// epoch is what bucket times count from.
var epoch = time.Now()

// seconds is a bucket's time. The time of the event that brought the request
// is good enough: no clock is read for it.
func seconds(t time.Time) float64 { return t.Sub(epoch).Seconds() }

// bucket is a token bucket that needs neither a timer nor a lock: all that it
// keeps is the moment at which it would have been empty, filling ever since.
// A bucket begins full.
type bucket struct {
	max, rate float64       // tokens, tokens per second
	empty     atomic.Uint64 // the moment, in bits of a float64
	shadow    bool          // what it refuses is let pass
}

func newBucket(s Spec) *bucket {
	b := &bucket{max: float64(s.Max), rate: 1, shadow: s.Shadow}
	if s.Max > 0 {
		b.rate = float64(s.PerFill) / s.Interval.Seconds()
	}
	b.empty.Store(math.Float64bits(math.Inf(-1)))
	return b
}

// hair is what a token may lack: sums of times are not exact.
const hair = 1e-6

// take takes n tokens, all or none.
func (b *bucket) take(now, n float64) bool {
	for {
		old := b.empty.Load()
		have := b.level(now, old)
		if have+hair < n {
			return false
		}
		if b.empty.CompareAndSwap(old, math.Float64bits(now-(have-n)/b.rate)) {
			return true
		}
	}
}

// give puts n tokens back, as far as they fit in.
func (b *bucket) give(now, n float64) {
	for {
		old := b.empty.Load()
		have := min(b.max, b.level(now, old)+n)
		if b.empty.CompareAndSwap(old, math.Float64bits(now-have/b.rate)) {
			return
		}
	}
}

func (b *bucket) level(now float64, bits uint64) float64 {
	return min(b.max, (now-math.Float64frombits(bits))*b.rate)
}

// remaining is the number of whole tokens left.
func (b *bucket) remaining(now float64) uint64 {
	return uint64(max(0, b.level(now, b.empty.Load())+hair))
}

// reset is how many seconds pass until there is a token, as Envoy counts them.
func (b *bucket) reset(now float64) uint64 {
	if b.remaining(now) >= 1 {
		return 0
	}
	return uint64(math.Ceil(1000/b.rate)) / 1000
}
