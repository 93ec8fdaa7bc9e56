package tcp

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 60 * time.Second

// server is an upstream that says its name first and then echoes.
func server(t *testing.T, name string) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer nc.Close()
				_, _ = io.WriteString(nc, name)
				_, _ = io.Copy(nc, nc)
			})
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// closedPort is an address at which nobody listens.
func closedPort(t *testing.T) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

func clusterOf(name string, addrs ...netip.AddrPort) *cluster.Spec {
	l := cluster.Locality{}
	for _, a := range addrs {
		l.Endpoints = append(l.Endpoints, cluster.Endpoint{Addr: a})
	}
	s := &cluster.Spec{Name: name, Endpoints: &cluster.Endpoints{Localities: []cluster.Locality{l}}}
	s.Breakers = [2]cluster.Breakers{cluster.DefaultBreakers, cluster.DefaultBreakers}
	return s
}

func manager(t *testing.T, specs ...*cluster.Spec) *cluster.Manager {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	m := cluster.NewManager(ctx, cluster.Options{Dialer: transport.Direct{}})
	done := make(chan struct{})
	go func() { defer close(done); _ = m.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	if err := m.Update(specs, nil); err != nil {
		t.Fatal(err)
	}
	return m
}

// log records what observers and access logs are told.
type log struct {
	mu     sync.Mutex
	opened int
	closed chan filter.ConnInfo
	lines  chan filter.Info
	every  time.Duration
	more   chan filter.Bytes
}

func newLog() *log {
	return &log{closed: make(chan filter.ConnInfo, 100), lines: make(chan filter.Info, 100), more: make(chan filter.Bytes, 100)}
}

func (l *log) ConnOpened(*filter.ConnInfo) {
	l.mu.Lock()
	l.opened++
	l.mu.Unlock()
}
func (l *log) ConnClosed(i *filter.ConnInfo) { l.closed <- *i }
func (l *log) Log(i *filter.Info)            { l.lines <- *i }

func (l *log) Every(*filter.ConnInfo) time.Duration { return l.every }
func (l *log) ConnProgress(_ *filter.ConnInfo, received, sent uint64) {
	l.more <- filter.Bytes{Received: received, Sent: sent}
}

// harness serves connections to a proxy.
type harness struct {
	t    *testing.T
	p    *Proxy
	log  *log
	dest netip.AddrPort
	done chan struct{}
}

func newHarness(t *testing.T, m *cluster.Manager, c Config) *harness {
	t.Helper()
	l := newLog()
	c.Observers, c.AccessLogs = []Observer{l}, []AccessLogger{l}
	p, err := New(m, c)
	if err != nil {
		t.Fatal(err)
	}
	return &harness{t: t, p: p, log: l, done: make(chan struct{}, 100)}
}

// open returns a client's connection through the proxy.
func (h *harness) open() *net.TCPConn {
	h.t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	defer ln.Close()
	nc, err := net.Dial("tcp4", ln.Addr().String())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { nc.Close() })
	down, err := ln.Accept()
	if err != nil {
		h.t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(patience))
	info := &filter.ConnInfo{
		Start: time.Now(), Local: h.dest, Remote: nc.LocalAddr().(*net.TCPAddr).AddrPort(),
	}
	h.p.Serve(transport.Serve(down, transport.Options{}), info, func() { h.done <- struct{}{} })
	return nc.(*net.TCPConn)
}

// ended waits for a connection's end and returns what was told.
func (h *harness) ended() filter.ConnInfo {
	h.t.Helper()
	select {
	case <-h.done:
	case <-time.After(patience):
		h.t.Fatal("the connection did not end")
	}
	i := <-h.log.closed
	line := <-h.log.lines
	if line.Flags != i.Flags || line.Received != i.Received || line.Conn == nil || line.Duration == 0 {
		h.t.Errorf("access log: %+v", line)
	}
	return i
}

func (h *harness) opened() int {
	h.log.mu.Lock()
	defer h.log.mu.Unlock()
	return h.log.opened
}

func read(t *testing.T, nc net.Conn, n int) string {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(nc, b); err != nil {
		t.Fatalf("read: %v", err)
	}
	return string(b)
}

func TestProxyBothWays(t *testing.T) {
	addr := server(t, "hello")
	m := manager(t, clusterOf("c", addr))
	h := newHarness(t, m, Config{Clusters: []Weighted{{Name: "c"}}})
	nc := h.open()
	if g := read(t, nc, 5); g != "hello" { // a server that speaks first
		t.Errorf("greeting %q", g)
	}
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB
	go func() { _, _ = nc.Write(data); _ = nc.CloseWrite() }()
	got, err := io.ReadAll(nc) // after the half-close
	if err != nil || !bytes.Equal(data, got) {
		t.Errorf("echo of %d bytes: %d, %v", len(data), len(got), err)
	}
	i := h.ended()
	if i.Received != uint64(len(data)) || i.Sent != uint64(len(data)+5) || i.Flags != 0 {
		t.Errorf("received %d, sent %d, flags %s", i.Received, i.Sent, i.Flags)
	}
	u := i.Upstream
	if u.Cluster != "c" || u.Host != addr || !u.Local.IsValid() || h.opened() != 1 {
		t.Errorf("upstream %+v, opened %d", u, h.opened())
	}
	c := m.Get("c")
	if n := c.Limits(cluster.Default).Current(cluster.Connections); n != 0 {
		t.Errorf("%d connections are still counted", n)
	}
	if n := c.Stats().UpstreamCxActive.Load(); n != 0 {
		t.Errorf("upstream_cx_active is %d", n)
	}
}

func TestNoUpstream(t *testing.T) {
	dead := closedPort(t)
	full := clusterOf("full", dead)
	full.Breakers[0].Connections = 0
	m := manager(t, clusterOf("dead", dead), clusterOf("empty"), full)
	for _, c := range []struct {
		cluster  string
		attempts uint32
		flags    filter.ResponseFlags
		fails    uint64
	}{
		{"unknown", 1, filter.FlagNoCluster, 0},
		{"empty", 1, filter.FlagNoHealthyUpstream, 0},
		{"full", 1, filter.FlagUpstreamOverflow, 0},
		{"dead", 1, filter.FlagUpstreamConnectionFailure | filter.FlagUpstreamRetryLimitExceeded, 1},
		{"dead", 3, filter.FlagUpstreamConnectionFailure | filter.FlagUpstreamRetryLimitExceeded, 3},
	} {
		var before uint64
		if cl := m.Get(c.cluster); cl != nil {
			before = cl.Stats().UpstreamCxConnectFail.Load()
		}
		h := newHarness(t, m, Config{Clusters: []Weighted{{Name: c.cluster}}, Attempts: c.attempts})
		nc := h.open()
		if _, err := nc.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: the connection is open", c.cluster)
		}
		i := h.ended()
		if i.Flags != c.flags || h.opened() != 0 {
			t.Errorf("%s: flags %s, want %s; opened %d", c.cluster, i.Flags, c.flags, h.opened())
		}
		if c.fails > 0 {
			if n := m.Get(c.cluster).Stats().UpstreamCxConnectFail.Load() - before; n != c.fails {
				t.Errorf("%d attempts, want %d", n, c.fails)
			}
			if !strings.Contains(i.Upstream.Failure, dead.String()) {
				t.Errorf("failure %q does not name the host", i.Upstream.Failure)
			}
		}
	}
}

func TestRetryFindsTheHostThatLives(t *testing.T) {
	m := manager(t, clusterOf("c", closedPort(t), server(t, "x"), closedPort(t)))
	h := newHarness(t, m, Config{Clusters: []Weighted{{Name: "c"}}, Attempts: 10})
	for range 10 {
		nc := h.open()
		if g := read(t, nc, 1); g != "x" {
			t.Errorf("greeting %q", g)
		}
		nc.Close()
		if i := h.ended(); i.Flags&^filter.FlagUpstreamConnectionFailure != 0 { // which stays from the attempt before
			t.Errorf("flags %s", i.Flags)
		}
	}
}

func TestWeights(t *testing.T) {
	m := manager(t, clusterOf("a", server(t, "a")), clusterOf("b", server(t, "b")), clusterOf("none"))
	h := newHarness(t, m, Config{Clusters: []Weighted{{Name: "a", Weight: 30}, {Name: "none"}, {Name: "b", Weight: 10}}})
	got := map[string]int{}
	for range 200 {
		got[h.p.choose(&filter.ConnInfo{}).Name]++
	}
	if got["none"] != 0 || got["a"] < 120 || got["b"] < 25 {
		t.Errorf("choices %v, want about 150 and 50", got)
	}
	nc := h.open()
	read(t, nc, 1)
	nc.Close()
	h.ended()
}

func TestTimeouts(t *testing.T) {
	m := manager(t, clusterOf("c", server(t, "x")))
	short, never := 80*time.Millisecond, time.Duration(0)
	for _, c := range []struct {
		name  string
		cfg   Config
		flags filter.ResponseFlags
	}{
		{"idle", Config{Idle: &short}, 0},
		{"duration", Config{Idle: &never, MaxDuration: short, MaxDurationJitter: 10}, filter.FlagDurationTimeout},
	} {
		c.cfg.Clusters = []Weighted{{Name: "c"}}
		h := newHarness(t, m, c.cfg)
		nc := h.open()
		read(t, nc, 1)
		if _, err := nc.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: the connection is open", c.name)
		}
		if i := h.ended(); i.Flags != c.flags || i.Duration < short {
			t.Errorf("%s: flags %s, duration %v", c.name, i.Flags, i.Duration)
		}
	}
}

// hang is a dialer that never connects.
type hang struct{ started chan struct{} }

func (h hang) Dial(ctx context.Context, _ transport.Target) (net.Conn, error) {
	h.started <- struct{}{}
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

func TestDurationEndsADial(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	d := hang{make(chan struct{}, 9)}
	m := cluster.NewManager(ctx, cluster.Options{Dialer: d})
	done := make(chan struct{})
	go func() { defer close(done); _ = m.Run(ctx) }()
	defer func() { cancel(); <-done }()
	s := clusterOf("c", netip.MustParseAddrPort("10.0.0.1:1"))
	s.ConnectTimeout = time.Hour
	if err := m.Update([]*cluster.Spec{s}, nil); err != nil {
		t.Fatal(err)
	}
	h := newHarness(t, m, Config{Clusters: []Weighted{{Name: "c"}}, Attempts: 5, MaxDuration: 30 * time.Millisecond})
	h.open()
	<-d.started
	if i := h.ended(); i.Flags&filter.FlagDurationTimeout == 0 {
		t.Errorf("flags %s", i.Flags)
	}
	if len(d.started) != 0 {
		t.Error("it was tried again after the time was over")
	}
}

func TestOriginalDestination(t *testing.T) {
	addr := server(t, "x")
	m := manager(t, &cluster.Spec{
		Name: "PassthroughCluster", Type: cluster.OriginalDst, LB: cluster.LB{Policy: cluster.Provided},
		Breakers: [2]cluster.Breakers{cluster.DefaultBreakers, cluster.DefaultBreakers},
		Bind:     netip.MustParseAddr("127.0.0.6"),
	})
	h := newHarness(t, m, Config{Clusters: []Weighted{{Name: "PassthroughCluster"}}})
	h.dest = addr
	nc := h.open()
	read(t, nc, 1)
	nc.Close()
	if i := h.ended(); i.Upstream.Host != addr || i.Upstream.Local.Addr() != netip.MustParseAddr("127.0.0.6") {
		t.Errorf("upstream %+v", i.Upstream)
	}
}

func TestBadConfigs(t *testing.T) {
	for _, c := range []Config{
		{},
		{Clusters: []Weighted{{}}},
		{Clusters: []Weighted{{Name: "a"}, {Name: "b"}}},
		{Clusters: []Weighted{{Name: "a", Weight: 1 << 31}, {Name: "b", Weight: 1 << 31}}},
	} {
		if _, err := New(nil, c); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	m := manager(t, clusterOf("c", server(t, "x"), server(t, "x")))
	h := newHarness(t, m, Config{Clusters: []Weighted{{Name: "c"}}})
	var wg sync.WaitGroup
	const n = 60
	for range n {
		nc := h.open()
		wg.Go(func() {
			defer nc.Close()
			msg := make([]byte, 1000)
			for range 20 {
				_, _ = nc.Write(msg)
			}
			_ = nc.CloseWrite()
			if b, err := io.ReadAll(nc); err != nil || len(b) != 20001 {
				t.Errorf("read %d bytes, %v", len(b), err)
			}
		})
	}
	wg.Wait()
	for range n {
		h.ended()
	}
}

// TestBytesOfAConnectionThatLasts are told while it does, and the rest at its end.
func TestBytesOfAConnectionThatLasts(t *testing.T) {
	h := newHarness(t, manager(t, clusterOf("c", server(t, ""))), Config{Clusters: []Weighted{{Name: "c"}}})
	h.log.every = time.Millisecond
	nc := h.open()
	told := filter.Bytes{}
	for _, n := range []uint64{5, 10} {
		if _, err := nc.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		read(t, nc, 5)
		for told.Received < n || told.Sent < n {
			select {
			case b := <-h.log.more:
				told.Received += b.Received
				told.Sent += b.Sent
			case <-time.After(patience):
				t.Fatalf("only %+v was told", told)
			}
		}
	}
	_ = nc.CloseWrite()
	i := h.ended()
	if i.Received != 10 || i.Sent != 10 || i.Reported != told {
		t.Errorf("received %d, sent %d, of these %+v was told before, %+v by the count here", i.Received, i.Sent, i.Reported, told)
	}
}
