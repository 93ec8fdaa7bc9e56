package handover

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
)

// TestGatherer adds counters and histograms of other processes to those of this
// one, over two handovers.
func TestGatherer(t *testing.T) {
	own := func(n float64) *prometheus.Registry {
		r := prometheus.NewRegistry()
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rq_total", Help: "Requests."}, []string{"code"})
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "ms", Help: "Times.", Buckets: []float64{1, 10}})
		r.MustRegister(c, h)
		c.WithLabelValues("200").Add(n)
		h.Observe(n)
		return r
	}
	first := own(5)
	gather := func(g prometheus.Gatherer) []*dto.MetricFamily {
		f, err := g.Gather()
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	second := Gatherer{Own: own(20), Ledger: NewLedger()}
	told := newSent()
	news := told.news(Counts{Series: SeriesOf(gather(first))})
	told.told(news)
	second.Ledger.add("link", news)
	second.Ledger.add("link", told.news(Counts{Series: SeriesOf(gather(first))})) // nothing new
	third := Gatherer{Own: prometheus.NewRegistry(), Ledger: NewLedger()}
	third.Ledger.add("link", newSent().news(Counts{Series: SeriesOf(gather(second))}))
	third.Ledger.add("link", Counts{Series: []Series{{Family: "rq_total", Labels: []string{"code", "500"}, Values: []float64{1}}}})
	if err := testutil.GatherAndCompare(third, strings.NewReader(`# HELP ms Times.
# TYPE ms histogram
ms_bucket{le="1"} 0
ms_bucket{le="10"} 1
ms_bucket{le="+Inf"} 2
ms_sum 25
ms_count 2
# HELP rq_total Requests.
# TYPE rq_total counter
rq_total{code="200"} 25
rq_total{code="500"} 1
`)); err != nil {
		t.Error(err)
	}
}

// TestNews: counters are told by how much they grew, gauges by what they are, and
// only those that add up.
func TestNews(t *testing.T) {
	s := newSent()
	first := Counts{Stats: []Stat{{"a", "b", "total", 5, false}, {"a", "b", "rq_active", 2, true}, {"a", "b", "hosts", 9, true}}}
	if diff := cmp.Diff(first.Stats[:2], s.news(first).Stats); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(first.Stats[:2], s.news(first).Stats); diff != "" {
		t.Errorf("what was not sent is no news any more: %s", diff)
	}
	s.told(s.news(first))
	if c := s.news(first); !c.empty() {
		t.Errorf("nothing is new, and %+v is told", c)
	}
	next := Counts{Stats: []Stat{{"a", "b", "total", 8, false}, {"a", "b", "rq_active", 0, true}}}
	if diff := cmp.Diff([]Stat{{"a", "b", "total", 3, false}, {"a", "b", "rq_active", 0, true}}, s.news(next).Stats); diff != "" {
		t.Error(diff)
	}
	l := NewLedger()
	l.add(1, first)
	l.forget(1)
	for got := range l.Stats {
		if got.Gauge {
			t.Errorf("a gauge of a process that has ended: %+v", got)
		}
	}
}
