package listener

import (
	"slices"
	"strconv"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/route"
	"github.com/weftmesh/weft/control/translate/tlsctx"
	"github.com/weftmesh/weft/wire"
)

// CodeGatewayMessages is of Findings about a gateway's server whose protocol the engine does not speak.
const CodeGatewayMessages = "WEFT0421"

// messagesOf is the protocol of messages that a gateway's server speaks; "": it speaks none.
func (b *Builder) messagesOf(s *model.Server) string {
	if m := s.Protocol.Messages(); m != "" {
		return m
	}
	if s.App != "" && (slices.Contains(wire.MessageProtocols, s.App) || b.v.Index.Declared(s.App) != nil) {
		return s.App
	}
	return ""
}

// routed tells whether there are routes of requests for a server.
func (b *Builder) routed(s route.GatewayServer) bool {
	return slices.ContainsFunc(b.v.Routes(s.GatewayName()), func(set *model.RouteSet) bool {
		return len(set.HTTP) > 0 && len(route.Intersect(s.Server.Hosts, set)) > 0
	})
}

// gatewayMessages adds the chain of a server that speaks a protocol of messages, with TLS ended where there is some;
// false: it speaks none, or the engine does not, or nothing routes its requests. Servers without TLS that share a port and a protocol share a chain.
func (b *Builder) gatewayMessages(l *listenerv3.Listener, p *gatewayPort, s route.GatewayServer, taken map[string]route.GatewayServer) bool {
	protocol := b.messagesOf(s.Server)
	if protocol == "" || !b.routed(s) || !b.there(protocol) {
		return false
	}
	if b.v.Proxy.Engine() != scope.EngineGo {
		b.gatewayFinding(s.Gateway, CodeGatewayMessages, serverField(s)+".port", "gateways of the engine envoy carry "+protocol+" as bytes: routes on its fields have no effect there",
			"run the gateway with the engine go")
		return false
	}
	servers := []route.GatewayServer{s}
	var match *listenerv3.FilterChainMatch
	socket := func(*listenerv3.FilterChain) {}
	if s.Server.TLS != nil {
		tls, failed := b.serverTLS(s.Server.TLS, model.TCP)
		if failed != "" {
			b.gatewayFinding(s.Gateway, CodeTLS, serverField(s)+".tls", failed, "correct it; the other servers go on")
			return true
		}
		names, ok := b.serverNames(s, taken)
		if !ok {
			return true
		}
		match = sniMatch(names)
		socket = func(c *listenerv3.FilterChain) { c.TransportSocket = tlsctx.Downstream(tls) }
	} else {
		servers = nil
		for _, o := range p.streams {
			if o.Server.TLS == nil && b.messagesOf(o.Server) == protocol && b.routed(o) {
				servers = append(servers, o)
			}
		}
		if servers[0].Server != s.Server {
			return true // the first one has them all
		}
	}
	name := "messages." + strconv.Itoa(int(p.port)) + "." + s.Server.PortName + "." + s.Gateway.Key.Name + "." + s.Gateway.Key.Namespace
	b.addRoutes(b.routes.GatewayMessages(name, servers))
	for _, o := range servers {
		b.fallback(o)
	}
	fc := chain("", match, []*listenerv3.Filter{b.http(httpChain{stage: gateway, stat: l.Name, rds: name, messages: protocol})})
	socket(fc)
	b.addGatewayChain(l, s, fc)
	return true
}
