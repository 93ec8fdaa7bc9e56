package attach

import (
	"fmt"
	"slices"

	"github.com/weftmesh/weft/control/model"
)

// maxAncestors is how many the status of a policy may name.
const maxAncestors = 16

// fault notes what is wrong with a condition; the first fault stands.
func fault(at *model.APIFault, reason, message string) {
	if !at.Is() {
		*at = model.APIFault{Reason: reason, Message: message}
	}
}

// because makes a fault.
func because(reason, format string, args ...any) model.APIFault {
	return model.APIFault{Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// parent notes what came of a route at a parent that is ours.
func (a *attacher) parent(r *model.APIRoute, p *model.APIParent, controller string, why *refusal) {
	v := a.out.Verdicts[r.Key]
	if v == nil {
		v = &model.APIVerdict{Controller: controller}
		a.out.Verdicts[r.Key] = v
	}
	at := model.ParentVerdict{Parent: *p, Controller: controller}
	if why != nil {
		at.Accepted = why.APIFault
		a.say(&r.Meta, spot{CodeAccepted, why.field}, why.remedy, "%s: %s", why.Reason, why.Message)
	}
	v.Parents = append(v.Parents, at)
}

// used notes which Gateways a route brings to a service.
func (a *attacher) used(r *model.APIRoute, host string) {
	for _, p := range r.Parents {
		if gw := a.gatewayOf(&p); gw != nil && !slices.Contains(a.users[host], gw) {
			a.users[host] = append(a.users[host], gw)
		}
	}
}

// gatewayOf is the Gateway of a parent, by its ListenerSet where it is one; nil: none of ours.
func (a *attacher) gatewayOf(p *model.APIParent) *gateway {
	switch {
	case p.Group != model.GatewayAPIGroup:
	case p.Kind == "Gateway":
		return a.gws[model.Key{Kind: model.KindAPIGateway, Namespace: p.Namespace, Name: p.Name}]
	case p.Kind == "ListenerSet":
		return a.sets[model.Key{Kind: model.KindListenerSet, Namespace: p.Namespace, Name: p.Name}]
	}
	return nil
}

// ancestors notes what came of a policy at its target, for all clients within the mesh,
// and at the Gateways that lead there.
func (a *attacher) ancestors(v *model.APIVerdict, t *model.PolicyTarget, bad model.APIFault, s *model.Service) {
	if !bad.Is() {
		bad = v.Accepted
	}
	add := func(p model.APIParent, controller string) {
		same := func(x model.ParentVerdict) bool { return x.Parent.Ref == p.Ref && x.Parent.Section == p.Section }
		if len(v.Ancestors) < maxAncestors && !slices.ContainsFunc(v.Ancestors, same) {
			v.Ancestors = append(v.Ancestors, model.ParentVerdict{Parent: p, Controller: controller, Accepted: bad, ResolvedRefs: v.ResolvedRefs})
		}
	}
	ref := t.Ref
	ref.Field = ""
	add(model.APIParent{Ref: ref, Section: t.Section}, v.Controller)
	if s == nil {
		return
	}
	for _, gw := range a.users[s.Host] {
		add(model.APIParent{Ref: model.Ref{
			Group: model.GatewayAPIGroup, Kind: "Gateway", Namespace: gw.Key.Namespace, Name: gw.Key.Name,
		}}, gw.controller)
	}
}

// judge completes the verdicts of classes, Gateways and ListenerSets.
func (a *attacher) judge() {
	for _, c := range a.s.API.Classes {
		if slices.Contains(controllers, c.Controller) {
			a.out.Verdicts[c.Key] = &model.APIVerdict{Controller: c.Controller}
		}
	}
	for key, gw := range a.gws {
		v := gw.verdict
		a.out.Verdicts[key] = v
		v.Addresses = a.addresses(gw)
		for _, c := range gw.Clients {
			v.Insecure = v.Insecure || c.Optional
		}
		counted := map[*model.Meta]bool{&gw.Meta: true}
		for _, l := range gw.listeners {
			l.verdict.Routes = len(l.routes)
			l.overlaps()
			if l.usable() && !counted[l.owner] {
				counted[l.owner] = true
				v.ListenerSets++ // one of its listeners is good
			}
			of := v
			if l.owner != &gw.Meta {
				of = a.out.Verdicts[l.owner.Key]
			}
			of.Listeners = append(of.Listeners, l.verdict)
		}
	}
	for key, gw := range a.sets {
		a.out.Verdicts[key].Programmed = gw.verdict.Programmed
	}
}

// overlaps notes another listener of the port for host names that are in part the same,
// where both end TLS: a client's connection for one may carry requests for the other.
func (l *listener) overlaps() {
	ends := func(m *listener) bool { return (m.Protocol == "HTTPS" || m.Protocol == "TLS") && !m.Passthrough }
	for _, m := range l.gw.listeners {
		if m == l || m.Port != l.Port || !ends(m) || !ends(l) {
			continue
		}
		if covers(m.host(), l.host()) || covers(l.host(), m.host()) {
			l.verdict.Overlap = "host names of listener " + m.Name + " of " + m.owner.Key.Title() + " are in part the same"
			return
		}
	}
}

// addresses are where a Gateway is served: the Services that it names, else those that
// pick its proxies, else the proxies themselves.
func (a *attacher) addresses(gw *gateway) []model.APIAddress {
	var out []model.APIAddress
	add := func(kind, value string) {
		if x := (model.APIAddress{Type: kind, Value: value}); len(out) < maxAncestors && !slices.Contains(out, x) {
			out = append(out, x)
		}
	}
	for _, h := range gw.Hostnames {
		if svc := a.hosts[h]; svc != nil && len(svc.Selector) > 0 {
			add("Hostname", h)
		}
	}
	if len(out) > 0 {
		return out
	}
	for _, w := range a.s.Workloads {
		if w.Gateway && (gw.namespace == "" || gw.namespace == w.Namespace) && model.Matches(gw.selector, w.Labels) {
			for _, ip := range w.Addresses {
				add("IPAddress", ip.String())
			}
		}
	}
	return out
}
