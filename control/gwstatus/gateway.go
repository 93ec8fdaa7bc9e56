package gwstatus

import (
	"fmt"

	"github.com/weftmesh/weft/control/model"
)

// gateway makes the status of a Gateway or ListenerSet.
func (m *maker) gateway() *Status {
	out := &Status{}
	good, unresolved := 0, 0
	for i := range m.v.Listeners {
		l := &m.v.Listeners[i]
		out.Listeners = append(out.Listeners, m.listener(l))
		if !l.Accepted.Is() && !l.Conflicted.Is() && !l.Programmed.Is() {
			good++
		}
		if l.ResolvedRefs.Is() {
			unresolved++
		}
	}
	accepted := m.accepted(good)
	out.Conditions = []Condition{accepted, m.programmed(accepted, good)}
	if m.Object.Kind == model.KindListenerSet {
		return out
	}
	for _, a := range m.v.Addresses {
		out.Addresses = append(out.Addresses, Address(a))
	}
	if n := int32(m.v.ListenerSets); n > 0 {
		out.AttachedListenerSets = &n
	}
	refs := m.v.ResolvedRefs
	if unresolved > 0 && !refs.Is() {
		refs = model.APIFault{Reason: "ListenersNotResolved", Message: fmt.Sprintf("%d of %d listeners refer to what is not there, or may not be used", unresolved, len(m.v.Listeners))}
	}
	out.Conditions = append(out.Conditions, m.when("ResolvedRefs", "ResolvedRefs", "what it refers to is there", refs))
	if m.v.Insecure {
		out.Conditions = append(out.Conditions, Condition{
			Type: "InsecureFrontendValidationMode", Status: yes, Reason: "ConfigurationChanged",
			Message: "clients without a certificate are let in (AllowInsecureFallback)", ObservedGeneration: m.generation,
		})
	}
	return out
}

// accepted says whether the object is valid enough to make something of it, with good
// listeners of all.
func (m *maker) accepted(good int) Condition {
	bad := m.v.Accepted
	if !bad.Is() && m.stale != "" {
		bad = model.APIFault{Reason: "Invalid", Message: "the version before stays in force: " + m.stale}
	}
	all := len(m.v.Listeners)
	if !bad.Is() && good == 0 && all > 0 {
		bad = model.APIFault{Reason: listenersNotValid, Message: "none of the listeners is valid"}
	}
	out := m.when("Accepted", "Accepted", "it is in force", bad)
	if !bad.Is() && good < all {
		out.Reason, out.Message = listenersNotValid, fmt.Sprintf("%d of %d listeners are not valid", all-good, all)
	}
	return out
}

const listenersNotValid = "ListenersNotValid"

// programmed says whether proxies serve the object.
func (m *maker) programmed(accepted Condition, good int) Condition {
	bad := m.v.Programmed
	switch {
	case m.v.Accepted.Is():
		bad = m.v.Accepted
	case accepted.Status == no && good == 0:
		bad = model.APIFault{Reason: "Invalid", Message: accepted.Message}
	case !bad.Is():
		bad = m.pending()
	}
	return m.when("Programmed", "Programmed", m.reached(), bad)
}

// pending is why proxies do not serve what was made.
func (m *maker) pending() model.APIFault {
	switch p := m.Push; {
	case p == nil:
	case p.Of == 0:
		return model.APIFault{Reason: "NoResources", Message: "no gateway that is connected serves it"}
	case p.Rejected:
		return model.APIFault{Reason: "Invalid", Message: m.reached() + ": " + p.Why}
	case p.Programmed < p.Of:
		return model.APIFault{Reason: "Pending", Message: m.reached() + ": " + p.Why}
	}
	return model.APIFault{}
}

// reached is how many proxies serve it.
func (m *maker) reached() string {
	if m.Push == nil {
		return "proxies are told of it"
	}
	return fmt.Sprintf("on %d of %d proxies", m.Push.Programmed, m.Push.Of)
}

// listener makes the status of a listener.
func (m *maker) listener(l *model.ListenerVerdict) Listener {
	out := Listener{Name: l.Name, AttachedRoutes: int32(l.Routes), SupportedKinds: []GroupKind{}}
	for _, k := range l.Kinds {
		out.SupportedKinds = append(out.SupportedKinds, GroupKind{Group: model.GatewayAPIGroup, Kind: string(k)})
	}
	accepted, programmed := l.Accepted, l.Programmed
	if l.Conflicted.Is() && !accepted.Is() {
		accepted = l.Conflicted
	}
	switch {
	case accepted.Is():
		programmed = model.APIFault{Reason: "Invalid", Message: accepted.Message}
	case programmed.Is():
	case m.v.Programmed.Is():
		programmed = model.APIFault{Reason: "Pending", Message: m.v.Programmed.Message}
	default:
		programmed = m.pending()
		if programmed.Is() && programmed.Reason != "Invalid" {
			programmed.Reason = "Pending"
		}
	}
	conflicted := Condition{Type: "Conflicted", Status: no, Reason: "NoConflicts", Message: "no other listener is in its way", ObservedGeneration: m.generation}
	if l.Conflicted.Is() {
		conflicted.Status, conflicted.Reason, conflicted.Message = yes, l.Conflicted.Reason, l.Conflicted.Message
	}
	out.Conditions = []Condition{
		m.when("Accepted", "Accepted", "it is valid", accepted), conflicted,
		m.when("Programmed", "Programmed", m.reached(), programmed),
		m.when("ResolvedRefs", "ResolvedRefs", "what it refers to is there", l.ResolvedRefs),
	}
	if l.Overlap != "" {
		out.Conditions = append(out.Conditions, Condition{
			Type: "OverlappingTLSConfig", Status: yes, Reason: "OverlappingHostnames", Message: l.Overlap, ObservedGeneration: m.generation,
		})
	}
	return out
}
