package route

import (
	"slices"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/wire"
)

// GatewayServer is one server of one Gateway that shares a route configuration.
type GatewayServer struct {
	Gateway *model.Gateway
	Server  *model.Server
}

// GatewayName is the name by which route sets bind to a Gateway.
func (g GatewayServer) GatewayName() string {
	return g.Gateway.Key.Namespace + "/" + g.Gateway.Key.Name
}

// Gateway makes the route configuration of servers that share a port: all HTTP
// servers of it, or one server that ends TLS.
func (b *Builder) Gateway(name string, servers []GatewayServer) *routev3.RouteConfiguration {
	out := config(name)
	out.IgnorePortInHostMatching = true
	g := gatewayHosts{b: b, hosts: map[string]*routev3.VirtualHost{}, tls: strings.HasPrefix(name, "https.")}
	for _, s := range servers {
		g.add(s)
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
		port := uint16(0)
		if len(servers) > 0 {
			port = servers[0].Server.Port
		}
		// No route: 404 for everything, but the port answers.
		out.VirtualHosts = []*routev3.VirtualHost{{Name: withPort("blackhole", port), Domains: []string{"*"}}}
	}
	return out
}

// gatewayHosts collects virtual hosts: route sets of one host are joined, the
// older one's routes first.
type gatewayHosts struct {
	b     *Builder
	hosts map[string]*routev3.VirtualHost
	order []*routev3.VirtualHost
	tls   bool
}

func (g *gatewayHosts) add(s GatewayServer) {
	redirect := s.Server.TLS != nil && s.Server.TLS.HTTPSRedirect
	at := &site{Builder: g.b, gateway: s.GatewayName(), port: s.Server.Port, tls: g.tls}
	for _, set := range g.b.v.Routes(s.GatewayName()) {
		if len(set.HTTP) == 0 {
			continue
		}
		hosts := Intersect(s.Server.Hosts, set)
		if len(hosts) == 0 {
			continue
		}
		routes := at.routes(set)
		if len(routes) == 0 {
			continue
		}
		for _, h := range hosts {
			vh := g.host(h, s.Server.Port)
			vh.Routes = append(vh.Routes, routes...)
			if redirect {
				vh.RequireTls = routev3.VirtualHost_ALL
			}
		}
	}
	if !redirect {
		return
	}
	for _, h := range s.Server.Hosts {
		_, dns := SplitHost(h)
		if g.hosts[dns] == nil {
			g.host(dns, s.Server.Port).RequireTls = routev3.VirtualHost_ALL
		}
	}
}

// fallBack sends what no route of a server's hosts takes to its default endpoint.
func (g *gatewayHosts) fallBack(s GatewayServer) {
	if s.Server.DefaultEndpoint == "" || s.Server.TLS != nil && s.Server.TLS.HTTPSRedirect {
		return
	}
	name := FallbackCluster(s)
	for _, h := range s.Server.Hosts {
		_, dns := SplitHost(h)
		g.host(dns, s.Server.Port)
		for _, vh := range g.order {
			if !covers(dns, vh.Domains[0]) || slices.ContainsFunc(vh.Routes, catchAll) {
				continue
			}
			vh.Routes = append(vh.Routes, &routev3.Route{
				Name: "default", Match: everything(), Decorator: &routev3.Decorator{Operation: name},
				Action: &routev3.Route_Route{Route: &routev3.RouteAction{
					ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: name},
					Timeout:          pb.Duration(0), MaxGrpcTimeout: pb.Duration(0),
				}},
			})
		}
	}
}

// FallbackPart tells the default endpoints of a port's servers apart.
func FallbackPart(s GatewayServer) string {
	return s.Server.PortName + "." + s.Gateway.Key.Name + "." + s.Gateway.Key.Namespace
}

// FallbackCluster is the cluster of a server's default endpoint.
func FallbackCluster(s GatewayServer) string {
	return wire.ClusterName(wire.Inbound, s.Server.Port, FallbackPart(s), "")
}

func (g *gatewayHosts) host(h string, port uint16) *routev3.VirtualHost {
	if vh := g.hosts[h]; vh != nil {
		return vh
	}
	vh := &routev3.VirtualHost{
		Name: withPort(h, port), Domains: []string{strings.ToLower(h)}, IncludeRequestAttemptCount: g.b.counted(),
	}
	g.hosts[h] = vh
	g.order = append(g.order, vh)
	return vh
}

// sortCatchAll moves routes that match everything behind all others: joined
// route sets must not hide each other.
func sortCatchAll(vh *routev3.VirtualHost) {
	slices.SortStableFunc(vh.Routes, func(a, b *routev3.Route) int {
		x, y := catchAll(a), catchAll(b)
		switch {
		case x == y:
			return 0
		case x:
			return 1
		}
		return -1
	})
}

// SplitHost takes "namespace/dnsName" apart; the namespace is "*" when none is given.
func SplitHost(h string) (namespace, dns string) {
	namespace, dns, ok := strings.Cut(h, "/")
	if !ok {
		return "*", h
	}
	return namespace, dns
}

// Intersect returns the hosts that a server and a route set have in common, the
// narrower of each pair.
func Intersect(server []string, set *model.RouteSet) []string {
	var out []string
	for _, h := range set.Hosts {
		for _, s := range server {
			namespace, dns := SplitHost(s)
			if namespace != "*" && namespace != set.Key.Namespace {
				continue
			}
			narrow := ""
			switch {
			case covers(dns, h):
				narrow = h
			case covers(h, dns):
				narrow = dns
			default:
				continue
			}
			if !slices.Contains(out, narrow) {
				out = append(out, narrow)
			}
		}
	}
	return out
}

// covers tells whether a pattern with a leading "*" or an exact host covers
// another one.
func covers(pattern, host string) bool {
	if pattern == host || pattern == "*" {
		return true
	}
	return strings.HasPrefix(pattern, "*") && len(host) >= len(pattern) && strings.HasSuffix(host, pattern[1:])
}

// GatewayRouteName is Istio's name of the route configuration of a server:
// "http.8080" for all plain servers of a listener, one for each that ends TLS.
func GatewayRouteName(s GatewayServer, listenerPort uint16) string {
	if s.Server.Protocol.IsHTTP() || s.Server.Protocol == model.Unknown {
		name := "http." + strconv.Itoa(int(listenerPort))
		if s.Server.Bind != "" {
			name += "." + s.Server.Bind // another address may have the port too
		}
		return name
	}
	return "https." + strconv.Itoa(int(s.Server.Port)) + "." + s.Server.PortName + "." +
		s.Gateway.Key.Name + "." + s.Gateway.Key.Namespace
}

// ClusterOf names the cluster of a TCP or TLS destination as a listener's port
// sees it.
func (b *Builder) ClusterOf(d *model.Destination, port uint16) string {
	s := site{Builder: b, port: port}
	return s.cluster(d)
}

// Passthrough is the cluster for what the mesh does not know.
func (b *Builder) Passthrough() string {
	if b.v.OutboundPolicy() == model.RegistryOnly {
		return wire.BlackHoleCluster
	}
	if s := b.v.Sidecar; s != nil && s.EgressProxy != nil {
		return wire.ClusterName(wire.Outbound, s.EgressProxy.Port, s.EgressProxy.Subset, s.EgressProxy.Host)
	}
	return wire.PassthroughCluster
}
