package cluster

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/wire"
)

// Source addresses of connections to the program: they tell capture rules that
// the traffic has passed the proxy already (Istio's).
const (
	inboundSource4 = "127.0.0.6"
	inboundSource6 = "::6"
)

// passthroughIdle is how long a connection to an address that no service has may be
// without a request (Istio's).
const passthroughIdle = 5 * time.Minute

// Inbound describes one port of the workload that the proxy serves.
type Inbound struct {
	// Port is the workload port, as clients ask for it.
	Port     uint16
	Protocol model.Protocol
	// Service decides the names in metrics, the first of All; nil: none.
	Service *model.Service
	All     []*model.Service
	// To is where the program listens; zero: at the original destination.
	To netip.AddrPort
	// Pipe is a unix socket of the program.
	Pipe string
	// Part tells ports of one number apart, of which a gateway may have several.
	Part string
	// Pool, when set, goes before what a Sidecar or a DestinationRule says.
	Pool *model.ConnectionPool
}

// servicePort is the port of the service that leads here; nil: none is known.
func (i *Inbound) servicePort() *model.ServicePort {
	if i.Service == nil {
		return nil
	}
	for j := range i.Service.Ports {
		if p := &i.Service.Ports[j]; p.Protocol == i.Protocol {
			return p
		}
	}
	return nil
}

// ClusterName is Istio's "inbound|9080||".
func (i *Inbound) ClusterName() string {
	return wire.ClusterName(wire.Inbound, i.Port, i.Part, "")
}

// Inbound makes the cluster of a port of the program.
func (b *Builder) Inbound(i *Inbound) *clusterv3.Cluster {
	c := &clusterv3.Cluster{
		Name:           i.ClusterName(),
		ConnectTimeout: pb.Duration(b.connectTimeout()),
	}
	if len(i.All) > 0 {
		c.Metadata = pb.IstioMetadata(map[string]*structpb.Value{"services": services(i.All...)})
	}
	switch {
	case i.Pipe != "":
		static(c, pb.Pipe(i.Pipe))
	case i.To.IsValid():
		static(c, pb.Address(i.To.Addr().String(), i.To.Port()))
		if !i.To.Addr().IsLoopback() {
			b.bindInbound(c) // or capture takes the connection for one to be received
		}
	case b.v.Mesh.InboundLocal:
		static(c, pb.Address(b.Loopback(), i.Port))
	default:
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST}
		c.LbPolicy = clusterv3.Cluster_CLUSTER_PROVIDED
		b.bindInbound(c)
	}
	t := &target{port: &model.ServicePort{Port: i.Port, Protocol: i.Protocol}, svc: i.Service}
	if p := i.servicePort(); p != nil {
		// Of the service's policy only the bounds are for the server's side too.
		policy := b.v.Policy(i.Service).Ruled(p.Port, "")
		t.policy.Pool, t.policy.RetryBudget = policy.Pool, policy.RetryBudget
		if pattern := b.v.Mesh.InboundStat; pattern != "" {
			c.AltStatName = model.StatName(pattern, i.Service, p, "")
		}
	}
	if t.policy.Pool == nil {
		t.policy.Pool = b.v.Mesh.DefaultPool
	}
	if b.v.Sidecar != nil && b.v.Sidecar.InboundPool != nil {
		t.policy.Pool = b.v.Sidecar.InboundPool
	}
	if i.Pool != nil {
		t.policy.Pool = i.Pool
	}
	c.CircuitBreakers = breakers(t.policy.Pool)
	applyPool(c, t.policy.Pool, b.v.Mesh.Keepalive)
	if t.policy.RetryBudget != nil {
		retryBudget(c, t.policy.RetryBudget)
	}
	if p := t.policy.Pool; p != nil {
		copied := *p
		copied.H2Upgrade = 0 // an upgrade is between proxies; the program speaks what it declared
		t.policy.Pool = &copied
	}
	b.applyHTTP(c, t)
	return c
}

func static(c *clusterv3.Cluster, a *corev3.Address) {
	c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
	c.LoadAssignment = &endpointv3.ClusterLoadAssignment{
		ClusterName: c.Name,
		Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: a}},
		}}}},
	}
}

// Loopback is where a program listens that is not on the workload's address.
func (b *Builder) Loopback() string {
	if v4, _ := b.v.Proxy.Families(); !v4 {
		return "::1"
	}
	return "127.0.0.1"
}

func (b *Builder) bindInbound(c *clusterv3.Cluster) {
	v4, v6 := b.v.Proxy.Families()
	c.UpstreamBindConfig = &corev3.BindConfig{}
	source := func(a string) *corev3.SocketAddress {
		return &corev3.SocketAddress{Address: a, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 0}}
	}
	switch {
	case v4 && v6:
		c.UpstreamBindConfig.SourceAddress = source(inboundSource4)
		c.UpstreamBindConfig.ExtraSourceAddresses = []*corev3.ExtraSourceAddress{{Address: source(inboundSource6)}}
	case v6:
		c.UpstreamBindConfig.SourceAddress = source(inboundSource6)
	default:
		c.UpstreamBindConfig.SourceAddress = source(inboundSource4)
	}
}

// Fixed makes the clusters that every sidecar has: what passes through to the
// original destination, and what goes nowhere.
func (b *Builder) Fixed() []*clusterv3.Cluster {
	blackhole := &clusterv3.Cluster{
		Name:                 wire.BlackHoleCluster,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:       pb.Duration(b.connectTimeout()),
	}
	switch _, explicit := b.v.Proxy.HTTPProxy(); {
	case explicit && b.v.OutboundPolicy() == model.AllowAnyDynamic:
		return []*clusterv3.Cluster{blackhole, b.allowAnyDynamic()}
	case b.v.Proxy.Gateway() || explicit:
		return []*clusterv3.Cluster{blackhole}
	}
	pass := b.passthrough(wire.PassthroughCluster)
	in := b.passthrough(wire.InboundPassthrough4)
	b.bindInbound(in)
	out := []*clusterv3.Cluster{blackhole, pass}
	if b.v.OutboundPolicy() == model.AllowAnyDynamic {
		out = append(out, b.allowAnyDynamic())
	}
	return append(out, in)
}

func (b *Builder) passthrough(name string) *clusterv3.Cluster {
	c := &clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST},
		LbPolicy:             clusterv3.Cluster_CLUSTER_PROVIDED,
		ConnectTimeout:       pb.Duration(b.connectTimeout()),
		CircuitBreakers:      breakers(b.v.Mesh.DefaultPool),
	}
	applyPool(c, b.v.Mesh.DefaultPool, b.v.Mesh.Keepalive)
	// Each address has a pool of its own here, which must not stay for ever.
	pool := model.ConnectionPool{IdleTimeout: passthroughIdle}
	if p := b.v.Mesh.DefaultPool; p != nil {
		pool = *p
		pool.IdleTimeout = cmp.Or(p.IdleTimeout, passthroughIdle)
	}
	o := httpOptions(&pool)
	o.UpstreamProtocolOptions = useDownstream(&corev3.Http2ProtocolOptions{})
	if b.keepCase() {
		keepCase(o)
	}
	c.TypedExtensionProtocolOptions = map[string]*anypb.Any{HTTPOptions: pb.Any(o)}
	return c
}

// ParseDefaultEndpoint reads a Sidecar ingress's defaultEndpoint:
// "127.0.0.1:port", "[::1]:port", "0.0.0.0:port" (the workload's own address),
// or "unix:///path".
func ParseDefaultEndpoint(s string) (to netip.AddrPort, pipe string, err error) {
	if path, ok := strings.CutPrefix(s, "unix://"); ok {
		return to, path, nil
	}
	if strings.HasPrefix(s, ":") {
		s = "127.0.0.1" + s
	}
	to, err = netip.ParseAddrPort(s)
	if err != nil {
		return to, "", fmt.Errorf("%q is not an address like 127.0.0.1:8080 or unix:///path", s)
	}
	return to, "", nil
}
