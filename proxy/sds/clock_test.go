package sds

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestClockJumps: a certificate is renewed soon after the clock was set past its half
// life, or back to before it begins, and not for a step that changes nothing.
func TestClockJumps(t *testing.T) {
	for name, c := range map[string]struct {
		jump  time.Duration
		renew bool
	}{
		"past its end":     {30 * time.Hour, true},
		"past half of it":  {15 * time.Hour, true},
		"before it begins": {-2 * time.Hour, true},
		"a little":         {time.Hour, false},
		"a little back":    {-30 * time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var jump atomic.Int64
				ca := newCA(t, 24*time.Hour)
				got := make(chan *Identity)
				client, err := NewClient(Options{
					CA: ca, Publish: func(id *Identity) {
						select {
						case got <- id:
						case <-t.Context().Done():
						case <-time.After(time.Millisecond): // only the first is waited for
						}
					},
					Now: func() time.Time { return time.Now().Add(time.Duration(jump.Load())) },
				})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- client.Run(ctx) }()
				<-got
				time.Sleep(time.Minute)
				jump.Store(int64(c.jump))
				time.Sleep(2 * lookAtClock)
				synctest.Wait()
				if n := ca.count(); (n > 1) != c.renew {
					t.Errorf("%d certificates were asked for", n)
				}
				cancel()
				<-done
			})
		})
	}
}
