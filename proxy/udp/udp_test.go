package udp

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/weftmesh/weft/base/datagram"
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/transport"
)

// kit is a listener's socket with its loop, and a cluster "c" of echoing hosts.
type kit struct {
	t        testing.TB
	clusters *cluster.Manager
	stats    filter.Stats
	sock     *datagram.Socket
	hosts    []netip.AddrPort

	mu    sync.Mutex
	proxy *Proxy // guarded by mu
	stop  func() // the loop
}

func newKit(t testing.TB, hosts int, c Config) *kit {
	t.Helper()
	k := &kit{t: t}
	ctx, cancel := context.WithCancel(context.Background())
	k.clusters = cluster.NewManager(ctx, cluster.Options{Dialer: transport.Direct{}})
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		_ = k.clusters.Run(ctx)
	}()
	for range hosts {
		k.hosts = append(k.hosts, echo(t))
	}
	k.endpoints(k.hosts...)
	if err := k.clusters.Update([]*cluster.Spec{{Name: "c", Type: cluster.EDS, Breakers: [2]cluster.Breakers{{Connections: 2}}}}, nil); err != nil {
		t.Fatal(err)
	}
	k.sock = listen(t)
	k.proxy = k.version(c)
	k.loop()
	t.Cleanup(func() {
		k.stop()
		k.proxy.Close()
		k.sock.Close()
		cancel()
		<-ran
	})
	return k
}

func (k *kit) version(c Config) *Proxy {
	k.t.Helper()
	if c.Route == nil {
		c.Route = func(netip.AddrPort, netip.AddrPort) string { return "c" }
	}
	p, err := New(k.clusters, NewStats(&k.stats, "p"), c)
	if err != nil {
		k.t.Fatal(err)
	}
	return p
}

func (k *kit) endpoints(hosts ...netip.AddrPort) {
	k.t.Helper()
	l := cluster.Locality{}
	for _, h := range hosts {
		l.Endpoints = append(l.Endpoints, cluster.Endpoint{Addr: h})
	}
	if err := k.clusters.SetEndpoints("c", &cluster.Endpoints{Localities: []cluster.Locality{l}}); err != nil {
		k.t.Fatal(err)
	}
}

// loop reads the socket as a listener does.
func (k *kit) loop() {
	pool := datagram.NewPool(DefaultSize, BatchSize)
	r := datagram.NewReader(k.sock, pool)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			b, err := r.Read()
			if err != nil {
				return
			}
			k.mu.Lock()
			p := k.proxy
			k.mu.Unlock()
			p.Take(k.sock, b)
			pool.Put(b)
		}
	}()
	k.stop = func() { k.sock.Interrupt(); <-done }
}

func listen(t testing.TB) *datagram.Socket {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	s, err := datagram.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// echo is a host that answers with its own address.
func echo(t testing.TB) netip.AddrPort {
	s := listen(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 2000)
		for {
			_, from, err := s.Conn().ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			_, _ = s.Conn().WriteToUDPAddrPort([]byte(from.String()+" "+s.Local().String()), from)
		}
	}()
	t.Cleanup(func() { s.Close(); <-done })
	return s.Local()
}

func (k *kit) client() *net.UDPConn {
	k.t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(k.sock.Local()))
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { c.Close() })
	return c
}

// ask is who the host says it is asked by, and who it is.
func (k *kit) ask(c *net.UDPConn) string {
	k.t.Helper()
	_, _ = c.Write([]byte("?"))
	_ = c.SetReadDeadline(time.Now().Add(60 * time.Second))
	b := make([]byte, 2000)
	n, err := c.Read(b)
	if err != nil {
		k.t.Fatal(err)
	}
	return string(b[:n])
}

func (k *kit) until(what string, ok func() bool) {
	k.t.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			k.t.Fatalf("never: %s", what)
		}
	}
}

func TestSessionGoesWithItsHost(t *testing.T) {
	k := newKit(t, 2, Config{})
	c := k.client()
	first := k.ask(c)
	if again := k.ask(c); again != first {
		t.Errorf("the second datagram came as %s, the first as %s", again, first)
	}
	other := k.hosts[0]
	if first[len(first)-len(other.String()):] == other.String() {
		other = k.hosts[1]
	}
	k.endpoints(other)
	k.until("the session ends", func() bool { return k.proxy.Active() == 0 })
	if now := k.ask(c); now[len(now)-len(other.String()):] != other.String() {
		t.Errorf("after its host has gone it is asked at %s, want %s", now, other)
	}
	if n := k.proxy.stats.Total.Load(); n != 2 {
		t.Errorf("%d sessions, want 2", n)
	}
}

// A version of the configuration that follows goes on with the sessions, and ends
// them when the one before is closed.
func TestSucceed(t *testing.T) {
	k := newKit(t, 1, Config{})
	c := k.client()
	first := k.ask(c)
	before, next := k.proxy, k.version(Config{Idle: time.Hour})
	next.Succeed(before)
	k.mu.Lock()
	k.proxy = next
	k.mu.Unlock()
	before.Drain()
	if now := k.ask(c); now != first || before.Active() != 1 || next.Active() != 0 {
		t.Errorf("after the change it came as %s, before as %s; %d and %d sessions", now, first, before.Active(), next.Active())
	}
	k.ask(k.client())
	if next.Active() != 1 {
		t.Error("a new client has no session of the new version")
	}
	before.Close()
	k.until("the old session has ended", func() bool { return before.Active() == 0 })
	if n := next.Active(); n != 1 {
		t.Errorf("%d sessions of the new version, want 1", n)
	}
	if now := k.ask(c); now == first || next.Active() != 2 {
		t.Errorf("after the end it came as %s, as before", now)
	}
}

func TestDrain(t *testing.T) {
	k := newKit(t, 1, Config{})
	c := k.client()
	first := k.ask(c)
	k.proxy.Drain()
	other := k.client()
	if _, err := other.Write([]byte("?")); err != nil {
		t.Fatal(err)
	}
	if now := k.ask(c); now != first { // taken after the other's
		t.Errorf("while draining it came as %s, before as %s", now, first)
	}
	if n := k.proxy.Active(); n != 1 {
		t.Errorf("%d sessions, want the one", n)
	}
	k.proxy.Close()
	if l := k.clusters.Get("c").Limits(cluster.Default).Current(cluster.Connections); l != 0 || k.proxy.Active() != 0 {
		t.Errorf("%d connections are counted after Close", l)
	}
}

// What another process is told goes on there; what it cannot do ends.
func TestMove(t *testing.T) {
	k := newKit(t, 1, Config{})
	c := k.client()
	first := k.ask(c)
	k.stop()
	type moved struct {
		state []byte
		pc    net.PacketConn
	}
	var all []moved
	k.proxy.Move(func(state []byte, up *net.UDPConn) {
		f, err := up.File() // as SCM_RIGHTS does
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		pc, err := net.FilePacketConn(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, moved{state, pc})
	})
	if len(all) != 1 || k.proxy.Active() != 0 {
		t.Fatalf("%d sessions moved, %d stay", len(all), k.proxy.Active())
	}
	_ = k.sock.Conn().SetReadDeadline(time.Time{})
	next := k.version(Config{})
	if err := next.Adopt(k.sock, all[0].state, all[0].pc.(*net.UDPConn)); err != nil {
		t.Fatal(err)
	}
	k.proxy = next
	k.loop()
	if now := k.ask(c); now != first {
		t.Errorf("after the move it came as %s, before as %s", now, first)
	}
	if n := next.stats.Total.Load(); n != 1 {
		t.Errorf("%d sessions in all, want 1", n)
	}
	gone := listen(t)
	for _, state := range []string{`{"peer":"127.0.0.1:1","local":"127.0.0.1:2","cluster":"none","host":"x"}`,
		`{"peer":"127.0.0.1:1","local":"127.0.0.1:2","cluster":"c","host":"127.0.0.1:1"}`, `?`} {
		if err := next.Adopt(k.sock, []byte(state), gone.Conn()); err == nil {
			t.Errorf("%s was adopted", state)
		}
	}
}
