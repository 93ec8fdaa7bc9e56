package cluster

import (
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
)

// Outlier detection watches responses. Data path and Run share the work: the
// former counts and, at a threshold, flags the host; the latter decides, ejects,
// rebuilds the view, and ends ejections at the sweeps.

// cause of an ejection.
type cause uint8

const (
	cause5xx cause = iota
	causeGateway
	causeLocal
	causeSuccessRate
	causeLocalSuccessRate
	causeFailurePercentage
	causeLocalFailurePercentage
	causes
)

// causeNames as in Envoy's statistics.
var causeNames = [causes]string{
	"consecutive_5xx", "consecutive_gateway_failure", "consecutive_local_origin_failure",
	"success_rate", "local_origin_success_rate", "failure_percentage", "local_origin_failure_percentage",
}

// monitor watches one host.
type monitor struct {
	// Atomic.
	consecutive [3]atomic.Uint32 // cause5xx, causeGateway, causeLocal
	flags       atomic.Uint32    // causes detected and not yet looked at
	external    tally
	local       tally
	ejected     atomic.Bool
	// rates are the last success rates in percent, external and local, as bits of a float.
	rates [2]atomic.Uint64

	// Guarded by the cluster's mu.
	ejections int       // multiplier of the ejection time
	total     int       // of all ejections
	out       time.Time // when the last ejection began
	until     time.Time
	back      time.Time // when the last ejection ended
}

// tally counts one interval.
type tally struct{ good, total atomic.Uint32 }

func (t *tally) add(ok bool) {
	if ok {
		t.good.Add(1)
	}
	t.total.Add(1)
}

// withDefaults fills in Envoy's defaults of durations.
func (o Outlier) withDefaults() Outlier {
	if o.Interval <= 0 {
		o.Interval = 10 * time.Second
	}
	if o.BaseEjection <= 0 {
		o.BaseEjection = 30 * time.Second
	}
	if o.MaxEjection <= 0 {
		o.MaxEjection = 300 * time.Second
	}
	o.MaxEjection = max(o.MaxEjection, o.BaseEjection)
	return o
}

// Result is what traffic tells about a host.
type Result uint8

// Results of the proxy's own making; responses go by ReportStatus.
const (
	// Connected: a TCP proxy's connection was made.
	Connected Result = iota
	ConnectFailed
	ConnectTimedOut
	// RequestTimedOut: no response in time.
	RequestTimedOut
	// RemoteReset: the stream was reset or the connection ended before the response was whole.
	RemoteReset
)

// Report tells outlier detection about r.
func (h *Host) Report(r Result) {
	o := h.cluster.outlier.Load()
	if o == nil {
		return
	}
	if !o.SplitLocal {
		switch r {
		case Connected:
			h.ReportStatus(200)
		case ConnectTimedOut, RequestTimedOut:
			h.ReportStatus(504)
		default:
			h.ReportStatus(503)
		}
		return
	}
	h.monitor.local.add(r == Connected)
	if r == Connected {
		h.monitor.consecutive[causeLocal].Store(0)
	} else {
		h.count(causeLocal, o.ConsecutiveLocal)
	}
}

// ReportResponse tells outlier detection about a response whose headers say by
// themselves whether it is an error; false: there is no rule for that, and its status
// is to be reported.
func (h *Host) ReportResponse(r *filter.Headers) bool {
	test := h.cluster.spec.HTTP.IsError
	if test == nil {
		return false
	}
	status := 200
	if test(r) {
		status = 500
	}
	h.ReportStatus(status)
	return true
}

// ReportStatus tells outlier detection about a response; a gRPC status is given
// as the HTTP status that it maps to.
func (h *Host) ReportStatus(code int) {
	o := h.cluster.outlier.Load()
	if o == nil {
		return
	}
	m := &h.monitor
	m.external.add(code < 500)
	if o.SplitLocal {
		m.local.add(true)
		reset(&m.consecutive[causeLocal])
	}
	if code < 500 {
		reset(&m.consecutive[cause5xx])
		reset(&m.consecutive[causeGateway])
		return
	}
	h.count(cause5xx, o.Consecutive5xx)
	if code >= 502 && code <= 504 {
		h.count(causeGateway, o.ConsecutiveGateway)
	} else {
		reset(&m.consecutive[causeGateway])
	}
}

// reset stores 0, but only over something else: a store dirties the cache line
// that all cores read.
func reset(a *atomic.Uint32) {
	if a.Load() != 0 {
		a.Store(0)
	}
}

// count counts a failure in a row, and flags the host when there are enough.
func (h *Host) count(c cause, threshold uint32) {
	if threshold == 0 || h.monitor.consecutive[c].Add(1) < threshold {
		return
	}
	h.monitor.consecutive[c].Store(0)
	if h.Ejected() {
		return
	}
	h.monitor.flags.Or(1 << c)
	if h.cluster.flagged.CompareAndSwap(false, true) {
		h.cluster.m.post(h.cluster.judge)
	}
}

// judge looks at the flagged hosts. On Run's goroutine.
func (c *Cluster) judge() {
	c.flagged.Store(false)
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	changed := false
	for _, m := range c.members {
		flags := m.host.monitor.flags.Swap(0)
		for cs := range causes {
			if flags&(1<<cs) != 0 && c.detectedLocked(m.host, cs, now) {
				changed = true
			}
		}
	}
	if changed {
		c.rebuildLocked()
	}
}

// enforce is the percent with which a cause leads to an ejection.
func (o *Outlier) enforce(c cause) uint32 {
	switch c {
	case cause5xx:
		return o.Enforce5xx
	case causeGateway:
		return o.EnforceGateway
	case causeLocal:
		return o.EnforceLocal
	case causeSuccessRate:
		return o.SuccessRate.Enforce
	case causeLocalSuccessRate:
		return o.SuccessRate.EnforceLocal
	case causeFailurePercentage:
		return o.FailurePercentage.Enforce
	case causeLocalFailurePercentage:
		return o.FailurePercentage.EnforceLocal
	}
	return 0
}

// detectedLocked counts a detection and ejects the host when that is permitted.
func (c *Cluster) detectedLocked(h *Host, cs cause, now time.Time) (ejected bool) {
	if h.Ejected() || c.closed {
		return false
	}
	o := c.outlier.Load()
	c.stats.OutlierDetected[cs].Add(1)
	share := 100 * float64(c.ejected+1) / float64(len(c.members))
	if share > float64(o.MaxEjectionPercent) && (c.ejected > 0 || !o.AlwaysEjectOne) {
		c.stats.OutlierOverflow.Add(1)
		return false
	}
	if rand.Uint32N(100) >= o.enforce(cs) { //nolint:gosec // a share, no secret
		c.logEjectLocked(h, cs, now, false)
		return false
	}
	m := &h.monitor
	m.ejections++
	m.total++
	m.out = now
	d := min(time.Duration(m.ejections)*o.BaseEjection, o.MaxEjection)
	if o.Jitter > 0 {
		d += rand.N(o.Jitter) //nolint:gosec // jitter
	}
	m.until = now.Add(d)
	m.ejected.Store(true)
	c.ejected++
	c.m.post(h.fail)
	c.stats.OutlierEnforced[cs].Add(1)
	c.stats.OutlierEjectionsTotal.Add(1)
	c.stats.OutlierEjections.Add(1)
	c.logEjectLocked(h, cs, now, true)
	if c.sweep == nil {
		c.armSweepLocked()
	}
	return true
}

// forgetEjectionLocked is for a host that goes away while ejected.
func (c *Cluster) forgetEjectionLocked(h *Host) {
	if h.monitor.ejected.CompareAndSwap(true, false) {
		c.ejected--
		c.stats.OutlierEjections.Add(-1)
	}
}

// unejectLocked ends an ejection.
func (c *Cluster) unejectLocked(h *Host, now time.Time) {
	c.forgetEjectionLocked(h)
	c.logUnejectLocked(h, now)
	m := &h.monitor
	m.back = now
	for i := range m.consecutive {
		m.consecutive[i].Store(0)
	}
	m.flags.Store(0)
}

func (c *Cluster) armSweepLocked() {
	if !c.closed {
		c.after(&c.sweep, c.outlier.Load().Interval, c.sweepOutliers)
	}
}

// sweepOutliers ends ejections whose time is over and looks at the rates of
// the interval. On Run's goroutine.
func (c *Cluster) sweepOutliers() {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	changed, again := false, c.outlier.Load().SuccessRate != nil || c.outlier.Load().FailurePercentage != nil
	for _, mb := range c.members {
		m := &mb.host.monitor
		switch {
		case m.ejected.Load() && !now.Before(m.until):
			c.unejectLocked(mb.host, now)
			changed = true
		case !m.ejected.Load() && m.ejections > 0 && now.Sub(m.back) >= c.outlier.Load().Interval:
			m.ejections-- // an interval in good health is forgiven
		}
		again = again || m.ejections > 0
	}
	if c.ratesLocked(now) {
		changed = true
	}
	if changed {
		c.rebuildLocked()
	}
	if again || c.ejected > 0 {
		c.armSweepLocked()
	} else {
		c.sweep = nil
	}
}

// ratesLocked judges the success rates of the interval that is over.
func (c *Cluster) ratesLocked(now time.Time) (changed bool) {
	o := c.outlier.Load()
	if o.SuccessRate == nil && o.FailurePercentage == nil {
		return false
	}
	kinds := []struct {
		of            func(*monitor) *tally
		rate, percent cause
	}{{func(m *monitor) *tally { return &m.external }, causeSuccessRate, causeFailurePercentage}}
	if o.SplitLocal {
		kinds = append(kinds, kinds[0])
		kinds[1].of = func(m *monitor) *tally { return &m.local }
		kinds[1].rate, kinds[1].percent = causeLocalSuccessRate, causeLocalFailurePercentage
	}
	for i, k := range kinds {
		var seen []rated
		for _, mb := range c.members {
			t := k.of(&mb.host.monitor)
			good, total := t.good.Swap(0), t.total.Swap(0)
			mb.host.monitor.setRate(i, unknownRate)
			if !mb.host.Ejected() {
				seen = append(seen, rated{mb.host, total, 100 * float64(good) / float64(max(total, 1))})
			}
		}
		c.thresholds[i] = [2]float64{unknownRate, unknownRate}
		if s := o.SuccessRate; s != nil {
			rs := enough(seen, s.MinHosts, s.MinVolume)
			c.rememberLocked(i, rs)
			if below := limit(rs, s.StdevFactorPerThousand); c.ejectLocked(rs, k.rate, now, func(r float64) bool { return r < below }) {
				changed = true
			}
		}
		if f := o.FailurePercentage; f != nil {
			rs := enough(seen, f.MinHosts, f.MinVolume)
			for _, r := range rs {
				r.host.monitor.setRate(i, r.rate)
			}
			if c.ejectLocked(rs, k.percent, now, func(r float64) bool { return 100-r >= float64(f.Threshold) }) {
				changed = true
			}
		}
	}
	return changed
}

// unknownRate is how Envoy shows a success rate that there is not.
const unknownRate = -1

func (m *monitor) setRate(kind int, percent float64) { m.rates[kind].Store(math.Float64bits(percent)) }

// SuccessRate is the success rate in percent of the last interval, of responses
// or of the proxy's own failures; -1 when there were not enough requests.
func (h *Host) SuccessRate(local bool) float64 {
	return math.Float64frombits(h.monitor.rates[kindOf(local)].Load())
}

// rememberLocked keeps what an interval's rates were, for admin pages.
func (c *Cluster) rememberLocked(kind int, rs []rated) {
	if len(rs) == 0 {
		return
	}
	mean := 0.0
	for _, r := range rs {
		r.host.monitor.setRate(kind, r.rate)
		mean += r.rate / float64(len(rs))
	}
	c.thresholds[kind] = [2]float64{mean, limit(rs, c.outlier.Load().SuccessRate.StdevFactorPerThousand)}
}

// SuccessRates are the mean of the hosts' success rates in the last interval and
// what a host must not fall below; -1: there were not enough. ok is false without
// outlier detection.
func (c *Cluster) SuccessRates(local bool) (mean, threshold float64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kind := kindOf(local)
	return c.thresholds[kind][0], c.thresholds[kind][1], c.outlier.Load() != nil
}

// rated is a host with the requests and the success rate (percent) of an interval.
type rated struct {
	host  *Host
	total uint32
	rate  float64
}

// enough leaves the hosts with enough requests, if there are enough of them.
func enough(rs []rated, hosts, volume uint32) (out []rated) {
	for _, r := range rs {
		if r.total >= max(volume, 1) {
			out = append(out, r)
		}
	}
	if len(out) < int(hosts) {
		return nil
	}
	return out
}

// limit is the success rate that is factor/1000 standard deviations below the mean.
func limit(rs []rated, perThousand uint32) float64 {
	mean, variance := 0.0, 0.0
	for _, r := range rs {
		mean += r.rate / float64(len(rs))
	}
	for _, r := range rs {
		variance += (r.rate - mean) * (r.rate - mean) / float64(len(rs))
	}
	return mean - float64(perThousand)/1000*math.Sqrt(variance)
}

func (c *Cluster) ejectLocked(rs []rated, cs cause, now time.Time, bad func(rate float64) bool) (changed bool) {
	for _, r := range rs {
		if bad(r.rate) && c.detectedLocked(r.host, cs, now) {
			changed = true
		}
	}
	return changed
}
