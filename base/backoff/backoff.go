// Package backoff computes how long to wait before the next attempt:
// exponential with full jitter above half, bounded.
//
// It neither sleeps nor starts goroutines, except for Wait, which is a
// cancellable sleep.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff counts failed attempts. The zero value starts at 100 ms and ends at
// 10 s. It is not for use by several goroutines at once.
type Backoff struct {
	// Min is the first delay, Max the largest; 0: the defaults.
	Min, Max time.Duration

	attempts int
}

// Defaults of Min and Max.
const (
	DefaultMin = 100 * time.Millisecond
	DefaultMax = 10 * time.Second
)

// Next returns the delay before the next attempt and counts it: Min, doubled
// with each call up to Max, of which a random part of up to one half is taken off.
func (b *Backoff) Next() time.Duration {
	lo, hi := b.Min, b.Max
	if lo <= 0 {
		lo = DefaultMin
	}
	if hi <= 0 {
		hi = DefaultMax
	}
	hi = max(hi, lo)
	d := lo
	for range b.attempts {
		if d >= hi/2 {
			d = hi
			break
		}
		d *= 2
	}
	b.attempts++
	return d - time.Duration(rand.Int64N(int64(d)/2+1)) //nolint:gosec // jitter needs no secrecy
}

// Attempts returns how many delays were handed out since the last Reset.
func (b *Backoff) Attempts() int { return b.attempts }

// Reset begins anew, after a success.
func (b *Backoff) Reset() { b.attempts = 0 }

// Wait sleeps for Next, or until the context ends, whose error it returns.
func (b *Backoff) Wait(ctx context.Context) error {
	t := time.NewTimer(b.Next())
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
