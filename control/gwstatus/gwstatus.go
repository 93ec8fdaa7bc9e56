// Package gwstatus makes the status of objects of Gateway API as the API's version 1.6
// says it: conditions with their reasons, the listeners of Gateways and ListenerSets,
// the parents of routes, the ancestors of policies.
//
// It is a pure function of what was found out elsewhere: the verdicts that
// control/attach has put into the snapshot, the Findings about the object, and how far
// the proxies are. Its JSON is the `status` of the object, but for the times of
// transition, which only who keeps the status before can know (see Status.Each).
//
// It decides nothing, writes nothing anywhere, and says nothing of objects of other
// controllers: those have no verdict.
package gwstatus

import (
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/finding"
	"github.com/weftmesh/weft/control/model"
)

// Input is what a status is made of.
type Input struct {
	Snapshot *model.Snapshot
	Object   model.Key
	// Findings about the object.
	Findings []model.Finding
	// Push is how far the proxies are; nil: nobody knows, and what is made counts as programmed.
	Push *Push
	// Written is the object as YAML, for one that is refused and never was in force: all
	// that is known of it then.
	Written []byte
}

// Push is how far the proxies are in whose scope an object is.
type Push struct {
	// Programmed have it, of Of.
	Programmed, Of int
	// Rejected: one of the others has refused it.
	Rejected bool
	// Why says what of the others, for people.
	Why string
}

// Has tells whether objects of a kind have a status here.
func Has(kind model.Kind) bool {
	switch kind {
	case model.KindGatewayClass, model.KindAPIGateway, model.KindListenerSet, model.KindBackendTLSPolicy:
		return true
	}
	return route(kind)
}

func route(kind model.Kind) bool {
	switch kind {
	case model.KindHTTPRoute, model.KindGRPCRoute, model.KindTLSRoute, model.KindTCPRoute, model.KindUDPRoute:
		return true
	}
	return false
}

// Of makes the status of an object; nil where there is none that is ours to give.
func Of(in Input) *Status {
	if !Has(in.Object.Kind) || in.Snapshot == nil {
		return nil
	}
	o := in.Snapshot.Objects.Get(in.Object)
	if o == nil {
		return in.refused()
	}
	v := in.Snapshot.Verdicts[in.Object]
	if v == nil {
		return nil
	}
	m := maker{Input: in, v: v, generation: o.Head().Generation, stale: fallback(in.Findings)}
	switch in.Object.Kind {
	case model.KindGatewayClass:
		return m.class()
	case model.KindAPIGateway, model.KindListenerSet:
		return m.gateway()
	case model.KindBackendTLSPolicy:
		return &Status{Ancestors: m.parents(v.Ancestors, true)}
	}
	return &Status{Parents: m.parents(v.Parents, false)}
}

// lastGoodCode says that the version before stays in force (control/source/document).
const lastGoodCode = "WEFT0114"

// fallback says what is wrong with the newest version of an object of which the one
// before stays in force; empty: the newest is in force.
func fallback(list []model.Finding) string {
	if !slices.ContainsFunc(list, func(f model.Finding) bool { return f.Code == lastGoodCode }) {
		return ""
	}
	return faults(list)
}

// faults joins what keeps a version of an object from being taken.
func faults(list []model.Finding) string {
	var out []string
	for _, f := range list {
		if f.Code < "WEFT02" && finding.Condition(f) == finding.Accepted {
			out = append(out, said(f))
		}
	}
	return strings.Join(out, "; ")
}

// said is a Finding within the status of its object.
func said(f model.Finding) string {
	f.Object, f.Origin = model.Key{}, model.Origin{}
	return f.String()
}

// maker makes one status.
type maker struct {
	Input
	v          *model.APIVerdict
	generation int64
	// stale says what is wrong with a newer version, which is not in force.
	stale string
}

// when makes a condition that is True with the reason good, or False for a fault.
func (m *maker) when(kind, good, message string, bad model.APIFault) Condition {
	if bad.Is() {
		return Condition{Type: kind, Status: no, Reason: bad.Reason, Message: bad.Message, ObservedGeneration: m.generation}
	}
	return Condition{Type: kind, Status: yes, Reason: good, Message: message, ObservedGeneration: m.generation}
}

func (m *maker) class() *Status {
	var accepted, version model.APIFault
	if m.stale != "" {
		accepted = model.APIFault{Reason: "Unsupported", Message: "the version before stays in force: " + m.stale}
	}
	crd, _ := m.Snapshot.Objects.Get(model.Key{Kind: model.KindCRD, Name: "gatewayclasses." + model.GatewayAPIGroup}).(*model.CRD)
	if crd != nil && !supported(crd.Bundle) {
		version = model.APIFault{Reason: "UnsupportedVersion", Message: "the CustomResourceDefinitions are of version " + crd.Bundle + ": those of v1.0 to v1.6 are known"}
	}
	return &Status{Conditions: []Condition{
		m.when("Accepted", "Accepted", "Weft serves the Gateways of the class", accepted),
		m.when("SupportedVersion", "SupportedVersion", "the version of the definitions is known", version),
	}}
}

// newestMinor is the newest minor version of Gateway API that is known.
const newestMinor = '6'

// supported tells whether a version of the definitions is known: "v1.6.0".
func supported(bundle string) bool {
	minor, ok := strings.CutPrefix(bundle, "v1.")
	if bundle == "" || !ok {
		return bundle == ""
	}
	minor, _, _ = strings.Cut(minor, ".")
	return len(minor) == 1 && minor[0] >= '0' && minor[0] <= newestMinor
}

// parents makes the status of a route at its parents, or of a policy at its ancestors.
func (m *maker) parents(list []model.ParentVerdict, ancestors bool) []Parent {
	out := []Parent{}
	for i := range list {
		p := &list[i]
		accepted := m.when("Accepted", "Accepted", "it is in force", p.Accepted)
		conditions := []Condition{accepted, m.when("ResolvedRefs", "ResolvedRefs", "what it refers to is there", p.ResolvedRefs)}
		switch {
		case m.stale == "":
		case ancestors:
			conditions[0] = m.when("Accepted", "", "", model.APIFault{Reason: "Invalid", Message: "the version before stays in force: " + m.stale})
		case accepted.Status == yes:
			conditions = append(conditions, Condition{
				Type: "PartiallyInvalid", Status: yes, Reason: "UnsupportedValue", Message: "Fall Back to the version before: " + m.stale,
				ObservedGeneration: m.generation,
			})
		}
		out = append(out, parentOf(&p.Parent, p.Controller, ancestors, conditions))
	}
	return out
}

func parentOf(p *model.APIParent, controller string, ancestor bool, conditions []Condition) Parent {
	ref := &ParentRef{Group: p.Group, Kind: p.Kind, Namespace: p.Namespace, Name: p.Name, SectionName: p.Section, Port: p.Port}
	if ancestor {
		return Parent{AncestorRef: ref, ControllerName: controller, Conditions: conditions}
	}
	return Parent{ParentRef: ref, ControllerName: controller, Conditions: conditions}
}
