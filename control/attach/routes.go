package attach

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
)

func fieldAt(list string, i int) string { return fmt.Sprintf("%s[%d]", list, i) }

// attachment is a route at a listener or service.
type attachment struct {
	route *model.APIRoute
	// hosts are those that the route has in common with the listener.
	hosts []string
	// port restricts a mesh route to one port of the service; 0: all.
	port uint16
}

// routes attaches all routes and makes what the listeners and services serve.
func (a *attacher) routes() {
	for _, r := range a.s.API.Routes {
		for i := range r.Parents {
			a.attach(r, &r.Parents[i])
		}
		if v := a.out.Verdicts[r.Key]; v != nil {
			a.resolve(r)
			for i := range v.Parents {
				v.Parents[i].ResolvedRefs = a.refs[r]
			}
		}
	}
	for _, g := range a.s.API.Gateways {
		if gw := a.gws[g.Key]; gw != nil {
			a.emit(gw)
		}
	}
	a.meshRoutes()
}

// attach attaches a route to one of its parents.
func (a *attacher) attach(r *model.APIRoute, p *model.APIParent) {
	key := model.Key{Namespace: p.Namespace, Name: p.Name}
	switch {
	case p.Group == "" && p.Kind == "Service", p.Group == "networking.istio.io" && p.Kind == "ServiceEntry":
		a.parent(r, p, controllers[0], a.attachMesh(r, p))
	case p.Group == model.GatewayAPIGroup && p.Kind == "Gateway":
		key.Kind = model.KindAPIGateway
		if gw := a.gws[key]; gw != nil {
			a.parent(r, p, gw.controller, a.attachListeners(r, p, listenersOf(gw, &gw.Meta)))
			return
		}
		a.notOurs(r, p, key)
	case p.Group == model.GatewayAPIGroup && p.Kind == "ListenerSet":
		key.Kind = model.KindListenerSet
		if gw := a.sets[key]; gw != nil {
			a.parent(r, p, gw.controller, a.attachListeners(r, p, listenersOf(gw, a.s.Objects.Get(key).Head())))
			return
		}
		a.notOurs(r, p, key)
	default:
		a.say(&r.Meta, spot{CodeAccepted, p.Field}, "name a Gateway, ListenerSet or Service", "InvalidKind: routes do not attach to a %s of %q", p.Kind, p.Group)
	}
}

// notOurs reports a parent that is not there; one that is there is others' to judge.
func (a *attacher) notOurs(r *model.APIRoute, p *model.APIParent, key model.Key) {
	if a.s.Objects.Get(key) == nil {
		a.say(&r.Meta, spot{CodeAccepted, p.Field}, "add it, or correct the name", "NoMatchingParent: there is no %s %s/%s", p.Kind, p.Namespace, p.Name)
	}
}

func listenersOf(gw *gateway, owner *model.Meta) []*listener {
	var out []*listener
	for _, l := range gw.listeners {
		if l.owner == owner {
			out = append(out, l)
		}
	}
	return out
}

// refusal is why a route is not attached to a parent, and what to do about it, at the field.
type refusal struct {
	model.APIFault
	remedy, field string
}

func refuse(p *model.APIParent, reason, remedy, format string, args ...any) *refusal {
	return &refusal{because(reason, format, args...), remedy, p.Field}
}

// attachListeners attaches to the listeners that take the route, and says why
// when none does: for the reason of the one that came nearest.
func (a *attacher) attachListeners(r *model.APIRoute, p *model.APIParent, list []*listener) *refusal {
	why, depth := refuse(p, "NoMatchingParent", "correct them", "no listener has this sectionName and port"), 0
	fail := func(d int, reason, remedy, format string, args ...any) {
		if d > depth {
			why, depth = refuse(p, reason, remedy, format, args...), d
		}
	}
	done := false
	for _, l := range list {
		if p.Section != "" && p.Section != l.Name || p.Port != 0 && p.Port != l.Port {
			continue
		}
		if !slices.Contains(l.verdict.Kinds, r.Key.Kind) {
			fail(1, "NotAllowedByListeners", "attach to another listener, or change its protocol or allowedRoutes.kinds", "no listener takes routes of kind %s", r.Key.Kind)
			continue
		}
		if !a.admits(&l.Allowed, l.owner.Key.Namespace, r.Key.Namespace) {
			fail(2, "NotAllowedByListeners", "change the listener's allowedRoutes.namespaces", "no listener takes routes of namespace %s", r.Key.Namespace)
			continue
		}
		hosts := a.common(l, r)
		if len(hosts) == 0 {
			fail(3, "NoMatchingListenerHostname", "correct the hostnames", "no listener is for any of the route's hostnames")
			continue
		}
		done = true
		if !slices.ContainsFunc(l.routes, func(at attachment) bool { return at.route == r }) {
			l.routes = append(l.routes, attachment{route: r, hosts: hosts})
		}
	}
	if done {
		return nil
	}
	return why
}

// protocolKinds are the kinds of routes that a protocol has; nil: it is not carried out.
func protocolKinds(l *model.APIListener) []model.Kind {
	switch {
	case l.Protocol == "HTTP" || l.Protocol == "HTTPS":
		return []model.Kind{model.KindHTTPRoute, model.KindGRPCRoute}
	case l.Protocol == "TLS" && l.Passthrough:
		return []model.Kind{model.KindTLSRoute}
	case l.Protocol == "TLS":
		return []model.Kind{model.KindTLSRoute, model.KindTCPRoute}
	case l.Protocol == "TCP":
		return []model.Kind{model.KindTCPRoute}
	case l.Protocol == "UDP":
		return []model.Kind{model.KindUDPRoute}
	}
	return nil
}

// kinds are the kinds of routes that a listener takes.
func kinds(l *model.APIListener) []model.Kind {
	return slices.DeleteFunc(protocolKinds(l), func(k model.Kind) bool { return len(l.Kinds) > 0 && !slices.Contains(l.Kinds, k) })
}

// common are the host names that a listener and a route share, the narrower of
// each pair.
func (a *attacher) common(l *listener, r *model.APIRoute) []string {
	if len(r.Hostnames) == 0 || r.Key.Kind == model.KindTCPRoute {
		return []string{l.host()}
	}
	var out []string
	for _, h := range r.Hostnames {
		narrow := ""
		switch {
		case covers(l.host(), h):
			narrow = h
		case covers(h, l.host()):
			narrow = l.host()
		default:
			continue
		}
		if !slices.Contains(out, narrow) {
			out = append(out, narrow)
		}
	}
	return out
}

// covers tells whether a pattern with a leading "*" or an exact host covers another one.
func covers(pattern, host string) bool {
	if pattern == host || pattern == "*" {
		return true
	}
	return strings.HasPrefix(pattern, "*.") && strings.HasSuffix(host, pattern[1:]) && host != pattern[1:]
}

// attachMesh attaches a route to the ports of a service: it is for the proxies
// of clients within the mesh.
func (a *attacher) attachMesh(r *model.APIRoute, p *model.APIParent) *refusal {
	if r.Key.Kind == model.KindUDPRoute {
		return refuse(p, "NotAllowedByListeners", "attach it to a Gateway", "datagrams within the mesh do not enter proxies")
	}
	var targets []*model.Service
	if p.Kind == "Service" {
		if s := a.services[p.Namespace+"/"+p.Name]; s != nil {
			targets = append(targets, s)
		}
	} else {
		for _, s := range a.s.Services {
			if s.FromEntry && s.Namespace == p.Namespace && s.Name == p.Name {
				targets = append(targets, s)
			}
		}
	}
	if len(targets) == 0 {
		return refuse(p, "NoMatchingParent", "add it, or correct the name", "there is no %s %s/%s", p.Kind, p.Namespace, p.Name)
	}
	if p.Section != "" {
		why := refuse(p, "NoMatchingParent", "write port", "a %s has no sections", p.Kind)
		why.field += ".sectionName"
		return why
	}
	var why *refusal
	for _, s := range targets {
		if p.Port != 0 && s.Port(p.Port) == nil {
			why = refuse(p, "NoMatchingParent", "correct it", "%s %s/%s has no port %d", p.Kind, p.Namespace, p.Name, p.Port)
			why.field += ".port"
			continue
		}
		a.mesh[s] = append(a.mesh[s], attachment{route: r, port: p.Port})
	}
	return why
}

// resolve looks at all references of a route, whether or not they are used.
func (a *attacher) resolve(r *model.APIRoute) {
	for i := range r.Rules {
		rule := &r.Rules[i]
		for j := range rule.Backends {
			b := &rule.Backends[j]
			d := a.backend(r, b.Ref)
			if a.backends[b] = d; !d.Invalid {
				a.used(r, d.Host)
			}
		}
		for j := range rule.Mirrors {
			a.backend(r, rule.Mirrors[j].Ref)
		}
	}
}

// backend resolves a reference of a route; one that leads nowhere is Invalid.
func (a *attacher) backend(r *model.APIRoute, ref model.Ref) model.Destination {
	if ref.Group == "networking.istio.io" && ref.Kind == "Hostname" {
		return a.toHost(r, ref, a.hosts[strings.ToLower(ref.Name)])
	}
	if ref.Group != "" || ref.Kind != "Service" {
		return a.lost(r, ref.Field, "name a Service", because("InvalidKind", "backends of kind %s are not carried out by Weft: its share of requests is answered with 500", ref.Kind))
	}
	from := model.GrantFrom{Group: model.GatewayAPIGroup, Kind: string(r.Key.Kind), Namespace: r.Key.Namespace}
	if !a.granted(from, ref) && !ownParent(r, ref) {
		return a.lost(r, ref.Field, "add a ReferenceGrant to namespace "+ref.Namespace, because("RefNotPermitted", "namespace %s does not let %s refer to Service %s", ref.Namespace, r.Key.Title(), ref.Name))
	}
	return a.toHost(r, ref, a.services[ref.Namespace+"/"+ref.Name])
}

// lost says that a reference leads nowhere.
func (a *attacher) lost(r *model.APIRoute, field, remedy string, bad model.APIFault) model.Destination {
	a.say(&r.Meta, spot{CodeRefs, field}, remedy, "%s: %s", bad.Reason, bad.Message)
	if !a.refs[r].Is() {
		a.refs[r] = bad
	}
	return model.Destination{Invalid: true}
}

// ownParent tells whether a mesh route refers to the very Service whose traffic it
// is for: its clients may call that anyway.
func ownParent(r *model.APIRoute, ref model.Ref) bool {
	return slices.ContainsFunc(r.Parents, func(p model.APIParent) bool {
		return p.Group == ref.Group && p.Kind == ref.Kind && p.Namespace == ref.Namespace && p.Name == ref.Name
	})
}

func (a *attacher) toHost(r *model.APIRoute, ref model.Ref, s *model.Service) model.Destination {
	const notFound = "BackendNotFound"
	switch {
	case s == nil:
		return a.lost(r, ref.Field, "add it, or correct the name", because(notFound, "there is no %s %s/%s", ref.Kind, ref.Namespace, ref.Name))
	case ref.Port == 0:
		return a.lost(r, ref.Field+".port", "write the port of the "+ref.Kind, because(notFound, "the port is missing"))
	case s.Port(ref.Port) == nil:
		return a.lost(r, ref.Field+".port", "correct it", because(notFound, "%s %s/%s has no port %d", ref.Kind, ref.Namespace, ref.Name, ref.Port))
	}
	if s.PortFor(ref.Port, r.Key.Kind == model.KindUDPRoute) == nil {
		return a.lost(r, ref.Field+".port", "name a port of another protocol", because("UnsupportedProtocol", "port %d of %s %s/%s is %s: no %s leads there",
			ref.Port, ref.Kind, ref.Namespace, ref.Name, cmp.Or(s.Port(ref.Port).Protocol, model.TCP), r.Key.Kind))
	}
	return model.Destination{Host: s.Host, Port: ref.Port}
}

// destinations are a rule's backends; those of weight 0 are left out.
func (a *attacher) destinations(r *model.APIRoute, rule *model.APIRule) []model.Destination {
	var out []model.Destination
	for i := range rule.Backends {
		b := &rule.Backends[i]
		d, ok := a.backends[b]
		if !ok {
			d = a.backend(r, b.Ref)
			a.backends[b] = d
		}
		d.Weight, d.Headers = b.Weight, b.Headers
		if b.Weight > 0 {
			out = append(out, d)
		}
	}
	return out
}
