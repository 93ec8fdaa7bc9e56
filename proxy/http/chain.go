package http

import (
	"time"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/pool"
)

// link is one filter of a call's chain.
type link struct {
	f        filter.HTTPFilter
	name     string
	req, res half
}

// half is what a waiting filter holds back in one direction.
type half struct {
	wait    bool
	limit   int // of what is held, 0: the usual bound, with back-pressure
	head    bool
	headEnd bool
	data    []byte
	dataEnd bool
	tail    bool
}

// ends tells whether the head is all: a filter may have made a body meanwhile.
func (h *half) ends() bool { return h.headEnd && !h.dataEnd && len(h.data) == 0 && !h.tail }

// makeFilters makes the call's filters.
func (s *call) makeFilters(fs []NamedFilter) {
	s.links = s.links[:0]
	for i := range fs {
		if off, said := s.entry.FilterDisabled(s.target, fs[i].Name); off || fs[i].Disabled && !said {
			continue
		}
		if f := fs[i].Factory.New(s); f != nil {
			s.links = append(s.links, link{f: f, name: fs[i].Name})
		}
	}
}

// requestHeaders brings the request's head to filter i and those after it,
// then to the router.
func (s *call) requestHeaders(i int, end bool) {
	for ; i < len(s.links); i++ {
		l := &s.links[i]
		v := l.f.RequestHeaders(s, s.req, end)
		if s.over || s.local || v == filter.Reply {
			return
		}
		if v == filter.Wait {
			s.kept = true
			l.req.wait, l.req.head, l.req.headEnd = true, true, end
			return
		}
	}
	s.sendUpstream(end)
}

// requestData brings a piece of the body.
func (s *call) requestData(i int, b []byte, end bool) {
	for ; i < len(s.links); i++ {
		l := &s.links[i]
		v := l.f.RequestData(s, b, end)
		if s.over || s.local || v == filter.Reply || v == filter.Stop {
			return
		}
		if v == filter.Wait {
			s.kept = true
			l.req.wait = true
		}
		if l.req.wait {
			s.hold(&l.req, b, end, true)
			return
		}
	}
	s.rt.Data(b, end)
}

// requestTrailers brings the trailers.
func (s *call) requestTrailers(i int) {
	for ; i < len(s.links); i++ {
		l := &s.links[i]
		v := l.f.RequestTrailers(s, s.reqTail)
		if s.over || s.local || v == filter.Reply || v == filter.Stop {
			return
		}
		if v == filter.Wait {
			s.kept = true
			l.req.wait = true
		}
		if l.req.wait {
			l.req.tail = true
			return
		}
	}
	s.rt.Trailers(s.reqTail)
}

// hold keeps data for a waiting filter and pauses the source at the bound.
func (s *call) hold(h *half, b []byte, end, request bool) {
	if h.limit > 0 && len(h.data)+len(b) > h.limit {
		s.tooLarge(request)
		return
	}
	h.data = append(h.data, b...)
	h.dataEnd = h.dataEnd || end
	if h.limit > 0 {
		return
	}
	if request {
		s.held += len(b)
		if s.held >= s.m.cfg.BufferLimit {
			s.pauseRequest(pauseHeld, true)
		}
		return
	}
	s.heldBack += len(b)
	if s.heldBack >= s.m.cfg.BufferLimit {
		s.pauseResponse(pauseHeld, true)
	}
}

// tooLarge answers a body that is larger than a filter can hold.
func (s *call) tooLarge(request bool) {
	if request {
		s.m.stats.RqTooLarge.Add(1)
		s.Reply(filter.TooLarge(filter.ToUpstream))
		return
	}
	s.m.stats.RsTooLarge.Add(1)
	s.Reply(filter.TooLarge(filter.ToDownstream))
}

// responseHeaders brings the response's head to filter i and those before it, then
// to the client.
func (s *call) responseHeaders(i int, end bool) {
	for ; i >= 0; i-- {
		l := &s.links[i]
		was := s.resp
		v := l.f.ResponseHeaders(s, s.resp, end)
		if s.over || s.resp != was || v == filter.Reply {
			return
		}
		if v == filter.Wait {
			s.kept = true
			l.res.wait, l.res.head, l.res.headEnd = true, true, end
			return
		}
	}
	s.sendHead(end)
}

// responseData brings a piece of the response's body.
func (s *call) responseData(i int, b []byte, end bool) {
	for ; i >= 0; i-- {
		l := &s.links[i]
		was := s.resp
		v := l.f.ResponseData(s, b, end)
		if s.over || s.resp != was || v == filter.Reply || v == filter.Stop {
			return
		}
		if v == filter.Wait {
			s.kept = true
			l.res.wait = true
		}
		if l.res.wait {
			s.hold(&l.res, b, end, false)
			return
		}
	}
	s.sendData(b, end)
}

// responseTrailers brings the response's trailers.
func (s *call) responseTrailers(i int) {
	for ; i >= 0; i-- {
		l := &s.links[i]
		was := s.resp
		v := l.f.ResponseTrailers(s, s.resTail)
		if s.over || s.resp != was || v == filter.Reply || v == filter.Stop {
			return
		}
		if v == filter.Wait {
			s.kept = true
			l.res.wait = true
		}
		if l.res.wait {
			l.res.tail = true
			return
		}
	}
	s.sendTrailers()
}

// index finds a filter's place in the chain.
func (s *call) index(f filter.HTTPFilter) int {
	for i := range s.links {
		if s.links[i].f == f {
			return i
		}
	}
	return -1
}

// resume goes on after a Wait.
func (s *call) resume(f filter.HTTPFilter, d filter.Direction) {
	i := s.index(f)
	if i < 0 {
		return
	}
	if d == filter.ToUpstream {
		s.resumeRequest(i)
	} else {
		s.resumeResponse(i)
	}
}

func (s *call) resumeRequest(i int) {
	h := s.links[i].req
	if !h.wait || s.local {
		return
	}
	s.links[i].req = half{}
	if h.limit == 0 {
		s.held -= len(h.data)
	}
	if s.held < s.m.cfg.BufferLimit {
		s.pauseRequest(pauseHeld, false)
	}
	if h.head {
		s.requestHeaders(i+1, h.ends())
	}
	if !s.over && !s.local && (len(h.data) > 0 || h.dataEnd) {
		s.requestData(i+1, h.data, h.dataEnd)
	}
	if !s.over && !s.local && h.tail {
		s.requestTrailers(i + 1)
	}
}

func (s *call) resumeResponse(i int) {
	h, was := s.links[i].res, s.resp
	if !h.wait {
		return
	}
	s.links[i].res = half{}
	if h.limit == 0 {
		s.heldBack -= len(h.data)
	}
	if s.heldBack < s.m.cfg.BufferLimit {
		s.pauseResponse(pauseHeld, false)
	}
	if h.head {
		s.responseHeaders(i-1, h.ends())
	}
	if !s.over && s.resp == was && (len(h.data) > 0 || h.dataEnd) {
		s.responseData(i-1, h.data, h.dataEnd)
	}
	if !s.over && s.resp == was && h.tail {
		s.responseTrailers(i - 1)
	}
}

// The filter.Stream side of a call.

// Request implements filter.Stream.
func (s *call) Request() *filter.Headers { return s.req }

// Response implements filter.Stream.
func (s *call) Response() *filter.Headers { return s.resp }

// Info implements filter.Stream and router.Downstream.
func (s *call) Info() *filter.Info { return &s.info }

// RouteConfig implements filter.Stream.
func (s *call) RouteConfig(name string) any {
	if s.entry == nil {
		return nil
	}
	return s.entry.FilterConfig(s.target, name)
}

// RouteConfigs implements filter.Stream.
func (s *call) RouteConfigs(name string) []any {
	if s.entry == nil {
		return nil
	}
	return s.entry.FilterConfigs(s.target, name)
}

// ClearRoute implements filter.Stream.
func (s *call) ClearRoute() {
	if !s.routed && !s.over {
		s.chooseRoute()
		s.armCall()
	}
}

// Inject implements filter.Stream.
func (s *call) Inject(f filter.HTTPFilter, d filter.Direction, b []byte, end bool) {
	i := s.index(f)
	if i < 0 || s.over {
		return
	}
	l := &s.links[i]
	if d == filter.ToUpstream {
		switch {
		case s.local:
		case l.req.wait:
			s.hold(&l.req, b, end, true)
		default:
			s.requestData(i+1, b, end)
		}
		return
	}
	if l.res.wait {
		s.hold(&l.res, b, end, false)
		return
	}
	s.responseData(i-1, b, end)
}

// InjectTrailers implements filter.Stream.
func (s *call) InjectTrailers(f filter.HTTPFilter, d filter.Direction, fields []filter.Field) {
	i := s.index(f)
	if i < 0 || s.over || d == filter.ToUpstream && s.local {
		return
	}
	h := pool.GetHeaders()
	for _, fd := range fields {
		h.Add(fd.Name, fd.Value)
	}
	l := &s.links[i]
	switch {
	case d == filter.ToUpstream:
		s.reqTail = h
		if l.req.tail = l.req.wait; !l.req.wait {
			s.requestTrailers(i + 1)
		}
	default:
		s.resTail, s.info.Trailers = h, h
		if l.res.tail = l.res.wait; !l.res.wait {
			s.responseTrailers(i - 1)
		}
	}
}

// Buffer implements filter.Stream.
func (s *call) Buffer(f filter.HTTPFilter, d filter.Direction, limit int) {
	i := s.index(f)
	if i < 0 {
		return
	}
	h, held, pause := &s.links[i].req, &s.held, s.pauseRequest
	if d == filter.ToDownstream {
		h, held, pause = &s.links[i].res, &s.heldBack, s.pauseResponse
	}
	if h.limit > 0 && limit == 0 { // what was held for f counts like what others hold from now on
		if *held += len(h.data); *held >= s.m.cfg.BufferLimit {
			pause(pauseHeld, true)
		}
	}
	h.limit = limit
}

// BufferLimit implements filter.Stream.
func (s *call) BufferLimit() int { return s.m.cfg.BufferLimit }

// Cluster implements filter.Stream.
func (s *call) Cluster() string { return s.target.Cluster }

// Resume implements filter.Stream.
func (s *call) Resume(f filter.HTTPFilter, d filter.Direction) {
	s.c.lane.Do(func() {
		if !s.over {
			s.resume(f, d)
		}
	})
}

// Post implements filter.Stream.
func (s *call) Post(f func()) {
	s.c.lane.Do(func() {
		if !s.over {
			f()
		}
	})
}

// Later implements router.Downstream.
func (s *call) Later(f func()) (wake func()) {
	s.kept = true
	return func() { s.Post(f) }
}

// After implements filter.Stream.
func (s *call) After(d time.Duration, f func()) (stop func()) {
	s.kept = true
	t := time.AfterFunc(d, func() { s.Post(f) })
	s.timers = append(s.timers, t)
	return func() { t.Stop() }
}
