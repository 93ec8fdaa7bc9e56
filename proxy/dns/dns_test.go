package dns

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func addrs(s ...string) []netip.Addr {
	var out []netip.Addr
	for _, x := range s {
		out = append(out, netip.MustParseAddr(x))
	}
	return out
}

// far answers everything under example.org and fails for the rest.
type far struct{}

func (far) Exchange(_ context.Context, q *dns.Msg) (*dns.Msg, error) {
	if q.Question[0].Name != "www.example.org." {
		return nil, errors.New("unreachable")
	}
	m := new(dns.Msg)
	m.SetReply(q)
	m.Answer = addresses(q.Question[0], addrs("192.0.2.1"))
	return m, nil
}

func resolver() *Resolver {
	n := NewNames()
	n.Set([]Host{
		{Name: "reviews.default.svc.cluster.local", Addresses: addrs("10.96.0.1", "fd00::1"), Ports: []Port{{"http", 9080, "tcp"}}},
		{Name: "redis.default.svc.cluster.local", Addresses: addrs("10.244.0.2", "10.244.0.3"),
			Endpoints: map[string][]netip.Addr{"redis-0": addrs("10.244.0.2")}},
		{Name: "alias.default.svc.cluster.local", Canonical: "www.example.org"},
		{Name: "loop.default.svc.cluster.local", Canonical: "loop.default.svc.cluster.local"},
		{Name: "*.wild.example.com", Addresses: addrs("240.240.0.1")},
		{Name: "only6.default.svc.cluster.local", Addresses: addrs("fd00::6")},
	})
	return &Resolver{
		Names: n, Upstream: far{}, Domain: "cluster.local",
		Search: []string{"default.svc.cluster.local", "svc.cluster.local", "cluster.local"},
		Fixed:  map[string][]netip.Addr{"host.weft.internal": addrs("192.0.0.8")},
	}
}

// ask returns the response code and the answers' data.
func ask(r *Resolver, name string, typ uint16) (string, []string) {
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), typ)
	m := r.Answer(context.Background(), q)
	var out []string
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			out = append(out, rr.A.String())
		case *dns.AAAA:
			out = append(out, rr.AAAA.String())
		case *dns.CNAME:
			out = append(out, "CNAME "+rr.Target)
		case *dns.SRV:
			out = append(out, rr.Target+":"+string(rune('0'+rr.Port%10)))
		}
	}
	return dns.RcodeToString[m.Rcode], out
}

func TestAnswer(t *testing.T) {
	for _, c := range []struct {
		name string
		typ  uint16
		code string
		want []string
	}{
		{"reviews.default.svc.cluster.local", dns.TypeA, "NOERROR", []string{"10.96.0.1"}},
		{"Reviews.Default.SVC.cluster.local.", dns.TypeAAAA, "NOERROR", []string{"fd00::1"}},
		{"reviews", dns.TypeA, "NOERROR", []string{"10.96.0.1"}},
		{"reviews.default", dns.TypeA, "NOERROR", []string{"10.96.0.1"}},
		{"only6.default.svc.cluster.local", dns.TypeA, "NOERROR", nil},
		{"redis.default.svc.cluster.local", dns.TypeA, "NOERROR", []string{"10.244.0.2", "10.244.0.3"}},
		{"redis-0.redis.default.svc.cluster.local", dns.TypeA, "NOERROR", []string{"10.244.0.2"}},
		{"nobody.default.svc.cluster.local", dns.TypeA, "NXDOMAIN", nil},
		{"nobody", dns.TypeA, "NXDOMAIN", nil},
		{"www.example.org.default.svc.cluster.local", dns.TypeA, "NXDOMAIN", nil},
		{"www.example.org", dns.TypeA, "NOERROR", []string{"192.0.2.1"}},
		{"a.b.wild.example.com", dns.TypeA, "NOERROR", []string{"240.240.0.1"}},
		{"wild.example.com", dns.TypeA, "SERVFAIL", nil},
		{"alias.default.svc.cluster.local", dns.TypeA, "NOERROR", []string{"CNAME www.example.org.", "192.0.2.1"}},
		{"_http._tcp.reviews.default.svc.cluster.local", dns.TypeSRV, "NOERROR", []string{"reviews.default.svc.cluster.local.:0"}},
		{"_grpc._tcp.reviews.default.svc.cluster.local", dns.TypeSRV, "NOERROR", nil},
		{"host.weft.internal", dns.TypeA, "NOERROR", []string{"192.0.0.8"}},
		{"unreachable.example.net", dns.TypeA, "SERVFAIL", nil},
	} {
		code, got := ask(resolver(), c.name, c.typ)
		if diff := cmp.Diff(c.want, got); code != c.code || diff != "" {
			t.Errorf("%s %s: %s (want %s) %s", c.name, dns.TypeToString[c.typ], code, c.code, diff)
		}
	}
}

func TestAliasLoopEnds(t *testing.T) {
	if _, got := ask(resolver(), "loop.default.svc.cluster.local", dns.TypeA); len(got) > maxAliases+1 {
		t.Errorf("%d answers", len(got))
	}
}

func TestQuestionsWaitForTheFirstNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := resolver()
		r.Names = NewNames()
		if code, _ := ask(r, "reviews.default.svc.cluster.local", dns.TypeA); code != "SERVFAIL" {
			t.Errorf("without names: %s, want SERVFAIL", code)
		}
		go r.Names.Set([]Host{{Name: "reviews.default.svc.cluster.local", Addresses: addrs("10.96.0.1")}})
		if code, got := ask(r, "reviews", dns.TypeA); code != "NOERROR" || len(got) != 1 {
			t.Errorf("after the names came: %s %v", code, got)
		}
	})
}

func TestLookup(t *testing.T) {
	r := resolver()
	got, life, err := r.Lookup(t.Context(), "reviews")
	if err != nil || !slices.Equal(got, addrs("10.96.0.1", "fd00::1")) || life.Seconds() != ttl {
		t.Errorf("got %v for %v, %v", got, life, err)
	}
	if _, _, err := r.Lookup(t.Context(), "nobody.default.svc.cluster.local"); !errors.Is(err, ErrNoSuchHost) {
		t.Errorf("unknown name: %v", err)
	}
	if _, _, err := r.Lookup(t.Context(), "unreachable.example.net"); err == nil || errors.Is(err, ErrNoSuchHost) {
		t.Errorf("a name server that fails: %v", err)
	}
}

func TestServerOverUDPAndTCP(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- (&Server{Resolver: resolver(), Addresses: []string{addr}, Log: slog.New(slog.DiscardHandler)}).Run(ctx)
	}()
	f := &Forwarder{Dial: (&net.Dialer{}).DialContext, Servers: []string{addr}}
	q := new(dns.Msg)
	q.SetQuestion("reviews.", dns.TypeA)
	for _, network := range []string{"udp", "tcp"} {
		var m *dns.Msg
		for {
			if m, err = f.ask(ctx, network, addr, q); err == nil || ctx.Err() != nil {
				break // the socket is there as soon as Run has made it
			}
		}
		if len(m.Answer) != 1 {
			t.Errorf("%s: %v", network, m)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add("reviews", uint16(1))
	r := resolver()
	f.Fuzz(func(t *testing.T, name string, typ uint16) {
		q := new(dns.Msg)
		q.SetQuestion(name, typ)
		if m := r.Answer(t.Context(), q); m == nil || m.Id != q.Id {
			t.Errorf("%q: %v", name, m)
		}
	})
}
