package route

import (
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// GatewayMessages makes the route configuration of servers that share a port and a protocol of messages. What a request
// has in the place of HTTP's host is the service that it names (Dubbo's interface), or nothing. So the routes of a
// service of the mesh, which clients of a gateway cannot name, are for all requests of the port, the oldest set first
// and routes that match everything last; and each host is looked for among the services that requests name as well.
func (b *Builder) GatewayMessages(name string, servers []GatewayServer) *routev3.RouteConfiguration {
	out := config(name)
	g := gatewayHosts{b: b, hosts: map[string]*routev3.VirtualHost{}}
	var all []*routev3.Route
	for _, s := range servers {
		at := &site{Builder: b, gateway: s.GatewayName(), port: s.Server.Port, messages: true}
		for _, set := range b.v.Routes(s.GatewayName()) {
			hosts := Intersect(s.Server.Hosts, set)
			if len(set.HTTP) == 0 || len(hosts) == 0 {
				continue
			}
			routes := at.routes(set)
			if len(routes) == 0 {
				continue
			}
			for _, h := range hosts {
				if h != "*" {
					vh := g.host(h, s.Server.Port)
					vh.Routes = append(vh.Routes, routes...)
				}
			}
			if slices.ContainsFunc(hosts, func(h string) bool { return h == "*" || b.v.Service(h) != nil }) {
				all = append(all, routes...)
			}
		}
	}
	if len(all) > 0 {
		vh := g.host("*", servers[0].Server.Port)
		vh.Routes = all
	}
	for _, s := range servers {
		g.fallBack(s)
	}
	for _, vh := range g.order {
		sortCatchAll(vh)
		b.limits.Host(vh, servers[0].Server.Port)
		out.VirtualHosts = append(out.VirtualHosts, vh)
	}
	if len(out.VirtualHosts) == 0 {
		out.VirtualHosts = []*routev3.VirtualHost{{Name: withPort("blackhole", servers[0].Server.Port), Domains: []string{"*"}}}
	}
	return out
}
