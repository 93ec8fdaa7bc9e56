package listener

import (
	"slices"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/route"
	"github.com/weftmesh/weft/wire"
)

// gatewayThrough adds the chains of a server of mode AUTO_PASSTHROUGH: one for every
// cluster of the mesh's services that its hosts cover, by the server name that a
// client's proxy asks for. Only what says that it is the mesh's own TLS is taken, and
// goes only where that is spoken. No policy applies here: who the client is shows
// inside of the TLS.
func (b *Builder) gatewayThrough(l *listenerv3.Listener, s route.GatewayServer, taken map[string]route.GatewayServer) {
	for _, svc := range b.v.Services {
		if svc.External || !slices.ContainsFunc(s.Server.Hosts, func(h string) bool { return covers(h, svc) }) {
			continue
		}
		subsets := []string{""}
		for _, sub := range b.v.Policy(svc).Subsets {
			subsets = append(subsets, sub.Name)
		}
		for i := range svc.Ports {
			p := &svc.Ports[i]
			if p.Protocol == model.UDP {
				continue
			}
			for _, subset := range subsets {
				name := wire.SNI(p.Port, subset, svc.Host)
				if _, dup := taken[name]; dup {
					continue // another server of the port
				}
				taken[name] = s
				stat := name
				if pattern := b.v.Mesh.OutboundStat; pattern != "" {
					stat = model.StatName(pattern, svc, p, subset)
				}
				l.FilterChains = append(l.FilterChains, chain("", &listenerv3.FilterChainMatch{
					ServerNames: []string{name}, ApplicationProtocols: meshAny,
				}, append(b.streamStats(gateway), b.tcpProxy(gateway, stat, []share{{name, 0}}))))
			}
		}
	}
}

// covers tells whether a server's host, "namespace/dnsName" or "dnsName", has a service.
func covers(host string, s *model.Service) bool {
	namespace, dns := route.SplitHost(host)
	return (namespace == "*" || namespace == s.Namespace) && scope.Covers(dns, s.Host)
}
