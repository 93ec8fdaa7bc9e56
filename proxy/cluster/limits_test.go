package cluster

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLimits(t *testing.T) {
	c := static(t, Spec{Endpoints: endpoints(1), Breakers: [2]Breakers{{Connections: 2, Pending: 1, Requests: 3, Retries: 1, ShowRemaining: true}, DefaultBreakers}})
	l := c.Limits(Default)
	for r, n := range map[Resource]int{Connections: 2, Pending: 1, Requests: 3, Retries: 1} {
		for range n {
			if l.Open(r) || !l.Acquire(r) {
				t.Fatalf("resource %d is not to be had", r)
			}
		}
		if !l.Open(r) || l.Acquire(r) {
			t.Errorf("resource %d: one more than %d", r, n)
		}
		l.Release(r)
		if !l.Acquire(r) {
			t.Errorf("resource %d: none after a release", r)
		}
	}
	got := map[string]string{}
	for _, n := range []string{
		"upstream_cx_overflow", "upstream_rq_pending_overflow", "upstream_rq_retry_overflow",
		"circuit_breakers.default.cx_open", "circuit_breakers.default.remaining_rq", "circuit_breakers.high.rq_open", "circuit_breakers.high.remaining_retries",
	} {
		got[n] = stat(c, n)
	}
	want := map[string]string{
		"upstream_cx_overflow": "1", "upstream_rq_pending_overflow": "2", "upstream_rq_retry_overflow": "1",
		"circuit_breakers.default.cx_open": "1", "circuit_breakers.default.remaining_rq": "0",
		"circuit_breakers.high.rq_open": "0", "circuit_breakers.high.remaining_retries": "missing",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRetryBudget(t *testing.T) {
	c := static(t, Spec{Breakers: [2]Breakers{{Requests: 1000, Budget: &RetryBudget{Percent: 10, MinConcurrency: 2}}, {Budget: &DefaultBudget}}})
	l := c.Limits(Default)
	if l.Max(Retries) != 2 || c.Limits(High).Max(Retries) != 3 {
		t.Errorf("least concurrency %d and %d, want 2 and 3", l.Max(Retries), c.Limits(High).Max(Retries))
	}
	for range 100 {
		l.Acquire(Requests)
	}
	if n := l.Max(Retries); n != 10 {
		t.Errorf("%d retries beside 100 requests, want 10", n)
	}
}

// TestLimitsHammer: never more than the limit at a time, and nothing is lost.
func TestLimitsHammer(t *testing.T) {
	l := newLimits(&Stats{})
	l.set(&Breakers{Requests: 3})
	var inside, most atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 2000 {
				if l.Acquire(Requests) {
					n := inside.Add(1)
					for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
					}
					inside.Add(-1)
					l.Release(Requests)
				}
			}
		})
	}
	wg.Wait()
	if most.Load() > 3 || l.Current(Requests) != 0 {
		t.Errorf("%d at a time, %d left over", most.Load(), l.Current(Requests))
	}
}

func TestStatus(t *testing.T) {
	c := static(t, Spec{})
	for _, code := range []int{200, 200, 204, 503, 0, 99, 600} {
		c.Stats().Status(code)
	}
	got := map[string]string{}
	for _, n := range []string{"upstream_rq_completed", "upstream_rq_2xx", "upstream_rq_200", "upstream_rq_204", "upstream_rq_5xx", "upstream_rq_503", "upstream_rq_4xx"} {
		got[n] = stat(c, n)
	}
	want := map[string]string{
		"upstream_rq_completed": "7", "upstream_rq_2xx": "3", "upstream_rq_200": "2", "upstream_rq_204": "1",
		"upstream_rq_5xx": "1", "upstream_rq_503": "1", "upstream_rq_4xx": "missing",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestStatusHammer(t *testing.T) {
	var s Stats
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 1000 {
				s.Status(200 + (i+g)%10)
			}
		})
	}
	wg.Wait()
	n, codes := uint64(0), 0
	for c := s.codes.Load(); c != nil; c = c.next {
		n += c.n.Load()
		codes++
	}
	if n != 8000 || codes != 10 {
		t.Errorf("%d responses of %d codes, want 8000 of 10", n, codes)
	}
}

func TestStatNamesAreUnique(t *testing.T) {
	seen := map[string]bool{}
	static(t, Spec{Outlier: &Outlier{}}).Each(func(name string, _ StatKind, _ uint64) bool {
		if seen[name] {
			t.Errorf("%s twice", name)
		}
		seen[name] = true
		return true
	})
	if len(seen) < 80 {
		t.Errorf("only %d statistics", len(seen))
	}
}

func TestLimitPerHost(t *testing.T) {
	b := DefaultBreakers
	b.PerHost = 2
	c := static(t, Spec{Endpoints: endpoints(2), Breakers: [2]Breakers{b, DefaultBreakers}})
	one, two, l := host(t, c, 1), host(t, c, 2), c.Limits(Default)
	for i, want := range []bool{true, true, false} {
		if got := l.AcquireConnection(one); got != want {
			t.Errorf("connection %d: %v, want %v", i, got, want)
		}
		one.stats.CxActive.Add(1)
	}
	if !l.AcquireConnection(two) || !c.Limits(High).AcquireConnection(one) {
		t.Error("another host, or another priority, is bounded")
	}
	if n := stat(c, "upstream_cx_overflow"); n != "1" {
		t.Errorf("upstream_cx_overflow %s, want 1", n)
	}
}
