package adaptive

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/runtime"
)

// params are GradientControllerConfig's; shares are of 1.
type params struct {
	quantile          float64
	least, most       int64         // limits that are calculated
	update            time.Duration // the length of a sampling window
	interval          time.Duration // between measurements; 0: none, fixed holds
	fixed             time.Duration
	requests, measure int64 // of a measurement: how many, and how many at once
	jitter, buffer    float64
}

// stats are "http.PREFIX.adaptive_concurrency.gradient_controller.…".
type stats struct {
	blocked                                                   *filter.Counter
	limit, gradient, headroom, minRTT, sampleRTT, measurement *filter.Gauge
}

// stuck is how many windows in a row at the least limit make the measurement suspicious.
const stuck = 5

// controller finds the limit.
//
// Its timers stand only while they have something to do: that of a window from
// its first sample on, so that a configuration which has gone goes for good.
type controller struct {
	configured params
	runtime    keys
	stats      stats

	enough atomic.Int64 // samples of a measurement

	limit, outstanding atomic.Int64
	epoch              atomic.Uint32 // of measurements: samples of requests from before one do not count
	measuring          atomic.Bool
	armed              atomic.Bool // the window's timer stands
	latencies          histogram

	mu       sync.Mutex
	params         // those in force
	deferred int64 // the limit to go on with after the measurement
	minRTT   time.Duration
	atLeast  int       // windows in a row at the least limit
	from     time.Time // when the windows began
	window   *time.Timer
	next     *time.Timer // the next measurement
}

// keys are the values of the runtime that override params.
type keys struct{ interval, requests, most, quantile, jitter, measure, buffer *runtime.Key }

func keysOf(s *runtime.Store) keys {
	key := func(name string) *runtime.Key { return s.Key("adaptive_concurrency.gradient_controller." + name) }
	return keys{
		interval: key("min_rtt_calc_interval_ms"), requests: key("min_rtt_aggregate_request_count"), most: key("max_concurrency_limit"),
		quantile: key("sample_aggregate_percentile"), jitter: key("jitter"), measure: key("min_concurrency"), buffer: key("min_rtt_buffer"),
	}
}

// reloadLocked makes params what configuration and runtime say: at the borders of
// windows and measurements.
func (c *controller) reloadLocked() {
	p := c.configured
	whole := func(k *runtime.Key, n *int64) { *n = int64(k.Integer(uint64(*n))) } //nolint:gosec // counts
	share := func(k *runtime.Key, f *float64) { *f = min(max(k.Double(*f*100), 0), 100) / 100 }
	whole(c.runtime.requests, &p.requests)
	whole(c.runtime.most, &p.most)
	whole(c.runtime.measure, &p.measure)
	share(c.runtime.quantile, &p.quantile)
	share(c.runtime.jitter, &p.jitter)
	share(c.runtime.buffer, &p.buffer)
	if p.interval > 0 {
		p.interval = time.Duration(c.runtime.interval.Integer(uint64(p.interval.Milliseconds()))) * time.Millisecond //nolint:gosec // a duration
	}
	if p.fixed > 0 && p.interval == 0 {
		c.minRTT = p.fixed
	}
	c.params = p
	c.enough.Store(p.requests)
}

// start begins with a measurement.
func (c *controller) start() {
	c.mu.Lock()
	c.reloadLocked()
	c.limit.Store(c.measure)
	c.stats.limit.Store(c.measure)
	c.from = time.Now()
	c.mu.Unlock()
	if c.interval == 0 {
		c.minRTT = c.fixed
		c.stats.minRTT.Store(c.fixed.Milliseconds())
		return
	}
	c.begin()
}

// admit takes a place; false: there is none.
func (c *controller) admit() bool {
	for {
		n := c.outstanding.Load()
		if n >= c.limit.Load() {
			c.stats.blocked.Add(1)
			return false
		}
		if c.outstanding.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// complete gives a place back of a request of that epoch that took d.
func (c *controller) complete(d time.Duration, epoch uint32) {
	c.outstanding.Add(-1)
	if epoch != c.epoch.Load() {
		return
	}
	n := c.latencies.add(d)
	if c.measuring.Load() {
		if n >= c.enough.Load() {
			c.end()
		}
		return
	}
	if !c.armed.Load() && c.armed.CompareAndSwap(false, true) {
		c.arm()
	}
}

// arm sets the timer to the end of the present window.
func (c *controller) arm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	left := c.update - time.Since(c.from)%c.update
	c.window = time.AfterFunc(left, c.sampled)
}

// begin begins a measurement: few requests at once.
func (c *controller) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.measuring.Load() {
		return
	}
	c.reloadLocked()
	c.measuring.Store(true)
	c.stats.measurement.Store(1)
	c.deferred = c.limit.Load()
	c.setLocked(c.measure)
	c.latencies.drain(c.quantile)
	c.epoch.Add(1)
}

// end ends it, goes on with the limit from before, and plans the next one.
func (c *controller) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.measuring.Load() {
		return
	}
	if rtt, ok := c.latencies.drain(c.quantile); ok {
		c.minRTT = rtt
		c.stats.minRTT.Store(rtt.Milliseconds())
	}
	c.setLocked(c.deferred)
	c.measuring.Store(false)
	c.stats.measurement.Store(0)
	if c.window != nil {
		c.window.Stop()
	}
	c.armed.Store(false)
	c.from = time.Now()
	c.nextLocked(c.interval + time.Duration(c.jitter*rand.Float64()*float64(c.interval)))
}

// nextLocked plans the next measurement instead of any that was planned.
func (c *controller) nextLocked(d time.Duration) {
	if c.next != nil {
		c.next.Stop()
	}
	c.next = time.AfterFunc(d, c.begin)
}

// sampled is the end of a window: there is a new limit.
func (c *controller) sampled() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.measuring.Load() {
		return // end stops what is left of the window
	}
	c.armed.Store(false)
	c.reloadLocked()
	rtt, ok := c.latencies.drain(c.quantile)
	if !ok {
		return
	}
	c.stats.sampleRTT.Store(rtt.Milliseconds())
	c.setLocked(c.newLimitLocked(rtt))
}

// newLimitLocked is Envoy's formula.
func (c *controller) newLimitLocked(rtt time.Duration) int64 {
	gradient := max(0.5, min(2, float64(c.minRTT)*(1+c.buffer)/float64(max(rtt, time.Microsecond))))
	c.stats.gradient.Store(int64(gradient * 1000)) // as Envoy shows it
	limit := float64(c.limit.Load()) * gradient
	headroom := math.Sqrt(limit)
	c.stats.headroom.Store(int64(headroom))
	return max(c.least, min(c.most, int64(limit+headroom)))
}

// setLocked sets the limit. One that cannot go lower for several windows tells that
// the measurement may be wrong.
func (c *controller) setLocked(limit int64) {
	old := c.limit.Swap(limit)
	c.stats.limit.Store(limit)
	if c.measuring.Load() || old != c.least || limit != c.least {
		c.atLeast = 0
		return
	}
	if c.atLeast++; c.atLeast >= stuck && c.interval > 0 {
		c.nextLocked(0)
	}
}
