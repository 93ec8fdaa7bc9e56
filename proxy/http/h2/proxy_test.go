package h2

import (
	"crypto/tls"
	"net"
	"sync"
	"testing"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
)

type tlsConfig = tls.Config

// relay joins a server Conn and a client Conn, stream by stream, both under one lock.
type relay struct {
	mu       *sync.Mutex
	down, up *side
	toUp     map[uint32]uint32
	toDown   map[uint32]uint32
}

// side is the owner of one of the two; other is where its messages go.
type side struct {
	r      *relay
	link   *link
	server bool
	h      map[uint32]*pair
	queue  map[uint32]*pending // what the other side could not take yet, by its stream
}

type pair struct{ h, t filter.Headers }

type pending struct {
	b        []byte
	end      bool
	trailers *filter.Headers
}

func (s *side) other() *side {
	if s.server {
		return s.r.up
	}
	return s.r.down
}

func (s *side) peer(id uint32) uint32 {
	if s.server {
		return s.r.toUp[id]
	}
	return s.r.toDown[id]
}

func (s *side) NewHeaders(id uint32) *filter.Headers {
	if p := s.h[id]; p != nil {
		p.t.Reset()
		return &p.t
	}
	s.h[id] = &pair{}
	return &s.h[id].h
}

func (s *side) OnHeaders(id uint32, h *filter.Headers, end bool) {
	o := s.other()
	if s.server {
		up, ok := o.link.c.NewStream()
		if !ok {
			s.link.c.Reset(id, codec.ResetRefused)
			return
		}
		s.r.toUp[id], s.r.toDown[up] = up, id
	}
	o.link.c.Headers(s.peer(id), h, end)
}

func (s *side) OnData(id uint32, b []byte, end bool) {
	o, to := s.other(), s.peer(id)
	q := o.queue[to]
	if q == nil {
		q = &pending{}
		o.queue[to] = q
	}
	q.b, q.end = append(q.b, b...), end
	o.pump(to)
}

// pump sends what waits for a stream and gives the window back to where it came from.
func (s *side) pump(id uint32) {
	q := s.queue[id]
	if q == nil {
		return
	}
	n := s.link.c.Data(id, q.b, q.end)
	q.b = q.b[n:]
	s.other().link.c.Consumed(s.peer(id), n)
	if len(q.b) == 0 && q.trailers != nil {
		s.link.c.Trailers(id, q.trailers)
		q.trailers = nil
	}
}

func (s *side) OnTrailers(id uint32, h *filter.Headers) {
	o, to := s.other(), s.peer(id)
	if q := o.queue[to]; q != nil && len(q.b) > 0 {
		q.trailers = h
		return
	}
	o.link.c.Trailers(to, h)
}

func (s *side) OnReset(id uint32, code codec.ResetCode) { s.other().link.c.Reset(s.peer(id), code) }
func (s *side) OnInterim(id uint32, h *filter.Headers)  { s.other().link.c.Interim(s.peer(id), h) }
func (s *side) OnUpgraded(uint32)                       {}
func (s *side) OnGoAway(uint32, bool)                   {}
func (s *side) OnWindow(id uint32)                      { s.pump(id) }

// serveProxy relays each accepted connection to one of its own to the upstream.
func serveProxy(t *testing.T, upstream string) string {
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
			un, err := net.Dial("tcp", upstream)
			if err != nil {
				t.Error(err)
				return
			}
			r := &relay{mu: &sync.Mutex{}, toUp: map[uint32]uint32{}, toDown: map[uint32]uint32{}}
			r.down, r.up = r.side(nc, true), r.side(un, false)
			wg.Go(func() { r.run(r.down); _ = un.Close() })
			wg.Go(func() { r.run(r.up); _ = nc.Close() })
		}
	})
	return ln.Addr().String()
}

func (r *relay) side(nc net.Conn, server bool) *side {
	s := &side{r: r, link: &link{nc: nc}, server: server, h: map[uint32]*pair{}, queue: map[uint32]*pending{}}
	if server {
		s.link.c = NewServer(s, Options{StreamWindow: 70 << 10, ConnWindow: 200 << 10})
	} else {
		s.link.c = NewClient(s, Options{StreamWindow: 70 << 10, ConnWindow: 200 << 10})
	}
	return s
}

func (r *relay) run(s *side) {
	buf := make([]byte, 32<<10)
	for {
		r.mu.Lock()
		r.down.link.flush()
		r.up.link.flush()
		r.mu.Unlock()
		n, err := s.link.nc.Read(buf)
		r.mu.Lock()
		if err != nil {
			s.link.c.Broken()
		} else {
			err = s.link.c.Feed(buf[:n])
		}
		r.down.link.flush()
		r.up.link.flush()
		r.mu.Unlock()
		if err != nil {
			_ = s.link.nc.Close()
			return
		}
	}
}
