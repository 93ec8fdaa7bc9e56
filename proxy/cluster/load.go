package cluster

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/proxy/cluster/orca"
	"github.com/weftmesh/weft/proxy/filter"
)

// Client-side weighted round robin: hosts report their load, with responses or over
// a stream of their own, and get weights by it. The data path writes a few atomics;
// weights are reckoned now and then on Run's goroutine, as Envoy does.

// hostLoad is what a host has reported.
type hostLoad struct {
	// Atomic. Times are by Host.instant; 0: never.
	weight      atomic.Uint32
	since, last atomic.Int64

	// Guarded by the cluster's mu.
	applied uint32 // the weight in use; 0: not yet reckoned
	stop    context.CancelFunc
}

// instant is a time since the host is there; never 0.
func (h *Host) instant(t time.Time) int64 { return max(int64(t.Sub(h.since)), 0) + 1 }

// weight of a member in load balancing.
func (m *member) weight() uint32 {
	if m.host.cluster.spec.LB.Load != nil {
		return max(m.host.load.applied, 1)
	}
	return max(m.endpoint.Weight, 1)
}

// Weight is the host's in load balancing.
func (h *Host) Weight() uint32 {
	if h.cluster.spec.LB.Load == nil {
		return max(h.Endpoint().Weight, 1)
	}
	h.cluster.mu.Lock()
	defer h.cluster.mu.Unlock()
	return max(h.load.applied, 1)
}

// WantsLoad tells whether TakeLoad is to be called with responses' headers and trailers.
func (h *Host) WantsLoad() bool {
	s := h.cluster.spec
	return len(s.ReportMetrics) > 0 || s.LB.Load != nil && s.LB.Load.OutOfBand == nil
}

// TakeLoad takes the report in headers or trailers in; true: there was one. A bad
// one is as none.
func (h *Host) TakeLoad(head *filter.Headers) bool {
	r, err := orca.FromHeaders(head)
	if err != nil || r == nil {
		return false
	}
	s := h.cluster.spec
	if len(s.ReportMetrics) > 0 {
		h.metrics.add(r, s.ReportMetrics)
	}
	if s.LB.Load != nil && s.LB.Load.OutOfBand == nil {
		h.takeReport(r)
	}
	return true
}

func (h *Host) takeReport(r *orca.Report) {
	l := h.cluster.spec.LB.Load
	w, err := orca.Weight(r, l.Metrics, l.Penalty)
	if err != nil {
		return
	}
	now := h.instant(time.Now())
	h.load.weight.Store(w)
	h.load.last.Store(now)
	h.load.since.CompareAndSwap(0, now)
}

// valid is the reported weight, if it counts at that time.
func (l *hostLoad) valid(spec *LoadWeights, now int64) (uint32, bool) {
	since := l.since.Load()
	if since == 0 || since > now-int64(spec.Blackout) {
		return 0, false
	}
	if l.last.Load() < now-int64(spec.Expiration) {
		l.since.CompareAndSwap(since, 0) // later reports begin anew
		return 0, false
	}
	return l.weight.Load(), true
}

// lessen brings weights, which may be of any size, to where products of two fit.
func lessen(weights []uint64) {
	for slices.Max(weights) > 1<<20 {
		for i := range weights {
			weights[i] = max(weights[i]>>1, 1)
		}
	}
}

// weighLocked gives all hosts the weights that they have reported; those of whom
// nothing is known get the median of their priority. It tells whether anything changed.
func (c *Cluster) weighLocked(now time.Time) (changed bool) {
	known := map[uint32][]uint32{}
	reported := make([]uint32, len(c.members))
	valid := make([]bool, len(c.members))
	for i, m := range c.members {
		if reported[i], valid[i] = m.host.load.valid(c.spec.LB.Load, m.host.instant(now)); valid[i] {
			known[m.locality.Priority] = append(known[m.locality.Priority], reported[i])
		}
	}
	medians := map[uint32]uint32{}
	for p, ws := range known {
		medians[p] = median(ws)
	}
	for i, m := range c.members {
		w := reported[i]
		if !valid[i] {
			w = medians[m.locality.Priority]
		}
		if w = max(w, 1); m.host.load.applied != w {
			m.host.load.applied = w
			changed = true
		}
	}
	return changed
}

func median(ws []uint32) uint32 {
	slices.Sort(ws)
	n := len(ws)
	if n%2 == 1 {
		return ws[n/2]
	}
	return uint32((uint64(ws[n/2-1]) + uint64(ws[n/2])) / 2)
}

func (c *Cluster) armWeighLocked() {
	if c.closed || c.reweigh != nil {
		return
	}
	var again func()
	again = func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.closed {
			return
		}
		if c.weighLocked(time.Now()) {
			c.rebuildLocked()
		}
		c.after(&c.reweigh, c.spec.LB.Load.Update, again)
	}
	c.after(&c.reweigh, c.spec.LB.Load.Update, again)
}

// watchLoadLocked has a new host asked for its load, where it is out of band.
func (c *Cluster) watchLoadLocked(h *Host) {
	if c.spec.LB.Load == nil || c.spec.LB.Load.OutOfBand == nil {
		return
	}
	o := c.spec.LB.Load.OutOfBand
	ctx, cancel := context.WithCancel(c.m.life)
	h.load.stop = cancel
	authority := cmp.Or(o.Authority, h.Hostname(), h.String())
	if !c.m.work(func(context.Context) {
		defer cancel()
		_ = orca.Watch(ctx, func(ctx context.Context) (net.Conn, error) { return h.dialLoad(ctx, o) }, authority, o.Interval, h.takeReport)
	}) {
		cancel()
	}
}

// dialLoad connects to where a host reports its load.
func (h *Host) dialLoad(ctx context.Context, o *OutOfBand) (net.Conn, error) {
	e, t := *h.Endpoint(), h.tls
	if o.Port != 0 && e.Addr.IsValid() {
		e.Addr, e.More = netip.AddrPortFrom(e.Addr.Addr(), o.Port), nil
	}
	if o.TransportLabels != nil {
		t = h.cluster.spec.TLS
		if i := h.cluster.transport(&Endpoint{TransportLabels: o.TransportLabels}); i >= 0 {
			t = h.cluster.spec.Transports[i].TLS
		}
	}
	d := DialOptions{check: &e, checkTLS: t}
	d.ALPN = []string{"h2"}
	nc, err := h.cluster.connect(ctx, h, &d)
	if err != nil {
		return nil, err
	}
	return nc, nil
}
