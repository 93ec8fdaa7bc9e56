package route

import (
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/wire"
)

// HTTPProxy makes the route configuration of the explicit HTTP proxy (capture
// mode "proxy"): every service and port under "name:port", and CONNECT to them.
func (b *Builder) HTTPProxy() *routev3.RouteConfiguration {
	out := config(wire.HTTPProxyRoute)
	d := domainSet{known: map[string]bool{}}
	for _, s := range b.v.Services {
		d.known[s.Host] = true
	}
	for i := range b.v.Listeners {
		t := b.table(i)
		for _, s := range b.v.Listeners[i].Services {
			for _, p := range s.Ports {
				if p.Protocol == model.UDP {
					continue
				}
				if vh := b.proxiedHost(t, s, p, &d); vh != nil {
					out.VirtualHosts = append(out.VirtualHosts, vh)
				}
			}
		}
		for _, o := range t.others {
			if vh := b.proxiedOther(o, &d); vh != nil {
				out.VirtualHosts = append(out.VirtualHosts, vh)
			}
		}
	}
	if b.v.OutboundPolicy() == model.AllowAnyDynamic {
		out.VirtualHosts = append(out.VirtualHosts, b.rest())
	} else {
		out.VirtualHosts = append(out.VirtualHosts, notKnown())
	}
	return out
}

// notKnown answers for hosts that no service has. Without interception there is
// no original destination to pass a request on to, so that only a policy that looks
// names up can let it through.
func notKnown() *routev3.VirtualHost {
	return &routev3.VirtualHost{
		Name: "block_all", Domains: []string{"*"},
		Routes: []*routev3.Route{{
			Name: "block_all", Match: everything(),
			Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 502}},
		}},
	}
}

func (b *Builder) proxiedHost(t *hostTable, s *model.Service, p model.ServicePort, d *domainSet) *routev3.VirtualHost {
	full, short := b.hostNames(s)
	domains := d.claim(portNames(full, p.Port), portNames(short, p.Port))
	if len(domains) == 0 {
		return nil
	}
	routes := []*routev3.Route{connect(wire.ClusterName(wire.Outbound, p.Port, "", s.Host))}
	if Routable(p.Protocol) {
		routes = append(routes, b.serviceRoutes(t, s, p.Port)...)
	}
	return &routev3.VirtualHost{
		Name: withPort(s.Host, p.Port), Domains: domains, Routes: routes, IncludeRequestAttemptCount: b.counted(),
	}
}

func (b *Builder) proxiedOther(o hostRoute, d *domainSet) *routev3.VirtualHost {
	at := &site{Builder: b, gateway: MeshGateway, port: 80}
	routes := at.routes(o.set)
	domains := d.claim(portNames([]string{o.host}, 80), nil)
	if len(routes) == 0 || len(domains) == 0 {
		return nil
	}
	return &routev3.VirtualHost{
		Name: withPort(o.host, 80), Domains: domains, Routes: routes, IncludeRequestAttemptCount: b.counted(),
	}
}

// portNames are domains with the port, and without it where clients leave it out.
func portNames(hosts []string, port uint16) []string {
	var out []string
	for _, h := range hosts {
		if port == 80 {
			out = append(out, h)
		}
		// "*.example.com:8080" is a legal domain for Envoy, "*" alone is not with a port.
		if h != "*" && !strings.HasPrefix(h, "*:") {
			out = append(out, withPort(h, port))
		}
	}
	return out
}

// connect answers CONNECT by a plain connection to the service.
func connect(cluster string) *routev3.Route {
	return &routev3.Route{
		Name: "connect",
		Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_ConnectMatcher_{
			ConnectMatcher: &routev3.RouteMatch_ConnectMatcher{},
		}},
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster},
			Timeout:          pb.Duration(0),
			UpgradeConfigs: []*routev3.RouteAction_UpgradeConfig{{
				UpgradeType: "CONNECT", ConnectConfig: &routev3.RouteAction_UpgradeConfig_ConnectConfig{},
			}},
		}},
	}
}
