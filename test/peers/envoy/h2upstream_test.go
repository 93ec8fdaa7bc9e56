package envoy

import (
	"io"
	"slices"

	"golang.org/x/net/http2"
)

// serveH2 is an upstream that speaks HTTP/2 from the first byte.
func (c *upConn) serveH2() {
	h := newH2(c.u.r, c.nc)
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c.nc, preface); err != nil {
		c.u.r.change(func() { c.ended = true })
		return
	}
	h.begin(c.u.s.opt)
	c.u.r.change(func() { c.h2 = h })
	for {
		f, head, err := h.next()
		if err != nil {
			c.u.r.change(func() { c.ended = true })
			return
		}
		h.answer(f)
		var fresh *h2Stream
		c.u.r.change(func() {
			if p, ok := f.(*http2.PingFrame); ok && p.IsAck() {
				c.pong = true
			}
			id := f.Header().StreamID
			i := slices.IndexFunc(c.streams, func(s *h2Stream) bool { return s.id == id })
			switch {
			case i >= 0:
				c.streams[i].keep(f, head)
			case head != nil:
				fresh = &h2Stream{id: id, conn: h}
				fresh.keep(f, head)
				c.streams = append(c.streams, fresh)
			}
		})
		if fresh != nil {
			c.u.r.wg.Go(func() { c.answerH2(fresh) })
		}
	}
}

func (c *upConn) answerH2(s *h2Stream) {
	steps := c.u.take()
	if len(steps) == 0 || steps[0].verb != "early" {
		if !c.arrives(func() bool { return s.ended || s.reset != "" }) {
			return
		}
	}
	if len(steps) == 0 {
		steps = []step{{verb: "headers", fields: []string{":status: 200"}}, {verb: "data", args: []string{"end"}, text: "end ok"}}
	}
	for _, st := range steps {
		if st.verb == "rst" {
			c.u.r.change(func() { s.shut = true })
		}
		if !s.conn.do(st, s.id) && !c.do(st) {
			return
		}
	}
}

// pingH2 asks for a sign of life: what the proxy had to say has come before it.
func (u *upstream) pingH2() {
	var open []*h2Conn
	u.r.mu.Lock()
	for _, c := range u.conns {
		if c.h2 != nil && !c.ended && !c.shut {
			c.pinged = true
			open = append(open, c.h2)
		}
	}
	u.r.mu.Unlock()
	for _, h := range open {
		h.write(func() error { return h.fr.WritePing(false, [8]byte{'p'}) })
	}
}
