//go:build !race

package h2

import (
	"testing"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
)

// plain is an owner without allocations: the same answer to each request.
type plain struct {
	c          *Conn
	h, t       filter.Headers
	resp, tail filter.Headers
	heads      bool
	client     bool
	done       int
}

func (p *plain) NewHeaders(uint32) *filter.Headers {
	if p.heads {
		p.t.Reset()
		return &p.t
	}
	p.h.Reset()
	return &p.h
}

func (p *plain) OnHeaders(id uint32, _ *filter.Headers, end bool) {
	p.heads = true
	if end {
		p.end(id)
	}
}

func (p *plain) OnData(id uint32, b []byte, end bool) {
	p.c.Consumed(id, len(b))
	if end {
		p.end(id)
	}
}

func (p *plain) end(id uint32) {
	p.done++
	p.heads = false
	if !p.client {
		p.c.Headers(id, &p.resp, false)
		p.c.Data(id, body[:], false)
		p.c.Trailers(id, &p.tail)
	}
}

func (p *plain) OnInterim(uint32, *filter.Headers)       {}
func (p *plain) OnTrailers(id uint32, _ *filter.Headers) { p.end(id) }
func (p *plain) OnReset(uint32, codec.ResetCode)         {}
func (p *plain) OnUpgraded(uint32)                       {}
func (p *plain) OnGoAway(uint32, bool)                   {}
func (p *plain) OnWindow(uint32)                         {}

var body [512]byte

// joined has a client and a server that make unary calls.
type joined struct {
	client, server plain
	req            filter.Headers
}

func newJoined() *joined {
	p := &joined{}
	p.client.client = true
	p.client.c = NewClient(&p.client, Options{})
	p.server.c = NewServer(&p.server, Options{})
	p.server.resp.Status = 200
	p.server.resp.Add("content-type", "application/grpc")
	p.server.tail.Add("grpc-status", "0")
	p.req = filter.Headers{Method: "POST", Scheme: "http", Authority: "ratings:9080", Path: "/shop.Ratings/Get"}
	p.req.Add("content-type", "application/grpc")
	p.req.Add("te", "trailers")
	p.req.Add("user-agent", "grpc-go/1.85.0")
	return p
}

// exchange makes one call, to the end.
func (p *joined) exchange(t testing.TB) {
	id, ok := p.client.c.NewStream()
	if !ok {
		t.Fatal("no stream")
	}
	p.client.c.Headers(id, &p.req, false)
	p.client.c.Data(id, body[:], true)
	p.pass(t, p.client.c, p.server.c)
	p.pass(t, p.server.c, p.client.c)
}

func (p *joined) pass(t testing.TB, from, to *Conn) {
	if err := to.Feed(from.Output()); err != nil {
		t.Fatal(err)
	}
	from.ClearOutput()
}

// TestUnaryCallAllocatesNothing: and no pair may have bad luck for its whole life,
// as two of its fields at one place of a table.
func TestUnaryCallAllocatesNothing(t *testing.T) {
	for range 200 {
		p := newJoined()
		for range 10 {
			p.exchange(t)
		}
		if n := testing.AllocsPerRun(50, func() { p.exchange(t) }); n > 0 {
			t.Errorf("%v allocations a call on both sides", n)
		}
		if p.server.done < 50 || p.client.done != p.server.done {
			t.Errorf("%d requests, %d responses", p.server.done, p.client.done)
		}
	}
}

// BenchmarkUnaryCall is both sides of a call.
func BenchmarkUnaryCall(b *testing.B) {
	p := newJoined()
	b.ReportAllocs()
	for b.Loop() {
		p.exchange(b)
	}
}
