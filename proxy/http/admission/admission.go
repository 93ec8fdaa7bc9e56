// Package admission is the HTTP filter envoy.filters.http.admission_control:
// when the share of successful requests of the last while falls below a
// threshold it answers some itself, the more the worse it is, so that what
// is overloaded can recover.
//
// What it answered itself does not count. All connections share one window.
package admission

import (
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/runtime"
)

// Name of the filter, in Envoy's words.
const Name = "envoy.filters.http.admission_control"

// span is a range of statuses, without its end.
type span struct{ from, to int }

type factory struct {
	enabled          runtime.Flag
	aggression       runtime.Number // at least 1
	rate, most       runtime.Number // percent
	leastRPS         runtime.Number
	http             []span
	grpc             uint32 // bits of successful statuses
	random           func() uint64
	now              func() time.Time
	rejected         *filter.Counter
	success, failure *filter.Counter
	window           window
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
	counts  bool // the outcome is of interest and not known yet
	trailer bool // it will be in the trailers
}

// RequestHeaders draws lots.
func (x *instance) RequestHeaders(s filter.Stream, _ *filter.Headers, _ bool) filter.Verdict {
	f := x.factory
	all, good, rps := f.window.sums(f.now())
	if rps >= f.leastRPS.Value() && f.rejects(all, good) {
		f.rejected.Add(1)
		s.Reply(filter.LocalReply{Status: 503, GRPCStatus: -1, Details: "denied_by_admission_control"})
		return filter.Reply
	}
	x.counts = true
	return filter.Continue
}

// rejects draws by Envoy's formula.
func (f *factory) rejects(all, good float64) bool {
	rate := min(max(f.rate.Value(), 1), 100) / 100
	p := (all - good/rate) / (all + 1)
	if a := max(f.aggression.Value(), 1); a != 1 {
		p = math.Pow(p, 1/a)
	}
	const accuracy = 10_000
	return accuracy*max(min(p, f.most.Value()/100), 0) > float64(f.random()%accuracy)
}

// ResponseHeaders learns the outcome.
func (x *instance) ResponseHeaders(_ filter.Stream, h *filter.Headers, end bool) filter.Verdict {
	if !x.counts {
		return filter.Continue
	}
	_, has := h.Lookup("grpc-status")
	if end && has || !end && h.Status == 200 && strings.HasPrefix(h.Get("content-type"), "application/grpc") {
		if x.trailer = !has; has {
			x.record(x.factory.grpcGood(h))
		}
		return filter.Continue
	}
	good := false
	for _, s := range x.factory.http {
		good = good || s.from <= h.Status && h.Status < s.to
	}
	x.record(good)
	return filter.Continue
}

// ResponseTrailers learns the outcome of a gRPC call.
func (x *instance) ResponseTrailers(_ filter.Stream, h *filter.Headers) filter.Verdict {
	if x.counts && x.trailer {
		x.record(x.factory.grpcGood(h))
	}
	return filter.Continue
}

func (f *factory) grpcGood(h *filter.Headers) bool {
	n, err := strconv.ParseUint(h.Get("grpc-status"), 10, 8)
	return err == nil && n <= 16 && f.grpc&(1<<n) != 0
}

func (x *instance) record(good bool) {
	x.counts = false
	if good {
		x.factory.success.Add(1)
	} else {
		x.factory.failure.Add(1)
	}
	x.factory.window.add(x.factory.now(), good)
}

// Done counts what never got an answer as a failure.
func (x *instance) Done(filter.Stream) {
	if x.counts {
		x.record(false)
	}
}

// window counts requests by the second.
type window struct {
	length time.Duration

	mu      sync.Mutex
	samples []sample // the oldest first
	sum     sample
}

type sample struct {
	at        time.Time
	all, good uint64
}

// sums are what the window holds, and how many requests per second that is.
func (w *window) sums(now time.Time) (all, good, rps float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expire(now)
	if len(w.samples) == 0 || w.sum.all == 0 {
		return 0, 0, 0
	}
	age := max(now.Sub(w.samples[0].at).Truncate(time.Second), time.Second)
	return float64(w.sum.all), float64(w.sum.good), float64(w.sum.all) / age.Seconds()
}

func (w *window) expire(now time.Time) {
	for len(w.samples) > 0 && now.Sub(w.samples[0].at) >= w.length {
		w.sum.all -= w.samples[0].all
		w.sum.good -= w.samples[0].good
		w.samples = w.samples[:copy(w.samples, w.samples[1:])]
	}
}

func (w *window) add(now time.Time, good bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expire(now)
	if n := len(w.samples); n == 0 || now.Sub(w.samples[n-1].at) >= time.Second {
		w.samples = append(w.samples, sample{at: now})
	}
	last := &w.samples[len(w.samples)-1]
	last.all++
	w.sum.all++
	if good {
		last.good++
		w.sum.good++
	}
}
