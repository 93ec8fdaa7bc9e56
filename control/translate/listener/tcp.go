package listener

import (
	"net"
	"slices"
	"strconv"
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	snv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_dynamic_forward_proxy/v3"
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
	return b.tcpOf("", s, stat, to)
}

// tcpOf is tcp for bytes that are a protocol of messages which the engine does not speak; "": none that is known.
func (b *Builder) tcpOf(messages string, s stage, stat string, to []share) []*listenerv3.Filter {
	var out []*listenerv3.Filter
	if s != outbound {
		out = append(out, b.streamPolicies(messages)...)
	}
	out = append(out, b.streamStats(s)...)
	if f := b.forwardStream(to); f != nil {
		out = append(out, f)
	}
	return append(out, b.tcpProxy(s, stat, to))
}

// streamStats counts connections, where the engine does it in a filter.
func (b *Builder) streamStats(s stage) []*listenerv3.Filter {
	c := b.stats(s)
	if c == nil || b.v.Proxy.Engine() != scope.EngineGo {
		return nil
	}
	return []*listenerv3.Filter{filter("istio.stats", c)}
}

// forwardStream looks the server's name up that TLS asks for, where that decides where a
// connection goes; nil: it does not.
func (b *Builder) forwardStream(to []share) *listenerv3.Filter {
	if len(to) != 1 {
		return nil
	}
	_, port, _, host, ok := wire.SplitClusterName(to[0].cluster)
	if !ok || !strings.HasPrefix(host, "*") {
		return nil
	}
	if s := b.v.Service(host); s == nil || s.Resolution != model.ByRequest {
		return nil
	}
	return filter("envoy.filters.network.sni_dynamic_forward_proxy", &snv3.FilterConfig{
		DnsCacheConfig: b.clusters.DNSCache(), PortSpecifier: &snv3.FilterConfig_PortValue{PortValue: uint32(port)},
	})
}

// tcpProxy is the last filter of a chain of opaque bytes.
func (b *Builder) tcpProxy(s stage, stat string, to []share) *listenerv3.Filter {
	p := &tcpv3.TcpProxy{StatPrefix: stat, AccessLog: b.accessLogs(s, true)}
	if len(to) == 1 {
		p.ClusterSpecifier = &tcpv3.TcpProxy_Cluster{Cluster: to[0].cluster}
		b.tcpPolicy(p, to[0].cluster)
	} else {
		w := &tcpv3.TcpProxy_WeightedCluster{}
		for _, d := range to {
			b.noTunnel(d.cluster)
			if d.weight > 0 {
				w.Clusters = append(w.Clusters, &tcpv3.TcpProxy_WeightedCluster_ClusterWeight{Name: d.cluster, Weight: d.weight})
			}
		}
		p.ClusterSpecifier = &tcpv3.TcpProxy_WeightedClusters{WeightedClusters: w}
	}
	if s == outbound && b.v.Proxy.OnDemand && slices.ContainsFunc(to, func(x share) bool { return strings.HasPrefix(x.cluster, wire.Outbound) }) {
		p.OnDemand = demandCluster()
	}
	return filter("envoy.filters.network.tcp_proxy", p)
}

// noTunnel reports a tunnel of one of several destinations: there is one for all
// or none.
func (b *Builder) noTunnel(name string) {
	_, port, subset, host, ok := wire.SplitClusterName(name)
	svc := b.v.Service(host)
	if !ok || svc == nil {
		return
	}
	p := b.v.Policy(svc)
	if p.For(port, subset).Tunnel == nil || len(p.Keys) == 0 {
		return
	}
	f := model.Finding{
		Code: CodeTunnel, Severity: model.Error, Object: p.Keys[0], Field: "spec.trafficPolicy.tunnel",
		Message: "has no effect where " + host + " is one of several weighted destinations", Remedy: "route to one destination",
	}
	if o := b.v.Index.Snapshot.Objects.Get(p.Keys[0]); o != nil {
		f.Origin = o.Head().At(f.Field)
	}
	b.report(f)
}

// tcpPolicy sets what of a destination's policy is the proxy's to carry out.
func (b *Builder) tcpPolicy(p *tcpv3.TcpProxy, name string) {
	_, port, subset, host, own := wire.SplitClusterName(name)
	if !own {
		var through bool
		if port, subset, host, through = wire.SplitSNI(name); !through {
			return
		}
	}
	svc := b.v.Service(host)
	if svc == nil {
		return
	}
	if at, pattern := svc.Port(port), b.v.Mesh.OutboundStat; at != nil && pattern != "" {
		p.StatPrefix = model.StatName(pattern, svc, at, subset)
	}
	policy := b.v.Policy(svc).For(port, subset)
	if lb := policy.LB; lb != nil && lb.Algorithm == model.ConsistentHash && lb.Hash != nil && lb.Hash.SourceIP {
		p.HashPolicy = []*typev3.HashPolicy{{PolicySpecifier: &typev3.HashPolicy_SourceIp_{SourceIp: &typev3.HashPolicy_SourceIp{}}}}
	}
	if t := policy.Tunnel; t != nil && own {
		p.TunnelingConfig = &tcpv3.TcpProxy_TunnelingConfig{Hostname: net.JoinHostPort(t.Host, strconv.Itoa(int(t.Port))), UsePost: t.Post}
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
		if list[i].Invalid {
			out = append(out, share{wire.BlackHoleCluster, list[i].Weight})
			continue
		}
		out = append(out, share{b.routes.ClusterOf(&list[i], port), list[i].Weight})
	}
	return out
}
