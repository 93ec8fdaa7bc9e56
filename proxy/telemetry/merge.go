package telemetry

import (
	"math"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// merger adds up series whose labels are the same in the end: of two replicas of
// a workload, or of what is left when a filter's settings remove labels.
type merger map[mergeKey]*merged

type mergeKey struct{ metric, labels string }

// merged is one series as it is shown.
type merged struct {
	desc   *prometheus.Desc
	labels []string
	count  uint64 // a counter's
	// A histogram's.
	bounds []float64
	counts []uint64 // one more than bounds
	sum    float64
}

// seriesOf puts the metrics of one key of a table into a merger.
type seriesOf struct {
	merger
	set              *settings
	standard, values []string
}

// find returns where a metric of the series goes; nil: nowhere.
func (s seriesOf) find(metric string) *merged {
	p := s.set.plans[metric]
	if p.dropped {
		return nil
	}
	labels := p.labels(s.standard, s.values)
	// Names belong to the identity too: settings may differ by listener.
	k := mergeKey{metric, strings.Join(p.names, separator) + separator + separator + strings.Join(labels, separator)}
	m := s.merger[k]
	if m == nil {
		m = &merged{desc: p.desc, labels: labels}
		s.merger[k] = m
	}
	return m
}

func (s seriesOf) counter(metric string, v uint64) {
	if m := s.find(metric); m != nil {
		m.count += v
	}
}

func (s seriesOf) histogram(metric string, h *histogram) {
	m := s.find(metric)
	if m == nil {
		return
	}
	if m.counts == nil {
		m.bounds, m.counts = h.bounds, make([]uint64, len(h.counts))
	}
	for i := range h.counts {
		m.counts[i] += h.counts[i].Load()
	}
	m.sum += math.Float64frombits(h.sum.Load())
}

// send shows the series.
func (m merger) send(out chan<- prometheus.Metric) {
	for _, s := range m {
		if s.counts == nil {
			out <- prometheus.MustNewConstMetric(s.desc, prometheus.CounterValue, float64(s.count), s.labels...)
			continue
		}
		buckets := make(map[float64]uint64, len(s.bounds))
		var n uint64
		for i, b := range s.bounds {
			n += s.counts[i]
			buckets[b] = n
		}
		n += s.counts[len(s.bounds)]
		out <- prometheus.MustNewConstHistogram(s.desc, n, s.sum, buckets, s.labels...)
	}
}
