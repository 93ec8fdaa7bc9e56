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
	type shown struct {
		s    *model.Service
		port uint16
	}
	var list []shown
	for _, s := range e.Services {
		p := s.Port(port)
		if p == nil && e.Port == port {
			p = e.PortOf(s)
		}
		if p != nil && Routable(p.Protocol) {
			list = append(list, shown{s, p.Port})
			d.known[s.Host] = true
		}
	}
	t := b.table(listener)
	for _, x := range list {
		if vh := b.serviceHost(t, x.s, x.port, &d); vh != nil {
			out.VirtualHosts = append(out.VirtualHosts, vh)
		}
	}
	for _, o := range t.others {
		if !o.ports[port] && port != defaultPort {
			continue
		}
		if vh := b.otherHost(o, port, &d); vh != nil {
			out.VirtualHosts = append(out.VirtualHosts, vh)
		}
	}
	if e.Bound() {
		// No other destination is known than what the request names.
		out.VirtualHosts = append(out.VirtualHosts, notKnown())
	} else {
		out.VirtualHosts = append(out.VirtualHosts, b.rest())
	}
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
	out := &routev3.VirtualHost{
		Name:                       withPort(s.Host, port),
		Domains:                    domains,
		Routes:                     b.serviceRoutes(t, s, port),
		IncludeRequestAttemptCount: b.counted(),
	}
	b.limits.Host(out, port)
	return out
}

// serviceRoutes are the routes of a service's port: its route set's, or else
// everything to the service itself. HTTP routes are not for a port that is not HTTP by
// declaration, though a proxy on demand may ask about it.
func (b *Builder) serviceRoutes(t *hostTable, s *model.Service, port uint16) []*routev3.Route {
	p := s.Port(port)
	at := &site{Builder: b, gateway: MeshGateway, port: port, messages: p != nil && p.Protocol.Messages() != ""}
	if set := t.services[s.Host]; set != nil && (p == nil || Routable(p.Protocol) || p.Protocol.Messages() != "") {
		if routes := at.routes(set); len(routes) > 0 {
			return routes
		}
	}
	return []*routev3.Route{at.plain(s.Host, port)}
}

// plain is the route of a service that nobody wrote one for.
func (s *site) plain(host string, port uint16) *routev3.Route {
	out := &routev3.Route{Name: "default", Match: everything()}
	to := []model.Destination{{Host: host, Port: port}}
	s.forward(out, &model.Route{Destinations: to})
	s.become(out, to, func(int, string, string) {}) // one destination, as its port speaks
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
	out := &routev3.VirtualHost{
		Name: withPort(o.host, port), Domains: domains, Routes: routes, IncludeRequestAttemptCount: b.counted(),
	}
	b.limits.Host(out, port)
	return out
}

// rest is the virtual host of everything that the mesh does not know.
func (b *Builder) rest() *routev3.VirtualHost {
	if b.v.OutboundPolicy() == model.RegistryOnly {
		return &routev3.VirtualHost{
			Name: "block_all", Domains: []string{"*"}, IncludeRequestAttemptCount: b.counted(),
			Routes: []*routev3.Route{{
				Name: "block_all", Match: everything(),
				Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 502}},
			}},
		}
	}
	if b.v.OutboundPolicy() == model.AllowAnyDynamic {
		return b.strangers("allow_any_dynamic_dns", wire.AllowAnyDynamicCluster)
	}
	return b.strangers("allow_any", b.Passthrough())
}

// strangers is a virtual host that sends everything to one cluster.
func (b *Builder) strangers(name, cluster string) *routev3.VirtualHost {
	out := &routev3.VirtualHost{
		Name: name, Domains: []string{"*"}, IncludeRequestAttemptCount: b.counted(),
		Routes: []*routev3.Route{{
			Name: name, Match: everything(),
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{
				ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster},
				Timeout:          pb.Duration(0),
				MaxGrpcTimeout:   pb.Duration(0),

				AppendXForwardedHost: b.told(),
			}},
		}},
	}
	b.limits.Host(out, 0)
	return out
}

// Dynamic makes the route configuration of requests to addresses that the mesh does
// not know, whose hosts are looked up.
func (b *Builder) Dynamic() *routev3.RouteConfiguration {
	out := config("allow_any_dynamic_dns")
	out.IgnorePortInHostMatching = true
	out.VirtualHosts = []*routev3.VirtualHost{b.rest()}
	return out
}

// inboundRetryOn is when the sidecar itself asks its program again: what was
// lost before the program had any of it.
const inboundRetryOn = "reset-before-request"

// Inbound makes the route configuration of an inbound cluster, carried inside
// the listener. What streams, as gRPC does, is not tried again.
func (b *Builder) Inbound(cluster, operation string, port uint16, again bool) *routev3.RouteConfiguration {
	name := "default"
	var retry *routev3.RetryPolicy
	if again {
		retry = &routev3.RetryPolicy{RetryOn: inboundRetryOn, NumRetries: pb.U32(defaultAttempts)}
	}
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
					RetryPolicy:      retry,
				}},
			}},
		}},
	}
}
