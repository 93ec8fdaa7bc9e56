// Package localrate is the filter envoy.filters.http.local_ratelimit, and the
// one for connections, envoy.filters.network.local_ratelimit: token buckets in
// this process, or one set for each connection. A route's configuration
// replaces the filter's as a whole and has buckets of its own.
//
// Buckets take no lock and have no timers; a request without descriptors costs
// no memory. With a share of a limit of the whole local cluster
// (local_cluster_rate_limit) a request takes as many tokens as there are proxies.
// An update of the configuration begins with full buckets.
package localrate

import (
	"math/rand/v2"
	"strconv"
	"sync"

	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/runtime"
	"github.com/weftmesh/weft/proxy/http/descriptor"
	"github.com/weftmesh/weft/proxy/route"
)

// Names of the filters, in Envoy's words.
const (
	Name        = "envoy.filters.http.local_ratelimit"
	NetworkName = "envoy.filters.network.local_ratelimit"
)

// Scope of the statistics of requests. Prometheus has the configured prefix as a label.
const Scope = "http_local_rate_limit"

// Config is a compiled configuration and its buckets.
type Config struct {
	plan          plan
	shared        *limiter
	perConnection bool

	enabled, enforced route.Fraction
	random            func() uint64
	stage             uint32
	rules             descriptor.Rules // instead of the routes'
	vhost             descriptor.VirtualHost
	source            string // the local cluster's name
	// members is how many proxies share the limit; nil: it is this one's alone.
	members filter.Members

	reply                filter.LocalReply
	response, unenforced *route.HeaderChanges
	headers, retryAfter  bool

	statEnabled, statOK, statLimited, statEnforced *filter.Counter
}

type factory struct {
	cfg  *Config
	name string
}

var instances = sync.Pool{New: func() any { return new(instance) }}

// New implements filter.HTTPFactory.
func (f *factory) New(filter.Stream) filter.HTTPFilter {
	x := instances.Get().(*instance)
	x.factory = f
	return x
}

// instance is the filter of one stream.
type instance struct {
	filter.PassThrough
	factory *factory
	cfg     *Config
	found   []descriptor.Descriptor
	verdict verdict
	replied bool
	now     float64
}

// RequestHeaders takes the request's tokens.
func (x *instance) RequestHeaders(s filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
	c := x.factory.cfg
	if own, ok := s.RouteConfig(x.factory.name).(*Config); ok {
		c = own
	}
	if c.enabled.Never() || !c.enabled.Chosen(c.random()) {
		return filter.Continue
	}
	x.cfg, x.now = c, seconds(s.Info().Start)
	c.statEnabled.Add(1)
	if len(c.plan.specials) > 0 {
		f := descriptor.Facts{Stream: s, Source: c.source, Local: true}
		if c.rules != nil {
			x.found = c.rules.Append(x.found, f, descriptor.AnyStage)
		} else {
			x.found = descriptor.OfRoute(x.found, f, c.stage, c.vhost)
		}
	}
	x.verdict = c.limiter(s.Info().Conn).judge(x.now, x.found, c.cost())
	if x.verdict.ok {
		c.statOK.Add(1)
		return filter.Continue
	}
	c.statLimited.Add(1)
	if c.enforced.Never() || !c.enforced.Chosen(c.random()) {
		c.unenforced.Apply(h, s.Info())
		return filter.Continue
	}
	c.statEnforced.Add(1)
	x.replied = true
	s.Reply(c.reply)
	return filter.Reply
}

// cost is how many tokens a request takes.
func (c *Config) cost() float64 {
	if c.members == nil {
		return 1
	}
	return float64(max(c.members.LocalMembers(), 1))
}

// limiter is that of the process or of the connection.
func (c *Config) limiter(conn *filter.ConnInfo) *limiter {
	if !c.perConnection {
		return c.shared
	}
	// As in Envoy, the first such filter that a connection meets sets its limits.
	if l, ok := conn.State[Name].(*limiter); ok {
		return l
	}
	l := c.plan.make()
	if conn.State == nil {
		conn.State = map[string]any{}
	}
	conn.State[Name] = l
	return l
}

// ResponseHeaders tells the client of its limit.
func (x *instance) ResponseHeaders(s filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
	if x.cfg == nil {
		return filter.Continue
	}
	if x.replied {
		x.cfg.response.Apply(h, s.Info())
	}
	b := x.verdict.bucket
	if b == nil {
		return filter.Continue
	}
	if x.verdict.header.On(x.cfg.headers) {
		number(h, "x-ratelimit-limit", uint64(b.max))
		number(h, "x-ratelimit-remaining", b.remaining(x.now))
		number(h, "x-ratelimit-reset", b.reset(x.now))
	}
	if x.replied && x.cfg.retryAfter {
		number(h, "retry-after", b.reset(x.now))
	}
	return filter.Continue
}

// number adds a header whose value lies in h's memory.
func number(h *filter.Headers, name string, v uint64) {
	h.Add(name, h.Kept(strconv.AppendUint(h.Buffer(), v, 10)))
}

// Done gives the instance back.
func (x *instance) Done(filter.Stream) {
	clear(x.found)
	*x = instance{found: x.found[:0]}
	instances.Put(x)
}

// networkFilter limits new connections. It is its own factory.
type networkFilter struct {
	enabled runtime.Flag
	bucket  *bucket // nil: none gets through
	limited *filter.Counter
}

// New implements filter.NetworkFactory.
func (x *networkFilter) New() filter.NetworkFilter { return x }

// Open takes the connection's token.
func (x *networkFilter) Open(_ stream.Conn, info *filter.ConnInfo) filter.Verdict {
	if !x.enabled.On() || x.bucket != nil && x.bucket.take(seconds(info.Start), 1) {
		return filter.Continue
	}
	x.limited.Add(1)
	info.Flags |= filter.FlagUpstreamRetryLimitExceeded // as Envoy marks it
	info.Termination = "local_ratelimit_close_over_limit"
	return filter.Reply
}

// Closed does nothing.
func (x *networkFilter) Closed(*filter.ConnInfo) {}

func newConfig() *Config {
	none := route.Fraction{Denominator: 100}
	return &Config{enabled: none, enforced: none, random: rand.Uint64}
}
