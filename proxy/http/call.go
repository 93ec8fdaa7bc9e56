package http

import (
	"time"

	"github.com/weftmesh/weft/base/overload"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
	"github.com/weftmesh/weft/proxy/http/h1"
	"github.com/weftmesh/weft/proxy/http/pool"
	"github.com/weftmesh/weft/proxy/http/router"
	"github.com/weftmesh/weft/proxy/route"
)

// Reasons to pause a direction.
const (
	pauseConn   uint8 = 1 << iota // the client's connection is slow
	pauseWindow                   // the client's window is full
	pauseHeld                     // a filter holds enough
	pauseRouter                   // the upstream is slow, or not there yet
)

// call is one request and its response.
type call struct {
	m *Manager
	callState
	rt router.Router
}

// callState is what begins anew with every request.
type callState struct {
	c          *conn
	id         uint32
	next, prev *call

	info             filter.Info
	req, resp        *filter.Headers
	reqTail, resTail *filter.Headers
	table            *route.Table // that the route was looked for in
	entry            *route.Entry
	target           route.Target
	links            []link

	upgrade   string         // protocol asked for, or "CONNECT"
	terminate *route.Upgrade // a CONNECT, or what is like one, that ends here
	tunnel    bool           // the upgrade was granted
	trusted   bool           // an internal request

	reqEnd    bool // the request is whole
	routed    bool // the router has the head
	local     bool // answered here: the rest of the request is dropped
	responded bool // a response head has entered the filters
	headSent  bool // and has left for the client
	resEnd    bool // the response is out
	over      bool
	kept      bool // a filter may still know the call: not to be used again

	redirects route.Followed // those that were followed to come here

	reqPause, resPause uint8
	owed               int // window to give back when the request goes on
	held               int // bytes that filters hold, towards the upstream
	heldBack           int // and towards the client

	pending    codec.Backlog // response body that the client's window does not take
	pendingEnd bool

	// added, when set, measures what the proxy adds.
	added *sample

	moved                 time.Time // last activity
	logAt                 time.Time // of the next periodic access log
	idle                  time.Duration
	lifeUntil, wholeUntil time.Time

	timers []*time.Timer
}

var (
	_ filter.Stream     = (*call)(nil)
	_ router.Downstream = (*call)(nil)
)

func newCall(m *Manager) *call {
	s := &call{m: m}
	s.rt.Init(&m.router, s)
	return s
}

// recycle puts a call that is over back.
func (s *call) recycle() {
	pool.PutHeaders(s.req)
	pool.PutHeaders(s.resp)
	pool.PutHeaders(s.reqTail)
	pool.PutHeaders(s.resTail)
	if s.kept {
		s.req, s.resp, s.reqTail, s.resTail = nil, nil, nil, nil
		return
	}
	s.rt.Reset()
	links, pending, timers, metadata := s.links[:0], s.pending, s.timers[:0], s.info.Metadata
	clear(metadata)
	pending.Reset()
	s.callState = callState{}
	s.links, s.pending, s.timers, s.info.Metadata = links, pending, timers, metadata
	s.m.calls.Put(s)
}

// begin takes a request's head.
func (s *call) begin(c *conn, id uint32, h *filter.Headers, end bool) {
	s.c, s.id, s.req, s.reqEnd = c, id, h, end
	s.moved = c.lane.Now()
	in := &s.info // empty but for Metadata, and too large to be made and copied
	in.Conn, in.Start, in.Protocol, in.Request, in.Remote = c.info, s.moved, c.cd.Protocol(), h, c.info.Remote
	c.add(s)
	if c.blocked {
		s.pauseResponse(pauseConn, true)
	}
	if end {
		s.info.RequestEnd = 1
	}
	st := s.m.stats
	st.RqTotal.Add(1)
	st.RqActive.Add(1)
	switch {
	case c.flows:
		st.RqHTTP2Total.Add(1)
	case !c.two:
		st.RqHTTP1Total.Add(1)
	}
	if n := s.m.cfg.MaxRequestsPerConn; n > 0 && c.requests >= n {
		c.drain()
	}
	if failing := s.m.cfg.Failing; failing != nil && failing() {
		s.c.drain()
	}
	if o := s.m.cfg.Overload; o != nil && s.shed(o) {
		return
	}
	if s.m.cfg.Messages != nil {
		s.admitMessage()
	} else if l, ok := s.admit(); !ok {
		s.makeFilters(nil)
		s.Reply(l)
		return
	}
	if t := s.m.cfg.Tracer; t != nil {
		t.Start(&s.info, h)
	}
	s.chooseRoute()
	s.armCall()
	filters, l, ok := s.admitUpgrade()
	s.makeFilters(filters)
	if !ok {
		s.Reply(l)
		return
	}
	if s.m.cfg.LogStart {
		s.log(filter.EventStart)
	}
	s.requestHeaders(0, end && s.upgrade == "")
}

// shed does what pressure asks for. true: the request has been refused.
func (s *call) shed(o *overload.State) bool {
	if !s.c.draining && o.Hit(overload.DisableKeepalive) {
		s.m.stats.CxOverloadDisableKeepalive.Add(1)
		s.c.drain()
	}
	if !o.Hit(overload.StopRequests) && !o.Shed(overload.AtHeaders) {
		return false
	}
	s.m.stats.RqOverloadClose.Add(1)
	s.makeFilters(nil)
	s.Reply(filter.LocalReply{Status: 503, Body: "envoy overloaded", GRPCStatus: -1, Details: "overload"})
	return true
}

// chooseRoute asks the route table; it is asked again after ClearRoute.
func (s *call) chooseRoute() {
	s.entry, s.target = nil, route.Target{}
	t := s.routes(s.req)
	s.table = t
	if t == nil {
		return
	}
	q := route.Req{Random: random(), Conn: s.c.info, Info: &s.info}
	s.entry = t.Find(s.req, &q)
	s.info.RouteName, s.info.VirtualHost, s.info.RouteMetadata = "", "", nil
	if s.entry == nil {
		return
	}
	s.info.RouteName = s.entry.Name()
	s.info.VirtualHost = s.entry.VirtualHost().Name
	if op := s.entry.Route().Decorator; op != "" && s.info.Operation == "" {
		s.info.Operation = op
	}
	s.info.RouteMetadata = s.entry.Route().Metadata
	if s.entry.Kind() == route.Forwards {
		luck := random()
		if s.entry.Forward().HashWeights {
			if hash, ok, _ := s.entry.Hash(s.req, s.c.info); ok {
				luck = hash
			}
		}
		s.target = s.entry.Target(s.req, luck)
	}
}

// routes is the table for a head.
func (s *call) routes(h *filter.Headers) *route.Table {
	if f := s.m.cfg.Scoped; f != nil {
		t, _ := f(h)
		return t
	}
	return s.m.cfg.Routes()
}

// admitUpgrade checks whether an upgrade is permitted, by the route or the
// connection manager, and chooses the filters.
func (s *call) admitUpgrade() ([]NamedFilter, filter.LocalReply, bool) {
	usual := s.m.cfg.Filters
	if s.upgrade == "" {
		if s.req.Method == "POST" && s.entry != nil {
			if r := s.entry.Upgrade("CONNECT"); r != nil && r.Terminate && r.AllowPost {
				s.terminate = r
			}
		}
		return usual, filter.LocalReply{}, true
	}
	u, ok := s.m.upgrade(s.upgrade)
	if u != nil && u.Filters != nil {
		usual = u.Filters
	}
	if s.entry != nil {
		if r := s.entry.Upgrade(s.upgrade); r != nil {
			ok = r.Enabled
			if ok && r.Terminate && s.upgrade == "CONNECT" {
				s.terminate = r
			}
		}
		if s.entry.Kind() != route.Forwards {
			ok = true // answered without an upstream
		}
	}
	if !ok && s.entry != nil {
		s.m.stats.RqWsOnNonWsRoute.Add(1)
		return usual, filter.LocalReply{Status: 403, GRPCStatus: -1, Details: "upgrade_failed"}, false
	}
	return usual, filter.LocalReply{}, true
}

// sendUpstream is the end of the filter chain.
func (s *call) sendUpstream(end bool) {
	s.routed = true
	s.measure()
	s.rt.Headers(router.Request{
		Entry: s.entry, Target: s.target, Upgrade: s.upgrade, Terminate: s.terminate, Trusted: s.trusted,
	}, s.req, end)
}

// sampleMask takes one request in 16, by a bit of chance in the clock.
const sampleMask = 15 << 10

// sample is how long the request was held up. It outlives the call, which may
// be somebody else's when the output has been sent.
type sample struct{ out time.Duration }

// measure begins to measure what the proxy adds. Events read the clock once, so
// it takes readings of its own, after output has been sent. Requests that a
// filter held up are left out: that is what they were configured for.
func (s *call) measure() {
	start := s.info.Start
	if s.m.cfg.Added == nil || start.UnixNano()&sampleMask != 0 || !start.Equal(s.c.lane.Now()) {
		return
	}
	added := &sample{}
	s.added = added
	s.c.lane.AfterFlush(func() { added.out = time.Since(start) })
}

// measured ends the measurement when the response's head has been sent.
func (s *call) measured() {
	first := s.info.Start.Add(s.info.UpstreamFirstByte)
	if s.added == nil || s.local || s.info.Attempts > 1 || !first.Equal(s.c.lane.Now()) {
		return
	}
	added, tell := s.added, s.m.cfg.Added
	s.c.lane.AfterFlush(func() { tell(added.out + time.Since(first)) })
}

// onData takes a piece of the request's body from the codec.
func (s *call) onData(b []byte, end bool) {
	s.moved = s.c.lane.Now()
	s.info.Received += uint64(len(b))
	s.take(end)
	if s.over || s.local {
		s.c.cd.Consumed(s.id, len(b))
		return
	}
	s.requestData(0, b, end)
	switch {
	case s.over:
		s.c.cd.Consumed(s.id, len(b))
	case s.reqPause != 0:
		s.owed += len(b)
	default:
		s.c.cd.Consumed(s.id, len(b))
	}
	s.maybeFinish()
}

// take notes the request's end.
func (s *call) take(end bool) {
	if end {
		s.reqEnd = true
		s.info.RequestEnd = max(s.moved.Sub(s.info.Start), 1)
	}
}

func (s *call) onTrailers(h *filter.Headers) {
	s.moved = s.c.lane.Now()
	s.take(true)
	s.reqTail = h
	if !s.over && !s.local {
		s.requestTrailers(0)
	}
}

// onReset: the client has given up, or has broken the protocol.
func (s *call) onReset(code codec.ResetCode) {
	if s.over {
		return
	}
	s.m.stats.RqRxReset.Add(1)
	switch {
	case code == codec.ResetConnection:
		s.info.Flags |= filter.FlagDownstreamConnectionTermination
		s.info.Details = "downstream_remote_disconnect"
	case !s.c.two: // the codec has answered, if nobody had
		s.info.Flags |= filter.FlagDownstreamProtocolError
		s.info.Details = "http1.codec_error"
		if !s.headSent {
			s.info.Status = 400
			s.info.Sent = uint64(len(h1.ErrorText(400)))
		}
	case code == codec.ResetProtocol || code&codec.ResetLocal != 0:
		s.info.Flags |= filter.FlagDownstreamProtocolError
		s.info.Details = "http2.remote_reset" // what Envoy says of it
	default:
		s.info.Flags |= filter.FlagDownstreamRemoteReset
		s.info.Details = "http2.remote_reset"
		if code == codec.ResetRefused {
			s.info.Details = "http2.remote_refuse"
		}
	}
	s.finish()
}

// PauseRequest implements router.Downstream.
func (s *call) PauseRequest(on bool) { s.pauseRequest(pauseRouter, on) }

// pauseRequest stops or resumes the client's sending: HTTP/2 by keeping window, others
// by not reading.
func (s *call) pauseRequest(why uint8, on bool) {
	before := s.reqPause
	if on {
		s.reqPause |= why
	} else {
		s.reqPause &^= why
	}
	switch {
	case s.c.flows || before == 0 == (s.reqPause == 0):
	case on:
		s.c.pausers++
	default:
		s.c.pausers--
	}
	if s.reqPause == 0 && s.owed > 0 {
		n := s.owed
		s.owed = 0
		s.c.cd.Consumed(s.id, n)
	}
}

// pauseResponse stops or resumes the upstream.
func (s *call) pauseResponse(why uint8, on bool) {
	if on {
		s.resPause |= why
	} else {
		s.resPause &^= why
	}
	s.rt.PauseResponse(s.resPause != 0)
}

// maybeFinish ends a tunnel of which both directions have ended.
func (s *call) maybeFinish() {
	if s.tunnel && s.resEnd && s.reqEnd && !s.over {
		s.finish()
	}
}

// finish ends the call, whatever has become of it.
func (s *call) finish() {
	if s.over {
		return
	}
	s.settle()
	if s.c.two && !s.reqEnd {
		s.c.cd.Reset(s.id, codec.ResetNone)
	}
	if s.headSent {
		s.m.stats.countResponse(s.info.Status)
	}
	s.c.remove(s)
}

// settle ends what the call has begun and tells all who watch.
func (s *call) settle() {
	s.over = true
	s.rt.Abort()
	if s.reqPause != 0 {
		s.pauseRequest(0xff, false)
	}
	for _, t := range s.timers {
		t.Stop()
	}
	now := s.c.lane.Now()
	s.info.Duration = max(now.Sub(s.info.Start), 1)
	s.info.Response, s.info.Trailers = s.resp, s.resTail
	for i := range s.links {
		s.links[i].f.Done(s)
	}
	s.log(filter.EventEnd)
	if t := s.m.cfg.Tracer; t != nil {
		t.Finish(&s.info)
	}
	st := s.m.stats
	st.RqActive.Add(-1)
	if s.tunnel {
		st.CxUpgradesActive.Add(-1)
	}
}

// log writes the access logs.
func (s *call) log(e filter.Event) {
	s.info.Event = e
	for _, l := range s.m.cfg.AccessLogs {
		l.Log(&s.info)
	}
}

// add puts a new call into the connection's list.
func (c *conn) add(s *call) {
	c.requests++
	c.active++
	s.prev = c.last
	if c.last != nil {
		c.last.next = s
	} else {
		c.first = s
	}
	c.last = s
	if c.two {
		c.byID.Put(s.id, s)
	}
}

// remove takes a call off; it is used again after the event.
func (c *conn) remove(s *call) {
	c.active--
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		c.first = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		c.last = s.prev
	}
	if c.two {
		c.byID.Delete(s.id)
	} else {
		c.again = true
	}
	if c.active == 0 {
		c.idleSince = c.lane.Now()
		if c.draining && c.two && c.refusing {
			c.close()
		} else {
			c.armIdle()
		}
	}
	c.dead = append(c.dead, s)
}
