// Package headermutation is the HTTP filter envoy.filters.http.header_mutation:
// it sets, appends and removes headers, trailers and query parameters, the
// filter's own mutations first and then those of all levels of the route.
//
// Pseudo headers and Host it does not change. Mutations are done in their order,
// each sees what those before it have done.
package headermutation

import (
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/format"
	"github.com/weftmesh/weft/proxy/route"
)

// Name of the filter, in Envoy's words.
const Name = "envoy.filters.http.header_mutation"

// kind of a mutation.
type kind uint8

const (
	add kind = iota
	addIfAbsent
	set
	setIfPresent
	remove
	removeMatching
)

// mutation changes one header or query parameter. text is used when format is nil.
type mutation struct {
	kind      kind
	name      string
	names     route.Strings
	text      string
	format    *format.Format
	keepEmpty bool
}

// mutations of one level.
type mutations struct {
	request, response, requestTrailers, responseTrailers, query []mutation
}

type factory struct {
	name         string
	own          *mutations
	specificWins bool
}

// New implements filter.HTTPFactory. The filter has no state: one serves all streams.
func (f *factory) New(filter.Stream) filter.HTTPFilter { return f }

// each calls do for all levels in the order of application.
func (f *factory) each(s filter.Stream, do func(*mutations)) {
	do(f.own)
	levels := s.RouteConfigs(f.name)
	for i := range levels {
		l := levels[i]
		if !f.specificWins { // then the least specific has the last word
			l = levels[len(levels)-1-i]
		}
		if m, ok := l.(*mutations); ok {
			do(m)
		}
	}
}

// RequestHeaders changes head and query.
func (f *factory) RequestHeaders(s filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
	f.each(s, func(m *mutations) {
		apply(m.request, h, s.Info())
		if len(m.query) > 0 {
			h.Path = h.Keep(changeQuery(m.query, h.Path, s.Info()))
		}
	})
	return filter.Continue
}

// ResponseHeaders changes the head.
func (f *factory) ResponseHeaders(s filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
	f.each(s, func(m *mutations) { apply(m.response, h, s.Info()) })
	return filter.Continue
}

// RequestTrailers changes the trailers.
func (f *factory) RequestTrailers(s filter.Stream, h *filter.Headers) filter.Verdict {
	f.each(s, func(m *mutations) { apply(m.requestTrailers, h, s.Info()) })
	return filter.Continue
}

// ResponseTrailers changes the trailers.
func (f *factory) ResponseTrailers(s filter.Stream, h *filter.Headers) filter.Verdict {
	f.each(s, func(m *mutations) { apply(m.responseTrailers, h, s.Info()) })
	return filter.Continue
}

// RequestData continues.
func (f *factory) RequestData(filter.Stream, []byte, bool) filter.Verdict { return filter.Continue }

// ResponseData continues.
func (f *factory) ResponseData(filter.Stream, []byte, bool) filter.Verdict { return filter.Continue }

// Done does nothing.
func (f *factory) Done(filter.Stream) {}

func apply(ms []mutation, h *filter.Headers, info *filter.Info) {
	for i := range ms {
		ms[i].apply(h, info)
	}
}

func (m *mutation) apply(h *filter.Headers, info *filter.Info) {
	switch m.kind {
	case remove:
		h.Del(m.name)
		return
	case removeMatching:
		for i := 0; i < h.Len(); {
			if n := h.At(i).Name; m.names.Any(n) {
				h.Del(n)
			} else {
				i++
			}
		}
		return
	}
	v := m.text
	if m.format != nil {
		v = h.Kept(m.format.Append(h.Buffer(), info))
	}
	if v == "" && !m.keepEmpty {
		return
	}
	switch m.kind {
	case add:
		h.Add(m.name, v)
	case addIfAbsent:
		if !h.Has(m.name) {
			h.Add(m.name, v)
		}
	case set:
		h.Set(m.name, v)
	case setIfPresent:
		if h.Has(m.name) {
			h.Set(m.name, v)
		}
	}
}
