package pool

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"testing"

	"github.com/weftmesh/weft/base/serial"
	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
	"github.com/weftmesh/weft/proxy/transport"
)

// fakeConn is a connection whose peer is the test.
type fakeConn struct {
	h      stream.Handler
	out    []byte
	asked  func() // in Buffered
	closed bool

	buffered int
}

func (c *fakeConn) Bind(_ *serial.Executor, h stream.Handler) { c.h = h }
func (c *fakeConn) Write(p []byte)                            { c.out = append(c.out, p...) }
func (c *fakeConn) Flush()                                    {}
func (c *fakeConn) FlushSoon()                                {}
func (c *fakeConn) Send(p, q []byte)                          { c.Write(p); c.Write(q) }
func (c *fakeConn) SetReading(bool)                           {}
func (c *fakeConn) CloseWrite()                               {}
func (c *fakeConn) Close()                                    { c.closed = true }
func (c *fakeConn) Abort()                                    { c.closed = true }
func (c *fakeConn) LocalAddr() netip.AddrPort                 { return netip.AddrPort{} }
func (c *fakeConn) RemoteAddr() netip.AddrPort                { return netip.AddrPort{} }
func (c *fakeConn) TLS() *tls.ConnectionState                 { return nil }

// Buffered is what the test says.
func (c *fakeConn) Buffered() int {
	if c.asked != nil {
		c.asked()
	}
	return c.buffered
}

// never connects.
type never struct{}

func (never) Dial(ctx context.Context, _ transport.Target) (net.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// pooled is a pool of a host that cannot be connected to, and one connection of it.
func pooled(t *testing.T, want Want) (*Pool, *fakeConn, common) {
	t.Helper()
	return pooledWith(t, want, 0)
}

func pooledWith(t *testing.T, want Want, bufferLimit int) (*Pool, *fakeConn, common) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	m := cluster.NewManager(ctx, cluster.Options{Dialer: never{}})
	done := make(chan struct{})
	go func() { defer close(done); _ = m.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	spec := &cluster.Spec{
		Name: "up", Type: cluster.Static, BufferLimit: bufferLimit, Breakers: [2]cluster.Breakers{cluster.DefaultBreakers, cluster.DefaultBreakers},
		Endpoints: &cluster.Endpoints{Localities: []cluster.Locality{{
			Endpoints: []cluster.Endpoint{{Addr: netip.MustParseAddrPort("127.0.0.1:1")}},
		}}},
	}
	if err := m.Update([]*cluster.Spec{spec}, nil); err != nil {
		t.Fatal(err)
	}
	c := m.Get("up")
	h, _ := c.Pick(&cluster.Pick{})
	if h == nil {
		t.Fatal("no host")
	}
	p := newPool(c, h, want)
	t.Cleanup(func() { _ = p.Close() })
	fc := &fakeConn{}
	cc := common{pool: p}
	p.mu.Lock()
	p.queue.of(cc.key).live++
	p.mu.Unlock()
	cc.connected(fc)
	return p, fc, cc
}

// exchanger is the user of an exchange on a lane of its own.
type exchanger struct {
	lane  Lane
	x     Exchange
	ready int

	failed  int
	blocked bool
}

func newExchanger(p *Pool) *exchanger {
	e := &exchanger{}
	e.x = Exchange{Lane: &e.lane, User: e, Cluster: p.cluster, Host: p.host, Limits: p.cluster.Limits(cluster.Default), pool: p}
	return e
}

// start asks the pool as Exchange.Start does.
func (e *exchanger) start(p *Pool) {
	e.lane.Do(func() {
		e.x.state = exWaiting
		p.start(&e.x)
	})
}

func (e *exchanger) OnReady() {
	e.ready++
	e.x.Headers(&filter.Headers{Method: "POST", Path: "/", Authority: "x"}, false)
}
func (e *exchanger) OnFail(Failure)                      { e.failed++ }
func (e *exchanger) OnInterim(h *filter.Headers)         { PutHeaders(h) }
func (e *exchanger) OnHeaders(h *filter.Headers, _ bool) { PutHeaders(h) }
func (e *exchanger) OnUpgraded()                         {}
func (e *exchanger) OnData([]byte, bool)                 {}
func (e *exchanger) OnTrailers(h *filter.Headers)        { PutHeaders(h) }
func (e *exchanger) OnReset(codec.ResetCode)             {}
func (e *exchanger) OnBlocked(on bool)                   { e.blocked = on }

// TestLetGoOfWhatWasGivenBack: a connection that has gone to the next exchange
// at the end of an event is not touched any more by the former.
func TestLetGoOfWhatWasGivenBack(t *testing.T) {
	p, fc, cc := pooled(t, WantHTTP1)
	hc := newH1Conn(cc)
	hc.park()
	p.offer(hc)
	first, second := newExchanger(p), newExchanger(p)
	first.start(p)
	second.start(p) // waits
	first.lane.Do(func() { fc.h.OnData([]byte("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")) })
	fc.asked = func() {
		if second.ready > 0 && second.lane.Ex.TryEnter() {
			t.Error("touched from outside of its lane")
			second.lane.Ex.Leave()
		}
	}
	first.lane.Do(func() { first.x.Data(nil, true) })
	if first.ready != 1 || second.ready != 1 {
		t.Fatalf("ready %d and %d times, want once each", first.ready, second.ready)
	}
}

// TestBufferLimit: a request is paused when more is buffered than the cluster allows.
func TestBufferLimit(t *testing.T) {
	for limit, want := range map[int]bool{0: false, 2000: false, 1000: true} {
		p, fc, cc := pooledWith(t, WantHTTP1, limit)
		hc := newH1Conn(cc)
		hc.park()
		p.offer(hc)
		e := newExchanger(p)
		fc.buffered = 1001
		e.start(p)
		if e.blocked != want {
			t.Errorf("limit %d: paused %v, want %v", limit, e.blocked, want)
		}
	}
}

// TestBusyConnection: a connection at which something is going on just when it is wanted,
// as late news of a drained output on a thread that does not run, is lent when that is
// over; nobody fails because of it.
func TestBusyConnection(t *testing.T) {
	for _, c := range []struct {
		name  string
		fresh bool // just made, for who waits; else idle
		dies  bool // while something is going on
		ready int
		fails int
	}{
		{"idle", false, false, 1, 0},
		{"fresh", true, false, 1, 0},
		{"idle and dying", false, true, 0, 0}, // waits for another
		{"fresh and dying", true, true, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, fc, cc := pooled(t, WantHTTP1)
			hc := newH1Conn(cc)
			hc.park()
			e := newExchanger(p)
			if c.fresh {
				e.start(p)
			} else {
				p.offer(hc)
			}
			if !hc.ex.TryEnter() {
				t.Fatal("not idle")
			}
			if c.fresh {
				p.offer(hc)
			} else {
				e.start(p)
			}
			if c.dies {
				fc.h.OnClose(nil)
			}
			hc.ex.Leave()
			if e.ready != c.ready || e.failed != c.fails || fc.closed {
				t.Errorf("ready %d times, failed %d times, closed %v", e.ready, e.failed, fc.closed)
			}
			if !c.dies && !hc.ex.TryEnter() {
				t.Error("its idle executor has not been left")
			}
		})
	}
}

// TestGivenUpMeanwhile: a connection that comes when nobody waits for it any more is kept.
func TestGivenUpMeanwhile(t *testing.T) {
	p, _, cc := pooled(t, WantHTTP1)
	hc := newH1Conn(cc)
	hc.park()
	e := newExchanger(p)
	e.start(p)
	if !hc.ex.TryEnter() {
		t.Fatal("not idle")
	}
	p.offer(hc)
	e.lane.Do(func() { e.x.Reset(codec.ResetCancel) })
	hc.ex.Leave()
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.ready != 0 || len(p.idle) != 1 {
		t.Errorf("ready %d times, %d connections kept", e.ready, len(p.idle))
	}
}

// TestOneConnectionOfEachKey: the circuit breaker is full with a connection of
// another server name, which cannot carry the request and may stay for an hour.
func TestOneConnectionOfEachKey(t *testing.T) {
	p, _, cc := pooled(t, WantHTTP1)
	limits := p.cluster.Limits(cluster.Default)
	for limits.Acquire(cluster.Connections) {
	}
	hc := newH1Conn(cc)
	hc.park()
	p.offer(hc)
	e := newExchanger(p)
	e.x.Dial.ServerName = "other.example"
	e.start(p)
	p.mu.Lock()
	defer p.mu.Unlock()
	if tl := p.queue.tallies[keyOf(&e.x.Dial)]; tl == nil || tl.waiting != 1 || tl.dialing != 1 {
		t.Errorf("waiting, dialing, live: %v; want one of each", tl)
	}
}
