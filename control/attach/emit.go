package attach

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
)

// emit makes the model's Gateways and RouteSets of a Gateway's listeners.
func (a *attacher) emit(gw *gateway) {
	usable := false
	for _, l := range gw.listeners {
		if !l.usable() {
			continue
		}
		usable = true
		switch {
		case l.Protocol == "HTTP" || l.Protocol == "HTTPS":
			a.emitHTTP(l)
		case l.Protocol == "TLS" && l.Passthrough:
			a.emitPassthrough(l)
		default:
			a.emitStreams(l)
		}
	}
	if usable && !a.served(gw) {
		fault(&gw.verdict.Programmed, "NoResources", "no gateway that runs serves it")
		a.report(&gw.Meta, model.Finding{
			Code: CodeProgrammed, Severity: model.Warning, Field: "spec.gatewayClassName",
			Message: "Programmed=False: no gateway that runs serves it", Remedy: "run one with the label " + model.GatewayNameLabel + ": " + gw.Key.Name,
		})
	}
}

// served tells whether a gateway that runs has the labels, or none runs at all
// (a supervisor starts one then).
func (a *attacher) served(gw *gateway) bool {
	any := false
	for _, w := range a.s.Workloads {
		if (gw.namespace == "" || gw.namespace == w.Namespace) && model.Matches(gw.selector, w.Labels) && (w.Gateway || len(gw.selector) > 0) {
			return true
		}
		any = any || w.Gateway
	}
	return !any
}

// server adds the model's Gateway of a listener; suffix keeps several of one
// listener apart. It returns the name that route sets bind to.
func (a *attacher) server(l *listener, suffix string, host string) string {
	name := l.owner.Key.Name + generated + l.Name + suffix
	protocol := model.Protocol(l.Protocol)
	a.out.Gateways = append(a.out.Gateways, &model.Gateway{
		Meta:     a.made(l.owner, model.KindGateway, l.owner.Key.Namespace, name),
		Selector: l.gw.selector, Namespace: l.gw.namespace,
		Servers: []model.Server{{
			Name: l.Name, Port: l.Port, PortName: "default", Protocol: protocol, Hosts: []string{host}, TLS: l.tls,
		}},
	})
	return l.owner.Key.Namespace + "/" + name
}

// made is the Meta of what is made of an object.
func (a *attacher) made(of *model.Meta, kind model.Kind, namespace, name string) model.Meta {
	return model.Meta{
		Key: model.Key{Kind: kind, Namespace: namespace, Name: name}, Of: of.Key,
		Origin: of.Origin, Created: of.Created, Lines: of.Lines,
	}
}

// set adds a RouteSet.
func (a *attacher) set(l *listener, gw, name string, rs model.RouteSet) {
	rs.Meta = a.made(l.owner, model.KindVirtualService, l.owner.Key.Namespace, l.owner.Key.Name+generated+l.Name+name)
	rs.Gateways, rs.Exports = []string{gw}, model.Visibility{Public: true}
	a.out.Routes = append(a.out.Routes, &rs)
}

// emitHTTP makes one route set for each host name of a listener: all rules that
// are for it, in the API's order. A request belongs to the listener with the most
// specific host name alone, so each has at least a set that answers 404.
func (a *attacher) emitHTTP(l *listener) {
	gw := a.server(l, "", l.host())
	hosts := map[string]bool{}
	if a.shared(l) {
		hosts[l.host()] = true
	}
	for _, at := range l.routes {
		for _, h := range at.hosts {
			hosts[h] = hosts[h] || !a.elsewhere(l, h)
		}
	}
	for _, h := range slices.Sorted(maps.Keys(hosts)) {
		if !hosts[h] {
			continue
		}
		var list []entry
		for _, at := range l.routes {
			best := ""
			for _, e := range at.hosts {
				if covers(e, h) && (best == "" || specificity(e) > specificity(best)) {
					best = e
				}
			}
			if best != "" {
				list = append(list, a.entries(at, best, place{listener: l.Port, tls: l.Protocol == "HTTPS"})...)
			}
		}
		order(list)
		rs := model.RouteSet{Hosts: []string{h}, HTTP: routesOf(list)}
		if len(list) == 0 {
			rs.HTTP = []model.Route{{Name: "none", Direct: &model.DirectResponse{Status: 404}}}
		}
		a.set(l, gw, "~"+h, rs)
	}
}

// shared tells whether other HTTP listeners of the Gateway have the same port.
func (a *attacher) shared(l *listener) bool {
	return slices.ContainsFunc(l.gw.listeners, func(m *listener) bool {
		return m != l && !m.conflict && m.Port == l.Port && m.Protocol == "HTTP" && l.Protocol == "HTTP"
	})
}

// elsewhere tells whether another listener of the port is more specific for a host.
func (a *attacher) elsewhere(l *listener, host string) bool {
	return slices.ContainsFunc(l.gw.listeners, func(m *listener) bool {
		return m != l && !m.conflict && m.Port == l.Port && m.Protocol == l.Protocol &&
			covers(m.host(), host) && specificity(m.host()) > specificity(l.host())
	})
}

// emitPassthrough makes the routes by SNI of a listener that does not end TLS.
func (a *attacher) emitPassthrough(l *listener) {
	gw := a.server(l, "", l.host())
	rs := model.RouteSet{}
	for _, at := range byAge(l.routes) {
		hosts := slices.DeleteFunc(slices.Clone(at.hosts), func(h string) bool { return slices.Contains(rs.Hosts, h) || a.elsewhere(l, h) })
		if r, ok := a.stream(at.route); ok && len(hosts) > 0 {
			m := model.Match{}
			for _, h := range hosts {
				m.Conditions = append(m.Conditions, model.Condition{Attr: model.AttrSNI, Op: model.Wildcard, Value: h})
			}
			r.Matches = []model.Match{m}
			rs.TLS, rs.Hosts = append(rs.TLS, r), append(rs.Hosts, hosts...)
		}
	}
	if len(rs.TLS) > 0 {
		a.set(l, gw, "", rs)
	}
}

// emitStreams makes the routes of a listener of opaque bytes. Where TLS is ended
// each host name is a server of its own: chains are told apart by it.
func (a *attacher) emitStreams(l *listener) {
	taken := map[string]*model.APIRoute{}
	for _, at := range byAge(l.routes) {
		for _, h := range at.hosts {
			if first := taken[h]; first != nil {
				if first != at.route {
					a.say(&at.route.Meta, spot{CodeConflicted, "spec.parentRefs"}, "use another listener", "listener %s of %s has %s already, which is older", l.Name, l.owner.Key.Title(), first.Key.Title())
				}
				continue
			}
			taken[h] = at.route
			if a.elsewhere(l, h) {
				continue
			}
			suffix := ""
			if h != l.host() {
				suffix = "~" + h
			}
			gw := a.server(l, suffix, h)
			if r, ok := a.stream(at.route); ok {
				a.set(l, gw, suffix, model.RouteSet{Hosts: []string{h}, TCP: []model.Route{r}})
			}
		}
	}
	if len(taken) == 0 {
		a.server(l, "", l.host())
	}
}

// byAge sorts attachments so that the oldest route is first.
func byAge(list []attachment) []attachment {
	out := slices.Clone(list)
	slices.SortStableFunc(out, func(x, y attachment) int {
		return cmp.Or(
			cmp.Compare(x.route.Created, y.route.Created),
			strings.Compare(x.route.Key.Namespace, y.route.Key.Namespace), strings.Compare(x.route.Key.Name, y.route.Key.Name),
		)
	})
	return out
}

// stream is a TLSRoute, TCPRoute or UDPRoute's rule; its invalid backends close
// connections, or drop datagrams.
func (a *attacher) stream(r *model.APIRoute) (model.Route, bool) {
	if len(r.Rules) == 0 {
		return model.Route{}, false
	}
	rule := &r.Rules[0] // all that the front end takes
	out := model.Route{Name: rule.Name, Destinations: a.destinations(r, rule), Place: placed(r, rule.Field)}
	if len(out.Destinations) == 0 {
		out.Destinations = []model.Destination{{Invalid: true, Weight: 1}}
	}
	return out, true
}
