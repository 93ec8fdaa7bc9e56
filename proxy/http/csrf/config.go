package csrf

import (
	"fmt"
	"math/rand/v2"

	csrfv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/csrf/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/match"
)

// Kind describes the filter.
func Kind() filter.HTTPKind {
	return filter.HTTPKind{
		Name:     Name,
		TypeURLs: []string{"type.googleapis.com/envoy.extensions.filters.http.csrf.v3.CsrfPolicy"},
		Parse: func(ctx *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
			p, err := parse(ctx, a)
			if err != nil {
				return nil, err
			}
			return &factory{
				name: ctx.FilterName, own: p, random: rand.Uint64, missing: ctx.Counter("csrf.missing_source_origin"),
				invalid: ctx.Counter("csrf.request_invalid"), valid: ctx.Counter("csrf.request_valid"),
			}, nil
		},
		ParseRoute: func(ctx *filter.ParseContext, a *anypb.Any) (any, error) { return parse(ctx, a) },
	}
}

var supported = strict.Table{
	"envoy.extensions.filters.http.csrf.v3.CsrfPolicy": "filter_enabled shadow_enabled additional_origins",
}

func parse(ctx *filter.ParseContext, a *anypb.Any) (*policy, error) {
	m := &csrfv3.CsrfPolicy{}
	if err := match.Open(a, m, supported); err != nil {
		return nil, err
	}
	p := &policy{enabled: match.Share(ctx, m.FilterEnabled), shadow: match.Share(ctx, m.ShadowEnabled)}
	var err error
	if p.more, err = match.Strings(m.AdditionalOrigins...); err != nil {
		return nil, fmt.Errorf("additional_origins%w", err)
	}
	return p, nil
}
