package localrate

import (
	"errors"
	"fmt"
	"sync"
	"time"

	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/local_ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/descriptor"
	"github.com/weftmesh/weft/proxy/http/match"
)

const typePrefix = "type.googleapis.com/envoy.extensions.filters."

// HTTPKind describes the filter of requests.
func HTTPKind() filter.HTTPKind {
	return filter.HTTPKind{
		Name:     Name,
		TypeURLs: []string{typePrefix + "http.local_ratelimit.v3.LocalRateLimit"},
		Parse: func(ctx *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
			c, err := parse(ctx, a)
			if err != nil {
				return nil, err
			}
			return &factory{cfg: c, name: ctx.FilterName}, nil
		},
		ParseRoute: func(ctx *filter.ParseContext, a *anypb.Any) (any, error) {
			c, err := parse(ctx, a)
			if err == nil && c.plan.common == nil {
				return nil, errors.New("token_bucket: is missing; a route needs one")
			}
			return c, err
		},
	}
}

// NetworkKind describes the filter of connections. Those with the same share_key
// and bucket share it.
func NetworkKind() filter.NetworkKind {
	shared := &sharing{by: map[shareKey]*bucket{}}
	return filter.NetworkKind{
		Name:     NetworkName,
		TypeURLs: []string{typePrefix + "network.local_ratelimit.v3.LocalRateLimit"},
		Parse: func(ctx *filter.ParseContext, a *anypb.Any) (filter.NetworkFactory, error) {
			m := &networkv3.LocalRateLimit{}
			if err := match.Open(a, m, supported, match.SupportedChanges, descriptor.Supported); err != nil {
				return nil, err
			}
			s, err := spec(m.TokenBucket)
			if err != nil {
				return nil, fmt.Errorf("token_bucket.%w", err)
			}
			x := &networkFilter{enabled: match.Flag(ctx, m.RuntimeEnabled), limited: ctx.Stats.Counter("local_rate_limit", m.StatPrefix, "rate_limited")}
			x.bucket = shared.get(m.ShareKey, s)
			return x, nil
		},
	}
}

var supported = strict.Table{
	typeName + "http.local_ratelimit.v3.LocalRateLimit": "stat_prefix status token_bucket filter_enabled filter_enforced " +
		"request_headers_to_add_when_not_enforced response_headers_to_add descriptors stage local_rate_limit_per_downstream_connection " +
		"enable_x_ratelimit_headers vh_rate_limits always_consume_default_token_bucket rate_limited_as_resource_exhausted rate_limits " +
		"max_dynamic_descriptors enable_retry_after_header local_cluster_rate_limit",
	"envoy.extensions.common.ratelimit.v3.LocalClusterRateLimit":     "",
	typeName + "network.local_ratelimit.v3.LocalRateLimit":           "stat_prefix token_bucket runtime_enabled share_key",
	"envoy.extensions.common.ratelimit.v3.LocalRateLimitDescriptor":  "entries token_bucket shadow_mode",
	"envoy.extensions.common.ratelimit.v3.RateLimitDescriptor.Entry": "key value",
	"envoy.type.v3.TokenBucket":                                      "max_tokens tokens_per_fill fill_interval",
	"envoy.type.v3.HttpStatus":                                       "code",
	"envoy.config.core.v3.RuntimeFeatureFlag":                        "default_value runtime_key",
}

const typeName = "envoy.extensions.filters."

func parse(ctx *filter.ParseContext, a *anypb.Any) (*Config, error) {
	m := &localv3.LocalRateLimit{}
	if err := match.Open(a, m, supported, match.SupportedChanges, descriptor.Supported); err != nil {
		return nil, err
	}
	c := newConfig()
	c.perConnection, c.stage, c.source = m.LocalRateLimitPerDownstreamConnection, m.Stage, ctx.ServiceCluster
	if m.LocalClusterRateLimit != nil {
		if c.members = ctx.Local; c.members == nil {
			return nil, errors.New("local_cluster_rate_limit: there is no local cluster; set cluster_manager.local_cluster_name of the bootstrap")
		}
	}
	c.headers, c.retryAfter = m.EnableXRatelimitHeaders == ratelimitv3.XRateLimitHeadersRFCVersion_DRAFT_VERSION_03, m.EnableRetryAfterHeader
	c.vhost = descriptor.VirtualHost(m.VhRateLimits)
	if f := m.FilterEnabled; f != nil {
		c.enabled = match.Share(ctx, f)
	}
	if f := m.FilterEnforced; f != nil {
		c.enforced = match.Share(ctx, f)
	}
	c.reply = filter.LocalReply{
		Status: max(int(m.GetStatus().GetCode()), 0), GRPCStatus: -1,
		Body: "local_rate_limited", Details: "local_rate_limited", Flags: filter.FlagRateLimited,
	}
	if c.reply.Status < 400 { // as Envoy: anything that is no error is 429
		c.reply.Status = 429
	}
	if m.RateLimitedAsResourceExhausted {
		c.reply.GRPCStatus = 8
	}
	var err error
	if c.response, err = match.Changes(m.ResponseHeadersToAdd); err != nil {
		return nil, fmt.Errorf("response_headers_to_add%w", err)
	}
	if c.unenforced, err = match.Changes(m.RequestHeadersToAddWhenNotEnforced); err != nil {
		return nil, fmt.Errorf("request_headers_to_add_when_not_enforced%w", err)
	}
	if c.rules, err = descriptor.Parse(m.RateLimits); err != nil {
		return nil, fmt.Errorf("rate_limits%w", err)
	}
	if err := c.buckets(m); err != nil {
		return nil, err
	}
	counter := func(stat string) *filter.Counter {
		return ctx.Stats.Counter(Scope, m.StatPrefix, stat)
	}
	c.statEnabled, c.statOK, c.statLimited, c.statEnforced = counter("enabled"), counter("ok"), counter("rate_limited"), counter("enforced")
	return c, nil
}

// buckets reads all of them.
func (c *Config) buckets(m *localv3.LocalRateLimit) error {
	c.plan.always = m.AlwaysConsumeDefaultTokenBucket == nil || m.AlwaysConsumeDefaultTokenBucket.Value
	c.plan.dynamics = 20
	if d := m.MaxDynamicDescriptors; d != nil {
		c.plan.dynamics = int(d.Value)
	}
	if m.TokenBucket != nil {
		s, err := spec(m.TokenBucket)
		if err != nil {
			return fmt.Errorf("token_bucket.%w", err)
		}
		c.plan.common = &s
	}
	for i, d := range m.Descriptors {
		s, err := spec(d.TokenBucket)
		if err != nil {
			return fmt.Errorf("descriptors[%d].token_bucket.%w", i, err)
		}
		s.Shadow = d.ShadowMode
		sp := special{spec: s}
		for _, e := range d.Entries {
			sp.entries = append(sp.entries, descriptor.Entry{Key: e.Key, Value: e.Value})
		}
		for j := range c.plan.specials {
			if descriptor.Equal(c.plan.specials[j].entries, sp.entries) {
				return fmt.Errorf("descriptors[%d]: is the same as descriptors[%d]", i, j)
			}
		}
		c.plan.specials = append(c.plan.specials, sp)
	}
	if !c.perConnection {
		c.shared = c.plan.make()
	}
	return nil
}

const shortest = 50 * time.Millisecond

func spec(m *typev3.TokenBucket) (Spec, error) {
	s := Spec{Max: m.GetMaxTokens(), PerFill: 1, Interval: m.GetFillInterval().AsDuration()}
	if p := m.GetTokensPerFill(); p != nil {
		s.PerFill = p.Value
	}
	if s.Max > 0 && s.Interval < shortest {
		return s, fmt.Errorf("fill_interval: %v is too short; it must be at least %v", s.Interval, shortest)
	}
	return s, nil
}

// sharing keeps the buckets that network filters share.
type sharing struct {
	mu sync.Mutex
	by map[shareKey]*bucket // guarded by mu
}

type shareKey struct {
	name string
	spec Spec
}

func (s *sharing) get(name string, sp Spec) *bucket {
	switch {
	case sp.Max == 0:
		return nil
	case name == "":
		return newBucket(sp)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := shareKey{name, sp}
	if s.by[k] == nil {
		s.by[k] = newBucket(sp)
	}
	return s.by[k]
}
