package patch

import (
	"slices"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/model"
)

// routeKinds are the kinds of patches that change route configurations.
var routeKinds = []model.ApplyTo{model.ToRouteConfig, model.ToVirtualHost, model.ToHTTPRoute}

// Routes patches a route configuration. ports are, for a gateway, the ports of its
// Service by those that it listens on, where there are such.
func (s *Set) Routes(context model.PatchContext, rc *routev3.RouteConfiguration, ports map[uint32][]uint32) (*routev3.RouteConfiguration, Result) {
	if !s.Touches(context, routeKinds...) {
		return rc, Result{}
	}
	return apply(&run{set: s, context: context, ports: ports}, rc, func(r *run, rc *routev3.RouteConfiguration) *routev3.RouteConfiguration {
		r.routes(rc)
		return rc
	})
}

// Host patches one virtual host as the route configuration of that name would have it;
// nil: it is removed. What adds virtual hosts, or changes the whole of the
// configuration, has no effect.
func (s *Set) Host(context model.PatchContext, config string, vh *routev3.VirtualHost) (*routev3.VirtualHost, Result) {
	if !s.Touches(context, model.ToVirtualHost, model.ToHTTPRoute) {
		return vh, Result{}
	}
	return apply(&run{set: s, context: context}, vh, func(r *run, vh *routev3.VirtualHost) *routev3.VirtualHost {
		out, ok := r.host(&routev3.RouteConfiguration{Name: config}, vh)
		if !ok {
			return nil
		}
		return out
	})
}

func (r *run) routes(rc *routev3.RouteConfiguration) {
	for _, p := range r.patches(model.ToRouteConfig) {
		if p.merges() && r.matchesRoutes(p, rc) {
			r.touch(p)
			merge(rc, p.value, p.Operation == model.PatchMergeReplace)
		}
	}
	keep := rc.VirtualHosts[:0]
	for _, vh := range rc.VirtualHosts {
		if vh, ok := r.host(rc, vh); ok {
			keep = append(keep, vh)
		}
	}
	rc.VirtualHosts = keep
	for _, p := range r.patches(model.ToVirtualHost) {
		if p.adding() == model.PatchAdd && r.matchesRoutes(p, rc) {
			r.touch(p)
			rc.VirtualHosts = append(rc.VirtualHosts, proto.Clone(p.value).(*routev3.VirtualHost))
		}
	}
}

// host patches one virtual host; not ok: it is removed.
func (r *run) host(rc *routev3.RouteConfiguration, vh *routev3.VirtualHost) (out *routev3.VirtualHost, ok bool) {
	for _, p := range r.patches(model.ToVirtualHost) {
		if !r.matchesRoutes(p, rc) || !p.matchesHost(vh) {
			continue
		}
		if p.Operation == model.PatchReplace {
			r.touch(p)
			vh = proto.Clone(p.value).(*routev3.VirtualHost)
		} else if !r.whole(p, vh) {
			return nil, false
		}
	}
	var list []*patch
	for _, p := range r.patches(model.ToHTTPRoute) {
		if r.matchesRoutes(p, rc) && p.matchesHost(vh) {
			list = append(list, p)
		}
	}
	if len(list) > 0 {
		r.httpRoutes(vh, list)
	}
	return vh, true
}

func (r *run) httpRoutes(vh *routev3.VirtualHost, list []*patch) {
	keep := vh.Routes[:0]
	for _, route := range vh.Routes {
		if r.httpRoute(route, list) {
			keep = append(keep, route)
		}
	}
	vh.Routes = keep
	for _, p := range list {
		switch {
		case p.merges(), p.Operation == model.PatchRemove, p.Operation == model.PatchReplace:
		case p.Operation == model.PatchInsertFirst && p.picksRoute() && !slices.ContainsFunc(vh.Routes, p.matchesRoute):
			// At the front, but only where the route is.
		default:
			vh.Routes = change(r, p, vh.Routes, p.picksRoute(), p.matchesRoute)
		}
	}
}

// httpRoute patches one route; false: it is removed.
func (r *run) httpRoute(route *routev3.Route, list []*patch) bool {
	for _, p := range list {
		if !p.matchesRoute(route) {
			continue
		}
		if !r.whole(p, route) {
			return false
		}
	}
	return true
}

// matchesRoutes compares with the name of a route configuration, in which all is that
// Istio's matches ask for: "9080", "http.8080", "https.443.NAME.GATEWAY.NAMESPACE",
// "inbound|9080||".
func (r *run) matchesRoutes(p *patch, rc *routev3.RouteConfiguration) bool {
	m := p.Route
	switch {
	case m == nil:
		return true
	case m.Name != "" && m.Name != rc.GetName():
		return false
	case r.context != model.GatewayContext:
		return m.Port == 0 || portOf(rc.GetName()) == m.Port
	}
	port, portName, gateway := gatewayName(rc.GetName())
	if m.PortName != "" && m.PortName != portName || m.Gateway != "" && m.Gateway != gateway {
		return false
	}
	if m.Port == 0 {
		return true
	}
	if outside := r.ports[port]; len(outside) > 0 {
		return slices.Contains(outside, m.Port)
	}
	return m.Port == port
}

// inbound is the direction in a cluster's name.
const inbound = "inbound"

func portOf(name string) uint32 {
	if strings.HasPrefix(name, inbound) {
		_, port, _, _ := splitName(name)
		return port
	}
	return number(name)
}

// splitName takes "outbound|9080|v1|HOST" apart.
func splitName(name string) (direction string, port uint32, subset, host string) {
	parts := strings.Split(name, "|")
	if len(parts) < 4 {
		return "", 0, "", ""
	}
	return parts[0], number(parts[1]), parts[2], parts[3]
}

func number(s string) uint32 {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// gatewayName takes the name of a gateway's routes apart; gateway is "namespace/name".
func gatewayName(name string) (port uint32, portName, gateway string) {
	kind, rest, _ := strings.Cut(name, ".")
	if kind == "http" {
		return number(rest), "", ""
	}
	parts := strings.Split(rest, ".")
	if kind != "https" || len(parts) < 4 {
		return 0, "", ""
	}
	return number(parts[0]), parts[1], parts[3] + "/" + parts[2]
}
