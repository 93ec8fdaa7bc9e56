package listener

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	commonstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	ondemandv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/on_demand/v3"
	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/set_filter_state/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/control/translate/route"
	"github.com/weftmesh/weft/wire"
)

const (
	// demandTimeout ends a request that waits for its virtual host, when the control
	// plane is not there to say.
	demandTimeout = 15 * time.Second
	// clusterTimeout ends one that waits for a cluster.
	clusterTimeout = 3 * time.Second
)

// onDemand makes the one listener of a proxy that asks for what it uses. Its size
// does not depend on the mesh. Beside it are listeners of single ports, which need
// what a connection cannot ask for: see apartPorts.
func (b *Builder) onDemand() {
	l := b.virtualOutbound()
	apart := b.apartPorts()
	if len(apart) == 0 {
		// The destination decides here, instead of the listener that it would lead to.
		l.UseOriginalDst = nil
	}
	b.out.Listeners = append(b.out.Listeners, apart...)
	// At these ports waiting for the client's first bytes would only delay.
	first := inspection{noTLS: model.ServerFirstPorts, noHTTP: model.ServerFirstPorts}
	l.ListenerFilters = first.filters()
	b.sniff(l)
	l.FilterChains = append(l.FilterChains[:1:1], b.demandHTTP(), b.demandTLS())
	// The default, since matching does not come back from a transport protocol.
	l.DefaultFilterChain = b.demandTCP()
	b.out.Listeners = append(b.out.Listeners, l)
}

func (b *Builder) demandHTTP() *listenerv3.FilterChain {
	return chain("virtualOutbound-http", &listenerv3.FilterChainMatch{TransportProtocol: "raw_buffer", ApplicationProtocols: plainHTTP},
		[]*listenerv3.Filter{b.http(httpChain{stage: outbound, stat: wire.OnDemandRoute, rds: wire.OnDemandRoute, demand: true, forward: len(b.v.ByRequest()) > 0})})
}

func (b *Builder) demandTLS() *listenerv3.FilterChain {
	return chain("virtualOutbound-tls", &listenerv3.FilterChainMatch{TransportProtocol: "tls"},
		b.demandStream(wire.DemandTLS+"%REQUESTED_SERVER_NAME%|%DOWNSTREAM_LOCAL_ADDRESS%"))
}

func (b *Builder) demandTCP() *listenerv3.FilterChain {
	return chain("virtualOutbound-catchall-tcp", nil, b.demandStream(wire.DemandTCP+"%DOWNSTREAM_LOCAL_ADDRESS%"))
}

// apartPorts are listeners for ports whose connections a cluster alone does not
// describe: those with routes for TLS or TCP, and with settings that the proxy carries
// out on the client's side. There are as many as users wrote such objects; the clusters
// that they lead to are asked for.
func (b *Builder) apartPorts() []*listenerv3.Listener {
	o := &outboundSet{Builder: b, drafts: map[spot]*draft{}, routes: map[string]bool{}}
	for _, s := range b.apartServices() {
		tls, tcp := b.streamRoutes(s)
		for i := range s.Ports {
			p := &s.Ports[i]
			if o.redisPort(s, p) {
				for _, d := range o.spots(s, p) {
					o.redis(d, s, p)
				}
				continue
			}
			if o.speaks(p.Protocol) {
				for _, d := range o.spots(s, p) {
					o.messages(d, 0, s, p)
				}
				continue
			}
			if p.Protocol.Messages() != "" {
				o.asBytes(s, p)
			}
			if p.Protocol == model.UDP || p.Protocol.IsHTTP() || len(tls)+len(tcp) == 0 && s.Resolution != model.ByRequest && !scope.OfStreams(b.v.Policy(s).For(p.Port, "")) {
				continue
			}
			for _, d := range o.spots(s, p) {
				d.sniffed = d.sniffed || p.Protocol == model.Unknown && !model.ServerFirst(p.Port)
				o.bytes(d, s, p)
			}
		}
	}
	for i := range b.v.Listeners {
		if b.v.Listeners[i].Bound() {
			o.bound(i)
		}
	}
	out := make([]*listenerv3.Listener, 0, len(o.order))
	for _, d := range o.sorted() {
		if d.bound {
			out = append(out, o.emit(d))
		} else {
			out = append(out, o.emitApart(d))
		}
	}
	return out
}

// apartServices are the visible services that may have such ports, sorted by host.
func (b *Builder) apartServices() []*model.Service {
	hosts := map[string]bool{}
	for _, set := range b.v.Routes(route.MeshGateway) {
		if len(set.TLS)+len(set.TCP) > 0 {
			for _, h := range set.Hosts {
				hosts[h] = true
			}
		}
	}
	for _, h := range b.v.Index.StreamPolicies() {
		hosts[h] = true
	}
	for _, h := range b.v.Index.MessageHosts() {
		hosts[h] = true
	}
	for _, s := range b.v.ByRequest() {
		hosts[s.Host] = true
	}
	var out []*model.Service
	var wild []string
	for h := range hosts {
		if strings.HasPrefix(h, "*") {
			wild = append(wild, h)
		}
	}
	if len(wild) == 0 {
		for h := range hosts {
			if s := b.v.Service(h); s != nil {
				out = append(out, s)
			}
		}
		slices.SortFunc(out, func(x, y *model.Service) int { return cmp.Compare(x.Host, y.Host) })
		return out
	}
	for _, s := range b.v.Services { // sorted
		if hosts[s.Host] || slices.ContainsFunc(wild, func(h string) bool { return scope.Covers(h, s.Host) }) {
			out = append(out, s)
		}
	}
	return out
}

// emitApart turns a draft into a listener that asks for what it leads to.
func (o *outboundSet) emitApart(d *draft) *listenerv3.Listener {
	addr, extra := d.addr, d.extra
	everywhere := addr == ""
	if everywhere {
		addr, extra = o.wildcard()
	}
	l := newListener(listenerName(addr, d.port), addr, d.port, extra)
	l.BindToPort, l.TrafficDirection = falseValue(), outbound.direction()
	if everywhere || d.sniffed {
		l.FilterChains = append(l.FilterChains, o.demandHTTP())
	}
	l.FilterChains = append(l.FilterChains, d.chains...)
	switch {
	case d.rest != nil:
		l.DefaultFilterChain = d.rest
	case everywhere:
		l.FilterChains = append(l.FilterChains, o.demandTLS())
		l.DefaultFilterChain = o.demandTCP()
	}
	if len(l.FilterChains) > 0 && !model.ServerFirst(d.port) {
		l.ListenerFilters = []*listenerv3.ListenerFilter{tlsInspector(), httpInspector()}
		o.sniff(l)
	}
	return l
}

func demandCluster() *tcpv3.TcpProxy_OnDemand {
	return &tcpv3.TcpProxy_OnDemand{OdcdsConfig: pb.ADS(), Timeout: pb.Duration(clusterTimeout)}
}

func onDemandFilter() *ondemandv3.OnDemand {
	return &ondemandv3.OnDemand{Odcds: &ondemandv3.OnDemandCds{Source: pb.ADS(), Timeout: pb.Duration(clusterTimeout)}}
}

// demandStream are the filters of opaque bytes whose cluster is asked for by the name
// that the format makes of a connection.
func (b *Builder) demandStream(format string) []*listenerv3.Filter {
	filters := b.tcp(outbound, wire.OnDemandRoute, []share{{wire.BlackHoleCluster, 0}})
	last := len(filters) - 1
	p := &tcpv3.TcpProxy{}
	if err := filters[last].GetTypedConfig().UnmarshalTo(p); err != nil {
		panic("BUG: listener: " + err.Error())
	}
	p.OnDemand = demandCluster()
	filters[last] = filter(filters[last].Name, p)
	state := &statev3.Config{OnNewConnection: []*commonstatev3.FilterStateValue{{
		Key: &commonstatev3.FilterStateValue_ObjectKey{ObjectKey: "envoy.tcp_proxy.cluster"},
		Value: &commonstatev3.FilterStateValue_FormatString{FormatString: &corev3.SubstitutionFormatString{
			Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
				Specifier: &corev3.DataSource_InlineString{InlineString: format},
			}},
		}},
	}}}
	return append([]*listenerv3.Filter{filter("envoy.filters.network.set_filter_state", state)}, filters...)
}
