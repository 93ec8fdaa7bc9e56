package cluster

import (
	"testing"
	"testing/synctest"
	"time"
)

// outlierTest runs f in a bubble with a cluster of n hosts.
func outlierTest(t *testing.T, o Outlier, n int, f func(t *testing.T, c *Cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t)
		stop := run(t, m)
		update(t, m, []*Spec{{Name: "c", Endpoints: endpoints(n), Outlier: &o}})
		f(t, m.Get("c"))
		stop()
	})
}

func report(h *Host, codes ...int) {
	for _, c := range codes {
		h.ReportStatus(c)
	}
	synctest.Wait()
}

func TestConsecutive(t *testing.T) {
	o := Outlier{Consecutive5xx: 3, ConsecutiveGateway: 2, Enforce5xx: 100, EnforceGateway: 100, MaxEjectionPercent: 100}
	split := o
	split.SplitLocal, split.ConsecutiveLocal, split.EnforceLocal = true, 2, 100
	watch := o
	watch.Enforce5xx = 0
	for name, c := range map[string]struct {
		o    Outlier
		do   func(h *Host)
		want bool
	}{
		"three in a row":            {o, func(h *Host) { report(h, 500, 500, 500) }, true},
		"two only":                  {o, func(h *Host) { report(h, 500, 500) }, false},
		"a success between":         {o, func(h *Host) { report(h, 500, 500, 200, 500, 500) }, false},
		"4xx is a success":          {o, func(h *Host) { report(h, 500, 500, 404, 500) }, false},
		"gateway":                   {o, func(h *Host) { report(h, 503, 502) }, true},
		"500 between gateway":       {o, func(h *Host) { report(h, 503, 500) }, false},
		"not enforced":              {watch, func(h *Host) { report(h, 500, 500, 500) }, false},
		"connect failure":           {o, func(h *Host) { h.Report(ConnectFailed); h.Report(ConnectTimedOut); report(h) }, true},
		"reset and timeout":         {o, func(h *Host) { h.Report(RemoteReset); h.Report(RequestTimedOut); report(h) }, true},
		"tcp success between":       {o, func(h *Host) { h.Report(ConnectFailed); h.Report(Connected); h.Report(ConnectFailed); report(h) }, false},
		"split: local":              {split, func(h *Host) { h.Report(ConnectFailed); h.Report(RemoteReset); report(h) }, true},
		"split: local, success":     {split, func(h *Host) { h.Report(ConnectFailed); h.Report(Connected); h.Report(ConnectFailed); report(h) }, false},
		"split: local and external": {split, func(h *Host) { h.Report(ConnectFailed); report(h, 503) }, false},
	} {
		outlierTest(t, c.o, 2, func(t *testing.T, cl *Cluster) {
			h := host(t, cl, 1)
			c.do(h)
			if h.Ejected() != c.want {
				t.Errorf("%s: ejected %v, want %v", name, h.Ejected(), c.want)
			}
			want := map[int]int{1: 50, 2: 50}
			if c.want {
				want = map[int]int{2: 100}
			}
			within(t, name, picks(cl, 100, Pick{}), want, 1)
		})
	}
}

func TestEjectionTime(t *testing.T) {
	o := Outlier{Consecutive5xx: 1, Enforce5xx: 100, MaxEjectionPercent: 100, Interval: time.Second, BaseEjection: 10 * time.Second, MaxEjection: 25 * time.Second}
	outlierTest(t, o, 2, func(t *testing.T, c *Cluster) {
		h := host(t, c, 1)
		lasts := func() time.Duration {
			start := time.Now()
			report(h, 500)
			if !h.Ejected() || stat(c, "outlier_detection.ejections_active") != "1" {
				t.Fatal("not ejected")
			}
			for h.Ejected() {
				time.Sleep(time.Second)
				synctest.Wait()
			}
			return time.Since(start)
		}
		for i, want := range []time.Duration{10 * time.Second, 20 * time.Second, 25 * time.Second} {
			if got := lasts(); got != want {
				t.Errorf("ejection %d took %v, want %v", i+1, got, want)
			}
		}
		within(t, "back", picks(c, 100, Pick{}), map[int]int{1: 50, 2: 50}, 1)
		if n := stat(c, "outlier_detection.ejections_enforced_consecutive_5xx"); n != "3" {
			t.Errorf("%s ejections counted, want 3", n)
		}
		time.Sleep(time.Minute) // in good health: all is forgiven
		synctest.Wait()
		if got := lasts(); got != 10*time.Second {
			t.Errorf("after a good minute an ejection took %v, want 10 s", got)
		}
	})
}

func TestMaxEjection(t *testing.T) {
	o := Outlier{Consecutive5xx: 1, Enforce5xx: 100, MaxEjectionPercent: 50}
	outlierTest(t, o, 4, func(t *testing.T, c *Cluster) {
		for n := 1; n <= 3; n++ {
			report(host(t, c, n), 500)
		}
		within(t, "half may go", picks(c, 100, Pick{}), map[int]int{3: 50, 4: 50}, 1)
		if n := stat(c, "outlier_detection.ejections_overflow"); n != "1" {
			t.Errorf("%s overflows, want 1", n)
		}
	})
	o.MaxEjectionPercent = 10
	outlierTest(t, o, 4, func(t *testing.T, c *Cluster) {
		report(host(t, c, 1), 500)
		if host(t, c, 1).Ejected() {
			t.Error("one of four is more than 10 %")
		}
	})
	o.AlwaysEjectOne = true
	outlierTest(t, o, 4, func(t *testing.T, c *Cluster) {
		report(host(t, c, 1), 500)
		report(host(t, c, 2), 500)
		if !host(t, c, 1).Ejected() || host(t, c, 2).Ejected() {
			t.Error("one and only one host must be ejected")
		}
	})
}

func TestEjectedHostLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t)
		defer run(t, m)()
		update(t, m, []*Spec{{Name: "c", Type: EDS, Outlier: &Outlier{Consecutive5xx: 1, Enforce5xx: 100, MaxEjectionPercent: 50}}})
		_ = m.SetEndpoints("c", endpoints(2))
		c := m.Get("c")
		report(host(t, c, 2), 500)
		_ = m.SetEndpoints("c", endpoints(2)) // nothing new: it stays out
		within(t, "still out", picks(c, 10, Pick{}), map[int]int{1: 10}, 0)
		_ = m.SetEndpoints("c", endpoints(1))
		if n := stat(c, "outlier_detection.ejections_active"); n != "0" {
			t.Errorf("%s ejections are active after the host has gone", n)
		}
		_ = m.SetEndpoints("c", endpoints(2))
		within(t, "a new host", picks(c, 10, Pick{}), map[int]int{1: 5, 2: 5}, 0)
	})
}

func TestSuccessRate(t *testing.T) {
	o := Outlier{
		Interval: time.Second, MaxEjectionPercent: 100,
		SuccessRate: &SuccessRate{Enforce: 100, MinHosts: 5, MinVolume: 10, StdevFactorPerThousand: 1900},
	}
	outlierTest(t, o, 6, func(t *testing.T, c *Cluster) {
		for n := 1; n <= 6; n++ {
			for i := range 10 {
				code := 200
				if n == 6 && i < 6 {
					code = 500
				}
				host(t, c, n).ReportStatus(code)
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for n := 1; n <= 6; n++ {
			if got := host(t, c, n).Ejected(); got != (n == 6) {
				t.Errorf("host %d: ejected %v", n, got)
			}
		}
	})
}

func TestFailurePercentage(t *testing.T) {
	o := Outlier{
		Interval: time.Second, MaxEjectionPercent: 100, SplitLocal: true,
		FailurePercentage: &FailurePercentage{Enforce: 100, EnforceLocal: 100, MinHosts: 2, MinVolume: 10, Threshold: 50},
	}
	outlierTest(t, o, 3, func(t *testing.T, c *Cluster) {
		for i := range 10 {
			host(t, c, 1).ReportStatus(200)
			host(t, c, 2).ReportStatus(200 + 300*(i%2)) // half of them fail
			host(t, c, 3).Report(ConnectFailed)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for n, want := range map[int]bool{1: false, 2: true, 3: true} {
			if got := host(t, c, n).Ejected(); got != want {
				t.Errorf("host %d: ejected %v, want %v", n, got, want)
			}
		}
		if n := stat(c, "outlier_detection.ejections_enforced_local_origin_failure_percentage"); n != "1" {
			t.Errorf("%s local ejections, want 1", n)
		}
	})
}
