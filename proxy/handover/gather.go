package handover

import (
	"math"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Gatherer adds what a Ledger knows to a process's own counters and histograms.
type Gatherer struct {
	Own    prometheus.Gatherer
	Ledger *Ledger
}

// Gather implements prometheus.Gatherer.
func (g Gatherer) Gather() ([]*dto.MetricFamily, error) {
	families, err := g.Own.Gather()
	byName := make(map[string]*dto.MetricFamily, len(families))
	metrics := map[string]*dto.Metric{}
	for _, f := range families {
		byName[f.GetName()] = f
		for _, m := range f.Metric {
			s := Series{Family: f.GetName(), Labels: labels(m)}
			metrics[s.key()] = m
		}
	}
	for _, s := range g.Ledger.Series() {
		if m := metrics[s.key()]; m != nil {
			own := series(m)
			if own != nil && slices.Equal(own.Bounds, s.Bounds) {
				for i, v := range own.Values {
					s.Values[i] += v
				}
				s.fill(m)
			}
			continue
		}
		f := byName[s.Family]
		if f == nil {
			f = &dto.MetricFamily{Name: &s.Family, Help: &s.Help, Type: dto.MetricType_COUNTER.Enum()}
			if s.Bounds != nil {
				f.Type = dto.MetricType_HISTOGRAM.Enum()
			}
			byName[s.Family] = f
			families = append(families, f)
		}
		m := &dto.Metric{}
		for i := 0; i+1 < len(s.Labels); i += 2 {
			m.Label = append(m.Label, &dto.LabelPair{Name: &s.Labels[i], Value: &s.Labels[i+1]})
		}
		s.fill(m)
		f.Metric = append(f.Metric, m)
	}
	slices.SortFunc(families, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	return families, err
}

// SeriesOf returns the counters and histograms among families.
func SeriesOf(families []*dto.MetricFamily) (out []Series) {
	for _, f := range families {
		for _, m := range f.Metric {
			if s := series(m); s != nil {
				s.Family, s.Help, s.Labels = f.GetName(), f.GetHelp(), labels(m)
				out = append(out, *s)
			}
		}
	}
	return out
}

// labels are names and values in turns; a Gatherer sorts them by name.
func labels(m *dto.Metric) []string {
	out := make([]string, 0, 2*len(m.Label))
	for _, l := range m.Label {
		out = append(out, l.GetName(), l.GetValue())
	}
	return out
}

// series has the numbers of a metric; nil: it is of another kind.
func series(m *dto.Metric) *Series {
	switch {
	case m.Counter != nil:
		return &Series{Values: []float64{m.Counter.GetValue()}}
	case m.Histogram != nil:
		s := &Series{Bounds: []float64{}}
		for _, b := range m.Histogram.Bucket {
			if !math.IsInf(b.GetUpperBound(), 1) { // JSON has no infinity, and the count says the same
				s.Bounds = append(s.Bounds, b.GetUpperBound())
				s.Values = append(s.Values, float64(b.GetCumulativeCount()))
			}
		}
		s.Values = append(s.Values, float64(m.Histogram.GetSampleCount()), m.Histogram.GetSampleSum())
		return s
	}
	return nil
}

// fill writes the numbers into a metric.
func (s *Series) fill(m *dto.Metric) {
	if s.Bounds == nil {
		m.Counter = &dto.Counter{Value: &s.Values[0]}
		return
	}
	n := len(s.Bounds)
	count := uint64(s.Values[n])
	h := &dto.Histogram{SampleCount: &count, SampleSum: &s.Values[n+1]}
	for i := range s.Bounds {
		c := uint64(s.Values[i])
		h.Bucket = append(h.Bucket, &dto.Bucket{CumulativeCount: &c, UpperBound: &s.Bounds[i]})
	}
	m.Histogram = h
}
