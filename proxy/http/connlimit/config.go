package connlimit

import (
	limitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/connection_limit/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/match"
)

const typeName = "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit"

var supported = strict.Table{
	typeName: "stat_prefix max_connections delay runtime_enabled",
	"envoy.config.core.v3.RuntimeFeatureFlag": "default_value runtime_key",
}

// Kind describes the filter.
func Kind() filter.NetworkKind {
	return filter.NetworkKind{
		Name:     Name,
		TypeURLs: []string{"type.googleapis.com/" + typeName},
		Parse: func(ctx *filter.ParseContext, a *anypb.Any) (filter.NetworkFactory, error) {
			m := &limitv3.ConnectionLimit{}
			if err := match.Open(a, m, supported); err != nil {
				return nil, err
			}
			return &Config{
				delay: m.Delay.AsDuration(), max: m.MaxConnections.GetValue(), enabled: match.Flag(ctx, m.RuntimeEnabled),
				limited: ctx.Stats.Counter("connection_limit", m.StatPrefix, "limited_connections"),
				active:  ctx.Stats.Gauge("connection_limit", m.StatPrefix, "active_connections"),
			}, nil
		},
	}
}
