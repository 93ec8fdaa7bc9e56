//go:build !race

package http

import (
	"bufio"
	"bytes"
	"net"
	"runtime"
	"strconv"
	"testing"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
	"github.com/weftmesh/weft/proxy/http/h2"
)

// fixed is a server that answers every request with the same bytes, and allocates nothing.
func fixed(t testing.TB, response string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go serveFixed(nc, []byte(response))
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String()
}

func serveFixed(nc net.Conn, response []byte) {
	defer nc.Close()
	b := make([]byte, 4096)
	n := 0
	for {
		m, err := nc.Read(b[n:])
		if err != nil {
			return
		}
		n += m
		if bytes.HasSuffix(b[:n], []byte("\r\n\r\n")) {
			n = 0
			if _, err := nc.Write(response); err != nil {
				return
			}
		}
	}
}

// asker sends the same request again and again over one connection and
// allocates nothing.
type asker struct {
	nc   net.Conn
	r    *bufio.Reader
	req  []byte
	body int
}

func newAsker(t testing.TB, addr, req string, body int) *asker {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return &asker{nc, bufio.NewReaderSize(nc, 16<<10), []byte(req), body}
}

func (a *asker) ask() error {
	if _, err := a.nc.Write(a.req); err != nil {
		return err
	}
	for {
		line, err := a.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) == 2 {
			break
		}
	}
	_, err := a.r.Discard(a.body)
	return err
}

const browser = "GET /products/42?lang=en HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n" +
	"Accept: text/html,application/xhtml+xml\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n" +
	"Cookie: session=0123456789abcdef0123456789abcdef\r\n\r\n"

func answer(n int) string {
	return "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: " + strconv.Itoa(n) + "\r\n\r\n" + string(bytes.Repeat([]byte("x"), n))
}

// quiet is a logger that does nothing.
func quiet(c *ManagerConfig) { c.AccessLogs = nil }

// TestNoAllocations: an HTTP/1 request costs no memory in the steady state.
func TestNoAllocations(t *testing.T) {
	up := fixed(t, answer(1024))
	for _, tt := range []struct {
		name   string
		change func(*ManagerConfig)
	}{
		{"sidecar", quiet},
		{"edge", func(c *ManagerConfig) {
			quiet(c)
			c.UseRemoteAddress, c.NormalizePath, c.MergeSlashes = true, true, true
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := start(t, routes(to("up")), tt.change, upstreamSpec("up", up))
			a := newAsker(t, k.addr, browser, 1024)
			run := func() {
				if err := a.ask(); err != nil {
					t.Fatal(err)
				}
			}
			for range 200 {
				run()
			}
			runtime.GC()
			if n := testing.AllocsPerRun(2000, run); n > 0 {
				t.Errorf("%v allocations per request, want 0", n)
			}
		})
	}
}

// twoPeer is a side of an HTTP/2 connection that allocates nothing: a server that
// gives the same answer to every request, or a client that counts its answers.
type twoPeer struct {
	c         *h2.Conn
	h, answer filter.Headers
	body      []byte
	ended     int
}

func (p *twoPeer) NewHeaders(uint32) *filter.Headers {
	p.h.Reset()
	return &p.h
}

func (p *twoPeer) OnHeaders(id uint32, _ *filter.Headers, end bool) {
	if end {
		p.end(id)
	}
}

func (p *twoPeer) OnData(id uint32, b []byte, end bool) {
	p.c.Consumed(id, len(b))
	if end {
		p.end(id)
	}
}

func (p *twoPeer) end(id uint32) {
	p.ended++
	if p.answer.Status != 0 {
		p.c.Headers(id, &p.answer, false)
		p.c.Data(id, p.body, true)
	}
}

func (p *twoPeer) OnInterim(uint32, *filter.Headers)  {}
func (p *twoPeer) OnTrailers(uint32, *filter.Headers) {}
func (p *twoPeer) OnReset(uint32, codec.ResetCode)    {}
func (p *twoPeer) OnUpgraded(uint32)                  {}
func (p *twoPeer) OnGoAway(uint32, bool)              {}
func (p *twoPeer) OnWindow(uint32)                    {}

// turn sends what there is to say, then reads once.
func (p *twoPeer) turn(nc net.Conn, b []byte) error {
	if _, err := nc.Write(p.c.Output()); err != nil {
		return err
	}
	p.c.ClearOutput()
	n, err := nc.Read(b)
	if err != nil {
		return err
	}
	return p.c.Feed(b[:n])
}

// fixed2 is a server that speaks HTTP/2 and allocates nothing.
func fixed2(t testing.TB, body int) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		nc, err := ln.Accept() // one connection serves all
		if err != nil {
			return
		}
		defer nc.Close()
		p := &twoPeer{body: make([]byte, body), answer: filter.Headers{Status: 200}}
		p.answer.Add("content-type", "text/html")
		p.c = h2.NewServer(p, h2.Options{})
		for b := make([]byte, 16<<10); p.turn(nc, b) == nil; {
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr().String()
}

// TestNoAllocationsHTTP2: neither do requests over HTTP/2 on both sides, several at a time.
func TestNoAllocationsHTTP2(t *testing.T) {
	up := upstreamSpec("up", fixed2(t, 1024))
	up.Protocol = cluster.HTTP2
	k := start(t, routes(to("up")), quiet, up)
	nc, err := net.Dial("tcp", k.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	p := &twoPeer{}
	p.c = h2.NewClient(p, h2.Options{})
	req := filter.Headers{Method: "GET", Scheme: "http", Authority: "shop.example", Path: "/products/42?lang=en"}
	req.Add("user-agent", "Mozilla/5.0 (X11; Linux x86_64)")
	req.Add("cookie", "session=0123456789abcdef0123456789abcdef")
	b := make([]byte, 16<<10)
	run := func() {
		const streams = 5
		for range streams {
			id, ok := p.c.NewStream()
			if !ok {
				t.Fatal("no stream")
			}
			p.c.Headers(id, &req, true)
		}
		for want := p.ended + streams; p.ended < want; {
			if err := p.turn(nc, b); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 200 {
		run()
	}
	runtime.GC()
	if n := testing.AllocsPerRun(500, run); n > 0 {
		t.Errorf("%v allocations per 5 requests, want 0", n)
	}
}

// BenchmarkHTTP1 is one request at a time over one connection.
func BenchmarkHTTP1(b *testing.B) {
	up := fixed(b, answer(1024))
	k := start(b, routes(to("up")), quiet, upstreamSpec("up", up))
	a := newAsker(b, k.addr, browser, 1024)
	b.ReportAllocs()
	for b.Loop() {
		if err := a.ask(); err != nil {
			b.Fatal(err)
		}
	}
}
