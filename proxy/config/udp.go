package config

import (
	"errors"
	"fmt"
	"net/netip"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	udpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/udp/udp_proxy/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/http/match"
	"github.com/weftmesh/weft/proxy/listener"
	"github.com/weftmesh/weft/proxy/udp"
)

// udpListener reads what a listener whose addresses are of UDP does.
func (d *Decoder) udpListener(m *listenerv3.Listener, l *listener.Listener) (clusters []string, err error) {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"filter_chains", len(m.FilterChains) > 0},
		{"default_filter_chain", m.DefaultFilterChain != nil},
		{"filter_chain_matcher", m.FilterChainMatcher != nil},
		{"use_original_dst", m.GetUseOriginalDst().GetValue()},
		{"access_log", len(m.AccessLog) > 0},
		{"bind_to_port", l.Virtual},
	} {
		if f.set {
			return nil, at(errors.New("is for listeners of connections, and the address is of UDP"), "%s", f.name)
		}
	}
	if len(m.ListenerFilters) != 1 {
		return nil, at(errors.New("want just one, udp_proxy"), "listener_filters")
	}
	f := m.ListenerFilters[0]
	u := &listener.UDP{}
	u.Size, u.GRO = udpSocket(m.GetUdpListenerConfig().GetDownstreamSocketConfig(), false)
	if f.FilterDisabled != nil {
		return nil, at(errors.New("not supported for UDP"), "listener_filters[0].filter_disabled")
	}
	a := f.GetTypedConfig()
	if !a.MessageIs(&udpv3.UdpProxyConfig{}) {
		return nil, at(fmt.Errorf("%s is not supported for UDP: want udp_proxy", typeOf(a)), "listener_filters[0].typed_config")
	}
	u.Filter, clusters, err = d.udpProxy(a)
	u.Version = fmt.Sprintf("%s-%d-%t", contentHash(a), u.Size, u.GRO)
	l.UDP = u
	return clusters, at(err, "listener_filters[0].typed_config")
}

// udpSocket reads how a socket is read; gro is the default of prefer_gro.
func udpSocket(m *corev3.UdpSocketConfig, gro bool) (size int, coalesce bool) {
	size = udp.DefaultSize
	if v := m.GetMaxRxDatagramSize(); v != nil {
		size = int(v.Value)
	}
	if v := m.GetPreferGro(); v != nil {
		gro = v.Value
	}
	return size, gro
}

// udpProxy makes a UDP proxy.
func (d *Decoder) udpProxy(a *anypb.Any) (*udp.Proxy, []string, error) {
	m := &udpv3.UdpProxyConfig{}
	if err := open(a, m); err != nil {
		return nil, nil, err
	}
	c := udp.Config{
		StatPrefix: m.StatPrefix, Idle: duration(m.IdleTimeout), OriginalSource: m.UseOriginalSrcIp, PerPacket: m.UsePerPacketLoadBalancing,
		LogEvery: duration(m.GetAccessLogOptions().GetAccessLogFlushInterval()),
	}
	if m.IdleTimeout != nil && c.Idle <= 0 {
		return nil, nil, at(errors.New("want more than 0"), "idle_timeout")
	}
	var clusters []string
	switch r := m.RouteSpecifier.(type) {
	case *udpv3.UdpProxyConfig_Cluster:
		name := r.Cluster
		clusters = []string{name}
		c.Route = func(netip.AddrPort, netip.AddrPort) string { return name }
	case *udpv3.UdpProxyConfig_Matcher:
		var err error
		if c.Route, clusters, err = d.udpRoutes(r.Matcher); err != nil {
			return nil, nil, at(err, "matcher")
		}
	default:
		return nil, nil, errors.New("no cluster: want cluster or matcher")
	}
	if len(m.HashPolicies) > 1 {
		return nil, nil, at(errors.New("want one at most"), "hash_policies")
	}
	for _, h := range m.HashPolicies {
		c.HashSource, c.HashKey = h.GetSourceIp(), h.GetKey()
	}
	c.UpstreamSize, c.GRO = udpSocket(m.UpstreamSocketConfig, true)
	var err error
	if c.AccessLogs, err = d.udpLogs(m.AccessLog); err != nil {
		return nil, nil, err
	}
	if c.ProxyLogs, err = d.udpLogs(m.ProxyAccessLog); err != nil {
		return nil, nil, at(err, "proxy_access_log")
	}
	p, err := udp.New(d.Clusters, udp.NewStats(d.FilterStats, m.StatPrefix), c)
	return p, clusters, err
}

func (d *Decoder) udpLogs(list []*accesslogv3.AccessLog) (out []udp.AccessLogger, err error) {
	logs, err := d.accessLogs(list)
	for _, l := range logs {
		out = append(out, l)
	}
	return out, err
}

// udpRoutes reads a matcher that leads to clusters.
func (d *Decoder) udpRoutes(m *xdsmatcherv3.Matcher) (route func(local, remote netip.AddrPort) string, clusters []string, err error) {
	trees := match.Trees[*listener.Facts, string]{Runtime: d.Runtime, Input: datagramInput, Action: func(m *xdscorev3.TypedExtensionConfig) (string, error) {
		to := &udpv3.Route{}
		a := m.GetTypedConfig()
		if a == nil || !a.MessageIs(to) {
			return "", at(fmt.Errorf("%s is not supported: want envoy.extensions.filters.udp.udp_proxy.v3.Route", typeOf(a)), "typed_config")
		}
		if err := unpack(a, to); err != nil {
			return "", at(err, "typed_config")
		}
		clusters = append(clusters, to.Cluster)
		return to.Cluster, nil
	}}
	tree, err := trees.Read(m)
	if err != nil {
		return nil, nil, err
	}
	return func(local, remote netip.AddrPort) string {
		name, _ := tree.Choose(&listener.Facts{Local: local, Remote: remote, Direct: remote})
		return name
	}, clusters, nil
}

// datagramInput reads what a cluster is chosen by: datagrams have addresses only.
func datagramInput(m *xdscorev3.TypedExtensionConfig) (connInput, error) {
	a := m.GetTypedConfig()
	if in := addressInput(a); in != nil {
		return in, nil
	}
	return nil, at(fmt.Errorf("%s is not supported for datagrams: want an input of source or destination", typeOf(a)), "typed_config")
}
