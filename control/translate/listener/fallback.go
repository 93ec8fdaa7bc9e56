package listener

import (
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/weftmesh/weft/control/translate/cluster"
	"github.com/weftmesh/weft/control/translate/route"
)

// fallback makes the cluster of a server's default endpoint, which takes what no route
// does, and returns its name; empty: there is none.
func (b *Builder) fallback(s route.GatewayServer) string {
	if s.Server.DefaultEndpoint == "" {
		return ""
	}
	to, pipe, err := cluster.ParseDefaultEndpoint(s.Server.DefaultEndpoint)
	if err != nil {
		return "" // the front end has refused it
	}
	i := cluster.Inbound{
		Port: s.Server.Port, Protocol: s.Server.Protocol, To: b.ownAddress(to), Pipe: pipe,
		Part: route.FallbackPart(s),
	}
	b.out.Clusters = append(b.out.Clusters, b.clusters.Inbound(&i))
	return i.ClusterName()
}

// fallbackChain sends what is left of a server's connections to its default endpoint.
func (b *Builder) fallbackChain(s route.GatewayServer, names []string) *listenerv3.FilterChain {
	to := b.fallback(s)
	return chain("", sniMatch(names), b.tcp(gateway, to, []share{{to, 0}}))
}
