package http

import (
	"net/url"
	"slices"
	"strings"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/pool"
	"github.com/weftmesh/weft/proxy/route"
)

// Internal redirects: a response of the upstream that points elsewhere makes the
// request pass through filters and router once more, as another one, whose
// response is the client's.

// Redirect implements router.Downstream.
func (s *call) Redirect(resp *filter.Headers, body []byte, tail *filter.Headers) bool {
	next := pool.GetHeaders()
	next.CopyFrom(s.req)
	if why := s.retarget(next, resp); why != nil {
		why.Add(1)
		pool.PutHeaders(next)
		return false
	}
	redirects := s.redirects
	redirects.N++
	t := s.m.calls.Get().(*call)
	t.c, t.id, t.req, t.trusted, t.redirects = s.c, s.id, next, s.trusted, redirects
	t.reqEnd, t.kept = true, true // it waits for its turn: see Post
	if resp.Status == 303 && next.Method != "GET" && next.Method != "HEAD" {
		next.Method = "GET"
		next.Del("content-length")
		body = nil
	}
	body = slices.Clone(body)
	if tail != nil {
		t.reqTail = pool.GetHeaders()
		t.reqTail.CopyFrom(tail)
	}
	in := &t.info
	in.Conn, in.Start, in.Protocol, in.Request, in.Remote = s.info.Conn, s.c.lane.Now(), s.info.Protocol, next, s.info.Remote
	in.GRPC, in.RequestID, in.RequestEnd, in.Received = s.info.GRPC, next.Get("x-request-id"), 1, s.info.Received+uint64(len(body)) // as Envoy counts
	in.FilterState = s.info.FilterState

	s.resp, s.info.Status, s.info.Details = resp, resp.Status, "internal_redirect"
	s.become(next)
	s.settle()
	s.c.replace(s, t)
	t.Post(func() { t.beginAgain(body) })
	return true
}

// become makes the call, which is over, show in logs and traces what the redirect has made of
// it, as in Envoy, whose request is changed before it is begun anew.
func (s *call) become(next *filter.Headers) {
	s.req.CopyFrom(next)
	s.chooseRoute()
	s.info.Upstream.Cluster = s.target.Cluster
}

// leadsTo makes logs show the route that a redirect leads to, nil: none, although it is
// not followed: Envoy has looked the route up, and logs what it found.
func (s *call) leadsTo(e *route.Entry, h *filter.Headers) {
	s.info.RouteName, s.info.VirtualHost, s.info.RouteMetadata, s.info.Upstream.Cluster = "", "", nil, ""
	if e == nil {
		return
	}
	s.info.RouteName, s.info.VirtualHost, s.info.RouteMetadata = e.Name(), e.VirtualHost().Name, e.Route().Metadata
	if e.Kind() == route.Forwards {
		s.info.Upstream.Cluster = e.Target(h, random()).Cluster
	}
}

// retarget makes next the request that a redirect asks for; else it returns the
// statistic that says why it may not be followed.
func (s *call) retarget(next, resp *filter.Headers) *cluster.Counter {
	p, st := s.entry.Forward().Internal, &s.m.stats.Router
	location := strings.Clone(resp.Get("location")) // the response is over before the new request
	u, err := url.Parse(location)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return &st.RedirectBadLocation
	}
	secure := [2]bool{next.Scheme != "http" && s.c.info.TLS != nil, u.Scheme == "https"}
	if !p.CrossScheme && secure[0] != secure[1] {
		return &st.RedirectUnsafeScheme
	}
	if s.redirects.N >= p.Max {
		return &st.RedirectTooMany
	}
	p.CopyTo(next, resp)
	was := "http://"
	if secure[0] {
		was = "https://"
	}
	next.Set("x-envoy-original-url", was+next.Authority+next.Path)
	next.Scheme, next.Authority, next.Path = u.Scheme, u.Host, pathOf(location)
	to := s.findRoute(next)
	if to == nil {
		s.leadsTo(nil, next)
		return &st.RedirectNoRoute
	}
	if !s.redirects.Permits(s.entry, to, secure) {
		s.leadsTo(to, next)
		return &st.RedirectPredicate
	}
	return nil
}

// pathOf is what an absolute URL says after the host, as it is written, without a fragment.
func pathOf(location string) string {
	_, rest, _ := strings.Cut(location, "://")
	rest, _, _ = strings.Cut(rest, "#")
	if i := strings.IndexAny(rest, "/?"); i >= 0 && rest[i] == '/' {
		return rest[i:]
	} else if i >= 0 {
		return "/" + rest[i:]
	}
	return "/"
}

// findRoute is what the route table says about another head than the request's.
func (s *call) findRoute(h *filter.Headers) *route.Entry {
	t := s.routes(h)
	if t == nil {
		return nil
	}
	return t.Find(h, &route.Req{Random: random(), Conn: s.c.info, Info: &s.info})
}

// beginAgain begins a request that a redirect has made.
func (s *call) beginAgain(body []byte) {
	s.moved = s.c.lane.Now()
	if s.c.blocked {
		s.pauseResponse(pauseConn, true)
	}
	l, ok := s.checkPath(s.req)
	if t := s.m.cfg.Tracer; t != nil && ok {
		t.Start(&s.info, s.req)
	}
	if ok {
		s.chooseRoute()
		s.armCall()
	}
	s.makeFilters(s.m.cfg.Filters)
	if !ok {
		s.Reply(l)
		return
	}
	if s.m.cfg.LogStart {
		s.log(filter.EventStart)
	}
	s.requestHeaders(0, len(body) == 0 && s.reqTail == nil)
	if len(body) > 0 && !s.over && !s.local {
		s.requestData(0, body, s.reqTail == nil)
	}
	if s.reqTail != nil && !s.over && !s.local {
		s.requestTrailers(0)
	}
}

// replace puts a new call in the place of one that has become it.
func (c *conn) replace(old, s *call) {
	s.prev, s.next = old.prev, old.next
	if s.prev != nil {
		s.prev.next = s
	} else {
		c.first = s
	}
	if s.next != nil {
		s.next.prev = s
	} else {
		c.last = s
	}
	if c.two {
		c.byID.Put(s.id, s)
	}
	c.m.stats.RqTotal.Add(1)
	c.m.stats.RqActive.Add(1)
	c.dead = append(c.dead, old)
}
