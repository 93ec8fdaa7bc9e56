package listener

import (
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacnetv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/wire"
)

// share is one destination of a TCP proxy.
type share struct {
	cluster string
	weight  uint32
}

// tcp are the filters of a chain of opaque bytes.
func (b *Builder) tcp(s stage, stat string, to []share) []*listenerv3.Filter {
	var out []*listenerv3.Filter
	if s != outbound {
		for _, r := range b.authz(true) {
			out = append(out, filter("envoy.filters.network.rbac", &rbacnetv3.RBAC{Rules: r, StatPrefix: "tcp."}))
		}
	}
	if b.v.Proxy.Engine() == scope.EngineGo {
		out = append(out, filter("istio.stats", stats()))
	}
	p := &tcpv3.TcpProxy{StatPrefix: stat, AccessLog: b.accessLogs(s, true)}
	if len(to) == 1 {
		p.ClusterSpecifier = &tcpv3.TcpProxy_Cluster{Cluster: to[0].cluster}
		b.tcpPolicy(p, to[0].cluster)
	} else {
		w := &tcpv3.TcpProxy_WeightedCluster{}
		for _, d := range to {
			if d.weight > 0 {
				w.Clusters = append(w.Clusters, &tcpv3.TcpProxy_WeightedCluster_ClusterWeight{Name: d.cluster, Weight: d.weight})
			}
		}
		p.ClusterSpecifier = &tcpv3.TcpProxy_WeightedClusters{WeightedClusters: w}
	}
	return append(out, filter("envoy.filters.network.tcp_proxy", p))
}

// tcpPolicy sets what of a destination's policy is the proxy's to carry out.
func (b *Builder) tcpPolicy(p *tcpv3.TcpProxy, name string) {
	_, port, subset, host, ok := wire.SplitClusterName(name)
	if !ok {
		return
	}
	svc := b.v.Service(host)
	if svc == nil {
		return
	}
	policy := b.v.Policy(svc).For(port, subset)
	if lb := policy.LB; lb != nil && lb.Algorithm == model.ConsistentHash && lb.Hash != nil && lb.Hash.SourceIP {
		p.HashPolicy = []*typev3.HashPolicy{{PolicySpecifier: &typev3.HashPolicy_SourceIp_{SourceIp: &typev3.HashPolicy_SourceIp{}}}}
	}
	if pool := policy.Pool; pool != nil {
		if pool.TCPIdleTimeout > 0 {
			p.IdleTimeout = pb.Duration(pool.TCPIdleTimeout)
		}
		if pool.MaxConnectionDuration > 0 {
			p.MaxDownstreamConnectionDuration = pb.Duration(pool.MaxConnectionDuration)
		}
	}
}

// shares translates the destinations of a TCP or TLS route.
func (b *Builder) shares(list []model.Destination, port uint16) []share {
	out := make([]share, 0, len(list))
	for i := range list {
		if len(list) > 1 && list[i].Weight == 0 {
			continue
		}
		out = append(out, share{b.routes.ClusterOf(&list[i], port), list[i].Weight})
	}
	return out
}
