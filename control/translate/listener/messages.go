package listener

import (
	"slices"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/wire"
)

// speaks tells whether the proxy carries a port as messages of their protocol; otherwise they
// are bytes to it.
func (b *Builder) speaks(p model.Protocol) bool {
	return p.Messages() != "" && b.v.Proxy.Engine() == scope.EngineGo
}

// convertible tells whether the proxy may meet a service whose protocol requests of HTTP are made of.
func (b *Builder) convertible() bool {
	if b.v.Proxy.Engine() != scope.EngineGo {
		return false
	}
	if b.converts == nil {
		found := slices.ContainsFunc(b.v.Services, func(s *model.Service) bool {
			return slices.ContainsFunc(s.Ports, func(p model.ServicePort) bool { return slices.Contains(wire.ConvertedProtocols, p.Protocol.Messages()) })
		})
		b.converts = &found
	}
	return *b.converts
}

// messages adds the chain of a service's port whose clients speak a protocol of messages. Its routes
// are those of HTTP: fields are headers, the operation is the method.
func (o *outboundSet) messages(d *draft, listener int, s *model.Service, p *model.ServicePort) {
	var match *listenerv3.FilterChainMatch
	if r := ranges(s); d.addr == "" && len(r) > 0 {
		match = &listenerv3.FilterChainMatch{PrefixRanges: r}
	}
	o.addChain(d, s, match, []*listenerv3.Filter{o.http(httpChain{
		stage: outbound, stat: wire.ClusterName(wire.Outbound, p.Port, "", s.Host), rds: o.serviceRoutes(listener, s, p.Port), messages: p.Protocol.Messages(), asks: o.v.Proxy.OnDemand,
	})})
}
