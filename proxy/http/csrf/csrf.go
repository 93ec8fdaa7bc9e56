// Package csrf is the HTTP filter envoy.filters.http.csrf: a request that
// changes something must come from a page of the same origin, or of one that is
// listed. It looks at Origin, and at Referer where there is none.
package csrf

import (
	"net/url"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/route"
)

// Name of the filter, in Envoy's words.
const Name = "envoy.filters.http.csrf"

// policy is the filter's or a route's.
type policy struct {
	enabled, shadow route.Fraction
	more            route.Strings
}

type factory struct {
	filter.PassThrough
	name                    string
	own                     *policy
	random                  func() uint64
	missing, invalid, valid *filter.Counter
}

// New implements filter.HTTPFactory. The filter has no state: one serves all streams.
func (f *factory) New(filter.Stream) filter.HTTPFilter { return f }

// RequestHeaders compares the origins.
func (f *factory) RequestHeaders(s filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
	switch h.Method {
	case "POST", "PUT", "DELETE", "PATCH":
	default:
		return filter.Continue
	}
	p := f.own
	if r, ok := s.RouteConfig(f.name).(*policy); ok {
		p = r
	}
	enabled, shadow := p.enabled.Chosen(f.random()), p.shadow.Chosen(f.random())
	if !enabled && !shadow {
		return filter.Continue
	}
	source := origin(h.Get("origin"))
	if source == "" || source == "null" { // what a browser says that does not tell
		source = origin(h.Get("referer"))
	}
	switch {
	case source == "":
		f.missing.Add(1)
	case source == origin(h.Authority) || p.more.Any(source):
		f.valid.Add(1)
		return filter.Continue
	default:
		f.invalid.Add(1)
	}
	if !enabled {
		return filter.Continue
	}
	s.Reply(filter.LocalReply{Status: 403, GRPCStatus: -1, Body: "Invalid origin", Details: "csrf_origin_mismatch"})
	return filter.Reply
}

// origin is host and port of an absolute URL; what is none stays as it is.
func origin(s string) string {
	if !strings.Contains(s, "://") {
		return s
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return s
	}
	return u.Host
}
