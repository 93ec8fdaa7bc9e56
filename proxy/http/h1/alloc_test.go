//go:build !race

package h1

import (
	"testing"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
)

// echo is an owner without allocations: it answers each request with the same head and body.
type echo struct {
	c       *Conn
	h, resp filter.Headers
	client  bool
	done    int
}

func (e *echo) NewHeaders(uint32) *filter.Headers {
	e.h.Reset()
	return &e.h
}

func (e *echo) OnHeaders(id uint32, _ *filter.Headers, end bool) {
	if end {
		e.end(id)
	}
}

func (e *echo) OnData(id uint32, _ []byte, end bool) {
	if end {
		e.end(id)
	}
}

func (e *echo) end(id uint32) {
	e.done++
	if !e.client {
		e.c.Headers(id, &e.resp, false)
		e.c.Data(id, body[:], true)
	}
}

func (e *echo) OnInterim(uint32, *filter.Headers)       {}
func (e *echo) OnTrailers(id uint32, _ *filter.Headers) { e.end(id) }
func (e *echo) OnReset(uint32, codec.ResetCode)         {}
func (e *echo) OnUpgraded(uint32)                       {}
func (e *echo) OnGoAway(uint32, bool)                   {}
func (e *echo) OnWindow(uint32)                         {}

var body [1024]byte

const typicalRequest = "GET /productpage?u=normal HTTP/1.1\r\nHost: bookstore.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n" +
	"Accept: text/html,application/xhtml+xml\r\nAccept-Encoding: gzip, deflate, br\r\nConnection: keep-alive\r\nCookie: session=0123456789abcdef\r\n" +
	"X-Request-Id: 3f2b8c5e-6c1e-4a7c-9d8e-0f1a2b3c4d5e\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n"

const typicalPost = "POST /ratings HTTP/1.1\r\nHost: ratings:9080\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"

func newEcho() *echo {
	e := &echo{}
	e.c = NewServer(e, Options{})
	e.resp.Status = 200
	e.resp.Add("content-type", "application/json")
	e.resp.Add("content-length", "1024")
	e.resp.Add("server", "istio-envoy")
	return e
}

func TestServerAllocatesNothing(t *testing.T) {
	for name, in := range map[string]string{"get": typicalRequest, "chunked": typicalPost, "connection fields": "GET / HTTP/1.1\r\nHost: h\r\nConnection: x-a, x-b\r\nX-A: 1\r\nX-B: 2\r\n\r\n"} {
		for _, cut := range []int{len(in), 40} {
			e := newEcho()
			b := []byte(in)
			n := testing.AllocsPerRun(100, func() {
				if err := e.c.Feed(b[:cut]); err != nil {
					t.Fatal(err)
				}
				if err := e.c.Feed(b[cut:]); err != nil {
					t.Fatal(err)
				}
				e.c.ClearOutput()
			})
			if n != 0 || e.done != 101 {
				t.Errorf("%s cut at %d: %v allocations a message, %d messages", name, cut, n, e.done)
			}
		}
	}
}

// TestSpellingsAllocateNothing: also not where the case of names is kept or made.
func TestSpellingsAllocateNothing(t *testing.T) {
	for _, spelling := range []filter.Spelling{filter.Proper, filter.AsWritten, filter.AsWrittenOrProper} {
		e := newEcho()
		e.c = NewServer(e, Options{Spelling: spelling})
		b := []byte(typicalRequest)
		n := testing.AllocsPerRun(100, func() {
			if err := e.c.Feed(b); err != nil {
				t.Fatal(err)
			}
			e.c.ClearOutput()
		})
		if n != 0 || e.done != 101 {
			t.Errorf("spelling %d: %v allocations a message, %d messages", spelling, n, e.done)
		}
	}
}

func TestClientAllocatesNothing(t *testing.T) {
	e := &echo{client: true}
	e.c = NewClient(e, Options{})
	req := request("GET", "/a", "x-request-id", "1", "accept", "*/*")
	reply := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\nhello")
	n := testing.AllocsPerRun(100, func() {
		id, _ := e.c.NewStream()
		e.c.Headers(id, req, true)
		e.c.ClearOutput()
		if err := e.c.Feed(reply); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 || e.done != 101 {
		t.Errorf("%v allocations a message, %d messages", n, e.done)
	}
}

func BenchmarkServer(b *testing.B) {
	e := newEcho()
	in := []byte(typicalRequest)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if err := e.c.Feed(in); err != nil {
			b.Fatal(err)
		}
		e.c.ClearOutput()
	}
}
