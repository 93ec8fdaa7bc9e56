package listener

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/weftmesh/weft/base/datagram"
	"github.com/weftmesh/weft/proxy/filter"
)

// answerer is a filter.Datagrams that answers with its name and keeps what it is told.
type answerer struct {
	name string
	mu   sync.Mutex
	// Guarded by mu.
	before          filter.Datagrams
	drained, closed bool
}

func (a *answerer) Take(s *datagram.Socket, b *datagram.Batch) {
	for i := range b.Len() {
		if !b.Truncated(i) {
			_, _ = s.Conn().WriteToUDPAddrPort([]byte(a.name), b.Peer(i))
		}
	}
}

func (a *answerer) set(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

func (a *answerer) isClosed() (yes bool) {
	a.set(func() { yes = a.closed })
	return yes
}

func (a *answerer) Succeed(before filter.Datagrams)                    { a.set(func() { a.before = before }) }
func (a *answerer) Drain()                                             { a.set(func() { a.drained = true }) }
func (a *answerer) Close()                                             { a.set(func() { a.closed = true }) }
func (a *answerer) Move(func([]byte, *net.UDPConn))                    {}
func (a *answerer) Adopt(*datagram.Socket, []byte, *net.UDPConn) error { return nil }
func (a *answerer) Active() (n int64) {
	if !a.isClosed() {
		n = 1
	}
	return n
}

func udpTestListener(addr netip.AddrPort, version string, f filter.Datagrams) *Listener {
	return &Listener{Name: "u", Addresses: []Address{{Addr: addr, UDP: true}}, UDP: &UDP{Version: version, Filter: f, Size: 10}}
}

func TestDatagramListener(t *testing.T) {
	m := NewManager(Options{DrainTime: 50 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = m.Run(ctx) }()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0") // a free port
	if err != nil {
		t.Fatal(err)
	}
	addr := pc.LocalAddr().(*net.UDPAddr).AddrPort()
	pc.Close()
	update := func(l ...*Listener) {
		t.Helper()
		if err := m.Update(ctx, l); err != nil {
			t.Fatal(err)
		}
	}
	c, err := net.Dial("udp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask := func(text string) string {
		t.Helper()
		_, _ = c.Write([]byte(text))
		_ = c.SetReadDeadline(time.Now().Add(60 * time.Second))
		b := make([]byte, 100)
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(60 * time.Second); !ok(); <-tick.C {
			if time.Now().After(end) {
				t.Fatalf("never: %s", what)
			}
		}
	}
	one, same, two := &answerer{name: "one"}, &answerer{name: "same"}, &answerer{name: "two"}
	update(udpTestListener(addr, "1", one))
	_, _ = c.Write([]byte("larger than ten"))
	if got := ask("?"); got != "one" {
		t.Errorf("got %q", got)
	}
	if n := m.All()[0].Stats.DatagramsDropped.Load(); n != 1 {
		t.Errorf("%d datagrams were dropped, want the large one", n)
	}
	if update(udpTestListener(addr, "1", same)); ask("?") != "one" || one.isClosed() {
		t.Error("the same version again replaced the filter")
	}
	if update(udpTestListener(addr, "2", two)); ask("?") != "two" || two.before != one {
		t.Errorf("a new version did not take over; before it: %v", two.before)
	}
	until("the old version is closed when the drain time is over", one.isClosed)
	update()
	if !two.isClosed() {
		t.Error("a listener that was removed is not closed")
	}
	three := &answerer{name: "three"}
	if update(udpTestListener(addr, "3", three)); ask("?") != "three" {
		t.Error("the address is not to be had again")
	}
	m.Drain(false)
	if ask("?") != "three" { // sessions go on while draining
		t.Error("nobody reads the socket while draining")
	}
	until("it is closed when the drain time is over", three.isClosed)
	cancel()
	<-done
}
