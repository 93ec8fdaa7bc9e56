package ondemand

import (
	"errors"
	"fmt"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	odv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/on_demand/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/match"
)

const prefix = "envoy.extensions.filters.http.on_demand.v3."

var supported = strict.Table{
	prefix + "OnDemand":                           "odcds",
	prefix + "OnDemandCds":                        "source timeout",
	prefix + "PerRouteConfig":                     "odcds",
	"envoy.config.core.v3.ConfigSource":           "ads initial_fetch_timeout resource_api_version=V3",
	"envoy.config.core.v3.AggregatedConfigSource": "",
}

// defaultTimeout is Envoy's.
const defaultTimeout = 5 * time.Second

// Kind describes the filter. incremental: ADS is of the variant that can be asked.
func Kind(source Source, incremental bool) filter.HTTPKind {
	const url = "type.googleapis.com/" + prefix
	return filter.HTTPKind{
		Name:     Name,
		TypeURLs: []string{url + "OnDemand", url + "PerRouteConfig"},
		Parse: func(ctx *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
			m := &odv3.OnDemand{}
			if err := match.Open(a, m, supported); err != nil {
				return nil, err
			}
			c, err := odcds(m.Odcds, incremental)
			return &factory{source: source, name: ctx.FilterName, config: c}, err
		},
		ParseRoute: func(_ *filter.ParseContext, a *anypb.Any) (any, error) {
			m := &odv3.PerRouteConfig{}
			if err := match.Open(a, m, supported); err != nil {
				return nil, err
			}
			c, err := odcds(m.Odcds, incremental)
			return &c, err
		},
	}
}

func odcds(m *odv3.OnDemandCds, incremental bool) (config, error) {
	if m == nil {
		return config{}, nil
	}
	if err := checkSource(m.Source, incremental); err != nil {
		return config{}, fmt.Errorf("odcds.source: %w", err)
	}
	c := config{clusters: true, timeout: defaultTimeout}
	if m.Timeout != nil {
		c.timeout = m.Timeout.AsDuration()
	}
	return c, nil
}

// checkSource checks where clusters come from.
func checkSource(m *corev3.ConfigSource, incremental bool) error {
	switch {
	case m.GetAds() == nil:
		return errors.New("only ads is supported")
	case !incremental:
		return errors.New("needs the incremental variant of ADS (DELTA_GRPC)")
	}
	return nil
}
