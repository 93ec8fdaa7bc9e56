package cli

import (
	"context"
	"math"
	"net/http"
	"sort"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/weftmesh/weft/wire"
)

// metricsPath is where a proxy's admin API has its metrics, merged with those
// of the program where it has some.
const metricsPath = "/stats/prometheus"

// sample is the metrics of one proxy at one moment.
type sample struct {
	instance wire.Instance
	at       time.Time
	families map[string]*dto.MetricFamily
	err      error
}

// scrape reads the metrics of all proxies, side by side.
func (e *Env) scrape(ctx context.Context) ([]sample, error) {
	list, err := e.instances(ctx)
	if err != nil {
		return nil, err
	}
	var out []sample
	for _, i := range list {
		if i.AdminSocket != "" {
			out = append(out, sample{instance: i})
		}
	}
	var wg sync.WaitGroup
	for n := range out {
		wg.Go(func() {
			s := &out[n]
			r, err := dialUnix(s.instance.AdminSocket).do(ctx, http.MethodGet, metricsPath, nil, nil)
			if s.at, s.err = time.Now(), err; err != nil {
				return
			}
			defer r.Close()
			parser := expfmt.NewTextParser(model.UTF8Validation)
			s.families, s.err = parser.TextToMetricFamilies(r)
		})
	}
	wg.Wait()
	return out, nil
}

func labels(m *dto.Metric) map[string]string {
	out := make(map[string]string, len(m.GetLabel()))
	for _, l := range m.GetLabel() {
		out[l.GetName()] = l.GetValue()
	}
	return out
}

// value of a counter, gauge or untyped metric.
func value(m *dto.Metric) float64 {
	return m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue()
}

// gauge returns the sum of a family's values.
func (s *sample) gauge(name string) float64 {
	sum := 0.0
	for _, m := range s.families[name].GetMetric() {
		sum += value(m)
	}
	return sum
}

// buckets adds up histograms with the same bounds.
type buckets map[float64]float64

func (b buckets) add(h *dto.Histogram, sign float64) {
	for _, x := range h.GetBucket() {
		b[x.GetUpperBound()] += sign * float64(x.GetCumulativeCount())
	}
	b[math.Inf(1)] += sign * float64(h.GetSampleCount())
	if n := len(h.GetBucket()); n > 0 && math.IsInf(h.GetBucket()[n-1].GetUpperBound(), 1) {
		b[math.Inf(1)] -= sign * float64(h.GetSampleCount())
	}
}

// quantile interpolates within the bucket, as PromQL's histogram_quantile does;
// NaN without samples.
func (b buckets) quantile(q float64) float64 {
	bounds := make([]float64, 0, len(b))
	for x := range b {
		bounds = append(bounds, x)
	}
	sort.Float64s(bounds)
	if len(bounds) == 0 || b[bounds[len(bounds)-1]] <= 0 {
		return math.NaN()
	}
	rank := q * b[bounds[len(bounds)-1]]
	lower, below := 0.0, 0.0
	for _, x := range bounds {
		if b[x] >= rank {
			if math.IsInf(x, 1) {
				return lower
			}
			if b[x] == below {
				return x
			}
			return lower + (x-lower)*(rank-below)/(b[x]-below)
		}
		lower, below = x, b[x]
	}
	return lower
}
