package cluster

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// fakeDNS answers names and counts the questions.
type fakeDNS struct {
	mu      sync.Mutex
	answers map[string]Answer
	failing bool
	asked   map[string]int
}

func (f *fakeDNS) set(name string, ttl time.Duration, addrs ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := Answer{TTL: ttl}
	for _, s := range addrs {
		a.Addrs = append(a.Addrs, netip.MustParseAddr(s))
	}
	f.answers[name] = a
}

func (f *fakeDNS) fail(on bool) {
	f.mu.Lock()
	f.failing = on
	f.mu.Unlock()
}

func (f *fakeDNS) count(name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[name]
}

func (f *fakeDNS) resolve(_ context.Context, name string, _ Family) (Answer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked[name]++
	if f.failing {
		return Answer{}, errors.New("no answer")
	}
	return f.answers[name], nil
}

func names(ns ...string) *Endpoints {
	l := Locality{}
	for _, n := range ns {
		l.Endpoints = append(l.Endpoints, Endpoint{Name: n, Port: 80})
	}
	return &Endpoints{Localities: []Locality{l}}
}

func addrs(c *Cluster) []string {
	var out []string
	for h := range c.Hosts {
		out = append(out, h.String())
	}
	slices.Sort(out)
	return out
}

func dnsTest(t *testing.T, f func(t *testing.T, m *Manager, d *fakeDNS)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &fakeDNS{answers: map[string]Answer{}, asked: map[string]int{}}
		m := NewManager(t.Context(), Options{Dialer: refuse{}, Resolver: d.resolve})
		stop := run(t, m)
		f(t, m, d)
		stop()
	})
}

// pass lets time pass.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestStrictDNS(t *testing.T) {
	dnsTest(t, func(t *testing.T, m *Manager, d *fakeDNS) {
		d.set("a", 0, "10.0.0.1", "10.0.0.2", "10.0.0.1")
		d.set("b", 0, "10.0.0.3")
		update(t, m, []*Spec{{Name: "c", Type: StrictDNS, Endpoints: names("a", "b", "a")}})
		if missing := m.WaitReady(t.Context(), "c"); missing != nil {
			t.Fatalf("missing %v", missing)
		}
		c := m.Get("c")
		want := []string{"10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"}
		if diff := cmp.Diff(want, addrs(c)); diff != "" {
			t.Error(diff)
		}
		one := host(t, c, 1)
		if one.Hostname() != "a" {
			t.Errorf("host name %q, want a", one.Hostname())
		}
		p := attach(one)
		changes := stat(c, "membership_change")
		d.set("a", 0, "10.0.0.2", "10.0.0.1") // rotated
		pass(5 * time.Second)
		if got := stat(c, "membership_change"); got != changes || p.closed.Load() != 0 {
			t.Error("another order of the same addresses is a change")
		}
		d.fail(true)
		pass(time.Minute)
		if diff := cmp.Diff(want, addrs(c)); diff != "" {
			t.Errorf("after failures: %s", diff)
		}
		d.fail(false)
		d.set("a", 0, "10.0.0.2", "10.0.0.9")
		pass(10 * time.Second)
		if diff := cmp.Diff([]string{"10.0.0.2:80", "10.0.0.3:80", "10.0.0.9:80"}, addrs(c)); diff != "" {
			t.Error(diff)
		}
		if p.closed.Load() != 1 {
			t.Error("the host that went was not closed")
		}
		d.set("a", 0)
		d.set("b", 0)
		pass(5 * time.Second)
		if got := addrs(c); len(got) != 0 {
			t.Errorf("after empty answers: %v", got)
		}
	})
}

func TestDNSFailsFirst(t *testing.T) {
	dnsTest(t, func(t *testing.T, m *Manager, d *fakeDNS) {
		d.set("a", 0, "10.0.0.1")
		d.fail(true)
		update(t, m, []*Spec{{Name: "c", Type: StrictDNS, Endpoints: names("a"), DNS: DNS{FailureBase: time.Second, FailureMax: 8 * time.Second}}})
		if missing := m.WaitReady(t.Context(), "c"); missing != nil {
			t.Fatalf("a name that does not resolve holds the start up: %v", missing)
		}
		pass(time.Minute)
		if n := d.count("a"); n < 8 || n > 18 {
			t.Errorf("%d questions in a minute of failures, want 8 to 18 (1, 2, 4, 8, 8 … s)", n)
		}
		d.fail(false)
		pass(8 * time.Second)
		if diff := cmp.Diff([]string{"10.0.0.1:80"}, addrs(m.Get("c"))); diff != "" {
			t.Error(diff)
		}
	})
}

func TestDNSRefresh(t *testing.T) {
	dnsTest(t, func(t *testing.T, m *Manager, d *fakeDNS) {
		d.set("plain", time.Second, "10.0.0.1")
		d.set("ttl", time.Second, "10.0.0.1")
		update(t, m, []*Spec{
			{Name: "plain", Type: StrictDNS, Endpoints: names("plain"), DNS: DNS{Refresh: 10 * time.Second}},
			{Name: "ttl", Type: StrictDNS, Endpoints: names("ttl"), DNS: DNS{Refresh: 10 * time.Second, RespectTTL: true}},
		})
		pass(30500 * time.Millisecond)
		if p, n := d.count("plain"), d.count("ttl"); p != 4 || n != 31 {
			t.Errorf("%d and %d questions in 30 s, want 4 and 31", p, n)
		}
		update(t, m, nil, "plain", "ttl")
		pass(time.Minute)
		if n := d.count("ttl"); n != 31 {
			t.Error("a cluster that was removed still asks")
		}
	})
}

func TestLogicalDNS(t *testing.T) {
	dnsTest(t, func(t *testing.T, m *Manager, d *fakeDNS) {
		d.set("a", 0, "10.0.0.1", "10.0.0.2")
		update(t, m, []*Spec{{Name: "c", Type: LogicalDNS, Endpoints: names("a")}})
		synctest.Wait()
		c := m.Get("c")
		h := host(t, c, 1)
		if diff := cmp.Diff([]netip.AddrPort{addr(2)}, h.Endpoint().More, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
			t.Error(diff)
		}
		p := attach(h)
		d.set("a", 0, "10.0.0.3")
		pass(5 * time.Second)
		if got, _ := c.Pick(&Pick{}); got != h || h.String() != "10.0.0.3:80" || p.closed.Load() != 0 {
			t.Errorf("host %v, pool closed %d times: want the same host with a new address", got, p.closed.Load())
		}
		err := m.Update([]*Spec{{Name: "d", Type: LogicalDNS, Endpoints: names("a", "b")}}, nil)
		if err == nil {
			t.Error("two names were accepted")
		}
	})
}

func TestDNSReplacementKeepsAddresses(t *testing.T) {
	dnsTest(t, func(t *testing.T, m *Manager, d *fakeDNS) {
		d.set("a", 0, "10.0.0.1")
		update(t, m, []*Spec{{Name: "c", Type: StrictDNS, Endpoints: names("a")}})
		synctest.Wait()
		d.fail(true)
		before := m.Get("c")
		update(t, m, []*Spec{{Name: "c", Type: StrictDNS, Endpoints: names("a"), LB: LB{Policy: Random}}})
		if c := m.Get("c"); c == before || len(addrs(c)) != 1 {
			t.Error("the replacement does not know what its predecessor resolved")
		}
	})
}

func TestFamilies(t *testing.T) {
	all := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1"), netip.MustParseAddr("::ffff:10.0.0.1")}
	four, six := all[:1], all[1:2]
	for _, c := range []struct {
		f        Family
		in, want []netip.Addr
	}{
		{FamilyAuto, all, six}, {FamilyAuto, four, four},
		{FamilyV4, all, four}, {FamilyV4, six, nil}, {FamilyV6, all, six},
		{FamilyV4Preferred, all, four}, {FamilyV4Preferred, six, six},
		{FamilyAll, all, []netip.Addr{all[1], all[0]}},
	} {
		if got := filterFamily(c.in, c.f); !slices.Equal(got, c.want) {
			t.Errorf("family %d of %v: %v, want %v", c.f, c.in, got, c.want)
		}
	}
}

func TestOriginalCleanup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t)
		stop := run(t, m)
		update(t, m, []*Spec{{Name: "c", Type: OriginalDst, LB: LB{Policy: Provided}}})
		c := m.Get("c")
		idle, _ := c.Pick(&Pick{Dst: addr(1)})
		busy, _ := c.Pick(&Pick{Dst: addr(2)})
		busy.Begin()
		p := idle.Attach(slot, func() io.Closer { return &pool{} }).(*pool)
		pass(6 * time.Second)
		if again, _ := c.Pick(&Pick{Dst: addr(1)}); again != idle {
			t.Error("a host was forgotten in the interval in which it was used")
		}
		pass(11 * time.Second)
		if p.closed.Load() != 1 {
			t.Errorf("an idle host was closed %d times, want 1", p.closed.Load())
		}
		if diff := cmp.Diff([]string{"10.0.0.2:80"}, addrs(c)); diff != "" {
			t.Error(diff)
		}
		stop()
	})
}

func TestSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t)
		stop := run(t, m)
		update(t, m, []*Spec{{Name: "c", Type: EDS, LB: LB{SlowStart: &SlowStart{Window: 100 * time.Second}}}})
		_ = m.SetEndpoints("c", endpoints(1))
		pass(200 * time.Second)
		_ = m.SetEndpoints("c", endpoints(2))
		c := m.Get("c")
		within(t, "new", picks(c, 1100, Pick{}), map[int]int{1: 1000, 2: 100}, 10)
		pass(50 * time.Second)
		within(t, "half way", picks(c, 1500, Pick{}), map[int]int{1: 1000, 2: 500}, 10)
		pass(60 * time.Second)
		within(t, "warm", picks(c, 1000, Pick{}), map[int]int{1: 500, 2: 500}, 5)
		stop()
	})
}
