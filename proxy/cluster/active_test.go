package cluster

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/proxy/cluster/health"
	"github.com/weftmesh/weft/proxy/transport"
)

// moody is a dialer whose hosts can be down. It counts who was dialled.
type moody struct {
	mu    sync.Mutex
	down  map[netip.AddrPort]bool
	times map[netip.AddrPort][]time.Duration
	start time.Time
	gate  chan struct{} // dials wait until it is closed; nil: they do not
}

func (d *moody) Dial(_ context.Context, t transport.Target) (net.Conn, error) {
	if d.gate != nil {
		<-d.gate
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.times[t.Addr] = append(d.times[t.Addr], time.Since(d.start))
	if d.down[t.Addr] {
		return nil, errors.New("refused")
	}
	a, b := net.Pipe()
	go func() {
		_, _ = b.Read(make([]byte, 1)) // until a is closed
		_ = b.Close()
	}()
	return a, nil
}

func (d *moody) set(n int, down bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down[addr(n)] = down
}

// after forgets earlier dials and returns those of a time span, as offsets from its start.
func (d *moody) after(span time.Duration, n int) []time.Duration {
	d.mu.Lock()
	d.times, d.start = map[netip.AddrPort][]time.Duration{}, time.Now()
	d.mu.Unlock()
	time.Sleep(span)
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.times[addr(n)]
}

// healthTest runs f in a bubble with a cluster of 2 hosts that are checked each second.
func healthTest(t *testing.T, change func(*Spec), f func(t *testing.T, m *Manager, d *moody)) {
	t.Helper()
	preparedHealthTest(t, func(s *Spec, _ *moody) {
		if change != nil {
			change(s)
		}
	}, f)
}

// preparedHealthTest: the dialer can be changed before the first checks.
func preparedHealthTest(t *testing.T, change func(*Spec, *moody), f func(t *testing.T, m *Manager, d *moody)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &moody{down: map[netip.AddrPort]bool{}, times: map[netip.AddrPort][]time.Duration{}, start: time.Now()}
		m := NewManager(t.Context(), Options{Dialer: d})
		stop := run(t, m)
		s := &Spec{Name: "c", Endpoints: endpoints(2), Health: &health.Spec{
			Timeout: 500 * time.Millisecond, Interval: time.Second, NoTraffic: time.Second, UnhealthyThreshold: 3, HealthyThreshold: 2,
			NoReuse: true, TCP: &health.TCP{},
		}}
		change(s, d)
		update(t, m, []*Spec{s})
		f(t, m, d)
		stop()
	})
}

func TestHealthThresholds(t *testing.T) {
	healthTest(t, nil, func(t *testing.T, m *Manager, d *moody) {
		c := m.Get("c")
		pass(100 * time.Millisecond)
		h := host(t, c, 1)
		steps := []struct {
			down  bool
			flags string
		}{
			{false, "healthy"}, {true, "healthy"}, {true, "healthy"}, {true, "/failed_active_hc"},
			{false, "/failed_active_hc"}, {false, "healthy"}, {true, "healthy"}, {false, "healthy"}, {true, "healthy"}, {true, "healthy"},
		}
		for i, s := range steps {
			d.set(1, s.down)
			pass(time.Second)
			if got := h.HealthFlags(); got != s.flags {
				t.Errorf("step %d: %s, want %s", i, got, s.flags)
			}
			if s.flags != "healthy" && stat(c, "membership_healthy") != "1" {
				t.Errorf("step %d: membership_healthy %s, want 1", i, stat(c, "membership_healthy"))
			}
		}
		if got := stat(c, "health_check.failure"); got != "6" {
			t.Errorf("health_check.failure: %s, want 6", got)
		}
		if got := stat(c, "health_check.network_failure"); got != "6" {
			t.Errorf("health_check.network_failure: %s, want 6", got)
		}
		if got := stat(c, "health_check.healthy"); got != "2" {
			t.Errorf("health_check.healthy: %s, want 2", got)
		}
	})
}

func TestHealthDecidesTraffic(t *testing.T) {
	preparedHealthTest(t, func(s *Spec, d *moody) {
		s.LB.PanicPercent = 0
		d.gate = make(chan struct{})
		d.set(1, true)
	}, func(t *testing.T, m *Manager, d *moody) {
		c := m.Get("c")
		if c.hasStarted() {
			t.Error("ready before the first checks")
		}
		close(d.gate)
		pass(100 * time.Millisecond)
		if !c.hasStarted() {
			t.Error("not ready after the first checks")
		}
		// The first answer counts at once, whatever the thresholds.
		within(t, "one failed", picks(c, 100, Pick{}), map[int]int{2: 100}, 0)
		d.set(1, false)
		pass(2 * time.Second)
		within(t, "both well", picks(c, 100, Pick{}), map[int]int{1: 50, 2: 50}, 1)
	})
}

func TestHealthIntervals(t *testing.T) {
	const s = time.Second
	healthTest(t, func(sp *Spec) {
		sp.Health.NoTraffic, sp.Health.NoTrafficHealthy = 7*s, 11*s
		sp.Health.Unhealthy, sp.Health.UnhealthyEdge, sp.Health.HealthyEdge = 5*s, 2*s, 3*s
	}, func(t *testing.T, m *Manager, d *moody) {
		c := m.Get("c")
		pass(0)
		if diff := cmp.Diff([]time.Duration{11 * s, 22 * s}, d.after(23*s, 1)); diff != "" {
			t.Error("without traffic:", diff)
		}
		c.stats.UpstreamCxTotal.Add(1)
		pass(10 * s) // now it is checked each second
		if diff := cmp.Diff([]time.Duration{s, 2 * s}, d.after(2*s+s/2, 1)); diff != "" {
			t.Error("with traffic:", diff)
		}
		d.set(1, true)
		// Three failures, of which two are at the edge; then it is unhealthy.
		if diff := cmp.Diff([]time.Duration{s / 2, s/2 + 2*s, s/2 + 4*s, s/2 + 9*s}, d.after(10*s, 1)); diff != "" {
			t.Error("failing:", diff)
		}
		d.set(1, false)
		if diff := cmp.Diff([]time.Duration{4*s + s/2, 7*s + s/2, 8*s + s/2}, d.after(9*s, 1)); diff != "" {
			t.Error("coming back:", diff)
		}
	})
}

func TestHealthyHostOutlivesItsEndpoint(t *testing.T) {
	for _, ignore := range []bool{false, true} {
		healthTest(t, func(s *Spec) {
			s.Type, s.Endpoints, s.IgnoreHealthOnRemoval = EDS, nil, ignore
		}, func(t *testing.T, m *Manager, d *moody) {
			c := m.Get("c")
			set := func(n int) {
				if err := m.SetEndpoints("c", endpoints(n)); err != nil {
					t.Fatal(err)
				}
				pass(100 * time.Millisecond)
			}
			set(2)
			h := host(t, c, 2)
			set(1)
			want := "2"
			if ignore {
				want = "1"
			}
			if got := stat(c, "membership_total"); got != want {
				t.Errorf("ignore %v: membership_total %s after the removal, want %s", ignore, got, want)
			}
			if ignore {
				return
			}
			if got := h.HealthFlags(); got != "/pending_dynamic_removal" {
				t.Errorf("flags %s, want /pending_dynamic_removal", got)
			}
			d.set(2, true)
			pass(3 * time.Second)
			if got := stat(c, "membership_total"); got != "1" {
				t.Errorf("membership_total %s after the checks failed, want 1", got)
			}
		})
	}
}

func TestNewHostsAreIgnoredBeforeTheirFirstCheck(t *testing.T) {
	for _, ignore := range []bool{false, true} {
		healthTest(t, func(s *Spec) {
			s.Type, s.Endpoints, s.IgnoreNewHosts, s.LB.PanicPercent = EDS, nil, ignore, 50
			s.Health.InitialJitter = time.Second
		}, func(t *testing.T, m *Manager, _ *moody) {
			c := m.Get("c")
			if err := m.SetEndpoints("c", endpoints(1)); err != nil {
				t.Fatal(err)
			}
			pass(time.Second)
			if err := m.SetEndpoints("c", endpoints(4)); err != nil {
				t.Fatal(err)
			}
			// One of four is healthy: a panic, unless the three do not count.
			got := picks(c, 100, Pick{})
			if one := got[addr(1).String()] == 100; one != ignore {
				t.Errorf("ignore %v: %v", ignore, got)
			}
		})
	}
}

func TestHealthEndsAnEjection(t *testing.T) {
	for _, keep := range []bool{false, true} {
		healthTest(t, func(s *Spec) {
			s.Outlier = &Outlier{Consecutive5xx: 1, Enforce5xx: 100, MaxEjectionPercent: 100, KeepOnHealthy: keep}
		}, func(t *testing.T, m *Manager, _ *moody) {
			pass(100 * time.Millisecond)
			h := host(t, m.Get("c"), 1)
			report(h, 500)
			if got := h.HealthFlags(); got != "/failed_outlier_check" {
				t.Errorf("flags %s after a 500", got)
			}
			pass(time.Second)
			if h.Ejected() != keep {
				t.Errorf("keep %v: ejected %v after a good check", keep, h.Ejected())
			}
		})
	}
}

func TestHealthEventLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events")
	var logs health.Logs
	l, err := logs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer logs.Close()
	healthTest(t, func(s *Spec) { s.Health.Log = l; s.Endpoints = endpoints(1) }, func(t *testing.T, _ *Manager, d *moody) {
		pass(500 * time.Millisecond)
		d.set(1, true)
		pass(3 * time.Second)
		d.set(1, false)
		pass(2 * time.Second)
	})
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(b)) {
		_, event, _ := strings.Cut(line, `Z",`)
		event, _, _ = strings.Cut(event, `,"locality"`)
		got = append(got, event)
	}
	want := []string{
		`"add_healthy_event":{"first_check":true}`,
		`"eject_unhealthy_event":{"failure_type":"NETWORK"}`,
		`"add_healthy_event":{"first_check":false}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
