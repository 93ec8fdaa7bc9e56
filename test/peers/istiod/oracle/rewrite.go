package oracle

import (
	"maps"
	"slices"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacconfigv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// rewrite brings a message that can be written in several ways to one of them. It may
// change the message. Each case says why the ways are the same.
func rewrite(m proto.Message) {
	switch x := m.(type) {
	case *listenerv3.Listener:
		// There is nothing to wait for.
		if len(x.GetListenerFilters()) == 0 {
			x.ListenerFiltersTimeout, x.ContinueOnListenerFiltersTimeout = nil, false
		}
		x.FilterChains = perMatch(x.GetFilterChains())
	case *listenerv3.FilterChain:
		// There is no handshake.
		if x.GetTransportSocket() == nil {
			x.TransportSocketConnectTimeout = nil
		}
	case *routev3.RouteConfiguration:
		x.VirtualHosts = perDomain(x.GetVirtualHosts())
	case *routev3.RouteAction:
		streamTimes(x)
	case *clusterv3.CircuitBreakers_Thresholds:
		// A budget takes the place of the number.
		if x.GetRetryBudget() != nil {
			x.MaxRetries = nil
		}
	case *hcmv3.HttpConnectionManager:
		// What an upstream has written stays, and local answers get no name.
		if x.GetServerHeaderTransformation() == hcmv3.HttpConnectionManager_PASS_THROUGH {
			x.ServerName = ""
		}
		withoutIdle(x)
	case *rbacconfigv3.RBAC:
		maps.DeleteFunc(x.GetPolicies(), func(_ string, p *rbacconfigv3.Policy) bool { return neverHolds(p) })
	case *httprbacv3.RBAC:
		if x.GetShadowRules() == nil && x.GetShadowMatcher() == nil {
			x.ShadowRulesStatPrefix = ""
		}
	case *rbacv3.RBAC:
		if x.GetShadowRules() == nil && x.GetShadowMatcher() == nil {
			x.ShadowRulesStatPrefix = ""
		}
	case *tlsv3.CertificateValidationContext:
		typedNames(x)
	case *tracev3.ZipkinConfig:
		zipkin(x)
	case *endpointv3.ClusterLoadAssignment:
		proportions(x)
	}
}

// perMatch makes a chain of each address range, server name and application protocol:
// connections find theirs by one of each, whichever others it has.
func perMatch(list []*listenerv3.FilterChain) []*listenerv3.FilterChain {
	for _, split := range []func(m *listenerv3.FilterChainMatch) (n int, only func(m *listenerv3.FilterChainMatch, i int)){
		func(m *listenerv3.FilterChainMatch) (int, func(*listenerv3.FilterChainMatch, int)) {
			return len(m.GetPrefixRanges()), func(m *listenerv3.FilterChainMatch, i int) { m.PrefixRanges = m.PrefixRanges[i : i+1] }
		},
		func(m *listenerv3.FilterChainMatch) (int, func(*listenerv3.FilterChainMatch, int)) {
			return len(m.GetServerNames()), func(m *listenerv3.FilterChainMatch, i int) { m.ServerNames = m.ServerNames[i : i+1] }
		},
		func(m *listenerv3.FilterChainMatch) (int, func(*listenerv3.FilterChainMatch, int)) {
			return len(m.GetApplicationProtocols()), func(m *listenerv3.FilterChainMatch, i int) { m.ApplicationProtocols = m.ApplicationProtocols[i : i+1] }
		},
	} {
		var out []*listenerv3.FilterChain
		for _, c := range list {
			n, only := split(c.GetFilterChainMatch())
			if n < 2 {
				out = append(out, c)
				continue
			}
			for i := range n {
				one := proto.CloneOf(c)
				only(one.FilterChainMatch, i)
				out = append(out, one)
			}
		}
		list = out
	}
	return list
}

// perDomain makes a virtual host of each domain: requests find theirs by domain,
// whichever others it has.
func perDomain(list []*routev3.VirtualHost) []*routev3.VirtualHost {
	var out []*routev3.VirtualHost
	for _, v := range list {
		for _, d := range v.GetDomains() {
			one := proto.CloneOf(v)
			one.Domains = []string{d}
			out = append(out, one)
		}
	}
	return out
}

// streamTimes: the bound of grpc-timeout has two fields, and a stream without a bound,
// which no connection manager here has, need not say so. With the newer field a route
// has no timeout, so that they are the same only where there is none.
func streamTimes(a *routev3.RouteAction) {
	s := a.GetMaxStreamDuration()
	if a.GetTimeout() == nil || a.GetTimeout().AsDuration() != 0 {
		return
	}
	if a.GetMaxGrpcTimeout() != nil { //nolint:staticcheck // what is read is what they write
		if s == nil {
			s = &routev3.RouteAction_MaxStreamDuration{}
		}
		s.GrpcTimeoutHeaderMax, a.MaxGrpcTimeout = a.GetMaxGrpcTimeout(), nil //nolint:staticcheck // as above
	}
	if d := s.GetMaxStreamDuration(); d != nil && d.AsDuration() == 0 {
		s.MaxStreamDuration = nil
	}
	a.MaxStreamDuration = s
}

// idle are filters that do nothing but what a route's own configuration tells them.
var idle = []string{"envoy.filters.http.cors", "envoy.filters.http.fault"}

// withoutIdle removes filters that do nothing in a connection manager whose routes are known.
func withoutIdle(h *hcmv3.HttpConnectionManager) {
	if h.GetRouteConfig() == nil {
		return
	}
	told := func(name string) bool {
		for _, v := range h.GetRouteConfig().GetVirtualHosts() {
			for _, r := range v.GetRoutes() {
				if r.GetTypedPerFilterConfig()[name] != nil {
					return true
				}
			}
		}
		return false
	}
	h.HttpFilters = slices.DeleteFunc(h.HttpFilters, func(f *hcmv3.HttpFilter) bool {
		return slices.Contains(idle, f.GetName()) && len(f.GetTypedConfig().GetValue()) == 0 && !told(f.GetName())
	})
}

// typedNames: matchers of names without a type look at names of all types. One for
// SPIFFE's names can only match a URI; of the other types, DNS and URI are compared.
func typedNames(c *tlsv3.CertificateValidationContext) {
	for _, m := range c.GetMatchSubjectAltNames() { //nolint:staticcheck // what is read is what they write
		types := []tlsv3.SubjectAltNameMatcher_SanType{tlsv3.SubjectAltNameMatcher_DNS, tlsv3.SubjectAltNameMatcher_URI}
		if strings.HasPrefix(nameText(m), "spiffe://") {
			types = types[1:]
		}
		for _, t := range types {
			c.MatchTypedSubjectAltNames = append(c.MatchTypedSubjectAltNames, &tlsv3.SubjectAltNameMatcher{SanType: t, Matcher: m})
		}
	}
	c.MatchSubjectAltNames = nil //nolint:staticcheck // as above
}

func nameText(m *matcherv3.StringMatcher) string { return m.GetExact() + m.GetPrefix() }

// zipkin: a collector has an older form, by cluster, path and host name.
func zipkin(z *tracev3.ZipkinConfig) {
	if z.GetCollectorCluster() == "" {
		return
	}
	z.CollectorService = &corev3.HttpService{HttpUri: &corev3.HttpUri{
		Uri:              "http://" + z.GetCollectorHostname() + z.GetCollectorEndpoint(),
		HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: z.GetCollectorCluster()},
		Timeout:          durationpb.New(5 * time.Second), // Envoy's own for the older form
	}}
	z.CollectorCluster, z.CollectorEndpoint, z.CollectorHostname = "", "", ""
}

// proportions: only the proportion of weights counts, and a locality without endpoints
// gets nothing.
func proportions(c *endpointv3.ClusterLoadAssignment) {
	c.Endpoints = slices.DeleteFunc(c.Endpoints, func(l *endpointv3.LocalityLbEndpoints) bool { return len(l.GetLbEndpoints()) == 0 })
	divisor := uint32(0)
	for _, l := range c.Endpoints {
		a, b := divisor, l.GetLoadBalancingWeight().GetValue()
		for b != 0 {
			a, b = b, a%b
		}
		divisor = a
	}
	for _, l := range c.Endpoints {
		if w := l.GetLoadBalancingWeight(); w != nil && divisor > 0 {
			w.Value /= divisor
		}
	}
}
