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

// Buffered is 0.
func (c *fakeConn) Buffered() int {
	if c.asked != nil {
		c.asked()
	}
	return 0
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
	ctx, cancel := context.WithCancel(t.Context())
	m := cluster.NewManager(ctx, cluster.Options{Dialer: never{}})
	done := make(chan struct{})
	go func() { defer close(done); _ = m.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	spec := &cluster.Spec{
		Name: "up", Type: cluster.Static, Breakers: [2]cluster.Breakers{cluster.DefaultBreakers, cluster.DefaultBreakers},
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
func (e *exchanger) OnFail(Failure)                      {}
func (e *exchanger) OnInterim(h *filter.Headers)         { PutHeaders(h) }
func (e *exchanger) OnHeaders(h *filter.Headers, _ bool) { PutHeaders(h) }
func (e *exchanger) OnUpgraded()                         {}
func (e *exchanger) OnData([]byte, bool)                 {}
func (e *exchanger) OnTrailers(h *filter.Headers)        { PutHeaders(h) }
func (e *exchanger) OnReset(codec.ResetCode)             {}
func (e *exchanger) OnBlocked(bool)                      {}

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

// TestBusyIdleConnection: an idle connection that something is going on at when
// it is wanted is not lent, and not lost either.
func TestBusyIdleConnection(t *testing.T) {
	p, fc, cc := pooled(t, WantHTTP1)
	hc := newH1Conn(cc)
	hc.park()
	p.offer(hc)
	e := newExchanger(p)
	if !hc.ex.TryEnter() { // as late news of a drained output would
		t.Fatal("not idle")
	}
	e.start(p)
	hc.ex.Leave()
	p.mu.Lock()
	kept := len(p.idle) > 0
	p.mu.Unlock()
	if !kept && !fc.closed && e.ready == 0 {
		t.Error("the connection is neither lent, nor kept, nor closed")
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
