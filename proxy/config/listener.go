package config

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	proxyprotov3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	redisv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/redis_proxy/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/match"
	"github.com/weftmesh/weft/proxy/listener"
	"github.com/weftmesh/weft/proxy/transport"
	"github.com/weftmesh/weft/wire/weftpb"
)

// listenerConfig is a decoded listener and what it waits for.
type listenerConfig struct {
	listener        *listener.Listener
	routes, secrets []need
	extensions      []extensionNeed
	scoped          []scopedNeed
	inlineScopes    []InlineScopes
	// clusters that it names itself.
	clusters []string
}

// defaultInspectTimeout is Envoy's listener_filters_timeout.
const defaultInspectTimeout = 15 * time.Second

func (d *Decoder) decodeListener(m *listenerv3.Listener) (*listenerConfig, error) {
	l := &listener.Listener{
		Name:              m.Name,
		UseOriginalDst:    m.GetUseOriginalDst().GetValue(),
		Outbound:          m.TrafficDirection == corev3.TrafficDirection_OUTBOUND,
		Transparent:       m.GetTransparent().GetValue(),
		Freebind:          m.GetFreebind().GetValue(),
		Backlog:           int(m.TcpBacklogSize.GetValue()),
		InspectTimeout:    defaultInspectTimeout,
		ContinueOnTimeout: m.ContinueOnListenerFiltersTimeout,
		BypassOverload:    m.BypassOverloadManager,
		MaxConns:          d.Runtime.Key("envoy.resource_limits.listener." + m.Name + ".connection_limit"),
		IgnoreMax:         m.IgnoreGlobalConnLimit,
		Virtual:           m.BindToPort != nil && !m.BindToPort.Value,
	}
	if v := m.GetDeprecatedV1().GetBindToPort(); v != nil && !v.Value { //nolint:staticcheck // Istio has written it for years
		l.Virtual = true
	}
	if m.ListenerFiltersTimeout != nil {
		l.InspectTimeout = m.ListenerFiltersTimeout.AsDuration()
	}
	if k := m.TcpKeepalive; k != nil {
		l.KeepAlive = keepAlive(k)
	}
	if err := addresses(m, l); err != nil {
		return nil, err
	}
	if l.Addresses != nil && l.Addresses[0].UDP {
		clusters, err := d.udpListener(m, l)
		return &listenerConfig{listener: l, clusters: clusters}, err
	}
	if m.UdpListenerConfig != nil {
		return nil, at(errors.New("needs an address with protocol UDP"), "udp_listener_config")
	}
	cc := &chainContext{outbound: l.Outbound, bufferLimit: int(m.PerConnectionBufferLimitBytes.GetValue())}
	for i, f := range m.ListenerFilters {
		in, err := d.inspector(f, l.Inspectors, cc)
		if err != nil {
			return nil, at(err, "listener_filters[%d]", i)
		}
		l.Inspectors = append(l.Inspectors, in)
	}
	if m.GetFilterChains() != nil && m.FilterChains[0].GetUseProxyProto().GetValue() { //nolint:staticcheck // deprecated, still written
		in := listener.Inspector{Kind: listener.ProxyProtocol, Proxy: d.proxyHeaders(&proxyprotov3.ProxyProtocol{})}
		l.Inspectors = append([]listener.Inspector{in}, l.Inspectors...)
	}
	// Envoy adds the filter by itself where use_original_dst is set.
	restores := func(in listener.Inspector) bool { return in.Live == nil && in.Kind == listener.OriginalDst }
	if l.UseOriginalDst && !slices.ContainsFunc(l.Inspectors, restores) {
		l.Inspectors = append([]listener.Inspector{{Kind: listener.OriginalDst}}, l.Inspectors...)
	}
	logs, err := d.accessLogs(m.AccessLog)
	if err != nil {
		return nil, err
	}
	for _, log := range logs {
		l.AccessLogs = append(l.AccessLogs, log)
	}
	for i, c := range m.FilterChains {
		out, err := d.chain(c, cc)
		if err != nil {
			return nil, at(err, "filter_chains[%d]", i)
		}
		l.Chains = append(l.Chains, out)
	}
	if m.FilterChainMatcher != nil {
		if err = d.chainMatcher(m.FilterChainMatcher, l); err != nil {
			return nil, err
		}
	}
	if m.DefaultFilterChain != nil {
		if l.Default, err = d.chain(m.DefaultFilterChain, cc); err != nil {
			return nil, at(err, "default_filter_chain")
		}
	}
	return &listenerConfig{
		listener: l, routes: cc.routes, secrets: cc.secrets, extensions: cc.extensions, clusters: cc.clusters,
		scoped: cc.scoped, inlineScopes: cc.inlineScopes,
	}, nil
}

func addresses(m *listenerv3.Listener, l *listener.Listener) error {
	if m.GetInternalListener() != nil {
		return internalListener(m, l)
	}
	a, compat, err := listenAddress(m.Address)
	if err != nil {
		return at(err, "address")
	}
	l.Addresses, l.IPv4Compat = append(l.Addresses, a), compat
	for i, more := range m.AdditionalAddresses {
		a, compat, err := listenAddress(more.Address)
		if err != nil {
			return at(err, "additional_addresses[%d].address", i)
		}
		if a.UDP != l.Addresses[0].UDP {
			return at(errors.New("is not that of the first address"), "additional_addresses[%d].address.socket_address.protocol", i)
		}
		l.Addresses = append(l.Addresses, a)
		l.IPv4Compat = l.IPv4Compat || compat
	}
	return nil
}

// internalListener checks that nothing is asked of a listener without sockets that needs them.
func internalListener(m *listenerv3.Listener, l *listener.Listener) error {
	l.Internal, l.UseOriginalDst = true, false
	if a := m.GetAddress(); a != nil && a.GetEnvoyInternalAddress() == nil {
		return at(errors.New("an internal listener has none"), "address")
	}
	if len(m.AdditionalAddresses) > 0 {
		return at(errors.New("an internal listener has none"), "additional_addresses")
	}
	if m.Name == "" {
		return at(errors.New("an internal listener needs one"), "name")
	}
	return nil
}

func listenAddress(m *corev3.Address) (a listener.Address, compat bool, err error) {
	if p := m.GetPipe(); p != nil {
		return listener.Address{Path: p.Path, Mode: os.FileMode(p.Mode)}, false, nil
	}
	a.UDP = m.GetSocketAddress().GetProtocol() == corev3.SocketAddress_UDP
	a.Addr, err = anyAddrPort(m)
	return a, m.GetSocketAddress().GetIpv4Compat(), err
}

func predicate(m *listenerv3.ListenerFilterChainMatchPredicate) (listener.Predicate, error) {
	var p listener.Predicate
	var err error
	switch r := m.GetRule().(type) {
	case *listenerv3.ListenerFilterChainMatchPredicate_AnyMatch:
		p.Any = r.AnyMatch
	case *listenerv3.ListenerFilterChainMatchPredicate_DestinationPortRange:
		start, end := r.DestinationPortRange.Start, r.DestinationPortRange.End
		if start < 0 || end < start {
			return p, at(fmt.Errorf("%d to %d is not a range", start, end), "destination_port_range")
		}
		p.From, p.To = uint32(start), uint32(end)
	case *listenerv3.ListenerFilterChainMatchPredicate_NotMatch:
		not, err := predicate(r.NotMatch)
		p.Not = &not
		return p, at(err, "not_match")
	case *listenerv3.ListenerFilterChainMatchPredicate_OrMatch:
		p.Or, err = predicates(r.OrMatch.GetRules())
		return p, at(err, "or_match")
	case *listenerv3.ListenerFilterChainMatchPredicate_AndMatch:
		p.And, err = predicates(r.AndMatch.GetRules())
		return p, at(err, "and_match")
	default:
		return p, errors.New("no rule")
	}
	return p, nil
}

func predicates(list []*listenerv3.ListenerFilterChainMatchPredicate) ([]listener.Predicate, error) {
	out := make([]listener.Predicate, 0, len(list))
	for i, m := range list {
		p, err := predicate(m)
		if err != nil {
			return nil, at(err, "rules[%d]", i)
		}
		out = append(out, p)
	}
	return out, nil
}

func (d *Decoder) chain(m *listenerv3.FilterChain, cc *chainContext) (*listener.FilterChain, error) {
	c := &listener.FilterChain{
		Name: m.Name, HandshakeTimeout: duration(m.TransportSocketConnectTimeout),
		Version: fmt.Sprintf("%s-%t-%d", contentHash(withoutRedis(m)), cc.outbound, cc.bufferLimit),
	}
	var err error
	if c.Match, err = chainMatch(m.FilterChainMatch); err != nil {
		return nil, at(err, "filter_chain_match")
	}
	tctx, needs, err := d.downstreamTLS(m.TransportSocket)
	if err != nil {
		return nil, at(err, "transport_socket")
	}
	if tctx != nil {
		if c.TLS, err = transport.NewServerTLS(d.Secrets, *tctx); err != nil {
			return nil, at(err, "transport_socket")
		}
		cc.secrets = append(cc.secrets, needs...)
	}
	if len(m.Filters) == 0 {
		return nil, at(errors.New("is empty: want http_connection_manager or tcp_proxy"), "filters")
	}
	for i, f := range m.Filters[:len(m.Filters)-1] {
		nf, err := d.networkFilter(f, cc)
		if err != nil {
			return nil, at(err, "filters[%d]", i)
		}
		c.Filters = append(c.Filters, nf)
	}
	last := len(m.Filters) - 1
	c.Terminal, err = d.terminal(m.Filters[last], cc)
	return c, at(err, "filters[%d]", last)
}

func (d *Decoder) terminal(m *listenerv3.Filter, cc *chainContext) (filter.Terminal, error) {
	if m.GetConfigDiscovery() != nil {
		return nil, at(errors.New("is supported for the filters before the last one"), "config_discovery")
	}
	a := m.GetTypedConfig()
	var t filter.Terminal
	var err error
	switch {
	case a.MessageIs(&hcmv3.HttpConnectionManager{}):
		t, err = d.manager(a, cc, nil)
	case a.MessageIs(&weftpb.MessageProxy{}):
		t, err = d.messageProxy(a, cc)
	case a.MessageIs(&redisv3.RedisProxy{}):
		t, err = d.redisProxy(a, cc)
	case a.MessageIs(&tcpv3.TcpProxy{}):
		t, err = d.tcpProxy(a, cc)
	default:
		err = fmt.Errorf("%s is not supported as the last filter: want http_connection_manager, tcp_proxy, redis_proxy or weft.wire.v1.MessageProxy", typeOf(a))
	}
	return t, at(err, "typed_config")
}

func typeOf(a *anypb.Any) string {
	if a == nil {
		return "a filter without configuration"
	}
	return a.TypeUrl
}

func chainMatch(m *listenerv3.FilterChainMatch) (listener.Match, error) {
	out := listener.Match{
		ServerNames: m.GetServerNames(), TransportProtocol: m.GetTransportProtocol(), ApplicationProtocols: m.GetApplicationProtocols(),
	}
	if p := m.GetDestinationPort().GetValue(); p > 65535 {
		return out, at(fmt.Errorf("%d is not a port", p), "destination_port")
	} else {
		out.DestinationPort = uint16(p)
	}
	var err error
	if out.DestinationPrefixes, err = match.Prefixes(m.GetPrefixRanges()); err != nil {
		return out, at(err, "prefix_ranges")
	}
	if out.DirectSourcePrefixes, err = match.Prefixes(m.GetDirectSourcePrefixRanges()); err != nil {
		return out, at(err, "direct_source_prefix_ranges")
	}
	if out.SourcePrefixes, err = match.Prefixes(m.GetSourcePrefixRanges()); err != nil {
		return out, at(err, "source_prefix_ranges")
	}
	switch m.GetSourceType() {
	case listenerv3.FilterChainMatch_SAME_IP_OR_LOOPBACK:
		out.SourceType = listener.SourceLocal
	case listenerv3.FilterChainMatch_EXTERNAL:
		out.SourceType = listener.SourceExternal
	}
	for i, p := range m.GetSourcePorts() {
		if p == 0 || p > 65535 {
			return out, at(fmt.Errorf("%d is not a port", p), "source_ports[%d]", i)
		}
		out.SourcePorts = append(out.SourcePorts, uint16(p))
	}
	return out, nil
}
