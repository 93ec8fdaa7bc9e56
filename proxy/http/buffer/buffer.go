// Package buffer is the HTTP filter envoy.filters.http.buffer: it holds a
// request until it is whole, so that the upstream is not kept busy by slow
// clients, and gives it a content-length. A body that is too large is answered with 413.
package buffer

import (
	"strconv"

	"github.com/weftmesh/weft/proxy/filter"
)

// Name of the filter, in Envoy's words.
const Name = "envoy.filters.http.buffer"

type factory struct {
	name string
	max  int
}

// New implements filter.HTTPFactory.
func (f *factory) New(filter.Stream) filter.HTTPFilter { return &instance{factory: f} }

type instance struct {
	filter.PassThrough
	factory *factory
	holds   bool
	n       int
}

// RequestHeaders begins to hold.
func (x *instance) RequestHeaders(s filter.Stream, _ *filter.Headers, end bool) filter.Verdict {
	limit := x.factory.max
	if m, ok := s.RouteConfig(x.factory.name).(int); ok {
		limit = m
	}
	if end || limit == 0 {
		return filter.Continue
	}
	x.holds = true
	s.Buffer(x, filter.ToUpstream, limit)
	return filter.Wait
}

// RequestData counts.
func (x *instance) RequestData(s filter.Stream, b []byte, end bool) filter.Verdict {
	x.n += len(b)
	if end {
		x.release(s)
	}
	return filter.Continue
}

// RequestTrailers ends the holding.
func (x *instance) RequestTrailers(s filter.Stream, _ *filter.Headers) filter.Verdict {
	x.release(s)
	return filter.Continue
}

// release lets the request go on, after this event.
func (x *instance) release(s filter.Stream) {
	if !x.holds {
		return
	}
	x.holds = false
	if h := s.Request(); !h.Has("content-length") {
		h.Set("content-length", strconv.Itoa(x.n))
	}
	s.Resume(x, filter.ToUpstream)
}
