package forward

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	cachev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/dynamic_forward_proxy/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_forward_proxy/v3"
	snv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_dynamic_forward_proxy/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/match"
)

// CacheFields lists the supported fields of DNS caches.
var CacheFields = strict.Table{
	"envoy.extensions.common.dynamic_forward_proxy.v3.DnsCacheConfig": "name dns_lookup_family dns_refresh_rate dns_min_refresh_rate " +
		"host_ttl max_hosts disable_dns_refresh_on_failure dns_failure_refresh_rate dns_cache_circuit_breaker preresolve_hostnames " +
		"dns_query_timeout",
	"envoy.extensions.common.dynamic_forward_proxy.v3.DnsCacheCircuitBreakers": "max_pending_requests",
}

var supported = strict.Table{
	// What filter state names is the host whatever allow_dynamic_host_from_filter_state says: Envoy's cluster looks at it by itself.
	"envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig":        "dns_cache_config allow_dynamic_host_from_filter_state",
	"envoy.extensions.filters.http.dynamic_forward_proxy.v3.PerRouteConfig":      "host_rewrite_literal host_rewrite_header",
	"envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig": "dns_cache_config port_value",
	"envoy.config.cluster.v3.Cluster.RefreshRate":                                "base_interval max_interval",
	"envoy.config.core.v3.SocketAddress":                                         "protocol=TCP address port_value",
}

// fields are the tables of all messages read here.
func fields() strict.Table {
	all := maps.Clone(supported)
	maps.Copy(all, CacheFields)
	return all
}

// Check refuses a DNS cache that differs from another one of its name;
// cluster.Manager.CheckDNSCache does.
type Check func(*cluster.DNSCacheSpec) error

// HTTPKind describes the filter dynamic_forward_proxy.
func HTTPKind(check Check) filter.HTTPKind {
	const prefix = "type.googleapis.com/envoy.extensions.filters.http.dynamic_forward_proxy.v3."
	return filter.HTTPKind{
		Name:     Name,
		TypeURLs: []string{prefix + "FilterConfig", prefix + "PerRouteConfig"},
		Parse: func(ctx *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
			m := &httpv3.FilterConfig{}
			if err := match.Open(a, m, fields()); err != nil {
				return nil, err
			}
			return &factory{name: ctx.FilterName}, checkCache(check, m.GetDnsCacheConfig())
		},
		ParseRoute: func(_ *filter.ParseContext, a *anypb.Any) (any, error) {
			m := &httpv3.PerRouteConfig{}
			if err := match.Open(a, m, fields()); err != nil {
				return nil, err
			}
			return &rewrite{literal: m.GetHostRewriteLiteral(), header: strings.ToLower(m.GetHostRewriteHeader())}, nil
		},
	}
}

// NetworkKind describes the filter sni_dynamic_forward_proxy.
func NetworkKind(check Check) filter.NetworkKind {
	return filter.NetworkKind{
		Name:     NetworkName,
		TypeURLs: []string{"type.googleapis.com/envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig"},
		Parse: func(_ *filter.ParseContext, a *anypb.Any) (filter.NetworkFactory, error) {
			m := &snv3.FilterConfig{}
			if err := match.Open(a, m, fields()); err != nil {
				return nil, err
			}
			f := &networkFilter{port: 443}
			if p := m.GetPortValue(); p > 0 {
				f.port = uint16(p)
			}
			return f, checkCache(check, m.DnsCacheConfig)
		},
	}
}

func checkCache(check Check, m *cachev3.DnsCacheConfig) error {
	s, err := Cache(m)
	if err == nil {
		err = check(s)
	}
	if err != nil {
		return fmt.Errorf("dns_cache_config: %w", err)
	}
	return nil
}

// Cache reads a DNS cache.
func Cache(m *cachev3.DnsCacheConfig) (*cluster.DNSCacheSpec, error) {
	if m == nil {
		return nil, errors.New("is missing")
	}
	s := &cluster.DNSCacheSpec{
		Name: m.Name, MinRefresh: m.DnsMinRefreshRate.AsDuration(), HostTTL: m.HostTtl.AsDuration(),
		MaxHosts: m.MaxHosts.GetValue(), MaxPending: m.DnsCacheCircuitBreaker.GetMaxPendingRequests().GetValue(),
		Timeout: m.DnsQueryTimeout.AsDuration(), NoRefreshOnFailure: m.DisableDnsRefreshOnFailure,
		DNS: cluster.DNS{
			Refresh: m.DnsRefreshRate.AsDuration(), Family: cluster.FamilyOf(m.DnsLookupFamily.String()),
			FailureBase: m.DnsFailureRefreshRate.GetBaseInterval().AsDuration(), FailureMax: m.DnsFailureRefreshRate.GetMaxInterval().AsDuration(),
		},
	}
	for _, a := range m.PreresolveHostnames {
		s.Ahead = append(s.Ahead, strings.ToLower(a.Address))
	}
	return s, nil
}
