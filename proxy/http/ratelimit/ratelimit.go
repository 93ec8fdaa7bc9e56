// Package ratelimit is the filter envoy.filters.http.ratelimit, and the one for
// connections, envoy.filters.network.ratelimit: a service that all proxies ask
// counts requests by the descriptors that routes make of them, and says when there are too many.
//
// A request waits for the answer without holding anything up, for the timeout
// at most. What is counted when a request is over waits for nothing. A service's
// quotas are not looked at.
package ratelimit

import (
	"math/rand/v2"
	"strconv"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/descriptor"
	"github.com/weftmesh/weft/proxy/route"
)

// Names of the filters, in Envoy's words; that of requests is also that of their metadata.
const (
	Name        = "envoy.filters.http.ratelimit"
	NetworkName = "envoy.filters.network.ratelimit"
)

// origin says which requests are counted.
type origin uint8

const (
	fromAll origin = iota
	fromInside
	fromOutside
)

type config struct {
	name, domain string
	source       string
	stage        uint32
	origin       origin
	rules        descriptor.Rules // instead of the routes'
	ask          asker

	denyErrors                 route.Fraction
	enabled, enforced          route.Fraction
	limitedStatus, errorStatus int
	grpcStatus                 int
	response                   *route.HeaderChanges
	headers, marked            bool // X-RateLimit-…, x-envoy-ratelimited
	namespace                  string
	random                     func() uint64
	cluster                    func(cluster, stat string) *filter.Counter
}

// perRoute is what a route says.
type perRoute struct {
	vhost  descriptor.VirtualHost
	rules  descriptor.Rules
	domain string
}

// asker asks the service. done is called as with filter.Caller; a nil verdict: there was none.
type asker func(domain string, ds []descriptor.Descriptor, done func(*verdict)) (cancel func())

// verdict is what the service said.
type verdict struct {
	over              bool
	body              string
	request, response []filter.Field
	limits            []limit
	metadata          map[string]any
}

// limit is the state of one that applied.
type limit struct {
	name      string
	requests  uint32
	window    uint32 // seconds
	remaining uint32
	reset     int64
}

type factory struct{ cfg *config }

// New implements filter.HTTPFactory.
func (f *factory) New(filter.Stream) filter.HTTPFilter { return &instance{cfg: f.cfg} }

// instance is the filter of one stream.
type instance struct {
	filter.PassThrough
	cfg      *config
	asking   bool
	counts   bool // the request is one of those that the service counts
	cancel   func()
	response []filter.Field
	limited  bool
}

// RequestHeaders asks, when the request makes a descriptor.
func (x *instance) RequestHeaders(s filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
	c := x.cfg
	inside := h.Get("x-envoy-internal") == "true"
	if !c.enabled.Chosen(c.random()) || c.origin == fromInside && !inside || c.origin == fromOutside && inside || s.Cluster() == "" {
		return filter.Continue
	}
	x.counts = true
	domain, ds := c.descriptors(s, false)
	if len(ds) == 0 {
		return filter.Continue
	}
	x.asking = true
	x.cancel = c.ask(domain, ds, func(v *verdict) { s.Post(func() { x.decided(s, v) }) })
	return filter.Wait
}

// descriptors are those of the route's configuration for the filter, else of the
// filter's own, else of the route itself.
func (c *config) descriptors(s filter.Stream, done bool) (domain string, ds []descriptor.Descriptor) {
	domain = c.domain
	f := descriptor.Facts{Stream: s, Source: c.source, Done: done}
	own, _ := s.RouteConfig(c.name).(*perRoute)
	if own != nil && own.domain != "" {
		domain = own.domain
	}
	vhost := descriptor.Override
	switch {
	case own != nil && own.rules != nil:
		return domain, own.rules.Append(nil, f, descriptor.AnyStage)
	case c.rules != nil:
		return domain, c.rules.Append(nil, f, descriptor.AnyStage)
	case own != nil:
		vhost = own.vhost
	}
	return domain, descriptor.OfRoute(nil, f, c.stage, vhost)
}

// decided carries a verdict out.
func (x *instance) decided(s filter.Stream, v *verdict) {
	if !x.asking {
		return
	}
	x.asking = false
	c := x.cfg
	count := func(stat string) { c.cluster(s.Cluster(), stat).Add(1) }
	if v == nil {
		count("error")
		if !c.denyErrors.Chosen(c.random()) {
			count("failure_mode_allowed")
			s.Resume(x, filter.ToUpstream)
			return
		}
		s.Reply(filter.LocalReply{Status: c.errorStatus, GRPCStatus: -1, Details: "rate_limiter_error", Flags: filter.FlagRateLimitServiceError})
		return
	}
	if len(v.metadata) > 0 {
		s.Info().SetMetadata(c.namespace, v.metadata)
	}
	x.response = v.response
	if c.headers {
		x.response = append(x.response, limitHeaders(v.limits)...)
	}
	if v.over {
		count("over_limit")
		if c.marked {
			x.response = append(x.response, filter.Field{Name: "x-envoy-ratelimited", Value: "true"})
		}
		if c.enforced.Chosen(c.random()) {
			x.limited = true
			s.Reply(filter.LocalReply{
				Status: c.limitedStatus, GRPCStatus: c.grpcStatus, Body: v.body, Details: "request_rate_limited", Flags: filter.FlagRateLimited,
			})
			return
		}
	} else {
		count("ok")
	}
	for _, f := range v.request {
		s.Request().Add(f.Name, f.Value)
	}
	s.Resume(x, filter.ToUpstream)
}

// limitHeaders tells of the limit that is closest, and lists all.
func limitHeaders(all []limit) []filter.Field {
	var least *limit
	policies := ""
	for i := range all {
		l := &all[i]
		if least == nil || l.remaining < least.remaining {
			least = l
		}
		if l.window > 0 {
			policies += ", " + number(l.requests) + ";w=" + number(l.window)
			if l.name != "" {
				policies += `;name="` + l.name + `"`
			}
		}
	}
	if least == nil {
		return nil
	}
	return []filter.Field{
		{Name: "x-ratelimit-limit", Value: number(least.requests) + policies},
		{Name: "x-ratelimit-remaining", Value: number(least.remaining)},
		{Name: "x-ratelimit-reset", Value: strconv.FormatInt(least.reset, 10)},
	}
}

func number(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// ResponseHeaders adds what the service and the configuration want.
func (x *instance) ResponseHeaders(s filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
	for _, f := range x.response {
		if x.limited && f.Name == "content-type" {
			h.Set(f.Name, f.Value) // the service's word counts
			continue
		}
		h.Add(f.Name, f.Value)
	}
	if x.limited {
		x.cfg.response.Apply(h, s.Info())
	}
	return filter.Continue
}

// Done gives up waiting, or counts the request by the rules that want it over.
func (x *instance) Done(s filter.Stream) {
	switch {
	case x.asking:
		x.asking = false
		x.cancel()
	case x.counts:
		if domain, ds := x.cfg.descriptors(s, true); len(ds) > 0 {
			x.cfg.ask(domain, ds, func(*verdict) {}) // whatever it says, it is too late
		}
	}
}

func newConfig() *config {
	all, none := route.Fraction{Numerator: 100, Denominator: 100}, route.Fraction{Denominator: 100}
	return &config{
		enabled: all, enforced: all, denyErrors: none, limitedStatus: 429, errorStatus: 500, grpcStatus: -1, marked: true,
		namespace: Name, random: rand.Uint64,
	}
}
