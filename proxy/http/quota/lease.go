package quota

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// lease is what the proxy has of one quota. Requests take from it without waiting: it is filled behind their backs.
type lease struct {
	id, key string
	// limit and interval are the quota's, for the headers.
	limit    atomic.Uint64 // bits of a float64
	interval atomic.Int64

	// tokens are what is left, below zero what was taken on credit.
	tokens, credit atomic.Int64
	// wished are the requests that there were since the last tick, taken those that got through on their own.
	wished, alone atomic.Int64
	asked         atomic.Bool // the agent knows that there is something to do
	// share is the proxy's part while it is on its own, in tokens per second.
	share     atomic.Uint64
	remaining atomic.Uint64
	refilled  atomic.Int64 // Unix nanoseconds at which there is a token again
	free      atomic.Bool  // there is no such quota

	// The rest is the agent's.
	demand, granted float64 // tokens per second, smoothed
	// got is what came since the last tick, owed what was asked for and has not come; the agent's mu guards them.
	got, owed  float64
	idle       int // ticks without a request
	subscribed bool

	solo bucket
}

// bucket fills at the proxy's share while it is on its own.
type bucket struct {
	mu    sync.Mutex
	level float64
	at    time.Time
}

// take takes a token, if the share has one.
func (b *bucket) take(now time.Time, rate float64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.at.IsZero() {
		b.level = 1
	} else {
		// A quarter of a second's may come at once.
		b.level = min(max(1, rate/4), b.level+rate*max(0, now.Sub(b.at).Seconds()))
	}
	b.at = now
	if b.level < 1 {
		return false
	}
	b.level--
	return true
}

func float(a *atomic.Uint64) float64       { return math.Float64frombits(a.Load()) }
func setFloat(a *atomic.Uint64, v float64) { a.Store(math.Float64bits(v)) }

// take takes a token for a request that came at that time. It never waits.
func (l *lease) take(a *Agent, now time.Time) bool {
	l.wished.Add(1)
	if l.free.Load() {
		return true
	}
	if !a.connected.Load() {
		if l.tokens.Load() > 0 && l.tokens.Add(-1) >= 0 {
			return true
		}
		if !l.solo.take(now, float(&l.share)) {
			return false
		}
		l.alone.Add(1)
		return true
	}
	left := l.tokens.Add(-1)
	ok := left >= -l.credit.Load()
	if !ok {
		l.tokens.Add(1)
	}
	if left < 1 && !l.asked.Load() && l.asked.CompareAndSwap(false, true) {
		a.wake()
	}
	return ok
}

// left is what headers say is left: of the whole quota, as far as is known.
func (l *lease) left() uint64 {
	return uint64(max(0, float(&l.remaining)+float64(max(0, l.tokens.Load()))))
}

// reset is how many seconds it takes until there is a token, rounded up.
func (l *lease) reset(now time.Time) uint64 {
	d := time.Duration(l.refilled.Load() - now.UnixNano())
	if d <= 0 {
		return 0
	}
	return uint64((d + time.Second - 1) / time.Second)
}
