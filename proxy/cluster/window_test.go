package cluster

import (
	"testing"
	"time"
)

func TestWindow(t *testing.T) {
	w := newWindow(16 * time.Second)
	at := func(seconds int) time.Time { return w.from.Add(time.Duration(seconds) * time.Second) }
	for _, second := range []int{0, 0, 5, 15} {
		w.add(at(second))
	}
	for second, want := range map[int]int64{15: 4, 16: 2, 20: 2, 21: 1, 30: 1, 31: 0, 1000: 0} {
		if got := w.count(at(second)); got != want {
			t.Errorf("after %d s: %d, want %d", second, got, want)
		}
	}
	w.add(at(1000))
	if got := w.count(at(1001)); got != 1 {
		t.Errorf("after a long pause: %d", got)
	}
}

// TestBudgetInterval: requests that are over count for the interval.
func TestBudgetInterval(t *testing.T) {
	l := newLimits(&Stats{})
	b := DefaultBreakers
	b.Budget = &RetryBudget{Percent: 50, MinConcurrency: 1, Interval: time.Hour}
	l.set(&b)
	for range 10 {
		if !l.Acquire(Requests) {
			t.Fatal("a request was refused")
		}
		l.Release(Requests)
	}
	if got := l.Max(Retries); got != 5 {
		t.Errorf("with 10 requests in the interval: %d retries, want 5", got)
	}
	same := l.recent.Load()
	l.set(&b)
	if l.recent.Load() != same {
		t.Error("a configuration with the same interval counts anew")
	}
	b.Budget = &RetryBudget{Percent: 50, MinConcurrency: 1}
	l.set(&b)
	if got := l.Max(Retries); got != 1 {
		t.Errorf("without an interval: %d retries, want 1", got)
	}
}
