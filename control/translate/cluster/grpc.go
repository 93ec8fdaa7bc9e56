package cluster

import (
	"math"
	"strconv"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	leastv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	roundv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	localityv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/wrr_locality/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/control/translate/tlsctx"
	"github.com/weftmesh/weft/wire"
)

// CodeGRPC is the code of Findings about what gRPC without a proxy does not carry out.
const CodeGRPC = "WEFT0322"

// allFail is the failure percentage above which gRPC ejects an instance: every call failed.
const allFail = 99

// GRPC makes one cluster as gRPC clients without a proxy understand it, and its
// endpoints, nil for a cluster that finds them by name. Both are nil when the
// service has no such port or subset.
//
// Such a client decides per cluster, not per endpoint, whether it speaks mTLS, and
// without Istio's application protocols. Where the rules leave it to the mesh, it does
// as soon as one instance takes that; instances that do not are left out then.
func (b *Builder) GRPC(s *model.Service, port uint16, subset string) (*clusterv3.Cluster, *endpointv3.ClusterLoadAssignment) {
	sp := s.Port(port)
	p := b.v.Policy(s)
	sub := p.Subset(subset)
	if sp == nil || sp.Protocol == model.UDP || subset != "" && sub == nil {
		return nil, nil
	}
	t := &target{svc: s, port: sp, subset: sub, policy: p.For(port, subset), keys: p.Keys}
	t.name = wire.ClusterName(wire.Outbound, port, subset, s.Host)
	g := &grpc{b: b, t: t, c: &clusterv3.Cluster{Name: t.name}}
	g.policy()
	reachable := g.tls()
	cla := g.discover(reachable)
	return g.c, cla
}

// grpc is a cluster for gRPC in the making.
type grpc struct {
	b *Builder
	t *target
	c *clusterv3.Cluster
}

// lacking reports a field of the DestinationRule.
func (g *grpc) lacking(severity model.Severity, field, message, remedy string) {
	f := model.Finding{
		Code: CodeGRPC, Severity: severity, Field: "spec.trafficPolicy." + field,
		Message: "gRPC without a proxy: " + message, Remedy: remedy,
	}
	if len(g.t.keys) > 0 {
		f.Object, f.Origin = g.t.keys[0], originOf(g.b.v, g.t.keys[0])
	}
	g.b.report(f)
}

// withProxy is what to do where only a proxy will do.
const withProxy = "run a proxy beside the clients that need it"

// policy takes over what gRPC knows of a traffic policy.
func (g *grpc) policy() {
	p := &g.t.policy
	g.balancer(p.LB)
	requests := uint32(math.MaxUint32) // gRPC's own bound, 1024, would surprise
	if p.Pool != nil {
		only := model.ConnectionPool{HTTP2MaxRequests: p.Pool.HTTP2MaxRequests}
		if *p.Pool != only {
			g.lacking(model.Info, "connectionPool", "only http.http2MaxRequests has an effect", withProxy)
		}
		if n := p.Pool.HTTP2MaxRequests; n > 0 {
			requests = n
		}
	}
	g.c.CircuitBreakers = &clusterv3.CircuitBreakers{
		Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{MaxRequests: pb.U32(requests)}},
	}
	g.outlier(p.Outlier)
	for _, x := range []struct {
		set   bool
		field string
	}{{p.ProxyProtocol != 0, "proxyProtocol"}, {p.RetryBudget != nil, "retryBudget"}, {p.Tunnel != nil, "tunnel"}} {
		if x.set {
			g.lacking(model.Warning, x.field, "has no effect", withProxy)
		}
	}
}

func (g *grpc) balancer(lb *model.LoadBalancer) {
	g.c.LbPolicy = clusterv3.Cluster_ROUND_ROBIN
	if lb == nil {
		return
	}
	switch lb.Algorithm {
	case model.LeastRequest:
		g.c.LoadBalancingPolicy = preferred(&leastv3.LeastRequest{}, &roundv3.RoundRobin{})
	case model.Random:
		g.lacking(model.Info, "loadBalancer.simple", "RANDOM is carried out as ROUND_ROBIN", "say ROUND_ROBIN")
	case model.LBPassthrough:
		g.lacking(model.Warning, "loadBalancer.simple", "PASSTHROUGH is carried out as ROUND_ROBIN: a client has no address of its own choice", withProxy)
	case model.ConsistentHash:
		g.ring(lb.Hash)
	}
	if lb.Warmup > 0 {
		g.lacking(model.Info, "loadBalancer.warmup", "has no effect", withProxy)
	}
}

// preferred are balancers of which a client takes the first that it knows, within
// localities that are chosen by their weights.
func preferred(list ...proto.Message) *clusterv3.LoadBalancingPolicy {
	policy := func(name string, m proto.Message) *clusterv3.LoadBalancingPolicy_Policy {
		return &clusterv3.LoadBalancingPolicy_Policy{TypedExtensionConfig: &corev3.TypedExtensionConfig{Name: name, TypedConfig: pb.Any(m)}}
	}
	inner := &clusterv3.LoadBalancingPolicy{}
	for _, m := range list {
		inner.Policies = append(inner.Policies, policy(string(m.ProtoReflect().Descriptor().FullName()), m))
	}
	return &clusterv3.LoadBalancingPolicy{Policies: []*clusterv3.LoadBalancingPolicy_Policy{
		policy("envoy.load_balancing_policies.wrr_locality", &localityv3.WrrLocality{EndpointPickingPolicy: inner}),
	}}
}

// ring is consistent hashing; the routes say what is hashed.
func (g *grpc) ring(h *model.Hash) {
	if h == nil {
		return
	}
	size := h.MinRing
	switch {
	case h.Maglev:
		g.lacking(model.Info, "loadBalancer.consistentHash.maglev", "a ring takes Maglev's place", "use ringHash")
		size = defaultRing
	case size == 0:
		size = defaultRing
	}
	if h.Header == "" {
		g.lacking(model.Info, "loadBalancer.consistentHash", "only headers are hashed; all calls of one channel go to one instance instead", "use httpHeaderName")
	}
	g.c.LbPolicy = clusterv3.Cluster_RING_HASH
	g.c.LbConfig = &clusterv3.Cluster_RingHashLbConfig_{RingHashLbConfig: &clusterv3.Cluster_RingHashLbConfig{
		MinimumRingSize: wrapperspb.UInt64(size),
	}}
}

// outlier: gRPC counts no consecutive errors. The nearest is an instance of which, in
// one interval, as many calls as that came and all failed.
func (g *grpc) outlier(o *model.Outlier) {
	if o == nil {
		return
	}
	n := uint32(0)
	for _, count := range []*uint32{o.Consecutive5xx, o.ConsecutiveGateway} {
		if count != nil && *count > 0 && (n == 0 || *count < n) {
			n = *count
		}
	}
	if n == 0 {
		return
	}
	g.lacking(model.Info, "outlierDetection",
		"consecutive errors are not counted; an instance is ejected when all of at least "+strconv.FormatUint(uint64(n), 10)+" calls of an interval failed", withProxy)
	out := &clusterv3.OutlierDetection{
		EnforcingSuccessRate: pb.U32(0), EnforcingFailurePercentage: pb.U32(100),
		FailurePercentageThreshold: pb.U32(allFail), FailurePercentageMinimumHosts: pb.U32(1), FailurePercentageRequestVolume: pb.U32(n),
	}
	ejection(out, o)
	g.c.OutlierDetection = out
}

// tls decides whether the cluster speaks mTLS, and which instances can be reached so.
func (g *grpc) tls() (reachable func(model.Instance) bool) {
	t := g.t
	if tls := t.policy.TLS; tls != nil {
		switch tls.Mode {
		case model.ClientTLSIstioMutual:
			g.mutual(tls.SubjectAltNames)
		case model.ClientTLSSimple, model.ClientTLSMutual:
			// Rather no way than one in plain text.
			g.lacking(model.Error, "tls.mode", "has only the mesh's own certificates; its calls to "+t.svc.Host+" fail", "use ISTIO_MUTUAL, or "+withProxy)
			return func(model.Instance) bool { return false }
		}
		return nil
	}
	if !g.b.v.Mesh.AutoMTLS || t.svc.External {
		return nil
	}
	takes := func(in model.Instance) bool { return g.b.v.Index.PlainMTLS(in, t.svc, t.port) }
	with, without := 0, 0
	for _, m := range g.b.members(t) {
		if takes(m.Instance) {
			with++
		} else {
			without++
		}
	}
	if with == 0 {
		return nil
	}
	g.mutual(nil)
	if without == 0 {
		return nil
	}
	g.b.report(model.Finding{
		Code: CodeGRPC, Severity: model.Warning, Object: t.svc.Key, Origin: t.svc.Origin, Field: "spec.ports",
		Message: "gRPC without a proxy: of port " + strconv.Itoa(int(t.port.Port)) + " it reaches only the instances that demand mTLS, " +
			strconv.Itoa(with) + " of " + strconv.Itoa(with+without) + ", since it cannot choose per instance",
		Remedy: "let a PeerAuthentication demand STRICT of all instances",
	})
	return takes
}

// mutual is mTLS with certificates that the program has as files.
func (g *grpc) mutual(names []string) {
	if len(names) == 0 {
		names = g.b.identities(g.t.svc)
	}
	g.c.TransportSocket = tlsctx.Upstream(&tlsv3.UpstreamTlsContext{CommonTlsContext: tlsctx.Proxyless(names)})
}

// discover says how the cluster finds its endpoints.
func (g *grpc) discover(reachable func(model.Instance) bool) *endpointv3.ClusterLoadAssignment {
	t := g.t
	t.only = reachable
	byName := t.svc.ExternalName != "" || t.svc.Resolution == model.ByDNS || t.svc.Resolution == model.ByDNSRoundRobin
	cla := g.b.assignment(t)
	cla.NamedEndpoints = nil
	lost, names := tidy(cla)
	if lost > 0 {
		g.b.report(model.Finding{
			Code: CodeGRPC, Severity: model.Warning, Object: t.svc.Key, Origin: t.svc.Origin, Field: "spec.endpoints",
			Message: "gRPC without a proxy: it does not reach unix sockets", Remedy: "give addresses",
		})
	}
	if byName && names > 0 {
		first := cla.Endpoints[0]
		if names > 1 || len(first.LbEndpoints) > 1 || len(cla.Endpoints) > 1 {
			g.b.report(model.Finding{
				Code: CodeGRPC, Severity: model.Warning, Object: t.svc.Key, Origin: t.svc.Origin, Field: "spec.endpoints",
				Message: "gRPC without a proxy: of endpoints that are found by name only the first is used", Remedy: "make it one name with several addresses",
			})
		}
		first.LbEndpoints = first.LbEndpoints[:1]
		cla.Endpoints = cla.Endpoints[:1]
		g.c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_LOGICAL_DNS}
		g.c.LoadAssignment = cla
		return nil
	}
	g.c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS}
	g.c.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{EdsConfig: pb.ADS(), ServiceName: t.name}
	return cla
}

// tidy takes out what gRPC refuses a whole assignment for: unix sockets, an address
// that is there twice, and empty localities. Metadata is of no use to it.
func tidy(cla *endpointv3.ClusterLoadAssignment) (lost, left int) {
	seen := map[string]bool{}
	var kept []*endpointv3.LocalityLbEndpoints
	for _, l := range cla.Endpoints {
		var list []*endpointv3.LbEndpoint
		for _, e := range l.LbEndpoints {
			a := e.GetEndpoint().GetAddress().GetSocketAddress()
			if a == nil {
				lost++
				continue
			}
			key := strings.ToLower(a.GetAddress()) + " " + strconv.FormatUint(uint64(a.GetPortValue()), 10)
			if seen[key] {
				continue
			}
			seen[key] = true
			e.Metadata = nil
			list = append(list, e)
		}
		if l.LbEndpoints = list; len(list) > 0 {
			kept = append(kept, l)
		}
		left += len(list)
	}
	cla.Endpoints = kept
	compact(cla)
	return lost, left
}
