package dns

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// plane answers what is asked of it, and remembers what was.
type plane struct {
	names *Names
	hosts map[string]*Host
	asked []string
	// dropped are names that nobody asks for any more; mute: it does not answer.
	dropped []string
	mute    bool
}

func (p *plane) Subscribe(names ...string) {
	p.asked = append(p.asked, names...)
	if p.mute {
		return
	}
	for _, n := range names {
		p.names.Told(n, p.hosts[n])
	}
}

func (p *plane) Unsubscribe(names ...string) { p.dropped = append(p.dropped, names...) }

func demanding(up Upstream) (*Resolver, *plane) {
	r := resolver()
	r.Names, r.Upstream = NewNames(), up
	p := &plane{names: r.Names, hosts: map[string]*Host{
		"reviews.default.svc.cluster.local":       {Name: "reviews.default.svc.cluster.local", Addresses: addrs("10.96.0.1")},
		"redis-0.redis.default.svc.cluster.local": {Name: "redis-0.redis.default.svc.cluster.local", Addresses: addrs("10.244.0.2")},
		"a.wild.example.com":                      {Name: "*.wild.example.com", Addresses: addrs("240.240.0.1")},
		"alias.default.svc.cluster.local":         {Name: "alias.default.svc.cluster.local", Canonical: "reviews.default.svc.cluster.local"},
	}}
	all := map[string]Host{Marker: {Name: Marker}}
	r.Names.Take(p, all, all, nil)
	return r, p
}

func TestNamesOnDemand(t *testing.T) {
	r, p := demanding(far{})
	for _, tc := range []struct {
		name string
		code string
		want []string
	}{
		{"reviews.default.svc.cluster.local", "NOERROR", []string{"10.96.0.1"}},
		{"reviews", "NOERROR", []string{"10.96.0.1"}},
		{"redis-0.redis", "NOERROR", []string{"10.244.0.2"}},
		{"alias", "NOERROR", []string{"CNAME reviews.default.svc.cluster.local.", "10.96.0.1"}},
		{"a.wild.example.com", "NOERROR", []string{"240.240.0.1"}},
		{"absent.default.svc.cluster.local", "NXDOMAIN", nil},
		{"www.example.org", "NOERROR", []string{"192.0.2.1"}},
	} {
		code, got := ask(r, tc.name, dns.TypeA)
		if code != tc.code || !slices.Equal(got, tc.want) {
			t.Errorf("%s: %s %v, want %s %v", tc.name, code, got, tc.code, tc.want)
		}
	}
	// What was asked for once is known, and follows.
	before := len(p.asked)
	p.names.Told("absent.default.svc.cluster.local", &Host{Name: "absent.default.svc.cluster.local", Addresses: addrs("10.96.0.9")})
	p.names.Told("reviews.default.svc.cluster.local", nil)
	if code, got := ask(r, "absent.default.svc.cluster.local", dns.TypeA); code != "NOERROR" || len(got) != 1 {
		t.Errorf("a name that has appeared: %s %v", code, got)
	}
	if code, _ := ask(r, "reviews.default.svc.cluster.local", dns.TypeA); code != "NXDOMAIN" {
		t.Errorf("a name that has gone: %s", code)
	}
	if len(p.asked) != before {
		t.Errorf("asked again for %v", p.asked[before:])
	}
	// A table ends it.
	p.names.Set([]Host{{Name: "x.default.svc.cluster.local", Addresses: addrs("10.96.0.2")}})
	if _, got := ask(r, "x", dns.TypeA); len(got) != 1 || len(p.asked) != before {
		t.Errorf("of a table came %v, and %v were asked for", got, p.asked[before:])
	}
}

// TestNamesUnanswered: without the control plane nobody is told that a name does not
// exist; names of the world are the host's servers' to answer.
func TestNamesUnanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p := demanding(far{})
		p.mute = true
		if code, _ := ask(r, "late.default.svc.cluster.local", dns.TypeA); code != "SERVFAIL" {
			t.Errorf("a name of the mesh: %s", code)
		}
		if code, got := ask(r, "www.example.org", dns.TypeA); code != "NOERROR" || len(got) != 1 {
			t.Errorf("a name of the world: %s %v", code, got)
		}
	})
}

// TestNamesAreBounded: a program that asks for ever more names does not fill the proxy.
func TestNamesAreBounded(t *testing.T) {
	r, p := demanding(nil)
	for i := range 3 * maxAsked {
		ask(r, fmt.Sprintf("n%d.default.svc.cluster.local", i), dns.TypeA)
		ask(r, "reviews.default.svc.cluster.local", dns.TypeA)
	}
	if held := len(p.asked) - len(p.dropped); held > maxAsked || held < maxAsked/2 {
		t.Errorf("%d names are held", held)
	}
	if slices.Contains(p.dropped, "reviews.default.svc.cluster.local") {
		t.Error("a name that is in use was dropped")
	}
}

// counting counts questions.
type counting struct {
	n   int
	ttl uint32
}

func (c *counting) Exchange(_ context.Context, q *dns.Msg) (*dns.Msg, error) {
	c.n++
	m := new(dns.Msg)
	if m.SetReply(q); q.Question[0].Name == "none.example.org." {
		m.Rcode = dns.RcodeNameError
		m.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: "example.org.", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 60}, Minttl: c.ttl}}
		return m, nil
	}
	m.Answer = addresses(q.Question[0], addrs("192.0.2.1"))
	m.Answer[0].Header().Ttl = c.ttl
	return m, nil
}

// TestUpstreamCache: the host's servers are asked again when their TTL is over.
func TestUpstreamCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, up := resolver(), &counting{ttl: 10}
		r.Upstream = up
		ttl := func(name string) (out uint32) {
			q := new(dns.Msg)
			q.SetQuestion(name, dns.TypeA)
			m := r.Answer(t.Context(), q)
			if m.Id != q.Id {
				t.Errorf("the answer has id %d, the question %d", m.Id, q.Id)
			}
			for _, rr := range m.Answer {
				out = rr.Header().Ttl
			}
			return out
		}
		got := []uint32{ttl("a.example.org.")}
		time.Sleep(4 * time.Second)
		got = append(got, ttl("a.example.org."))
		time.Sleep(6 * time.Second)
		got = append(got, ttl("a.example.org."))
		if d := cmp.Diff([]uint32{10, 6, 10}, got); d != "" || up.n != 2 {
			t.Errorf("TTLs -want +got:\n%s%d questions", d, up.n)
		}
		ttl("none.example.org.")
		ttl("none.example.org.")
		if up.n != 3 {
			t.Errorf("a name that is known to be absent was asked for again: %d", up.n)
		}
		up.ttl = 0
		ttl("c.example.org.")
		ttl("c.example.org.")
		if up.n != 5 {
			t.Errorf("an answer that does not last was used again: %d", up.n)
		}
	})
}
