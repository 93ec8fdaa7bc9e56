// Package fault is the HTTP filter envoy.filters.http.fault: it delays a share
// of the requests and answers a share itself, to see how callers bear it. A
// route's configuration replaces the filter's as a whole.
//
// A delayed request waits on the stream's timer, nothing blocks. Faults that come
// from request headers and rate limits are refused at configuration time. The runtime's
// keys fault.http.… count; those of a downstream cluster (fault.http.CLUSTER.…) do not.
package fault

import (
	"math/rand/v2"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/runtime"
	"github.com/weftmesh/weft/proxy/route"
)

// Name of the filter, in Envoy's words.
const Name = "envoy.filters.http.fault"

// Config says which faults to inject. It is immutable but for the count of active ones.
type Config struct {
	headers route.HeaderTests // all must match
	delay   number            // milliseconds; 0: none
	delays  route.Fraction
	aborts  route.Fraction
	reply   filter.LocalReply
	code    *runtime.Key // replaces the reply's status, that of gRPC if it has one
	limit   number       // of faults at a time
	random  func() uint64
}

// number is what is configured, unless the runtime has a value.
type number struct {
	usual uint64
	key   *runtime.Key
}

func (n number) now() uint64 { return n.key.Integer(n.usual) }

// stats are a filter's statistics, which count for all routes.
type stats struct {
	delays, aborts, overflow *filter.Counter
	active                   *filter.Gauge
}

// factory makes the filter of a stream.
type factory struct {
	cfg   *Config
	name  string
	stats stats
}

// New implements filter.HTTPFactory.
func (f *factory) New(filter.Stream) filter.HTTPFilter { return &instance{factory: f} }

// instance is the filter of one stream. The route is chosen by the time of RequestHeaders.
type instance struct {
	filter.PassThrough
	factory *factory
	cfg     *Config
	stop    func()
	counted bool
}

// RequestHeaders draws the lots: first for the delay, after it for the abort.
func (x *instance) RequestHeaders(s filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
	x.cfg = x.factory.cfg
	if c, ok := s.RouteConfig(x.factory.name).(*Config); ok {
		x.cfg = c
	}
	c := x.cfg
	if c == nil || c.delays.Never() && c.aborts.Never() || !c.headers.All(h) {
		return filter.Continue
	}
	if uint64(max(x.factory.stats.active.Load(), 0)) >= c.limit.now() { //nolint:gosec // it is not negative
		x.factory.stats.overflow.Add(1)
		return filter.Continue
	}
	if ms := c.delay.now(); ms > 0 && c.delays.Chosen(c.random()) {
		x.count(x.factory.stats.delays)
		s.Info().Flags |= filter.FlagDelayInjected
		x.stop = s.After(time.Duration(min(ms, maxDelay))*time.Millisecond, func() { x.delayed(s) }) //nolint:gosec // bounded
		return filter.Wait
	}
	if x.abort(s) {
		return filter.Reply
	}
	return filter.Continue
}

// delayed goes on after the delay.
func (x *instance) delayed(s filter.Stream) {
	x.stop = nil
	if !x.abort(s) {
		s.Resume(x, filter.ToUpstream)
	}
}

func (x *instance) abort(s filter.Stream) bool {
	if x.cfg.reply.Status == 0 || !x.cfg.aborts.Chosen(x.cfg.random()) {
		return false
	}
	x.count(x.factory.stats.aborts)
	s.Reply(x.cfg.replyNow())
	return true
}

// replyNow is the reply with the status that the runtime wants.
func (c *Config) replyNow() filter.LocalReply {
	r := c.reply
	v := c.code.Load()
	switch {
	case v == nil || !v.IsInteger:
	case r.GRPCStatus >= 0:
		r.GRPCStatus, r.Status = int(v.Integer), filter.HTTPOfGRPC(int(v.Integer))
	case v.Integer >= 200 && v.Integer < 600:
		r.Status = int(v.Integer) //nolint:gosec // bounded
	}
	return r
}

// maxDelay bounds what the runtime can ask for, in milliseconds: a day.
const maxDelay = 86_400_000

// count counts a fault; the stream is a faulty one then.
func (x *instance) count(kind *filter.Counter) {
	kind.Add(1)
	if !x.counted {
		x.counted = true
		x.factory.stats.active.Add(1)
	}
}

// Done ends a delay that is no longer wanted.
func (x *instance) Done(filter.Stream) {
	if x.stop != nil {
		x.stop()
		x.stop = nil
	}
	if x.counted {
		x.counted = false
		x.factory.stats.active.Add(-1)
	}
}

func newConfig() *Config {
	none := route.Fraction{Denominator: 100}
	return &Config{delays: none, aborts: none, random: rand.Uint64}
}
