package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"

	"github.com/weftmesh/weft/proxy/transport"
)

// refuse is a dialer for tests that dial nothing.
type refuse struct{}

func (refuse) Dial(context.Context, transport.Target) (net.Conn, error) {
	return nil, errors.New("refused")
}

// addr is 10.0.0.n:80.
func addr(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}), 80)
}

// endpoints makes one locality with hosts 1 to n.
func endpoints(n int) *Endpoints {
	l := Locality{}
	for i := range n {
		l.Endpoints = append(l.Endpoints, Endpoint{Addr: addr(i + 1)})
	}
	return &Endpoints{Localities: []Locality{l}}
}

func newManager(t testing.TB) *Manager {
	return NewManager(t.Context(), Options{Dialer: refuse{}})
}

// static makes a manager with one static cluster "c".
func static(t testing.TB, s Spec) *Cluster {
	t.Helper()
	s.Name = "c"
	m := newManager(t)
	if err := m.Update([]*Spec{&s}, nil); err != nil {
		t.Fatal(err)
	}
	return m.Get("c")
}

// run starts m.Run for the length of the test, or until the returned function is called.
func run(t testing.TB, m *Manager) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := m.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

// picks counts where n requests go, by address; "none" when there is no host.
func picks(c *Cluster, n int, p Pick) map[string]int {
	rnd := rand.New(rand.NewPCG(1, 2))
	got := map[string]int{}
	for range n {
		p.Random = rnd.Uint64()
		if h, _ := c.Pick(&p); h != nil {
			got[h.String()]++
		} else {
			got["none"]++
		}
	}
	return got
}

// within checks counts by the last number of the address.
func within(t *testing.T, what string, got map[string]int, want map[int]int, tolerance int) {
	t.Helper()
	total, sum := 0, 0
	for n, w := range want {
		g := got[addr(n).String()]
		if g < w-tolerance || g > w+tolerance {
			t.Errorf("%s: host %d got %d, want %d ± %d (all: %v)", what, n, g, w, tolerance, got)
		}
		total += g
	}
	for _, g := range got {
		sum += g
	}
	if total != sum {
		t.Errorf("%s: others were picked as well: %v", what, got)
	}
}

func host(t testing.TB, c *Cluster, n int) *Host {
	t.Helper()
	for h := range c.Hosts {
		if h.Addr() == addr(n) {
			return h
		}
	}
	t.Fatalf("no host %d", n)
	return nil
}

func stat(c *Cluster, name string) string {
	found := "missing"
	c.Each(func(n string, _ StatKind, v uint64) bool {
		if n == name {
			found = fmt.Sprint(v)
		}
		return true
	})
	return found
}
