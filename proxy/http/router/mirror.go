package router

import (
	"math/rand/v2"
	"strings"
	"time"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
	"github.com/weftmesh/weft/proxy/http/pool"
	"github.com/weftmesh/weft/proxy/route"
)

// chooseMirrors decides whether the body has to be kept for mirrors.
func (r *Router) chooseMirrors() {
	r.mirrors = r.Upgrade == "" && len(r.Entry.Mirrors()) > 0
}

// mirror sends the request, which is whole, to the mirrors' clusters too.
func (r *Router) mirror() {
	all := r.Entry.Mirrors()
	for i := range all {
		m := &all[i]
		if !m.Chosen(rand.Uint64()) {
			continue
		}
		if c := r.cfg.Clusters.Get(m.Target(r.h)); c != nil {
			r.shadow(m, c)
		}
	}
}

// shadow is a mirrored request. It lives on a lane of its own: the client may be
// gone before it ends. Its response is thrown away.
type shadow struct {
	lane    pool.Lane
	x       pool.Exchange
	h       filter.Headers
	trailer *filter.Headers
	body    []byte
	timer   *time.Timer
}

var _ pool.User = (*shadow)(nil)

// shadowTimeout bounds a mirrored request whose route has no timeout.
const shadowTimeout = 15 * time.Second

func (r *Router) shadow(m *route.Mirror, c *cluster.Cluster) {
	host, _ := c.Pick(&cluster.Pick{Random: rand.Uint64(), Dst: r.ds.Info().Conn.Local})
	if host == nil {
		return
	}
	c = host.Cluster() // an aggregate's is another
	s := &shadow{body: append([]byte(nil), r.body...)}
	s.h.CopyFrom(r.h)
	switch {
	case m.Host != "":
		s.h.Authority = m.Host
	case !m.KeepHost && r.cfg.Messages == nil:
		s.h.Authority = shadowed(s.h.Authority)
	}
	if m.NotSampled {
		unsample(&s.h)
	}
	if r.trailer != nil {
		s.trailer = new(filter.Headers)
		s.trailer.CopyFrom(r.trailer)
	}
	s.x.Lane, s.x.User, s.x.Cluster, s.x.Host = &s.lane, s, c, host
	r.dialOptions(&s.x, s.h.Authority)
	want := r.wantOf(&s.x, host)
	s.x.Limits = c.Limits(cluster.Default)
	timeout := r.plan.timeout
	if timeout <= 0 {
		timeout = shadowTimeout
	}
	s.lane.Do(func() {
		s.timer = time.AfterFunc(timeout, func() { s.lane.Do(s.expire) })
		s.x.Start(want)
	})
}

// shadowed appends "-shadow" to the host of an authority.
func shadowed(authority string) string {
	if i := strings.LastIndexByte(authority, ':'); i >= 0 && strings.IndexByte(authority[i:], ']') < 0 {
		return authority[:i] + "-shadow" + authority[i:]
	}
	return authority + "-shadow"
}

func (s *shadow) expire() { s.x.Reset(codec.ResetCancel) }

// OnReady implements pool.User.
func (s *shadow) OnReady() {
	s.x.Headers(&s.h, len(s.body) == 0 && s.trailer == nil)
	if len(s.body) > 0 {
		s.x.Data(s.body, s.trailer == nil)
	}
	if s.trailer != nil {
		s.x.Trailers(s.trailer)
	}
}

// OnFail implements pool.User.
func (s *shadow) OnFail(f pool.Failure) {
	if f.Kind == pool.FailConnect {
		s.x.Host.Report(cluster.ConnectFailed)
	}
	s.end()
}

// OnInterim implements pool.User.
func (s *shadow) OnInterim(h *filter.Headers) { pool.PutHeaders(h) }

// OnHeaders implements pool.User.
func (s *shadow) OnHeaders(h *filter.Headers, end bool) {
	s.x.Cluster.Stats().Status(h.Status)
	s.x.Host.ReportStatus(h.Status)
	pool.PutHeaders(h)
	if end {
		s.end()
	}
}

// OnUpgraded implements pool.User: never, upgrades are not mirrored.
func (s *shadow) OnUpgraded() {}

// OnData implements pool.User.
func (s *shadow) OnData(b []byte, end bool) {
	s.x.Consumed(len(b))
	if end {
		s.end()
	}
}

// OnTrailers implements pool.User.
func (s *shadow) OnTrailers(h *filter.Headers) {
	pool.PutHeaders(h)
	s.end()
}

// OnReset implements pool.User.
func (s *shadow) OnReset(codec.ResetCode) { s.end() }

// OnBlocked implements pool.User: the body is all here already.
func (s *shadow) OnBlocked(bool) {}

func (s *shadow) end() {
	s.x.Reset(codec.ResetNone)
	s.timer.Stop()
}

// unsample takes the trace context's decision back.
func unsample(h *filter.Headers) {
	if v := h.Get("traceparent"); len(v) == 55 {
		h.Set("traceparent", v[:53]+"00")
	}
	if h.Has("x-b3-traceid") {
		h.Set("x-b3-sampled", "0")
	}
}
