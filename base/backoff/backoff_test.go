package backoff_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftmesh/weft/base/backoff"
)

func TestNext(t *testing.T) {
	b := backoff.Backoff{Min: time.Second, Max: 5 * time.Second}
	for i, top := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second} {
		if d := b.Next(); d > top || d < top/2 {
			t.Errorf("attempt %d: %v is not within [%v, %v]", i, d, top/2, top)
		}
	}
	if b.Attempts() != 5 {
		t.Errorf("attempts: got %d, want 5", b.Attempts())
	}
	b.Reset()
	if d := b.Next(); d > time.Second {
		t.Errorf("after Reset: %v", d)
	}
}

func TestZeroValueIsBounded(t *testing.T) {
	var b backoff.Backoff
	for range 200 {
		if d := b.Next(); d <= 0 || d > backoff.DefaultMax {
			t.Fatalf("got %v", d)
		}
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := backoff.Backoff{Min: time.Minute}
		start := time.Now()
		if err := b.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d < 30*time.Second || d > time.Minute {
			t.Errorf("slept %v", d)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.Wait(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}
