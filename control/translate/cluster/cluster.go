// Package cluster translates services and their traffic policies into Envoy
// clusters, and their instances into endpoints.
//
// Outbound clusters have Istio's names "outbound|port|subset|host" and one
// exists for every visible port and subset; inbound ones are "inbound|port||".
package cluster

import (
	"slices"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/wire"
)

// Codes of Findings.
const (
	CodeCredential = "WEFT0321" // a client certificate that the proxy may not have
	CodeZones      = "WEFT0324" // zones of which a proxy does not know its share
)

const (
	defaultConnectTimeout = 10 * time.Second
	defaultDNSRefresh     = 60 * time.Second
)

// Report takes a Finding.
type Report func(model.Finding)

// Builder makes the clusters and endpoints of one view.
type Builder struct {
	v      *scope.View
	report Report
	// secrets are the credentials ("namespace/name") that clusters ask for.
	secrets map[string]bool
	clas    []*endpointv3.ClusterLoadAssignment
}

// NewBuilder returns a builder for a view.
func NewBuilder(v *scope.View, report Report) *Builder {
	return &Builder{v: v, report: report, secrets: map[string]bool{}}
}

// Secrets are the credentials ("namespace/name") that the clusters ask for.
func (b *Builder) Secrets() []string { return pb.Keys(b.secrets) }

// Class says on what besides the service and its policy the clusters of a
// service depend: proxies of one class get the same. Not ok: on more than that.
func (b *Builder) Class(s *model.Service) (class Class, ok bool) {
	p := b.v.Proxy
	class.Service = s.Key
	class.V4, class.V6 = p.Families()
	_, class.Explicit = p.HTTPProxy()
	class.Gateway = p.Gateway()
	class.Through = b.v.PassesThrough()
	class.KeepCase = b.keepCase()
	class.Datagrams = b.v.CarriesDatagrams()
	if slices.ContainsFunc(s.Ports, func(p model.ServicePort) bool { return p.Protocol == model.Redis }) {
		class.Engine = p.Engine()
	}
	policy := b.v.Policy(s)
	for _, k := range policy.Keys {
		class.Policy += k.String() + " "
	}
	if len(policy.Keys) > 0 {
		class.Namespace = p.Namespace() // credentials are looked up there
		class.Engine = p.Engine()       // which may lack something
	}
	if byPlace(s) {
		class.Locality, class.Node, class.Network = p.Locality(), p.Node(), p.Network()
	}
	settings := []*model.LocalityLB{b.v.Mesh.LocalityLB}
	for _, t := range policy.Parts() {
		if t.LB != nil {
			settings = append(settings, t.LB.Locality)
		}
	}
	ok = true
	for _, l := range settings {
		if l == nil || !l.Enabled {
			continue
		}
		class.Locality = p.Locality()
		ok = ok && len(l.Priority) == 0 // which looks at the proxy's labels
	}
	zones := []*model.ZoneLB{b.v.Mesh.ZoneLB}
	for _, t := range policy.Parts() {
		if t.LB != nil {
			zones = append(zones, t.LB.Zone)
		}
	}
	for _, z := range zones {
		if z == nil || !z.Enabled {
			continue
		}
		class.Locality, class.SelfDiscovery = p.Locality(), p.SelfDiscovery()
		ok = ok && len(z.Priority) == 0
	}
	return class, ok
}

// Class is comparable; see Builder.Class.
type Class struct {
	Service                   model.Key
	Policy, Namespace         string
	Engine                    string
	Locality                  model.Locality
	Node, Network             string
	V4, V6, Explicit, Gateway bool
	// Through: see scope.View.PassesThrough; Datagrams: CarriesDatagrams.
	Through, Datagrams bool
	// SelfDiscovery counts where zones do.
	SelfDiscovery bool
	// KeepCase is that of the proxy's settings.
	KeepCase bool
}

// Endpoints are the load assignments of the EDS clusters made so far.
func (b *Builder) Endpoints() []*endpointv3.ClusterLoadAssignment { return b.clas }

// target is one outbound cluster in the making.
type target struct {
	svc    *model.Service
	port   *model.ServicePort
	subset *model.Subset // nil: all instances
	policy model.TrafficPolicy
	keys   []model.Key
	name   string
	// tlsField is where TLS is set up, for Findings; empty: in a DestinationRule.
	tlsField string
	// only, when set, picks the instances.
	only func(model.Instance) bool
	// upgrade: HTTP/1.1 becomes HTTP/2 where the policy does not say otherwise.
	upgrade bool
	// through: TLS of the mesh goes on as it comes, by the server name that it asks for.
	through bool
}

func (t *target) subsetName() string {
	if t.subset == nil {
		return ""
	}
	return t.subset.Name
}

// Service makes the clusters of one service: one per port, and one per port and subset.
func (b *Builder) Service(s *model.Service) []*clusterv3.Cluster {
	var out []*clusterv3.Cluster
	p := b.v.Policy(s)
	for i := range s.Ports {
		port := &s.Ports[i]
		if port.Protocol == model.UDP {
			if b.v.CarriesDatagrams() && s.Resolution != model.ByRequest {
				out = append(out, b.datagrams(&target{svc: s, port: port, policy: p.For(port.Port, ""), keys: p.Keys}))
			}
			continue
		}
		add := func(t target) {
			t.svc, t.port, t.policy, t.keys = s, port, p.For(port.Port, t.subsetName()), p.Keys
			out = append(out, b.outbound(&t))
		}
		for _, through := range b.ways(s) {
			add(target{through: through})
			if s.Resolution == model.ByRequest {
				continue // nothing is known of its endpoints
			}
			for j := range p.Subsets {
				add(target{through: through, subset: &p.Subsets[j]})
			}
		}
	}
	return out
}

// ways are those in which a proxy sends to a service: as its own client, and as a
// gateway that passes TLS of the mesh through (true).
func (b *Builder) ways(s *model.Service) []bool {
	if b.v.PassesThrough() && !s.External {
		return []bool{false, true}
	}
	return []bool{false}
}

func (b *Builder) outbound(t *target) *clusterv3.Cluster {
	t.name = wire.ClusterName(wire.Outbound, t.port.Port, t.subsetName(), t.svc.Host)
	if t.through {
		t.name = wire.SNI(t.port.Port, t.subsetName(), t.svc.Host)
		// Clients have brought their TLS, and the protocol inside of it.
		t.policy.TLS = nil
		t.only = func(in model.Instance) bool { return b.v.Index.SpeaksMTLS(in, t.svc, t.port) }
	}
	t.upgrade = b.v.Mesh.H2Upgrade
	c := &clusterv3.Cluster{
		Name:           t.name,
		ConnectTimeout: pb.Duration(b.connectTimeout()),
		Metadata:       metadata(t),
	}
	if pattern := b.v.Mesh.OutboundStat; pattern != "" {
		c.AltStatName = model.StatName(pattern, t.svc, t.port, t.subsetName())
	}
	if !b.credential(t) {
		// Rather no way than one in plain text.
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
		return c
	}
	b.discovery(c, t)
	b.applyPolicy(c, t)
	if t.through {
		return c
	}
	b.applyTLS(c, t)
	announce(c, t.policy.ProxyProtocol)
	b.applyHTTP(c, t)
	b.applyRedis(c, t)
	return c
}

// datagrams makes the cluster of a port of UDP: there is no TLS, and no pool.
func (b *Builder) datagrams(t *target) *clusterv3.Cluster {
	t.name = wire.ClusterName(wire.OutboundUDP, t.port.Port, "", t.svc.Host)
	t.policy.TLS = nil
	c := &clusterv3.Cluster{Name: t.name, ConnectTimeout: pb.Duration(b.connectTimeout()), Metadata: metadata(t)}
	b.discovery(c, t)
	b.applyLB(c, t)
	return c
}

func (b *Builder) connectTimeout() time.Duration {
	if d := b.v.Mesh.ConnectTimeout; d > 0 {
		return d
	}
	return defaultConnectTimeout
}

func metadata(t *target) *corev3.Metadata {
	fields := map[string]*structpb.Value{"services": services(t.svc)}
	if len(t.keys) > 0 {
		fields["config"] = pb.Config("destination-rule", t.keys[0].Namespace, t.keys[0].Name)
	}
	if t.subset != nil {
		fields["subset"] = structpb.NewStringValue(t.subset.Name)
	}
	if t.svc.External {
		fields["external"] = structpb.NewBoolValue(true)
	}
	return pb.IstioMetadata(fields)
}

// services is the list of services that metrics name for a cluster. One of a
// ServiceEntry has no name but its host.
func services(list ...*model.Service) *structpb.Value {
	out := &structpb.ListValue{}
	for _, s := range list {
		name := s.Name
		if s.FromEntry {
			name = s.Host
		}
		out.Values = append(out.Values, structpb.NewStructValue(pb.StringStruct(map[string]string{
			"host": s.Host, "name": name, "namespace": s.Namespace,
		})))
	}
	return structpb.NewListValue(out)
}

// discovery says how the cluster finds its endpoints.
func (b *Builder) discovery(c *clusterv3.Cluster, t *target) {
	if t.svc.Resolution == model.ByRequest {
		b.forward(c, fixedName(t.policy.TLS))
		return
	}
	switch kind := b.kind(t); kind {
	case clusterv3.Cluster_EDS:
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: kind}
		c.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{EdsConfig: pb.ADS(), ServiceName: t.name}
		b.clas = append(b.clas, b.assignment(t))
	case clusterv3.Cluster_ORIGINAL_DST:
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: kind}
		c.LbPolicy = clusterv3.Cluster_CLUSTER_PROVIDED
	default:
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: kind}
		c.LoadAssignment = b.assignment(t)
		c.DnsLookupFamily = b.dnsFamily()
		refresh := b.v.Mesh.DNSRefresh
		if refresh <= 0 {
			refresh = defaultDNSRefresh
		}
		c.DnsRefreshRate = pb.Duration(refresh)
		c.RespectDnsTtl = true
	}
}

func (b *Builder) kind(t *target) clusterv3.Cluster_DiscoveryType {
	_, explicit := b.v.Proxy.HTTPProxy()
	asked := t.svc.Resolution == model.Passthrough || t.policy.LB != nil && t.policy.LB.Algorithm == model.LBPassthrough
	switch {
	case asked && !b.v.Proxy.Gateway() && !explicit:
		return clusterv3.Cluster_ORIGINAL_DST
	case t.svc.ExternalName != "", t.svc.Resolution == model.ByDNS:
		return clusterv3.Cluster_STRICT_DNS
	case t.svc.Resolution == model.ByDNSRoundRobin:
		return clusterv3.Cluster_LOGICAL_DNS
	}
	// A gateway, or a proxy that captures nothing, has no original destination:
	// it chooses among the instances.
	return clusterv3.Cluster_EDS
}

func (b *Builder) dnsFamily() clusterv3.Cluster_DnsLookupFamily {
	switch v4, v6 := b.v.Proxy.Families(); {
	case v4 && v6:
		return clusterv3.Cluster_ALL
	case v6:
		return clusterv3.Cluster_V6_ONLY
	}
	return clusterv3.Cluster_V4_ONLY
}
