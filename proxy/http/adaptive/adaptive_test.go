package adaptive

import (
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
)

const typ = `{"@type":"type.googleapis.com/envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency"`

func controllerJSON(limits, rtt string) string {
	return typ + `,"gradientControllerConfig":{"concurrencyLimitParams":{` + limits + `},"minRttCalcParams":{` + rtt + `}}}`
}

func TestRefused(t *testing.T) {
	parse := func(c *filter.ParseContext, a *anypb.Any) error {
		_, err := Kind().Parse(c, a)
		return err
	}
	filtertest.Refused(t, parse, map[string]string{
		typ + `}`: "ConcurrencyControllerConfig",
		controllerJSON(`"concurrencyUpdateInterval":"0.0001s"`, `"interval":"1s"`):   "concurrency_update_interval",
		controllerJSON(`"concurrencyUpdateInterval":"1s"`, ``):                       "min_rtt_calc_params",
		controllerJSON(``, `"interval":"1s"`):                                        "ConcurrencyUpdateInterval",
		controllerJSON(`"concurrencyUpdateInterval":"1s"`, `"fixedValue":"0.0001s"`): "fixed_value",
	})
}

// rig runs requests against a filter; time is the bubble's.
type rig struct {
	*factory
	t *testing.T
}

func newRig(t *testing.T, limits, rtt string) *rig {
	t.Helper()
	f, err := Kind().Parse(&filter.ParseContext{StatPrefix: "p"}, filtertest.Any(t, controllerJSON(limits, rtt)))
	if err != nil {
		t.Fatal(err)
	}
	return &rig{factory: f.(*factory), t: t}
}

// begin starts a request; end is called when its response is whole; nil: it was answered here.
func (r *rig) begin() (end func()) {
	s := filtertest.New()
	x := r.New(s)
	if x.RequestHeaders(s, s.Req, true) == filter.Reply {
		if got := s.Replies[0]; got.Status != 503 || got.Details != "reached_concurrency_limit" {
			r.t.Errorf("answered %+v", got)
		}
		x.Done(s)
		return nil
	}
	return func() {
		x.ResponseHeaders(s, &filter.Headers{Status: 200}, false)
		x.ResponseData(s, nil, true)
		x.Done(s)
	}
}

// serve runs n requests at once that take d.
func (r *rig) serve(n int, d time.Duration) {
	r.t.Helper()
	var ends []func()
	for range n {
		end := r.begin()
		if end == nil {
			r.t.Fatalf("request %d of %d answered at the limit %d", len(ends)+1, n, r.controller.limit.Load())
		}
		ends = append(ends, end)
	}
	time.Sleep(d)
	for _, end := range ends {
		end()
	}
}

func (r *rig) wantLimit(want int64) {
	r.t.Helper()
	synctest.Wait()
	if got := r.controller.limit.Load(); got != want || r.stats.limit.Load() != want {
		r.t.Errorf("the limit is %d (statistic %d), want %d", got, r.stats.limit.Load(), want)
	}
}

func TestMeasuresFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, `"concurrencyUpdateInterval":"1s"`, `"interval":"60s","requestCount":4,"minConcurrency":2,"jitter":{}`)
		ends := []func(){r.begin(), r.begin()}
		if r.begin() != nil || r.stats.blocked.Load() != 1 {
			t.Errorf("three at once; %d blocked", r.stats.blocked.Load())
		}
		time.Sleep(10 * time.Millisecond)
		for _, end := range ends {
			end()
		}
		if r.stats.measurement.Load() != 1 {
			t.Error("the measurement is over early")
		}
		r.serve(2, 10*time.Millisecond)
		if r.stats.measurement.Load() != 0 || r.stats.minRTT.Load() != 10 {
			t.Errorf("active %d, min_rtt_msecs %d", r.stats.measurement.Load(), r.stats.minRTT.Load())
		}

		// As fast as that: 1.25 of 2, and the root of it.
		r.serve(2, 10*time.Millisecond)
		time.Sleep(time.Second)
		r.wantLimit(4)
		if g, q := r.stats.gradient.Load(), r.stats.headroom.Load(); g < 1200 || g > 1250 || q != 1 {
			t.Errorf("gradient %d, burst_queue_size %d", g, q)
		}

		// A request from before the next measurement is no sample of it.
		old := r.begin()
		time.Sleep(60 * time.Second)
		r.wantLimit(2)
		old()
		r.serve(2, 40*time.Millisecond)
		r.serve(2, 40*time.Millisecond)
		r.wantLimit(4)
		if got := r.stats.minRTT.Load(); got != 40 {
			t.Errorf("min_rtt_msecs %d", got)
		}
		drop(r)
	})
}

// drop ends the timers, which would keep the bubble waiting.
func drop(r *rig) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next != nil {
		r.next.Stop()
	}
	if r.window != nil {
		r.window.Stop()
	}
}

func TestSlowerAndFaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, `"concurrencyUpdateInterval":"1s","maxConcurrencyLimit":30`,
			`"fixedValue":"0.1s","minConcurrency":10,"buffer":{"value":0}`)
		for _, step := range []struct {
			took time.Duration
			want int64
		}{
			{50 * time.Millisecond, 24},  // 2 · 10 + √20
			{20 * time.Millisecond, 30},  // no more than 30
			{200 * time.Millisecond, 18}, // 15 + √15
			{900 * time.Millisecond, 12}, // no less than half
			{300 * time.Millisecond, 10}, // no less than the least
		} {
			r.serve(5, step.took)
			time.Sleep(time.Second)
			r.wantLimit(step.want)
		}
		time.Sleep(time.Hour) // without requests nothing changes
		r.wantLimit(10)
		drop(r)
	})
}

func TestStuckMeasuresAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, `"concurrencyUpdateInterval":"1s"`, `"interval":"3600s","requestCount":1,"minConcurrency":1`)
		r.serve(1, time.Millisecond)
		for i := range stuck {
			if r.stats.measurement.Load() != 0 {
				t.Fatalf("measures after %d windows", i)
			}
			r.serve(1, 100*time.Millisecond)
			time.Sleep(time.Second)
			synctest.Wait()
		}
		if r.stats.measurement.Load() != 1 {
			t.Error("does not measure anew")
		}
		r.serve(1, 100*time.Millisecond)
		if got := r.stats.minRTT.Load(); got < 100 || got > 110 {
			t.Errorf("min_rtt_msecs %d", got)
		}
		drop(r)
	})
}

func TestWhatDoesNotEndIsNoSample(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, `"concurrencyUpdateInterval":"1s"`, `"interval":"60s","requestCount":1,"minConcurrency":1`)
		s := filtertest.New()
		x := r.New(s)
		x.RequestHeaders(s, s.Req, true)
		x.Done(s)
		if r.outstanding.Load() != 0 || r.stats.measurement.Load() != 1 {
			t.Errorf("%d under way, measuring %d", r.outstanding.Load(), r.stats.measurement.Load())
		}
		health := filtertest.New()
		health.StreamInfo.HealthCheck = true
		if x := r.New(health); x.RequestHeaders(health, health.Req, true) != filter.Continue || r.outstanding.Load() != 0 {
			t.Error("a question for health counts")
		}
		drop(r)
	})
}

func TestHistogram(t *testing.T) {
	for us := int64(0); us < 2_000_000; us = us*11/10 + 1 {
		start, width := startOf(binOf(us))
		if float64(us) < start || float64(us) >= start+width || width > max(1, float64(us)/9.9) {
			t.Fatalf("%d is in [%g, %g)", us, start, start+width)
		}
	}
	var h histogram
	for i := range 100 {
		h.add(time.Duration(i+1) * time.Microsecond)
	}
	h.add(1000 * time.Hour)
	for _, q := range []float64{0.5, 1} {
		got, ok := h.drain(q)
		if want := map[float64]time.Duration{0.5: 50 * time.Microsecond}[q]; ok != (q == 0.5) || got.Round(10*time.Microsecond) != want {
			t.Errorf("quantile %g: %v %v", q, got, ok)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	f, err := Kind().Parse(&filter.ParseContext{}, filtertest.Any(t, controllerJSON(`"concurrencyUpdateInterval":"3600s"`, `"fixedValue":"1s"`)))
	if err != nil {
		t.Fatal(err)
	}
	s := filtertest.New()
	x := f.New(s)
	h := &filter.Headers{Status: 200}
	if n := testing.AllocsPerRun(100, func() {
		x.RequestHeaders(s, s.Req, true)
		x.ResponseHeaders(s, h, true)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
