// Package jwt is the HTTP filter envoy.filters.http.jwt_authn: it demands JSON
// Web Tokens by rules, verifies them with the keys of their issuers, and tells
// others what they say, in headers and in dynamic metadata.
//
// Keys come from the configuration or from a server, asked ahead and again
// before they expire; a request whose keys are still under way waits for them.
// Verified tokens may be cached: such a one costs no memory and no lock. Claims of tokens that
// were not verified go nowhere, also where requests pass with them (extract_only_without_validation),
// as in Envoy's implementation.
package jwt

import (
	"strings"
	"sync"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/route"
)

// Name of the filter, in Envoy's words; also that of its dynamic metadata.
const Name = "envoy.filters.http.jwt_authn"

type counters struct {
	allowed, denied, preflight, hit, miss, fetched, failed *filter.Counter
}

// rule demands something of the requests that match; nil: nothing.
type rule struct {
	match *route.Matcher
	need  requirement
}

// factory is the compiled configuration.
type factory struct {
	name      string
	rules     []rule
	stateKey  string                 // of filter state, for requests of no rule
	byState   map[string]requirement // by the value there
	named     map[string]requirement
	names     string // of named, for an error
	preflight bool   // preflight requests pass
	strip     bool
	stats     counters
}

// perRoute replaces the rules.
type perRoute struct {
	disabled bool
	name     string
}

var instances = sync.Pool{New: func() any { return new(instance) }}

// New implements filter.HTTPFactory.
func (f *factory) New(filter.Stream) filter.HTTPFilter {
	x := instances.Get().(*instance)
	x.f = f
	return x
}

// instance is the filter of one stream.
type instance struct {
	filter.PassThrough
	f       *factory
	need    requirement
	check   check
	waiting bool
	kept    bool // somebody else may know it
}

// RequestHeaders checks the tokens.
func (x *instance) RequestHeaders(s filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
	f := x.f
	if f.preflight && h.Method == "OPTIONS" && h.Get("origin") != "" && h.Get("access-control-request-method") != "" {
		f.stats.preflight.Add(1)
		f.stats.allowed.Add(1)
		return filter.Continue
	}
	if own, ok := s.RouteConfig(f.name).(*perRoute); ok {
		if x.need = f.named[own.name]; x.need == nil && !own.disabled {
			f.stats.denied.Add(1)
			s.Reply(f.denial(403, "Failed JWT authentication: Wrong requirement_name: "+own.name+". It should be one of ["+f.names+"]",
				status("Wrong requirement_name: "+own.name+". It should be one of ["+f.names+"]")))
			return filter.Reply
		}
	} else {
		x.need = f.find(h, s.Info())
	}
	if x.need == nil {
		f.stats.allowed.Add(1)
		return filter.Continue
	}
	x.check.h, x.check.info, x.check.now, x.check.stats = h, s.Info(), s.Info().Start, &f.stats
	return x.run(s)
}

// find is the first rule's requirement, or what filter state asks for; nil: none.
func (f *factory) find(h *filter.Headers, i *filter.Info) requirement {
	for i := range f.rules {
		if r := &f.rules[i]; r.match.Matches(h, &route.Req{}) {
			return r.need
		}
	}
	if f.stateKey == "" {
		return nil
	}
	return f.byState[i.Text(f.stateKey)]
}

// run checks, from the beginning each time that keys have come.
func (x *instance) run(s filter.Stream) filter.Verdict {
	c := &x.check
	c.found, c.gone, c.await, c.misses = c.found[:0], c.gone[:0], nil, 0
	st := x.need.check(c)
	if c.await != nil {
		x.waiting, x.kept = true, true
		src := c.await
		c.waited = append(c.waited, src)
		src.wait(func() { s.Post(func() { x.again(s) }) })
		return filter.Wait
	}
	if st != good {
		x.f.stats.denied.Add(1)
		code := 401
		if st == badAudience {
			code = 403
		}
		r := x.f.denial(code, string(st), st)
		if !x.f.strip {
			r.Header = []filter.Field{{Name: "www-authenticate", Value: challenge(c.h, s.Info(), st)}}
		}
		s.Reply(r)
		return filter.Reply
	}
	x.f.stats.allowed.Add(1)
	x.apply(s)
	return filter.Continue
}

func (x *instance) again(s filter.Stream) {
	if !x.waiting {
		return
	}
	x.waiting = false
	if x.run(s) == filter.Continue {
		s.Resume(x, filter.ToUpstream)
	}
}

func (f *factory) denial(code int, body string, st status) filter.LocalReply {
	r := filter.LocalReply{
		Status: code, GRPCStatus: -1, Body: body,
		Details: "jwt_authn_access_denied{" + strings.ReplaceAll(string(st), " ", "_") + "}",
	}
	if f.strip {
		r.Body = ""
	}
	return r
}

// longestURI bounds the address in a challenge.
const longestURI = 256

// challenge is the value of www-authenticate.
func challenge(h *filter.Headers, i *filter.Info, st status) string {
	path := h.Path
	if i.OriginalPath != "" {
		path = i.OriginalPath
	}
	v := `Bearer realm="` + h.Scheme + "://" + h.Authority + path[:min(len(path), longestURI)] + `"`
	if st != missing {
		v += `, error="invalid_token"`
	}
	return v
}

// apply tells of the verified tokens.
func (x *instance) apply(s filter.Stream) {
	h, clear := x.check.h, false
	for i := range x.check.found {
		o := &x.check.found[i]
		for _, f := range o.t.out.fields {
			if x.check.keeps(i, f.Name) {
				h.Add(f.Name, f.Value)
			}
		}
		if !o.p.forward {
			switch o.place.kind {
			case inHeader:
				h.Del(o.place.name)
			case inParam:
				h.Path = withoutParam(h.Path, o.place.name)
			}
		}
		if m := o.t.out.metadata; m != nil {
			s.Info().SetMetadata(Name, m)
		}
		clear = clear || o.p.clearRoute && (len(o.t.out.fields) > 0 || o.t.out.metadata != nil)
	}
	if clear {
		s.ClearRoute()
	}
}

// Done gives the instance back.
func (x *instance) Done(filter.Stream) {
	x.waiting = false
	if x.kept {
		return
	}
	c := &x.check
	clear(c.found)
	clear(c.tokens[:cap(c.tokens)])
	*x = instance{check: check{found: c.found[:0], tokens: c.tokens[:0]}}
	instances.Put(x)
}
