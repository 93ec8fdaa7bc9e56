// Package limit bounds how long each of many calls may take, of one thing that makes one call at a time. A timer that is
// set again costs less than a context per call. It does not interrupt anything: what is called has to heed its context.
package limit

import (
	"context"
	"time"
)

// Limit is the context of all of these calls. It ends when one of them takes too long, and with it whatever makes them.
type Limit struct {
	context.Context
	cancel context.CancelFunc
	timer  *time.Timer
}

// New returns one whose values are those of ctx, and which does not end with it.
func New(ctx context.Context) *Limit {
	l := &Limit{}
	l.Context, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	l.timer = time.AfterFunc(time.Hour, l.cancel)
	l.timer.Stop()
	return l
}

// Begin is called before a call, with the most that it may take, and End behind it.
func (l *Limit) Begin(most time.Duration) { l.timer.Reset(most) }

// End ends what Begin has begun. Whether the call took too long, Err says.
func (l *Limit) End() { l.timer.Stop() }

// Stop ends the context.
func (l *Limit) Stop() {
	l.timer.Stop()
	l.cancel()
}
