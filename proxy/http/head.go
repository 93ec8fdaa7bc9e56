package http

import (
	"strconv"
	"time"

	"github.com/weftmesh/weft/base/overload"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/h1"
	"github.com/weftmesh/weft/proxy/http/h2"
	"github.com/weftmesh/weft/proxy/http/pool"
)

// A head that trickles in is a request already, as Envoy sees it: request_headers_timeout
// and stream_idle_timeout run from its first byte on, and no other byte of it puts them off.

// watchPart notes whether a part of a head, or what is left of a body, is there; of which
// stream (HTTP/2), and whether it is another one than before.
func (c *conn) watchPart(id uint32, there, other bool) {
	if !there || other {
		c.partSince, c.partOf = time.Time{}, 0
	}
	if there && c.partSince.IsZero() {
		c.partSince, c.partOf = c.lane.Now(), id
		c.armPart()
	}
}

// armPart arms the timeouts of a head.
func (c *conn) armPart() {
	if c.partSince.IsZero() {
		return
	}
	cfg := &c.m.cfg
	if d := cfg.RequestHeadersTimeout; d > 0 {
		c.arm(c.partSince.Add(d))
	}
	if d := cfg.StreamIdleTimeout; d > 0 {
		c.arm(cfg.Overload.Due(overload.StreamIdle, c.partSince, d, c.lane.Now()))
	}
}

// tickPart ends a head that did not come in time.
func (c *conn) tickPart(now time.Time) {
	if c.partSince.IsZero() {
		return
	}
	cfg, st := &c.m.cfg, c.m.stats
	waited := now.Sub(c.partSince)
	if d := cfg.RequestHeadersTimeout; d > 0 && waited >= d {
		st.RqHeaderTimeout.Add(1)
		c.refuseHead("request header timeout", &filter.Info{Details: "request_header_timeout"})
		return
	}
	if d := cfg.StreamIdleTimeout; d > 0 && waited >= cfg.Overload.Scaled(overload.StreamIdle, d) {
		st.RqIdleTimeout.Add(1)
		c.refuseHead("stream timeout", &filter.Info{Details: "stream_idle_timeout", Flags: filter.FlagStreamIdleTimeout})
	}
}

// refuseHead answers a head that is not whole with 408. It costs an HTTP/1 client the
// connection; of HTTP/2 only that stream ends.
func (c *conn) refuseHead(text string, info *filter.Info) {
	c.partSince, c.partOf = time.Time{}, 0
	said := false
	switch cd := c.cd.(type) {
	case *h1.Conn:
		said = c.active == 0 && cd.Refuse(408, text)
	case *h2.Conn:
		h := pool.GetHeaders()
		h.Status = 408
		h.Add("content-length", strconv.Itoa(len(text)))
		h.Add("content-type", "text/plain")
		h.Add("date", dateText(c.lane.Now()))
		if cfg := &c.m.cfg; cfg.ServerHeader != ServerPassThrough {
			h.Add("server", cfg.ServerName)
		}
		said = cd.RefuseHead(h, text)
		pool.PutHeaders(h)
	}
	if said {
		info.Status, info.Sent = 408, uint64(len(text))
		c.logRefused(info)
	}
	if !c.flows {
		c.close()
	}
}
