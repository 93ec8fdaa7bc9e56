package listener

import (
	"net/netip"
	"slices"
	"strconv"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/weftmesh/weft/wire"
)

const loopback = "127.0.0.1"

// httpProxy is the listener of capture mode "proxy": the program finds it by
// HTTP_PROXY, and asks for every mesh name by full URL or by CONNECT.
func (b *Builder) httpProxy() {
	text, _ := b.v.Proxy.HTTPProxy()
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return // the proxy named no port; it gets inbound listeners only
	}
	name := listenerName(loopback, uint16(n))
	l := newListener(name, loopback, uint16(n), nil)
	l.TrafficDirection = outbound.direction()
	l.FilterChains = []*listenerv3.FilterChain{chain("", nil, []*listenerv3.Filter{b.http(httpChain{
		stage: outbound, stat: name, rds: wire.HTTPProxyRoute, connect: true, forward: len(b.v.ByRequest()) > 0,
	})})}
	b.out.Listeners = append(b.out.Listeners, l)
	b.addRoutes(b.routes.HTTPProxy())
	o := &outboundSet{Builder: b, drafts: map[spot]*draft{}, routes: map[string]bool{}}
	for i := range b.v.Listeners {
		if b.v.Listeners[i].Bound() {
			o.bound(i)
		}
	}
	for _, d := range o.sorted() {
		b.out.Listeners = append(b.out.Listeners, o.emit(d))
	}
}

// explicitInbound makes a listener for each port of a program whose traffic is
// not captured: clients come to Listen, the program is at Program.
func (b *Builder) explicitInbound() {
	w := b.v.Proxy.Workload
	if w == nil {
		return
	}
	mtls := b.v.MTLS()
	for _, p := range b.ports() {
		at, ok := w.Inbound[p.Port]
		if !ok {
			continue
		}
		if !p.To.IsValid() && p.Pipe == "" {
			p.To = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), at.Program)
		}
		b.out.Clusters = append(b.out.Clusters, b.inboundCluster(&p))
		p.to = p.ClusterName()
		p.mode = mtls.For(p.Port)
		p.name = listenerName(loopback, at.Listen)
		b.finishInbound(newListener(p.name, b.explicitAddress(), at.Listen, nil), &p)
	}
	slices.SortFunc(b.out.Listeners, func(x, y *listenerv3.Listener) int {
		return int(x.Address.GetSocketAddress().GetPortValue()) - int(y.Address.GetSocketAddress().GetPortValue())
	})
}

// explicitAddress is where clients on this machine reach the workload.
func (b *Builder) explicitAddress() string {
	for _, a := range b.v.Proxy.Addresses() {
		if a.IsLoopback() {
			return a.String()
		}
	}
	return loopback
}
