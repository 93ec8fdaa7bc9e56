package cors

import (
	"fmt"

	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/match"
)

// Kind describes the filter.
func Kind() filter.HTTPKind {
	const prefix = "type.googleapis.com/envoy.extensions.filters.http.cors.v3."
	return filter.HTTPKind{
		Name:     Name,
		TypeURLs: []string{prefix + "Cors", prefix + "CorsPolicy"},
		Parse: func(ctx *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
			if err := match.Open(a, &corsv3.Cors{}, supported); err != nil {
				return nil, err
			}
			return &factory{name: ctx.FilterName}, nil
		},
		ParseRoute: func(ctx *filter.ParseContext, a *anypb.Any) (any, error) { return parse(ctx, a) },
	}
}

var supported = strict.Table{
	"envoy.extensions.filters.http.cors.v3.Cors": "",
	"envoy.extensions.filters.http.cors.v3.CorsPolicy": "allow_origin_string_match allow_methods allow_headers expose_headers " +
		"max_age allow_credentials filter_enabled allow_private_network_access forward_not_matching_preflights",
}

func parse(ctx *filter.ParseContext, a *anypb.Any) (*Policy, error) {
	m := &corsv3.CorsPolicy{}
	if err := match.Open(a, m, supported); err != nil {
		return nil, err
	}
	p := newPolicy()
	var err error
	if p.origins, err = match.Strings(m.AllowOriginStringMatch...); err != nil {
		return nil, fmt.Errorf("allow_origin_string_match: %w", err)
	}
	p.methods, p.headers, p.expose, p.age = m.AllowMethods, m.AllowHeaders, m.ExposeHeaders, m.MaxAge
	p.credentials = m.GetAllowCredentials().GetValue()
	p.private = m.GetAllowPrivateNetworkAccess().GetValue()
	if m.ForwardNotMatchingPreflights != nil {
		p.forwards = m.ForwardNotMatchingPreflights.Value
	}
	if m.FilterEnabled != nil {
		p.enabled = match.Share(ctx, m.FilterEnabled)
	}
	return p, nil
}
