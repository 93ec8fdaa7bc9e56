package healthcheck

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	healthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/health_check/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/match"
)

// Kind describes the filter. self is the name of the cluster that the proxy is
// of; members tells how many hosts a cluster has and how many are available; failing, whether
// the proxy was told to fail.
func Kind(self string, members Members, failing func() bool) filter.HTTPKind {
	return filter.HTTPKind{
		Name:     Name,
		TypeURLs: []string{"type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck"},
		Parse: func(ctx *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
			m := &healthv3.HealthCheck{}
			if err := match.Open(a, m, supported); err != nil {
				return nil, err
			}
			f := &factory{self: self, members: members, failing: failing, passThrough: m.PassThroughMode.GetValue(), cacheTime: m.CacheTime.AsDuration()}
			if !f.passThrough && f.cacheTime > 0 {
				return nil, errors.New("cache_time: needs pass_through_mode")
			}
			f.count(ctx)
			var err error
			if f.headers, err = match.Headers(m.Headers...); err != nil {
				return nil, fmt.Errorf("headers: %w", err)
			}
			for _, name := range slices.Sorted(maps.Keys(m.ClusterMinHealthyPercentages)) {
				f.clusters = append(f.clusters, minimum{name, m.ClusterMinHealthyPercentages[name].GetValue()})
			}
			return f, nil
		},
	}
}

var supported = strict.Table{
	"envoy.extensions.filters.http.health_check.v3.HealthCheck": "pass_through_mode cache_time cluster_min_healthy_percentages headers",
	"envoy.type.v3.Percent": "value",
}
