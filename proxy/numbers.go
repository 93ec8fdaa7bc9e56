package proxy

import (
	"context"
	"math"
	"strings"
	"time"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/http"
	"github.com/weftmesh/weft/wire"
	"github.com/weftmesh/weft/wire/metricpb"
	"github.com/weftmesh/weft/wire/push"
)

// percentiles of the time that the program takes, in milliseconds.
var percentiles = map[string]float64{"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}

// reportNumbers tells the control plane how much there is to do, while the condition of a limit asks for it: of the
// requests to the program, or of a gateway's all.
func (r *runtime) reportNumbers(ctx context.Context) error {
	id, err := wire.ParseNodeID(r.boot.Node.GetId())
	if err != nil {
		return nil //nolint:nilerr // it is no proxy of the mesh's, which nobody asks about
	}
	n := numbers{r: r, namespace: id.Namespace, workload: id.Name, inbound: id.Type != wire.Router}
	report := push.Reporter{
		Name: r.boot.Node.GetId(), Names: []string{"rps", "inflight", "errors", "p50", "p90", "p95", "p99"},
		Samples: n.samples, Log: r.log.With("component", "numbers"),
	}
	return ignoreCancelled(report.Run(ctx, r.conn))
}

// numbers makes rates of what the proxy counts.
type numbers struct {
	r                   *runtime
	namespace, workload string
	inbound             bool

	at            time.Time
	requests, bad uint64
	counts        []uint64
}

// samples are the numbers of the time since the call before.
func (n *numbers) samples(begin bool) (out []*metricpb.Sample) {
	now, prefix := time.Now(), "outbound"
	if n.inbound {
		prefix = "inbound"
	}
	var requests, bad, active uint64
	n.r.httpStats.Under(prefix+"_", func(s *http.ManagerStats) {
		requests, bad = requests+s.RqTotal.Load(), bad+s.Rq5xx.Load()
		active += uint64(max(0, s.RqActive.Load()))
	})
	bounds, counts := n.times(prefix + "|")
	add := func(name string, v float64) {
		out = append(out, &metricpb.Sample{Namespace: n.namespace, Workload: n.workload, Name: name, Value: v})
	}
	if took := now.Sub(n.at).Seconds(); !begin && took > 0 && requests >= n.requests {
		add("rps", float64(requests-n.requests)/took)
		add("inflight", float64(active))
		errors := 0.0
		if all := requests - n.requests; all > 0 {
			errors = float64(bad-n.bad) / float64(all)
		}
		add("errors", errors)
		for name, p := range percentiles {
			add(name, quantile(bounds, counts, n.counts, p))
		}
	}
	n.at, n.requests, n.bad, n.counts = now, requests, bad, counts
	return out
}

// times are how long clusters took to answer.
func (n *numbers) times(prefix string) (bounds []float64, counts []uint64) {
	for c := range n.r.clusters.Clusters {
		if !strings.HasPrefix(c.Name(), prefix) {
			continue
		}
		c.Histograms(func(stat string, h *cluster.Histogram) bool {
			if stat != "upstream_rq_time" {
				return true
			}
			b, more, _ := h.Load()
			if bounds == nil {
				bounds, counts = b, make([]uint64, len(more))
			}
			for i := range min(len(counts), len(more)) {
				counts[i] += more[i]
			}
			return true
		})
	}
	return bounds, counts
}

// quantile is that of what was counted since before, by buckets; 0: nothing was.
func quantile(bounds []float64, counts, before []uint64, p float64) float64 {
	fresh := func(i int) float64 {
		if i < len(before) && before[i] <= counts[i] {
			return float64(counts[i] - before[i])
		}
		return float64(counts[i])
	}
	all := 0.0
	for i := range counts {
		all += fresh(i)
	}
	rest := math.Ceil(all * p)
	for i := range counts {
		c := fresh(i)
		if c == 0 || rest > c {
			rest -= c
			continue
		}
		low := 0.0
		if i > 0 {
			low = bounds[i-1]
		}
		if i >= len(bounds) {
			return low
		}
		return low + (bounds[i]-low)*rest/c
	}
	return 0
}
