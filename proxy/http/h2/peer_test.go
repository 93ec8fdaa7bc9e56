package h2

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
)

// link carries a Conn over a net.Conn, for tests: one reader goroutine, one lock.
type link struct {
	mu sync.Mutex
	nc net.Conn
	c  *Conn
}

func (l *link) flush() {
	if out := l.c.Output(); len(out) > 0 {
		_, _ = l.nc.Write(out) // a broken connection shows in the read
		l.c.ClearOutput()
	}
}

// do runs f inside and sends what it made.
func (l *link) do(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
	l.flush()
}

func (l *link) run() {
	buf := make([]byte, 8<<10)
	l.do(func() {})
	for {
		n, err := l.nc.Read(buf)
		var fed error
		l.do(func() {
			switch {
			case n > 0:
				fed = l.c.Feed(buf[:n])
			case err == io.EOF:
				_ = l.c.End()
			default:
				l.c.Broken()
			}
		})
		if err != nil || fed != nil {
			_ = l.nc.Close()
			return
		}
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}

// serveEcho accepts connections and echoes bodies, with head and trailers.
func serveEcho(t *testing.T, opt Options, slow bool) string {
	ln := listen(t)
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { _ = ln.Close() })
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				e := &echo{streams: map[uint32]*echoed{}, slow: slow}
				l := &link{nc: nc}
				l.c = NewServer(e, opt)
				e.c = l.c
				l.run()
			})
		}
	})
	return ln.Addr().String()
}

// echo is a server's owner. It sends back what it gets as windows allow.
type echo struct {
	c       *Conn
	streams map[uint32]*echoed
	slow    bool // consume only what could be sent
}

type echoed struct {
	h, t  filter.Headers
	head  bool
	queue []byte
	end   bool
}

func (e *echo) NewHeaders(id uint32) *filter.Headers {
	s := e.streams[id]
	if s == nil {
		s = &echoed{}
		e.streams[id] = s
		return &s.h
	}
	return &s.t
}

func (e *echo) OnHeaders(id uint32, h *filter.Headers, end bool) {
	r := &filter.Headers{Status: 200}
	if h.Protocol != "" {
		r.Status = 101
	}
	r.Add("content-type", "text/plain")
	r.Add("x-request", fmt.Sprintf("%s %s %s %s", h.Method, h.Authority, h.Path, h.Protocol))
	for i := range h.Len() {
		if f := h.At(i); strings.HasPrefix(f.Name, "x-") || f.Name == "cookie" {
			r.Add("x-got-"+f.Name, f.Value)
		}
	}
	e.streams[id].head = true
	e.c.Headers(id, r, false)
	if end {
		e.finish(id)
	}
}

func (e *echo) finish(id uint32) {
	s := e.streams[id]
	s.end = true
	if len(s.queue) > 0 {
		return
	}
	t := &filter.Headers{}
	t.Add("x-trailer", "t")
	for i := range s.t.Len() {
		t.Add("x-got-"+s.t.At(i).Name, s.t.At(i).Value)
	}
	e.c.Trailers(id, t)
	delete(e.streams, id)
}

func (e *echo) OnData(id uint32, b []byte, end bool) {
	s := e.streams[id]
	s.queue = append(s.queue, b...)
	if !e.slow {
		e.c.Consumed(id, len(b))
	}
	e.pump(id)
	if end {
		e.finish(id)
	}
}

func (e *echo) pump(id uint32) {
	s := e.streams[id]
	n := e.c.Data(id, s.queue, false)
	if e.slow {
		e.c.Consumed(id, n)
	}
	s.queue = s.queue[:copy(s.queue, s.queue[n:])]
}

func (e *echo) OnWindow(id uint32) {
	if s := e.streams[id]; s != nil {
		e.pump(id)
		if s.end && len(s.queue) == 0 {
			e.finish(id)
		}
	}
}

func (e *echo) OnTrailers(id uint32, _ *filter.Headers) { e.finish(id) }
func (e *echo) OnReset(id uint32, _ codec.ResetCode)    { delete(e.streams, id) }
func (e *echo) OnInterim(uint32, *filter.Headers)       {}
func (e *echo) OnUpgraded(uint32)                       {}
func (e *echo) OnGoAway(uint32, bool)                   {}

// caller is a client's owner: exchanges by stream id.
type caller struct {
	*link
	calls map[uint32]*call
}

type call struct {
	h, t, interim filter.Headers
	body          []byte
	send          []byte
	sendEnd       bool
	upgraded      bool
	code          codec.ResetCode
	done          chan struct{} // closed at the end or reset
}

func dial(t *testing.T, addr string, opt Options) *caller {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	k := &caller{link: &link{nc: nc}, calls: map[uint32]*call{}}
	k.c = NewClient(k, opt)
	var wg sync.WaitGroup
	wg.Go(k.run)
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { _ = nc.Close() })
	return k
}

// start begins an exchange; the body goes as windows allow.
func (k *caller) start(t *testing.T, h *filter.Headers, body []byte, end bool, trailers *filter.Headers) *call {
	t.Helper()
	x := &call{send: body, sendEnd: end, done: make(chan struct{})}
	k.do(func() {
		id, ok := k.c.NewStream()
		if !ok {
			t.Error("no stream")
			close(x.done)
			return
		}
		k.calls[id] = x
		k.c.Headers(id, h, end && len(body) == 0)
		if len(body) > 0 {
			k.pump(id)
		}
		if trailers != nil {
			k.c.Trailers(id, trailers)
		}
	})
	return x
}

func (k *caller) pump(id uint32) {
	x := k.calls[id]
	n := k.c.Data(id, x.send, x.sendEnd)
	x.send = x.send[n:]
}

func (k *caller) NewHeaders(id uint32) *filter.Headers {
	x := k.calls[id]
	if x.h.Status != 0 {
		return &x.t
	}
	return &x.h
}

func (k *caller) OnHeaders(id uint32, _ *filter.Headers, end bool) { k.finish(id, end) }
func (k *caller) OnInterim(id uint32, h *filter.Headers) {
	k.calls[id].interim.CopyFrom(h)
	h.Reset()
}

func (k *caller) OnData(id uint32, b []byte, end bool) {
	x := k.calls[id]
	x.body = append(x.body, b...)
	k.c.Consumed(id, len(b))
	k.finish(id, end)
}
func (k *caller) OnTrailers(id uint32, _ *filter.Headers) { k.finish(id, true) }
func (k *caller) OnUpgraded(id uint32)                    { k.calls[id].upgraded = true }
func (k *caller) OnGoAway(uint32, bool)                   {}
func (k *caller) OnWindow(id uint32)                      { k.pump(id) }

func (k *caller) OnReset(id uint32, code codec.ResetCode) {
	x := k.calls[id]
	x.code = code
	select {
	case <-x.done: // NO_ERROR after the response
	default:
		close(x.done)
	}
}

func (k *caller) finish(id uint32, end bool) {
	if end {
		close(k.calls[id].done)
	}
}
