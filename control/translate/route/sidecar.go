package route

import (
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/wire"
)

// maxDirectBody bounds direct responses (Istio's value).
const maxDirectBody = 1 << 20

// config is an empty route configuration with what all of ours have.
func config(name string) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{
		Name:                           name,
		ValidateClusters:               pb.False(),
		MaxDirectResponseBodySizeBytes: pb.U32(maxDirectBody),
	}
}

// Sidecar makes the route configuration of an outbound port, "9080". Listener is
// the index into View.Listeners.
func (b *Builder) Sidecar(listener int, port uint16) *routev3.RouteConfiguration {
	out := config(strconv.Itoa(int(port)))
	out.IgnorePortInHostMatching = true
	e := b.v.Listeners[listener]
	d := domainSet{known: map[string]bool{}}
	var shown []*model.Service
	for _, s := range e.Services {
		if p := s.Port(port); p != nil && Routable(p.Protocol) {
			shown = append(shown, s)
			d.known[s.Host] = true
		}
	}
	t := b.table(listener)
	for _, s := range shown {
		if vh := b.serviceHost(t, s, port, &d); vh != nil {
			out.VirtualHosts = append(out.VirtualHosts, vh)
		}
	}
	for _, o := range t.others {
		if !o.ports[port] && (len(o.ports) > 0 || port != 80) {
			continue
		}
		if vh := b.otherHost(o, port, &d); vh != nil {
			out.VirtualHosts = append(out.VirtualHosts, vh)
		}
	}
	out.VirtualHosts = append(out.VirtualHosts, b.rest())
	return out
}

// Sniffed makes the route configuration of one service's port whose protocol is
// not declared, "reviews.default.svc.cluster.local:9080".
func (b *Builder) Sniffed(listener int, s *model.Service, port uint16) *routev3.RouteConfiguration {
	out := config(withPort(s.Host, port))
	out.IgnorePortInHostMatching = true
	vh := b.serviceHost(b.table(listener), s, port, &domainSet{known: map[string]bool{}})
	vh.Domains = []string{"*"}
	out.VirtualHosts = []*routev3.VirtualHost{vh}
	return out
}

// domainSet keeps domains of one route configuration apart: Envoy refuses the
// whole of it when two virtual hosts share one.
type domainSet struct {
	known map[string]bool // full names of all services
	seen  map[string]bool
}

// claim returns the names that are still free; full names go before short ones
// of other services.
func (d *domainSet) claim(full, short []string) []string {
	if d.seen == nil {
		d.seen = map[string]bool{}
	}
	var out []string
	add := func(h string) {
		h = strings.ToLower(h)
		if !d.seen[h] {
			d.seen[h] = true
			out = append(out, h)
		}
	}
	for _, h := range full {
		add(h)
	}
	for _, h := range short {
		if !d.known[h] {
			add(h)
		}
	}
	return out
}

func (b *Builder) serviceHost(t *hostTable, s *model.Service, port uint16, d *domainSet) *routev3.VirtualHost {
	domains := d.claim(b.hostNames(s))
	if len(domains) == 0 {
		return nil
	}
	return &routev3.VirtualHost{
		Name:                       withPort(s.Host, port),
		Domains:                    domains,
		Routes:                     b.serviceRoutes(t, s, port),
		IncludeRequestAttemptCount: true,
	}
}

// serviceRoutes are the routes of a service's port: its route set's, or else
// everything to the service itself.
func (b *Builder) serviceRoutes(t *hostTable, s *model.Service, port uint16) []*routev3.Route {
	at := &site{Builder: b, gateway: MeshGateway, port: port}
	if set := t.services[s]; set != nil {
		if routes := at.routes(set); len(routes) > 0 {
			return routes
		}
	}
	return []*routev3.Route{at.plain(s.Host, port)}
}

// plain is the route of a service that nobody wrote one for.
func (s *site) plain(host string, port uint16) *routev3.Route {
	out := &routev3.Route{Name: "default", Match: everything()}
	s.forward(out, &model.Route{Destinations: []model.Destination{{Host: host, Port: port}}})
	return out
}

// otherHost is a virtual host of a route set whose host is no service.
func (b *Builder) otherHost(o hostRoute, port uint16, d *domainSet) *routev3.VirtualHost {
	at := &site{Builder: b, gateway: MeshGateway, port: port}
	routes := at.routes(o.set)
	if len(routes) == 0 {
		return nil
	}
	domains := d.claim([]string{o.host}, shortNames(o.host, b.v.Proxy.Domain(b.v.Mesh.ClusterDomain)))
	if len(domains) == 0 {
		return nil
	}
	return &routev3.VirtualHost{
		Name: withPort(o.host, port), Domains: domains, Routes: routes, IncludeRequestAttemptCount: true,
	}
}

// rest is the virtual host of everything that the mesh does not know.
func (b *Builder) rest() *routev3.VirtualHost {
	if b.v.OutboundPolicy() == model.RegistryOnly {
		return &routev3.VirtualHost{
			Name: "block_all", Domains: []string{"*"}, IncludeRequestAttemptCount: true,
			Routes: []*routev3.Route{{
				Name: "block_all", Match: everything(),
				Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 502}},
			}},
		}
	}
	return &routev3.VirtualHost{
		Name: "allow_any", Domains: []string{"*"}, IncludeRequestAttemptCount: true,
		Routes: []*routev3.Route{{
			Name: "allow_any", Match: everything(),
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{
				ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: wire.PassthroughCluster},
				Timeout:          pb.Duration(0),
				MaxGrpcTimeout:   pb.Duration(0),
			}},
		}},
	}
}

// Inbound makes the route configuration of an inbound cluster, carried inside
// the listener.
func (b *Builder) Inbound(cluster, operation string, port uint16) *routev3.RouteConfiguration {
	name := "default"
	return &routev3.RouteConfiguration{
		Name:             cluster,
		ValidateClusters: pb.False(),
		VirtualHosts: []*routev3.VirtualHost{{
			Name:    "inbound|http|" + strconv.Itoa(int(port)),
			Domains: []string{"*"},
			Routes: []*routev3.Route{{
				Name:      name,
				Match:     everything(),
				Decorator: &routev3.Decorator{Operation: operation},
				Action: &routev3.Route_Route{Route: &routev3.RouteAction{
					ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster},
					Timeout:          pb.Duration(0),
					MaxGrpcTimeout:   pb.Duration(0),
				}},
			}},
		}},
	}
}
