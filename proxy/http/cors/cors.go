// Package cors is the HTTP filter envoy.filters.http.cors: it answers preflight
// requests and marks responses for scripts of allowed origins. The policy is
// the route's (or virtual host's); without one the filter does nothing.
//
// It does not stop a request whose origin is not allowed: browsers do that by what
// is missing in the response.
package cors

import (
	"math/rand/v2"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/route"
)

// Name of the filter, in Envoy's words.
const Name = "envoy.filters.http.cors"

// Policy is the compiled policy of a route.
type Policy struct {
	origins                        route.Strings
	methods, headers, expose, age  string
	credentials, private, forwards bool
	enabled                        route.Fraction
	random                         func() uint64
}

func newPolicy() *Policy {
	return &Policy{enabled: route.Fraction{Numerator: 100, Denominator: 100}, forwards: true, random: rand.Uint64}
}

type factory struct{ name string }

// New implements filter.HTTPFactory.
func (f *factory) New(filter.Stream) filter.HTTPFilter { return &instance{name: f.name} }

type instance struct {
	filter.PassThrough
	name   string
	policy *Policy // nil: the response is not to be marked
	origin string
}

// RequestHeaders answers a preflight request, and remembers an allowed origin.
func (x *instance) RequestHeaders(s filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
	origin, ok := h.Lookup("origin")
	if !ok || origin == "" {
		return filter.Continue
	}
	p, ok := s.RouteConfig(x.name).(*Policy)
	if !ok || p == nil || !p.enabled.Chosen(p.random()) {
		return filter.Continue
	}
	preflight := h.Method == "OPTIONS" && h.Get("access-control-request-method") != ""
	if !p.origins.Any(origin) {
		if preflight && !p.forwards {
			s.Reply(filter.LocalReply{Status: 200, GRPCStatus: -1, Details: "cors_response"})
			return filter.Reply
		}
		return filter.Continue
	}
	if !preflight {
		x.policy, x.origin = p, origin
		return filter.Continue
	}
	s.Reply(filter.LocalReply{
		Status: 200, GRPCStatus: -1, Details: "cors_response",
		Header: p.preflight(origin, h.Get("access-control-request-private-network") == "true"),
	})
	return filter.Reply
}

// preflight returns the headers of an answer.
func (p *Policy) preflight(origin string, private bool) []filter.Field {
	out := []filter.Field{{Name: "access-control-allow-origin", Value: origin}}
	add := func(name, value string, ok bool) {
		if ok && value != "" {
			out = append(out, filter.Field{Name: name, Value: value})
		}
	}
	add("access-control-allow-credentials", "true", p.credentials)
	add("access-control-allow-methods", p.methods, true)
	add("access-control-allow-headers", p.headers, true)
	add("access-control-expose-headers", p.expose, true)
	add("access-control-max-age", p.age, true)
	add("access-control-allow-private-network", "true", p.private && private)
	return out
}

// ResponseHeaders marks the response.
func (x *instance) ResponseHeaders(_ filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
	p := x.policy
	if p == nil {
		return filter.Continue
	}
	h.Set("access-control-allow-origin", x.origin)
	if p.credentials {
		h.Set("access-control-allow-credentials", "true")
	}
	if p.expose != "" {
		h.Set("access-control-expose-headers", p.expose)
	}
	return filter.Continue
}
