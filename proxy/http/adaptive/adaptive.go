// Package adaptive is the HTTP filter envoy.filters.http.adaptive_concurrency:
// it lets as many requests be under way at once as the upstream serves without
// growing slower, and answers the others itself.
//
// The limit is Envoy's gradient controller's: what requests take is compared
// with what they took when few were under way, which is measured now and then.
// All connections of one configuration share the limit; a request that ends
// without a whole response is no sample. The path of a request takes no lock.
package adaptive

import (
	"time"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/runtime"
)

// Name of the filter, in Envoy's words.
const Name = "envoy.filters.http.adaptive_concurrency"

type factory struct {
	enabled runtime.Flag
	status  int // of what is answered here
	*controller
}

// New implements filter.HTTPFactory.
func (f *factory) New(filter.Stream) filter.HTTPFilter {
	if !f.enabled.On() {
		return nil
	}
	return &instance{factory: f}
}

type instance struct {
	filter.PassThrough
	factory *factory
	counts  bool // it is one of those under way
	start   time.Time
	epoch   uint32
}

// RequestHeaders takes one of the places, if there is one.
func (x *instance) RequestHeaders(s filter.Stream, _ *filter.Headers, _ bool) filter.Verdict {
	if s.Info().HealthCheck {
		return filter.Continue
	}
	if !x.factory.admit() {
		s.Reply(filter.LocalReply{
			Status: x.factory.status, GRPCStatus: -1, Body: "reached concurrency limit", Details: "reached_concurrency_limit",
		})
		return filter.Reply
	}
	x.counts, x.start, x.epoch = true, time.Now(), x.factory.epoch.Load()
	return filter.Continue
}

// ResponseHeaders is the end of a response that has nothing else.
func (x *instance) ResponseHeaders(_ filter.Stream, h *filter.Headers, end bool) filter.Verdict {
	if end && h.Status >= 200 {
		x.sample()
	}
	return filter.Continue
}

// ResponseData waits for the end.
func (x *instance) ResponseData(_ filter.Stream, _ []byte, end bool) filter.Verdict {
	if end {
		x.sample()
	}
	return filter.Continue
}

// ResponseTrailers are the end.
func (x *instance) ResponseTrailers(filter.Stream, *filter.Headers) filter.Verdict {
	x.sample()
	return filter.Continue
}

// sample gives the place back and tells how long it took.
func (x *instance) sample() {
	if x.counts {
		x.counts = false
		x.factory.complete(time.Since(x.start), x.epoch)
	}
}

// Done gives the place back of what did not come to an end.
func (x *instance) Done(filter.Stream) {
	if x.counts {
		x.counts = false
		x.factory.outstanding.Add(-1)
	}
}
