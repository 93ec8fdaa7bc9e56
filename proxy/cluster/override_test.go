package cluster

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/runtime"
)

// TestRuntimeOverrides: limits and outlier detection follow the runtime as it changes.
func TestRuntimeOverrides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base, err := runtime.NewLayer("base", map[string]any{
			"circuit_breakers.c.default.max_requests": 7.0, "circuit_breakers.c.high.retry_budget.budget_percent": 50.0,
			"circuit_breakers.other.default.max_pending_requests": 1.0,
			"outlier_detection.consecutive_5xx":                   2.0, "outlier_detection.base_ejection_time_ms": 1000.0,
		})
		if err != nil {
			t.Fatal(err)
		}
		store := runtime.New(base, runtime.Layer{Name: "admin", Admin: true})
		m := NewManager(t.Context(), Options{Dialer: refuse{}, Runtime: store})
		stop := run(t, m)
		defer stop()
		update(t, m, []*Spec{{
			Name: "c", Endpoints: endpoints(2), Breakers: [2]Breakers{DefaultBreakers, DefaultBreakers},
			Outlier: &Outlier{Consecutive5xx: 9, Enforce5xx: 100, MaxEjectionPercent: 100, SuccessRate: &SuccessRate{MinHosts: 5}, FailurePercentage: &FailurePercentage{}},
		}})
		c := m.Get("c")
		check := func(when string, requests, pending int64, errors uint32, ejection time.Duration) {
			t.Helper()
			synctest.Wait()
			l, o := c.Limits(Default), c.outlier.Load()
			if l.Max(Requests) != requests || l.Max(Pending) != pending || o.Consecutive5xx != errors || o.BaseEjection != ejection {
				t.Errorf("%s: %d requests, %d pending, %d errors, %v", when, l.Max(Requests), l.Max(Pending), o.Consecutive5xx, o.BaseEjection)
			}
		}
		check("at first", 7, 1024, 2, time.Second)
		if n := c.Limits(High).Max(Retries); n != 3 {
			t.Errorf("a budget of the runtime: %d retries, want 3", n)
		}
		if err := store.Modify(map[string]string{"circuit_breakers.c.default.max_pending_requests": "4", "outlier_detection.success_rate_minimum_hosts": "1"}); err != nil {
			t.Fatal(err)
		}
		check("after a change", 7, 4, 2, time.Second)
		if n := c.outlier.Load().SuccessRate.MinHosts; n != 1 || c.spec.Outlier.SuccessRate.MinHosts != 5 {
			t.Errorf("hosts for a success rate: %d, in the configuration %d", n, c.spec.Outlier.SuccessRate.MinHosts)
		}
		if err := store.Modify(map[string]string{"circuit_breakers.c.default.max_pending_requests": ""}); err != nil {
			t.Fatal(err)
		}
		check("without it", 7, 1024, 2, time.Second)
		report(host(t, c, 1), 500, 500)
		if !host(t, c, 1).Ejected() {
			t.Error("two errors do not eject")
		}
	})
}

// TestHold: connections end when their host fails, where the cluster wants that.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t)
		stop := run(t, m)
		defer stop()
		o := &Outlier{Consecutive5xx: 1, Enforce5xx: 100, MaxEjectionPercent: 100}
		update(t, m, []*Spec{{Name: "c", Endpoints: endpoints(2), Outlier: o, CloseOnFailure: true}, {Name: "d", Endpoints: endpoints(2), Outlier: o}})
		ended := map[string]int{}
		hold := func(c string, n int, name string) func() {
			return host(t, m.Get(c), n).Hold(func() { ended[name]++ })
		}
		hold("c", 1, "held")
		release := hold("c", 1, "released")
		hold("c", 2, "of another host")
		hold("d", 1, "of another cluster")
		release()
		release()
		report(host(t, m.Get("c"), 1), 500)
		report(host(t, m.Get("d"), 1), 500)
		if len(ended) != 1 || ended["held"] != 1 {
			t.Errorf("ended: %v, want the one that is held", ended)
		}
	})
}

func TestWanted(t *testing.T) {
	c := static(t, Spec{Endpoints: endpoints(3), LB: LB{Override: []OverrideSource{{Metadata: []string{"ns", "to"}}, {Header: "x-to"}}}})
	h := &filter.Headers{}
	h.Add("x-to", "10.0.0.9:80, 10.0.0.2:80,nonsense,10.0.0.3:80")
	next := func(w *Wanted, metadata map[string]any) string {
		if h := w.Next(c, h, metadata); h != nil {
			return h.String()
		}
		return ""
	}
	var w Wanted
	for i, want := range []string{"10.0.0.2:80", "10.0.0.3:80", "", ""} {
		if got := next(&w, nil); got != want {
			t.Errorf("attempt %d: %q, want %q", i, got, want)
		}
	}
	w = Wanted{}
	if got := next(&w, map[string]any{"ns": map[string]any{"to": "10.0.0.1:80"}}); got != "10.0.0.1:80" {
		t.Errorf("metadata comes first: %q", got)
	}
	if n := testing.AllocsPerRun(100, func() { w = Wanted{}; next(&w, nil) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	plain := static(t, Spec{Endpoints: endpoints(1)})
	if w := (Wanted{}); w.Next(plain, h, nil) != nil {
		t.Error("a cluster without sources has let a request choose")
	}
}
