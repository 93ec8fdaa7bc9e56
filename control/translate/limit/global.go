package limit

import (
	"net"
	"slices"
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	ratelimitconfigv3 "github.com/envoyproxy/go-control-plane/envoy/config/ratelimit/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ratelimit/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/wire"
	"github.com/weftmesh/weft/wire/weftpb"
)

const (
	// RateFilter is Envoy's name.
	RateFilter = "envoy.filters.http.ratelimit"
	// askTimeout bounds how long a stock Envoy's request waits for an answer; then it goes on.
	askTimeout = 100 * time.Millisecond
)

// counter is who counts global limits: the control plane, by leases or by Envoy's protocol, or a service. custom: the
// limits of descriptors that actions of routes make, which are not the filters' own.
type counter struct {
	leases      bool
	custom      bool
	rls, domain string
}

func (s *Set) counterOf(r scope.LimitRef) counter {
	l := r.Limits.Limiter
	if r.Rule().Key != "" {
		return counter{custom: true, rls: l.RLS, domain: l.Domain}
	}
	if l.RLS == "" && s.v.Proxy.Engine() == scope.EngineGo {
		return counter{leases: true}
	}
	return counter{rls: l.RLS, domain: l.Domain}
}

// counters are all of the set's, each once.
func (s *Set) counters() (out []counter) {
	for _, r := range s.global {
		if c := s.counterOf(r); !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

// name is that of the filter.
func (c counter) name() string {
	if c.leases {
		return wire.QuotaFilter
	}
	name := RateFilter + "." + c.domain
	if c.rls != "" {
		name += "." + c.rls
	}
	if c.custom {
		name += ".custom"
	}
	return name
}

// noStage is one of which nobody's actions are: the filters that have actions of their own for each route leave those
// of the route alone, where they would be counted again.
const noStage = 10

// counterFilter does nothing where no route says more.
func (s *Set) counterFilter(c counter) proto.Message {
	if c.leases {
		return &weftpb.Quota{}
	}
	service := pb.GRPC(wire.XDSCluster)
	if c.rls != "" {
		service = pb.GRPC(s.service(c.rls))
		// The name of a cluster is no authority that proxies on the way let through.
		service.GetEnvoyGrpc().Authority, _, _ = net.SplitHostPort(c.rls)
	}
	stage := uint32(noStage)
	if c.custom {
		stage = 0
	}
	return &httpv3.RateLimit{
		Stage: stage, Domain: c.domain, Timeout: pb.Duration(askTimeout), EnableXRatelimitHeaders: httpv3.RateLimit_DRAFT_VERSION_03,
		RateLimitService: &ratelimitconfigv3.RateLimitServiceConfig{GrpcService: service, TransportApiVersion: corev3.ApiVersion_V3},
	}
}

// service is the cluster of a service that counts, and says where the proxy sees none.
func (s *Set) service(address string) string {
	host, port, _ := net.SplitHostPort(address)
	n, _ := strconv.ParseUint(port, 10, 16)
	if svc := s.v.Service(host); svc == nil || svc.Port(uint16(n)) == nil {
		for _, r := range s.global {
			if l := r.Limits.Limiter; l.RLS == address {
				f := model.Finding{
					Code: CodeLimit, Severity: model.Warning, Object: l.Key, Field: "spec.rls",
					Message: "the proxy sees no service " + address + ": nothing is limited", Remedy: "name a host and port of a service that is exported to the namespace",
				}
				f.Origin = l.At(f.Field)
				s.report(f)
				break
			}
		}
	}
	return wire.ClusterName(wire.Outbound, uint16(n), "", host)
}

// config is that of the routes for which some rules are in force.
func (c counter) config(list []scope.LimitRef) proto.Message {
	switch {
	case c.leases:
		return leased(list)
	case c.custom:
		return &httpv3.RateLimitPerRoute{Domain: c.domain}
	}
	out := &httpv3.RateLimitPerRoute{VhRateLimits: httpv3.RateLimitPerRoute_IGNORE, Domain: c.domain}
	for _, r := range list {
		out.RateLimits = append(out.RateLimits, rateLimit(r))
	}
	return out
}

func leased(list []scope.LimitRef) *weftpb.QuotaRoute {
	out := &weftpb.QuotaRoute{Headers: true}
	for _, r := range list {
		rule, q := r.Rule(), r.Quota()
		x := &weftpb.QuotaRule{
			Id: q.ID, RateLimit: pb.Any(rateLimit(r)), Limit: q.Quota, Interval: pb.Duration(rule.Interval), Shadow: rule.Shadow,
		}
		for _, h := range rule.Headers {
			x.Refusal = append(x.Refusal, &weftpb.QuotaHeader{Name: h.Name, Value: h.Value})
		}
		out.Rules = append(out.Rules, x)
	}
	return out
}
