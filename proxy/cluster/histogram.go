package cluster

import (
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
)

// DefaultBuckets are the upper bounds of a histogram's buckets, Envoy's for
// Prometheus. A last bucket holds what is above them all.
var DefaultBuckets = []float64{
	0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000,
}

// Histogram counts values by size. Its zero value drops them: init makes it count.
type Histogram struct {
	bounds  []float64
	buckets []atomic.Uint64
	sum     atomic.Uint64 // in thousandths
}

func (h *Histogram) init(bounds []float64) {
	h.bounds, h.buckets = bounds, make([]atomic.Uint64, len(bounds)+1)
}

// Observe counts a duration, in milliseconds.
func (h *Histogram) Observe(d time.Duration) { h.Record(float64(d) / float64(time.Millisecond)) }

// Record counts a value, which is not negative.
func (h *Histogram) Record(v float64) {
	if h.buckets == nil {
		return
	}
	v = max(v, 0)
	i := 0
	for i < len(h.bounds) && v > h.bounds[i] {
		i++
	}
	h.buckets[i].Add(1)
	h.sum.Add(uint64(v * 1000))
}

// Load returns the upper bounds, how many values there are in each bucket, one more than
// bounds, and the sum of all values.
func (h *Histogram) Load() (bounds []float64, buckets []uint64, sum float64) {
	buckets = make([]uint64, len(h.buckets))
	for i := range buckets {
		buckets[i] = h.buckets[i].Load()
	}
	return h.bounds, buckets, float64(h.sum.Load()) / 1000
}

// Track says what a cluster counts beside the usual.
type Track struct {
	// Budgets of timeouts, sizes of requests and responses, and statistics by endpoint.
	Budgets, Sizes, Endpoints bool
}

// Budgets are histograms of percents of timeouts; 0 where there is none.
type Budgets struct{ Request, Attempt Histogram }

const (
	budgetName       = "upstream_rq_timeout_budget_percent_used"
	perTryBudgetName = "upstream_rq_timeout_budget_per_try_percent_used"
)

// Sizes are histograms of requests (Rq) and responses (Rs): bytes and number of the fields
// of heads, and bytes of bodies.
type Sizes struct {
	RqHead, RqFields, RqBody Histogram
	RsHead, RsFields, RsBody Histogram
}

var sizeNames = [...]string{
	"upstream_rq_headers_size", "upstream_rq_headers_count", "upstream_rq_body_size",
	"upstream_rs_headers_size", "upstream_rs_headers_count", "upstream_rs_body_size",
}

func (z *Sizes) all() [6]*Histogram {
	return [...]*Histogram{&z.RqHead, &z.RqFields, &z.RqBody, &z.RsHead, &z.RsFields, &z.RsBody}
}

// Head counts a head, a response's or a request's.
func (z *Sizes) Head(h *filter.Headers, response bool) {
	bytes, fields := h.Size()
	if response {
		z.RsHead.Record(float64(bytes))
		z.RsFields.Record(float64(fields))
		return
	}
	z.RqHead.Record(float64(bytes))
	z.RqFields.Record(float64(fields))
}

// track makes the histograms of a cluster. Those that are there go on counting.
func (s *Stats) track(name string, t Track, bounds func(stat string) []float64) {
	start := func(stat string, h *Histogram) {
		if h.buckets != nil {
			return
		}
		b := DefaultBuckets
		if bounds != nil {
			if own := bounds("cluster." + name + "." + stat); own != nil {
				b = own
			}
		}
		h.init(b)
	}
	start("upstream_rq_time", &s.UpstreamRqTime)
	start("upstream_cx_connect_ms", &s.ConnectTime)
	if t.Budgets && s.Budgets() == nil {
		b := &Budgets{}
		start(budgetName, &b.Request)
		start(perTryBudgetName, &b.Attempt)
		s.budgets.Store(b)
	}
	if t.Sizes && s.Sizes() == nil {
		z := &Sizes{}
		for i, h := range z.all() {
			start(sizeNames[i], h)
		}
		s.sizes.Store(z)
	}
}

// Endpoints yields what each endpoint counts, by the names that Envoy's statistics of
// endpoints have; nothing where the cluster does not track them.
func (c *Cluster) Endpoints(yield func(address, stat string, k StatKind, v uint64)) {
	if !c.spec.Track.Endpoints {
		return
	}
	c.Hosts(func(h *Host) bool {
		s, healthy := h.Stats(), uint64(0)
		if h.Healthy() {
			healthy = 1
		}
		addr := h.String()
		for _, n := range [...]struct {
			name string
			c    *Counter
		}{
			{"cx_connect_fail", &s.CxConnectFail}, {"cx_total", &s.CxTotal}, {"rq_error", &s.RqError},
			{"rq_success", &s.RqSuccess}, {"rq_timeout", &s.RqTimeout}, {"rq_total", &s.RqTotal},
		} {
			yield(addr, n.name, KindCounter, n.c.Load())
		}
		yield(addr, "cx_active", KindGauge, uint64(max(s.CxActive.Load(), 0)))
		yield(addr, "rq_active", KindGauge, uint64(max(s.RqActive.Load(), 0)))
		yield(addr, "rq_pending_active", KindGauge, uint64(max(s.RqPendingActive.Load(), 0)))
		yield(addr, "healthy", KindGauge, healthy)
		return true
	})
}
