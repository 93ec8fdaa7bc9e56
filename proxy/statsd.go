package proxy

import (
	"context"
	"fmt"
	"strings"

	"github.com/weftmesh/weft/proxy/admin"
	"github.com/weftmesh/weft/proxy/http/localrate"
	"github.com/weftmesh/weft/proxy/telemetry/statsd"
)

// sendStats sends this process's statistics where the bootstrap says, until ctx ends.
// A process that takes over sends its own; the one before goes on with what it counts.
func (r *runtime) sendStats(ctx context.Context) error {
	for i, s := range r.boot.Sinks {
		out, err := statsd.New(ctx, statsd.Sink(s))
		if err != nil {
			return fmt.Errorf("stats_sinks[%d]: %w", i, err)
		}
		r.group.Go(func() error {
			out.Run(ctx, r.boot.FlushInterval, r.eachMetric)
			return nil
		})
	}
	return nil
}

// eachMetric visits this process's statistics as sinks see them.
func (r *runtime) eachMetric(visit func(statsd.Metric)) {
	r.ownStats(func(scope, name, stat string, value uint64, gauge bool) {
		tag := strings.Replace(admin.LabelOf(scope), "envoy_", "envoy.", 1)
		if scope == localrate.Scope { // Envoy puts the configured prefix first here
			scope, name, tag = name, scope, ""
		}
		visit(statsd.Metric{Scope: scope, Name: name, Stat: stat, Value: value, Gauge: gauge, Tag: tag})
	})
}
