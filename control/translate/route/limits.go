package route

import (
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/config/ratelimit/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	limitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ratelimit/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/wire"
)

// Names of the filters that limit.
const (
	localFilter  = "envoy.filters.http.local_ratelimit"
	globalFilter = "envoy.filters.http.ratelimit"
)

// Limit makes the routes of a server's port such that each has the limits of the requests that it matches, and returns
// the filters that carry them out. askable: the service of the global limit is there. A bucket belongs to one route, or
// to the virtual host: it is one for all that it is for.
func Limit(rc *routev3.RouteConfiguration, l *model.RateLimits, askable bool) []*hcmv3.HttpFilter {
	vh := rc.VirtualHosts[0]
	base := vh.Routes[0]
	vh.Routes = nil
	g := l.Global
	add := func(m *model.Match, n int, b *model.LocalLimit, ask bool) {
		r := limited(base, m, n, b)
		if ask && askable {
			r.GetRoute().RateLimits = []*routev3.RateLimit{descriptors(g)}
		}
		vh.Routes = append(vh.Routes, r)
	}
	for i := range l.Local {
		b := &l.Local[i]
		if b.Match == nil {
			vh.TypedPerFilterConfig = bucketOf(i, b)
			continue
		}
		add(b.Match, i, b, g != nil && (g.Match == nil || i == 0))
	}
	if first := len(vh.Routes) == 0; first && g != nil && g.Match != nil {
		add(g.Match, 0, nil, true)
	}
	add(nil, 0, nil, g != nil && g.Match == nil)
	var out []*hcmv3.HttpFilter
	if len(l.Local) > 0 {
		out = append(out, httpFilter(localFilter, &localv3.LocalRateLimit{StatPrefix: "http_local_rate_limiter"}))
	}
	if g := l.Global; g != nil && askable {
		service := pb.GRPC(wire.ClusterName(wire.Outbound, g.Port, "", g.Host))
		service.GetEnvoyGrpc().Authority = g.Host
		out = append(out, httpFilter(globalFilter, &limitv3.RateLimit{
			Domain: g.Domain, Timeout: pb.Duration(g.Timeout), FailureModeDeny: g.Deny,
			RateLimitService: &ratelimitv3.RateLimitServiceConfig{GrpcService: service, TransportApiVersion: corev3.ApiVersion_V3},
		}))
	}
	return out
}

// limited is the route for what matches, with a bucket of its own unless b is nil.
func limited(base *routev3.Route, m *model.Match, n int, b *model.LocalLimit) *routev3.Route {
	r := proto.Clone(base).(*routev3.Route)
	r.Match = match(m)
	if b != nil {
		r.TypedPerFilterConfig = bucketOf(n, b)
	}
	return r
}

func bucketOf(n int, b *model.LocalLimit) map[string]*anypb.Any {
	all := &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{Numerator: 100}}
	return map[string]*anypb.Any{localFilter: pb.Any(&localv3.LocalRateLimit{
		StatPrefix: "limit_" + strconv.Itoa(n), FilterEnabled: all, FilterEnforced: all,
		TokenBucket: &typev3.TokenBucket{MaxTokens: b.Max, TokensPerFill: wrapperspb.UInt32(b.PerFill), FillInterval: pb.Duration(b.Every)},
	})}
}

// descriptors say what the service is told.
func descriptors(g *model.GlobalLimit) *routev3.RateLimit {
	out := &routev3.RateLimit{}
	for _, d := range g.Descriptors {
		name := d.Name
		switch d.Attr {
		case model.AttrMethod:
			name = ":method"
		case model.AttrAuthority:
			name = ":authority"
		}
		out.Actions = append(out.Actions, &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_RequestHeaders_{
			RequestHeaders: &routev3.RateLimit_Action_RequestHeaders{HeaderName: name, DescriptorKey: d.Key},
		}})
	}
	return out
}

func httpFilter(name string, m proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pb.Any(m)}}
}
