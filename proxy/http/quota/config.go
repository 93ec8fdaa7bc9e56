package quota

import (
	"errors"
	"fmt"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/descriptor"
	"github.com/weftmesh/weft/wire/weftpb"
)

const prefix = "type.googleapis.com/weft.wire.v1."

// Kind describes the filter, whose tokens an agent leases.
func Kind(a *Agent) filter.HTTPKind {
	return filter.HTTPKind{
		Name:     Name,
		TypeURLs: []string{prefix + "Quota", prefix + "QuotaRoute"},
		Parse: func(ctx *filter.ParseContext, m *anypb.Any) (filter.HTTPFactory, error) {
			if err := m.UnmarshalTo(&weftpb.Quota{}); err != nil {
				return nil, err
			}
			return &factory{ctx.FilterName}, nil
		},
		ParseRoute: func(ctx *filter.ParseContext, m *anypb.Any) (any, error) {
			route := &weftpb.QuotaRoute{}
			if err := m.UnmarshalTo(route); err != nil {
				return nil, err
			}
			return parse(ctx, a, route)
		},
	}
}

func parse(ctx *filter.ParseContext, a *Agent, m *weftpb.QuotaRoute) (*config, error) {
	c := &config{agent: a, headers: m.Headers, source: ctx.ServiceCluster}
	for i, r := range m.Rules {
		x, err := parseRule(ctx, r)
		if err != nil {
			return nil, fmt.Errorf("rules[%d].%w", i, err)
		}
		if apart, err := countsApart(r.RateLimit); err != nil {
			return nil, fmt.Errorf("rules[%d].rate_limit: %w", i, err)
		} else if !apart {
			x.one = a.lease(x.id, "", x.limit, x.interval)
		}
		c.rules = append(c.rules, x)
	}
	return c, nil
}

func parseRule(ctx *filter.ParseContext, r *weftpb.QuotaRule) (rule, error) {
	x := rule{id: r.Id, limit: r.Limit, interval: r.Interval.AsDuration(), shadow: r.Shadow}
	if x.id == "" {
		return x, errors.New("id: is missing")
	}
	if x.interval < time.Millisecond || x.limit < 0 {
		return x, fmt.Errorf("interval: %v for %v requests", x.interval, x.limit)
	}
	m := &routev3.RateLimit{}
	if err := r.RateLimit.UnmarshalTo(m); err != nil {
		return x, fmt.Errorf("rate_limit: %w", err)
	}
	var err error
	if x.requests, err = descriptor.Parse([]*routev3.RateLimit{m}); err != nil {
		return x, fmt.Errorf("rate_limit%w", err)
	}
	for _, h := range r.Refusal {
		x.refusal = append(x.refusal, filter.Field{Name: strings.ToLower(h.Name), Value: h.Value})
	}
	counter := func(stat string) *filter.Counter { return ctx.Stats.Counter("quota", r.Id, stat) }
	x.ok, x.over, x.shadowed = counter("ok"), counter("over_limit"), counter("shadow")
	return x, nil
}

// countsApart tells whether requests' values make leases of their own: an entry whose value is not known beforehand.
func countsApart(m *anypb.Any) (bool, error) {
	r := &routev3.RateLimit{}
	if err := m.UnmarshalTo(r); err != nil {
		return false, err
	}
	for i, a := range r.Actions {
		if i == 0 {
			if a.GetGenericKey() == nil {
				return false, errors.New("actions[0]: want the generic_key that is the quota's name")
			}
			continue
		}
		if a.GetHeaderValueMatch() == nil && a.GetQueryParameterValueMatch() == nil && a.GetRemoteAddressMatch() == nil {
			return true, nil
		}
	}
	return false, nil
}
