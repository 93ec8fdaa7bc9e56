package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weftmesh/weft/base/serial"
	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/test/freeport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute

// greeter is a terminal that says its name and then echoes, until the client
// ends, or it is drained and the client sends another line.
type greeter struct {
	name  string
	infos chan filter.ConnInfo

	mu       sync.Mutex
	draining bool
	drained  chan struct{}
	once     sync.Once
}

func newGreeter(name string) *greeter {
	return &greeter{name: name, infos: make(chan filter.ConnInfo, 100), drained: make(chan struct{})}
}

func (g *greeter) Serve(c stream.Conn, info *filter.ConnInfo, done func()) {
	select {
	case g.infos <- *info:
	default: // nobody looks
	}
	c.Write([]byte(g.name + "\n"))
	c.Flush()
	c.Bind(new(serial.Executor), &greeting{g, c, done})
}

func (g *greeter) Drain() {
	g.mu.Lock()
	g.draining = true
	g.mu.Unlock()
	g.once.Do(func() { close(g.drained) })
}

type greeting struct {
	g    *greeter
	c    stream.Conn
	done func()
}

func (h *greeting) OnData(b []byte) {
	h.g.mu.Lock()
	last := h.g.draining // as it is before the client can know of its echo
	h.g.mu.Unlock()
	h.c.Write(b)
	h.c.Flush()
	if last {
		h.c.Close()
	}
}
func (h *greeting) OnEnd()        { h.c.Close() }
func (h *greeting) OnDrain()      {}
func (h *greeting) OnClose(error) { h.done() }

// start runs a manager until the test ends.
func start(t *testing.T, o Options) *Manager {
	t.Helper()
	m := NewManager(o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run does not end")
		}
		if n := m.Active(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
	return m
}

func setAll(t *testing.T, m *Manager, all ...*Listener) {
	t.Helper()
	if err := m.Update(t.Context(), all); err != nil {
		t.Fatal(err)
	}
}

// freePort is a port at the loopback address that is free at all addresses.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), freeport.Port(t))
}

func tcpListener(name string, addr netip.AddrPort, chains ...*FilterChain) *Listener {
	return &Listener{Name: name, Addresses: []Address{{Addr: addr}}, Chains: chains}
}

// client is a connection to a greeter.
type client struct {
	t *testing.T
	net.Conn
}

func dial(t *testing.T, addr net.Addr) *client {
	t.Helper()
	nc, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	return &client{t, nc}
}

// line reads a line; "" when the connection was closed before.
func (c *client) line() string {
	var out []byte
	b := make([]byte, 1)
	for {
		if _, err := c.Read(b); err != nil {
			if errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
				c.t.Error("no line in time")
			}
			return ""
		}
		if b[0] == '\n' {
			return string(out)
		}
		out = append(out, b[0])
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func (c *client) say(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		c.t.Errorf("write: %v", err)
	}
}

func bound(t *testing.T, m *Manager, name string) net.Addr {
	t.Helper()
	for _, s := range m.All() {
		if s.Listener.Name == name && len(s.Bound) > 0 {
			return s.Bound[0]
		}
	}
	t.Fatalf("listener %q is not bound", name)
	return nil
}

func tcp(addr netip.AddrPort) net.Addr { return net.TCPAddrFromAddrPort(addr) }

func TestServeAndAccount(t *testing.T) {
	m := start(t, Options{})
	g := newGreeter("hello")
	addr := freePort(t)
	path := filepath.Join(t.TempDir(), "sock")
	l := tcpListener("a", addr, &FilterChain{Name: "only", Terminal: g})
	l.Addresses = append(l.Addresses, Address{Path: path, Mode: 0o600})
	l.Outbound = true
	setAll(t, m, l)
	for _, a := range []net.Addr{tcp(addr), &net.UnixAddr{Name: path, Net: "unix"}} {
		c := dial(t, a)
		if got := c.line(); got != "hello" {
			t.Fatalf("%s: greeting %q", a, got)
		}
		c.say("x\n")
		if got := c.line(); got != "x" {
			t.Errorf("%s: echo %q", a, got)
		}
		info := <-g.infos
		if info.Listener != "a" || info.FilterChain != "only" || !info.Outbound || info.ID == 0 || info.Start.IsZero() {
			t.Errorf("%s: info %+v", a, info)
		}
		if a.Network() == "tcp" && (info.Local != addr || info.Remote != c.LocalAddr().(*net.TCPAddr).AddrPort()) {
			t.Errorf("local %s, remote %s", info.Local, info.Remote)
		}
	}
	if n := m.Active(); n != 2 {
		t.Errorf("%d active connections, want 2", n)
	}
	got := map[string]int64{}
	m.All()[0].Stats.Each(func(name string, v int64) bool { got[name] = v; return true })
	if got["downstream_cx_total"] != 2 || got["downstream_cx_active"] != 2 {
		t.Errorf("statistics %v", got)
	}
}

// TestUpdateKeepsSocketsAndUnchangedChains dials without a pause while chains
// change; no dial fails, and only the connection on the changed chain ends.
func TestUpdateKeepsSocketsAndUnchangedChains(t *testing.T) {
	m := start(t, Options{})
	addr := freePort(t)
	kept, old := newGreeter("kept"), newGreeter("old")
	local := func(v string, term filter.Terminal) *FilterChain {
		return &FilterChain{Name: "local", Version: v, Terminal: term}
	}
	never := func(term filter.Terminal) *FilterChain {
		return &FilterChain{Name: "tls", Version: "1", Match: Match{TransportProtocol: ProtoTLS}, Terminal: term}
	}
	withTLS := func(l *Listener) *Listener {
		l.Inspectors = []Inspector{{Kind: TLSInspector}}
		return l
	}
	setAll(t, m, withTLS(tcpListener("a", addr, local("1", old), never(kept))))
	ends := func(first string) *client {
		c := dial(t, tcp(addr))
		c.say(first)
		return c
	}
	onKept, onOld := ends(string(clientHello(t, &tls.Config{ServerName: "x"}))), ends("hi\n")
	if g := onKept.line(); g != "kept" {
		t.Fatalf("greeting %q", g)
	}
	if g := onOld.line() + onOld.line(); g != "oldhi" {
		t.Fatalf("greeting %q", g)
	}

	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			nc, err := net.Dial("tcp", addr.String())
			if err != nil {
				t.Errorf("dial during the update: %v", err)
				return
			}
			_, _ = io.WriteString(nc, "x\n")
			_ = nc.SetDeadline(time.Now().Add(patience))
			if _, err := io.ReadFull(nc, make([]byte, 3)); err != nil {
				t.Errorf("read during the update: %v", err)
			}
			nc.Close()
		}
	})
	var last *greeter
	for i := range 50 {
		last = newGreeter(fmt.Sprint("v", i+2))
		setAll(t, m, withTLS(tcpListener("a", addr, local(fmt.Sprint(i+2), last), never(newGreeter("not used")))))
	}
	close(stop)
	wg.Wait()
	<-old.drained
	select {
	case <-kept.drained:
		t.Error("the chain that did not change was drained")
	default:
	}
	onOld.say("bye\n") // a drained greeter ends after the next line
	if g := onOld.line() + onOld.line(); g != "bye" {
		t.Errorf("drained connection: %q", g)
	}
	onKept.say("\nstill\n")
	for range 100 {
		if onKept.line() == "still" {
			break
		}
	}
	c := ends("x\n")
	if g := c.line(); g != last.name {
		t.Errorf("greeting %q, want %q", g, last.name)
	}
}

func TestDrainTimeCuts(t *testing.T) {
	m := start(t, Options{DrainTime: 50 * time.Millisecond})
	addr := freePort(t)
	g := newGreeter("a")
	setAll(t, m, tcpListener("a", addr, &FilterChain{Terminal: g}))
	c := dial(t, tcp(addr))
	c.line()
	setAll(t, m) // the listener goes; the connection does nothing
	if got := c.line(); got != "" {
		t.Errorf("got %q, want a cut", got)
	}
	if _, err := net.Dial("tcp", addr.String()); err == nil {
		t.Error("the socket of a removed listener is still open")
	}
}

func TestDrain(t *testing.T) {
	m := start(t, Options{})
	in, out := freePort(t), freePort(t)
	gi, ge := newGreeter("in"), newGreeter("out")
	lo := tcpListener("out", out, &FilterChain{Version: "1", Terminal: ge})
	lo.Outbound = true
	li := tcpListener("in", in, &FilterChain{Version: "1", Terminal: gi})
	setAll(t, m, li, lo)
	c := dial(t, tcp(in))
	c.line()
	m.Drain(true)
	<-gi.drained
	if _, err := net.Dial("tcp", in.String()); err == nil {
		t.Error("inbound still accepts")
	}
	setAll(t, m, li, lo) // must not open the socket again
	if _, err := net.Dial("tcp", in.String()); err == nil {
		t.Error("inbound accepts again after an update")
	}
	if g := dial(t, tcp(out)).line(); g != "out" {
		t.Errorf("outbound greeting %q", g)
	}
	m.Drain(false)
	<-ge.drained
}

func TestBadListenerKeepsItsLastGoodVersion(t *testing.T) {
	m := start(t, Options{})
	addr, other := freePort(t), freePort(t)
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	good := func(name string, a netip.AddrPort) *Listener {
		return tcpListener(name, a, &FilterChain{Name: "c", Version: "1", Terminal: newGreeter(name)})
	}
	setAll(t, m, good("a", addr))
	for _, c := range []struct {
		name string
		all  []*Listener
		want string
	}{
		{"two chains alike", []*Listener{tcpListener("a", addr, &FilterChain{Name: "x", Terminal: newGreeter("")}, &FilterChain{Name: "y", Terminal: newGreeter("")})}, "same connections"},
		{"no terminal", []*Listener{tcpListener("a", addr, &FilterChain{Name: "x"})}, "no terminal"},
		{"no address", []*Listener{{Name: "a"}}, "no address"},
		{"address in use", []*Listener{tcpListener("a", taken.Addr().(*net.TCPAddr).AddrPort(), &FilterChain{Terminal: newGreeter("")})}, "in use"},
		{"two of a name", []*Listener{good("a", addr), good("a", other)}, "two of that name"},
		{"two of an address", []*Listener{good("a", addr), good("b", addr)}, `of listener "a"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := m.Update(t.Context(), append(c.all, good("fine", other)))
			var le *Error
			if !errors.As(err, &le) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if g := dial(t, tcp(addr)).line(); g != "a" {
				t.Errorf("greeting %q", g)
			}
			if g := dial(t, tcp(other)).line(); g != "fine" {
				t.Errorf("the other listener's greeting is %q", g)
			}
		})
	}
}

func TestSocketMovesToAnotherListener(t *testing.T) {
	m := start(t, Options{})
	addr := freePort(t)
	setAll(t, m, tcpListener("a", addr, &FilterChain{Terminal: newGreeter("a")}))
	setAll(t, m, tcpListener("b", addr, &FilterChain{Terminal: newGreeter("b")}))
	if g := dial(t, tcp(addr)).line(); g != "b" {
		t.Errorf("greeting %q", g)
	}
	l := tcpListener("b", addr, &FilterChain{Terminal: newGreeter("free")})
	l.Freebind = true // another socket on the same address
	setAll(t, m, l)
	if g := dial(t, tcp(addr)).line(); g != "free" {
		t.Errorf("greeting %q", g)
	}
}

func TestUpdateBeforeRun(t *testing.T) {
	m := NewManager(Options{})
	addr := freePort(t)
	if err := m.Update(t.Context(), []*Listener{tcpListener("a", addr, &FilterChain{Terminal: newGreeter("a")})}); err != nil {
		t.Fatal(err)
	}
	c := dial(t, tcp(addr)) // waits in the queue
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = m.Run(ctx) }()
	if g := c.line(); g != "a" {
		t.Errorf("greeting %q", g)
	}
	cancel()
	<-done
	if err := m.Update(t.Context(), nil); err == nil {
		t.Error("Update after the end: no error")
	}
}

func TestLeftoverUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	ln.Close() // as after kill -9
	m := start(t, Options{})
	setAll(t, m, &Listener{Name: "a", Addresses: []Address{{Path: path}}, Chains: []*FilterChain{{Terminal: newGreeter("a")}}})
	if g := dial(t, bound(t, m, "a")).line(); g != "a" {
		t.Errorf("greeting %q", g)
	}
}

func TestDualStack(t *testing.T) {
	m := start(t, Options{})
	p := freePort(t).Port()
	four, six := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), p), netip.AddrPortFrom(netip.IPv6Loopback(), p)
	l := tcpListener("two addresses", four, &FilterChain{Terminal: newGreeter("two")})
	l.Addresses = append(l.Addresses, Address{Addr: six})
	q := freePort(t).Port()
	all := tcpListener("all", netip.AddrPortFrom(netip.IPv6Unspecified(), q), &FilterChain{Terminal: newGreeter("all")})
	all.IPv4Compat = true
	setAll(t, m, l, all)
	for addr, want := range map[netip.AddrPort]string{
		four: "two", six: "two",
		netip.AddrPortFrom(four.Addr(), q): "all", netip.AddrPortFrom(six.Addr(), q): "all",
	} {
		if g := dial(t, tcp(addr)).line(); g != want {
			t.Errorf("%s: greeting %q, want %q", addr, g, want)
		}
	}
	only := tcpListener("all", netip.AddrPortFrom(netip.IPv6Unspecified(), q), &FilterChain{Terminal: newGreeter("six")})
	setAll(t, m, only) // the same address, but without IPv4: another socket
	if g := dial(t, tcp(netip.AddrPortFrom(six.Addr(), q))).line(); g != "six" {
		t.Errorf("greeting %q", g)
	}
	if _, err := net.Dial("tcp", netip.AddrPortFrom(four.Addr(), q).String()); err == nil {
		t.Error("IPv4 is taken on [::] without IPv4Compat")
	}
}
