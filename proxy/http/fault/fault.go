// Package fault is the HTTP filter envoy.filters.http.fault: it delays a share
// of the requests and answers a share itself, to see how callers bear it. A
// route's configuration replaces the filter's as a whole.
//
// A delayed request waits on the stream's timer, nothing blocks. Faults that come
// from request headers, rate limits and runtime keys are refused at configuration time.
package fault

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/route"
)

// Name of the filter, in Envoy's words.
const Name = "envoy.filters.http.fault"

// Config says which faults to inject. It is immutable but for the count of active ones.
type Config struct {
	headers route.HeaderTests // all must match
	delay   time.Duration
	delays  route.Fraction
	aborts  route.Fraction
	reply   filter.LocalReply
	// limit of faults at a time; 0: none.
	limit  int64
	active atomic.Int64
	random func() uint64
}

// factory makes the filter of a stream.
type factory struct {
	cfg  *Config
	name string
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
	if c == nil || c.delays.Numerator == 0 && c.aborts.Numerator == 0 || !c.headers.All(h) {
		return filter.Continue
	}
	if c.delay > 0 && c.delays.Chosen(c.random()) && x.take() {
		s.Info().Flags |= filter.FlagDelayInjected
		x.stop = s.After(c.delay, func() { x.delayed(s) })
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
	if !x.cfg.aborts.Chosen(x.cfg.random()) || !x.take() {
		return false
	}
	s.Reply(x.cfg.reply)
	return true
}

// take counts the stream as faulty, once, unless there are too many.
func (x *instance) take() bool {
	c := x.cfg
	if c.limit == 0 || x.counted {
		return true
	}
	if c.active.Add(1) > c.limit {
		c.active.Add(-1)
		return false
	}
	x.counted = true
	return true
}

// Done ends a delay that is no longer wanted.
func (x *instance) Done(filter.Stream) {
	if x.stop != nil {
		x.stop()
		x.stop = nil
	}
	if x.counted {
		x.counted = false
		x.cfg.active.Add(-1)
	}
}

func newConfig() *Config {
	none := route.Fraction{Denominator: 100}
	return &Config{delays: none, aborts: none, random: rand.Uint64}
}
