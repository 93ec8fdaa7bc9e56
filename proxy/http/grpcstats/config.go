package grpcstats

import (
	"strings"

	statsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/match"
)

// Kind describes the filter. statName is how statistics call a cluster.
func Kind(statName func(cluster string) string) filter.HTTPKind {
	return filter.HTTPKind{
		Name:     Name,
		TypeURLs: []string{"type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"},
		Parse: func(ctx *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
			m := &statsv3.FilterConfig{}
			if err := match.Open(a, m, supported); err != nil {
				return nil, err
			}
			f := &factory{
				all: m.GetStatsForAllMethods().GetValue(), undot: m.ReplaceDotsInGrpcServiceName,
				emit: m.EmitFilterState, stats: ctx.Stats, statName: statName, by: map[key]*counters{},
			}
			for _, s := range m.GetIndividualMethodStatsAllowlist().GetServices() {
				for _, name := range s.MethodNames {
					if f.listed == nil {
						f.listed = map[string]bool{}
					}
					f.listed["/"+strings.TrimPrefix(s.Name, "/")+"/"+name] = true
				}
			}
			return f, nil
		},
	}
}

var supported = strict.Table{
	"envoy.extensions.filters.http.grpc_stats.v3.FilterConfig": "individual_method_stats_allowlist stats_for_all_methods " +
		"replace_dots_in_grpc_service_name emit_filter_state enable_upstream_stats=false",
	"envoy.config.core.v3.GrpcMethodList":         "services",
	"envoy.config.core.v3.GrpcMethodList.Service": "name method_names",
}
