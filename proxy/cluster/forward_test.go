package cluster

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// forwardTest runs f in a bubble with a DynamicForward cluster.
func forwardTest(t *testing.T, spec DNSCacheSpec, f func(t *testing.T, c *Cluster, d *fakeDNS)) {
	t.Helper()
	dnsTest(t, func(t *testing.T, m *Manager, d *fakeDNS) {
		spec.Name = "cache"
		update(t, m, []*Spec{{Name: "c", Type: DynamicForward, LB: LB{Policy: Provided}, Cache: &spec}})
		f(t, m.Get("c"), d)
	})
}

// resolve resolves an authority and waits.
func resolve(c *Cluster, authority string) Resolution {
	got := Resolving
	r := c.Resolve(authority, func(ok bool) {
		if got = Unresolved; ok {
			got = Resolved
		}
	})
	synctest.Wait()
	if r == Resolving {
		return got
	}
	return r
}

func forwardsTo(c *Cluster, authority string) string {
	h, _ := c.Pick(&Pick{Authority: authority})
	if h == nil {
		return "none"
	}
	return h.String()
}

func TestForward(t *testing.T) {
	forwardTest(t, DNSCacheSpec{MaxHosts: 3}, func(t *testing.T, c *Cluster, d *fakeDNS) {
		d.set("a", 0, "10.0.0.1", "10.0.0.2")
		if got := forwardsTo(c, "a:81"); got != "none" {
			t.Errorf("before it was resolved: %s", got)
		}
		for _, s := range []struct {
			authority string
			want      Resolution
			host      string
		}{
			{"a:81", Resolved, "10.0.0.1:81"}, {"a", Resolved, "10.0.0.1:80"}, {"A:81", Resolved, "10.0.0.1:81"},
			{"10.1.1.1", Resolved, "10.1.1.1:80"}, {"[::1]:90", Resolved, "[::1]:90"}, {"nosuch", Unresolved, "none"},
			{"a:x", Unresolved, "none"}, {":80", Unresolved, "none"}, {"", Unresolved, "none"}, {"third", Unresolved, "none"},
			{"fourth", CacheFull, "none"},
		} {
			if got := resolve(c, s.authority); got != s.want {
				t.Errorf("%q: resolution %d, want %d", s.authority, got, s.want)
			}
			if got := forwardsTo(c, s.authority); got != s.host {
				t.Errorf("%q goes to %s, want %s", s.authority, got, s.host)
			}
		}
		if d.count("a") != 1 {
			t.Errorf("%d queries, want 1", d.count("a"))
		}
		if n := len(addrs(c)); n != 4 {
			t.Errorf("%d hosts (%v), want 4: two ports of a, two addresses", n, addrs(c))
		}
	})
}

func TestForwardFollowsTheName(t *testing.T) {
	forwardTest(t, DNSCacheSpec{DNS: DNS{Refresh: 10 * time.Second}, HostTTL: time.Minute}, func(t *testing.T, c *Cluster, d *fakeDNS) {
		d.set("a", 0, "10.0.0.1")
		resolve(c, "a")
		forwardsTo(c, "a")
		d.set("a", 0, "10.0.0.9")
		pass(11 * time.Second)
		if got := forwardsTo(c, "a"); got != "10.0.0.9:80" {
			t.Errorf("after a change: %s", got)
		}
		d.fail(true)
		pass(20 * time.Second)
		if got := forwardsTo(c, "a"); got != "10.0.0.9:80" {
			t.Errorf("while the server is silent: %s", got)
		}
		pass(2 * time.Minute)
		if diff := cmp.Diff([]string(nil), addrs(c)); diff != "" {
			t.Errorf("nobody asks for it any more: %s", diff)
		}
		d.fail(false)
		if got := resolve(c, "a"); got != Resolved {
			t.Errorf("asked for again: %d", got)
		}
	})
}

func TestForwardPendingOverflow(t *testing.T) {
	forwardTest(t, DNSCacheSpec{MaxPending: 1}, func(t *testing.T, c *Cluster, d *fakeDNS) {
		d.set("a", 0, "10.0.0.1")
		d.mu.Lock() // the server takes its time
		first := c.Resolve("a", func(bool) {})
		second := c.Resolve("a", func(bool) {})
		d.mu.Unlock()
		if first != Resolving || second != TooManyPending {
			t.Errorf("%d, %d", first, second)
		}
		synctest.Wait()
		if got := c.Resolve("a", nil); got != Resolved {
			t.Errorf("after the answer: %d", got)
		}
	})
}

func TestOneCachePerName(t *testing.T) {
	forwardTest(t, DNSCacheSpec{}, func(t *testing.T, c *Cluster, _ *fakeDNS) {
		if err := c.m.CheckDNSCache(&DNSCacheSpec{Name: "cache", DNS: DNS{Refresh: time.Minute}}); err != nil {
			t.Errorf("the default, spelled out: %v", err)
		}
		if err := c.m.CheckDNSCache(&DNSCacheSpec{Name: "cache", MaxHosts: 7}); err == nil {
			t.Error("other settings under the same name are taken")
		}
	})
}
