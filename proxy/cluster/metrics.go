package cluster

import (
	"sync"

	"github.com/weftmesh/weft/proxy/cluster/orca"
)

// Metric is what responses reported of one metric: how many did, and the sum.
type Metric struct {
	Requests uint64
	Total    float64
}

// hostMetrics are the metrics of a host since they were last taken.
type hostMetrics struct {
	mu sync.Mutex
	by map[string]Metric // guarded by mu
}

// add counts the metrics of those names.
func (m *hostMetrics) add(r *orca.Report, names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range names {
		orca.Each(r, name, func(name string, v float64) {
			if m.by == nil {
				m.by = map[string]Metric{}
			}
			e := m.by[name]
			e.Requests++
			e.Total += v
			m.by[name] = e
		})
	}
}

// TakeMetrics takes out what the host has reported of Spec.ReportMetrics since the
// last call, for load reports; nil: nothing.
func (h *Host) TakeMetrics() map[string]Metric {
	h.metrics.mu.Lock()
	defer h.metrics.mu.Unlock()
	by := h.metrics.by
	h.metrics.by = nil
	return by
}
