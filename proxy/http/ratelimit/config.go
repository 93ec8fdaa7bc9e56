package ratelimit

import (
	"errors"
	"fmt"
	"time"

	ratelimitconfigv3 "github.com/envoyproxy/go-control-plane/envoy/config/ratelimit/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ratelimit/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/ratelimit/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/descriptor"
	"github.com/weftmesh/weft/proxy/http/match"
)

const (
	httpPrefix    = "envoy.extensions.filters.http.ratelimit.v3."
	networkPrefix = "envoy.extensions.filters.network.ratelimit.v3."
	typeURL       = "type.googleapis.com/"
)

// usualTimeout is Envoy's.
const usualTimeout = 20 * time.Millisecond

// HTTPKind describes the filter of requests.
func HTTPKind() filter.HTTPKind {
	return filter.HTTPKind{
		Name:       Name,
		TypeURLs:   []string{typeURL + httpPrefix + "RateLimit", typeURL + httpPrefix + "RateLimitPerRoute"},
		Parse:      parse,
		ParseRoute: parseRoute,
	}
}

// NetworkKind describes the filter of connections.
func NetworkKind() filter.NetworkKind {
	return filter.NetworkKind{Name: NetworkName, TypeURLs: []string{typeURL + networkPrefix + "RateLimit"}, Parse: parseNetwork}
}

var supported = strict.Table{
	httpPrefix + "RateLimit": "domain stage request_type timeout failure_mode_deny rate_limited_as_resource_exhausted rate_limit_service " +
		"enable_x_ratelimit_headers disable_x_envoy_ratelimited_header rate_limited_status response_headers_to_add status_on_error stat_prefix " +
		"filter_enabled filter_enforced failure_mode_deny_percent rate_limits metadata_namespace",
	httpPrefix + "RateLimitPerRoute":                                 "vh_rate_limits rate_limits domain",
	networkPrefix + "RateLimit":                                      "stat_prefix domain descriptors timeout failure_mode_deny rate_limit_service",
	"envoy.config.ratelimit.v3.RateLimitServiceConfig":               "grpc_service transport_api_version=V3",
	"envoy.extensions.common.ratelimit.v3.RateLimitDescriptor":       "entries",
	"envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.Entry": "key value",
	"envoy.type.v3.HttpStatus":                                       "code",
}

func parse(ctx *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
	m := &httpv3.RateLimit{}
	if err := match.Open(a, m, supported, descriptor.Supported, match.SupportedServices, match.SupportedChanges); err != nil {
		return nil, err
	}
	c := newConfig()
	c.name, c.domain, c.source, c.stage = ctx.FilterName, m.Domain, ctx.ServiceCluster, m.Stage
	c.headers, c.marked = m.EnableXRatelimitHeaders == httpv3.RateLimit_DRAFT_VERSION_03, !m.DisableXEnvoyRatelimitedHeader
	switch m.RequestType {
	case "internal":
		c.origin = fromInside
	case "external":
		c.origin = fromOutside
	}
	c.fractions(ctx, m)
	if m.RateLimitedAsResourceExhausted {
		c.grpcStatus = 8
	}
	if code := int(m.GetRateLimitedStatus().GetCode()); code >= 400 {
		c.limitedStatus = code
	}
	if code := int(m.GetStatusOnError().GetCode()); code > 0 {
		c.errorStatus = code
	}
	if m.MetadataNamespace != "" {
		c.namespace = m.MetadataNamespace
	}
	var err error
	if c.response, err = match.Changes(m.ResponseHeadersToAdd); err != nil {
		return nil, fmt.Errorf("response_headers_to_add%w", err)
	}
	if c.rules, err = descriptor.Parse(m.RateLimits); err != nil {
		return nil, fmt.Errorf("rate_limits%w", err)
	}
	if c.ask, err = service(ctx, m.RateLimitService, m.Timeout); err != nil {
		return nil, err
	}
	prefix, stats := "ratelimit.", ctx.Stats
	if m.StatPrefix != "" {
		prefix += m.StatPrefix + "."
	}
	c.cluster = func(cluster, stat string) *filter.Counter { return stats.Counter("cluster", cluster, prefix+stat) }
	return &factory{c}, nil
}

func (c *config) fractions(ctx *filter.ParseContext, m *httpv3.RateLimit) {
	if m.FailureModeDeny {
		c.denyErrors.Numerator = 100
	}
	if f := m.FailureModeDenyPercent; f != nil {
		c.denyErrors = match.Share(ctx, f)
	}
	c.enabled.Key, c.enforced.Key = ctx.Runtime.Key("ratelimit.http_filter_enabled"), ctx.Runtime.Key("ratelimit.http_filter_enforcing")
	if f := m.FilterEnabled; f != nil {
		c.enabled = match.Share(ctx, f)
	}
	if f := m.FilterEnforced; f != nil {
		c.enforced = match.Share(ctx, f)
	}
}

// service reads whom to ask. The filter's timeout holds.
func service(ctx *filter.ParseContext, m *ratelimitconfigv3.RateLimitServiceConfig, timeout *durationpb.Duration) (asker, error) {
	s, err := match.GRPCService(ctx, m.GetGrpcService(), usualTimeout)
	if err != nil {
		return nil, fmt.Errorf("rate_limit_service.grpc_service.%w", err)
	}
	s.Timeout = usualTimeout
	if timeout != nil {
		s.Timeout = timeout.AsDuration()
	}
	return over(s), nil
}

func parseRoute(_ *filter.ParseContext, a *anypb.Any) (any, error) {
	m := &httpv3.RateLimitPerRoute{}
	if err := match.Open(a, m, supported, descriptor.Supported); err != nil {
		return nil, err
	}
	r, err := descriptor.Parse(m.RateLimits)
	if err != nil {
		return nil, fmt.Errorf("rate_limits%w", err)
	}
	return &perRoute{vhost: descriptor.VirtualHost(m.VhRateLimits), rules: r, domain: m.Domain}, nil
}

func parseNetwork(ctx *filter.ParseContext, a *anypb.Any) (filter.NetworkFactory, error) {
	m := &networkv3.RateLimit{}
	if err := match.Open(a, m, supported, match.SupportedServices); err != nil {
		return nil, err
	}
	if m.Timeout != nil && m.Timeout.AsDuration() <= 0 {
		return nil, errors.New("timeout: 0 would hold connections up without end")
	}
	ask, err := service(ctx, m.RateLimitService, m.Timeout)
	if err != nil {
		return nil, err
	}
	x := &connections{ask: ask, domain: m.Domain, deny: m.FailureModeDeny}
	for _, d := range m.Descriptors {
		var out descriptor.Descriptor
		for _, e := range d.Entries {
			out.Entries = append(out.Entries, descriptor.Entry{Key: e.Key, Value: e.Value})
		}
		x.descriptors = append(x.descriptors, out)
	}
	counter := func(stat string) *filter.Counter { return ctx.Stats.Counter("ratelimit", m.StatPrefix, stat) }
	x.total, x.ok, x.over, x.failed = counter("total"), counter("ok"), counter("over_limit"), counter("error")
	x.opened, x.closed, x.active = counter("failure_mode_allowed"), counter("cx_closed"), ctx.Stats.Gauge("ratelimit", m.StatPrefix, "active")
	return x, nil
}
