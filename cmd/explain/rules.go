package explain

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weftmesh/weft/cmd/xdstext"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/listener"
)

// rules finds the routes that an object of the Gateway API, or an Ingress, has become.
// The rules of several such objects are in the routes of one host.
func (x *examiner) rules(v *scope.View) (does []string, why string) {
	key := x.object.Head().Key
	of := func(r *model.Route) bool { return r.Place != nil && r.Place.Object == key }
	configs, places := listener.Routes(v)
	for _, c := range configs {
		for _, vh := range c.VirtualHosts {
			n := 0
			for _, r := range vh.Routes {
				if p, ok := places[r]; ok && of(&p.Set.HTTP[p.Rule]) {
					n++
				}
			}
			if n > 0 {
				does = append(does, fmt.Sprintf("routes %s, host %s: %d of %d routes", c.Name, few(xdstext.Domains(vh.Domains), 1), n, len(vh.Routes)))
			}
		}
	}
	made, bound := false, []string{}
	for _, set := range x.Snapshot.Routes {
		streams := slices.ContainsFunc(slices.Concat(set.TLS, set.TCP), func(r model.Route) bool { return of(&r) })
		if !streams && !slices.ContainsFunc(set.HTTP, func(r model.Route) bool { return of(&r) }) {
			continue
		}
		made, bound = true, append(bound, set.Gateways...)
		here := slices.ContainsFunc(set.Gateways, func(g string) bool {
			return x.binds(v, g) && slices.ContainsFunc(v.Routes(g), func(r *model.RouteSet) bool { return r.Key == set.Key })
		})
		if streams && here {
			does = append(does, "connections for "+strings.Join(set.Hosts, ", "))
		}
	}
	slices.Sort(does)
	slices.Sort(bound)
	switch {
	case len(does) > 0:
		return slices.Compact(does), ""
	case !made:
		return nil, "nothing of it is in force: it is attached to nothing that takes it; see what is found wrong with it"
	case !slices.ContainsFunc(bound, func(g string) bool { return x.binds(v, g) }):
		return nil, "it is attached to " + x.parents(slices.Compact(bound)) + ", which this proxy does not serve"
	}
	return nil, "its routes are for no host that the proxy serves"
}

// parents names what route sets are bound to as users wrote it.
func (x *examiner) parents(bound []string) string {
	var out []string
	for _, name := range bound {
		says := boundTo([]string{name})
		for _, g := range x.Snapshot.Gateways {
			if g.Key.Namespace+"/"+g.Key.Name == name {
				says = title(&g.Meta)
			}
		}
		if !slices.Contains(out, says) {
			out = append(out, says)
		}
	}
	return strings.Join(out, ", ")
}
