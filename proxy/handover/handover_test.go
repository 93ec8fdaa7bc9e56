package handover

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weftmesh/weft/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// process stands for one: it has one listener and one counter.
type process struct {
	t       *testing.T
	sockets *Sockets
	ledger  *Ledger
	server  *Server
	number  int
	in      *Inheritance
	ln      net.Listener
	count   atomic.Int64
	open    atomic.Int64 // a gauge
	bound   chan time.Duration
	quit    atomic.Bool
	ctx     context.Context
	end     func() // and wait
	done    chan struct{}
}

// launch makes a process that has its sockets.
func launch(t *testing.T, path string) *process {
	t.Helper()
	p := &process{t: t, sockets: &Sockets{}, ledger: NewLedger(), bound: make(chan time.Duration, 1), done: make(chan struct{})}
	in, err := Begin(t.Context(), path, p.status(), p.sockets)
	if err != nil {
		t.Fatal(err)
	}
	if p.in = in; in != nil {
		p.number = in.Before.Generation + 1
	}
	p.ln, err = p.sockets.Listen("listener", func() (net.Listener, error) { return net.Listen("tcp", "127.0.0.1:0") })
	if err != nil {
		t.Fatal(err)
	}
	p.server = NewServer(Options{
		Path: path, Sockets: p.sockets, Status: p.status, Ledger: p.ledger, Log: slog.New(slog.DiscardHandler),
		State: func() map[string]json.RawMessage {
			return map[string]json.RawMessage{"known": json.RawMessage(`"much"`)}
		},
		Counts: p.counts,
		Retire: func(b time.Duration) { p.ln.Close(); p.bound <- b },
		Move:   func(func(string, []byte, int) error) {},
		Adopt:  func(_ string, _ []byte, f *os.File) { f.Close() },
		Quit:   func() { p.quit.Store(true); go p.end() },
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	p.ctx = ctx
	p.end = sync.OnceFunc(func() { cancel(); <-p.done })
	return p
}

// serve takes over where there is something to take over.
func (p *process) serve(bound time.Duration) {
	p.t.Helper()
	if p.in != nil {
		if err := p.in.Ready(p.server, bound); err != nil {
			p.t.Fatal(err)
		}
	}
	go func() {
		defer close(p.done)
		if err := p.server.Run(p.ctx, p.quit.Load); err != nil {
			p.t.Error(err)
		}
	}()
	p.t.Cleanup(func() { p.end(); p.ln.Close() })
}

func (p *process) status() wire.HandoverStatus {
	return wire.HandoverStatus{Generation: p.number, Version: "test", Connections: p.open.Load()}
}

func (p *process) counts() Counts {
	n, open := p.count.Load(), p.open.Load()
	for s := range p.ledger.Stats {
		if s.Gauge {
			open += s.Value
		} else {
			n += s.Value
		}
	}
	return Counts{Stats: []Stat{
		{"http", "x", "rq_total", n, false}, {"http", "x", "cx_active", open, true}, {"cluster", "x", "membership_total", 3, true},
	}}
}

// total is what this process would show.
func (p *process) total() [2]int64 {
	c := p.counts()
	return [2]int64{c.Stats[0].Value, c.Stats[1].Value}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// TestGenerations hands over twice, with all processes still at work, and counts.
func TestGenerations(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	a := launch(t, path)
	if a.in != nil {
		t.Fatal("the first process found another")
	}
	a.serve(0)
	addr := a.ln.Addr().String()
	a.count.Store(10)
	a.open.Store(2)

	b := launch(t, path)
	if b.ln.Addr().String() != addr {
		t.Fatalf("another socket: %s", b.ln.Addr())
	}
	if string(b.in.State["known"]) != `"much"` {
		t.Errorf("state: %s", b.in.State)
	}
	b.serve(time.Minute)
	if got := <-a.bound; got != time.Minute {
		t.Errorf("bound %v", got)
	}
	if got := b.total(); got != [2]int64{10, 2} {
		t.Errorf("after the handover: %v", got)
	}
	b.count.Add(5)
	b.open.Add(1)

	c := launch(t, path)
	c.serve(0)
	<-b.bound
	if got := c.total(); got != [2]int64{15, 3} {
		t.Errorf("after the second handover: %v", got)
	}
	// The first goes on counting; its numbers come by way of the second.
	a.count.Add(7)
	a.open.Store(1)
	until(t, "counts of the first process arrive in the third", func() bool { return c.total() == [2]int64{22, 2} })
	st, err := wire.AskHandoverStatus(t.Context(), path)
	if err != nil || st.Generation != 2 || len(st.Draining) != 2 || st.Draining[0].Generation != 0 || st.Draining[1].Generation != 1 {
		t.Errorf("status: %+v, %v", st, err)
	}
	// The second ends: the first finds the third, and nothing is counted twice.
	b.open.Store(0)
	b.count.Add(1)
	b.end()
	a.count.Add(100)
	until(t, "the first process finds the third", func() bool { return c.total() == [2]int64{123, 1} })
	a.open.Store(0)
	a.end()
	until(t, "the first process has ended", func() bool { return c.total() == [2]int64{123, 0} && len(c.server.Before()) == 0 })
}

// TestQuit: who is told to end tells those before it.
func TestQuit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	a := launch(t, path)
	a.serve(0)
	b := launch(t, path)
	b.serve(0)
	c := launch(t, path)
	c.serve(0)
	c.quit.Store(true)
	c.end()
	<-b.done
	<-a.done
	if !a.quit.Load() || !b.quit.Load() {
		t.Error("a process before was not told")
	}
}

// TestOneAfterTheOther: while one warms up another waits; when the first gives up
// it gets what it wants.
func TestOneAfterTheOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	a := launch(t, path)
	a.serve(0)
	b := launch(t, path)
	ctx, cancel := context.WithTimeout(t.Context(), 3*retryPause)
	if _, err := Begin(ctx, path, b.status(), &Sockets{}); err == nil {
		t.Error("two processes take over at the same time")
	}
	cancel()
	b.in.Abandon()
	b.ln.Close()
	c := launch(t, path)
	c.serve(0)
	<-a.bound
	if nc, err := net.Dial("tcp", c.ln.Addr().String()); err != nil {
		t.Error(err)
	} else {
		nc.Close()
	}
}

// TestTheOldOneDies while the new one warms up: the new one has the sockets.
func TestTheOldOneDies(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	a := launch(t, path)
	a.serve(0)
	b := launch(t, path)
	a.end()
	a.ln.Close()
	if err := b.in.Ready(b.server, 0); err == nil {
		t.Error("nobody said that the old process has gone")
	}
	b.in = nil
	b.serve(0)
	if nc, err := net.Dial("tcp", b.ln.Addr().String()); err != nil {
		t.Error(err)
	} else {
		nc.Close()
	}
}

// TestVersions: another protocol is refused with a reason.
func TestVersions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	a := launch(t, path)
	a.serve(0)
	c, err := wire.DialHandover(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Send(wire.HandoverMessage{Op: wire.HandoverTake, Protocol: 99, Status: &wire.HandoverStatus{}}); err != nil {
		t.Fatal(err)
	}
	if m, _, err := c.Receive(); err != nil || m.Op != wire.HandoverRefused || m.Retry || m.Error == "" {
		t.Errorf("%+v %v", m, err)
	}
}
