package gwstatus

import (
	"cmp"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/control/model"
)

// written is what is read of an object that is refused.
type written struct {
	Metadata struct{ Generation int64 }
	Spec     struct {
		ParentRefs, TargetRefs []writtenRef
	}
}

// writtenRef is a reference as it is written: absent fields have the API's defaults.
type writtenRef struct {
	Group, Kind, Namespace *string
	Name, SectionName      string
	Port                   uint16
}

func (r *writtenRef) parent(group, kind, namespace string) model.APIParent {
	or := func(p *string, otherwise string) string {
		if p == nil {
			return otherwise
		}
		return *p
	}
	return model.APIParent{Section: r.SectionName, Ref: model.Ref{
		Group: or(r.Group, group), Kind: or(r.Kind, kind), Namespace: or(r.Namespace, namespace), Name: r.Name, Port: r.Port,
	}}
}

// refused makes the status of an object that never was in force: what is wrong with it,
// for the parents of routes that are ours.
func (in *Input) refused() *Status {
	why := faults(in.Findings)
	if why == "" {
		return nil
	}
	var w written
	if yaml.Unmarshal(in.Written, &w) != nil {
		w = written{} // the Findings say so
	}
	m := maker{Input: *in, v: &model.APIVerdict{}, generation: w.Metadata.Generation}
	bad := model.APIFault{Reason: "Invalid", Message: why}
	none := model.APIFault{Reason: "Invalid", Message: "it is not accepted"}
	switch in.Object.Kind {
	case model.KindGatewayClass:
		bad.Reason = "Unsupported"
		return &Status{Conditions: []Condition{m.when("Accepted", "", "", bad)}}
	case model.KindAPIGateway:
		if in.about("spec.addresses") {
			bad.Reason, none.Reason = "UnsupportedAddress", "AddressNotUsable"
		}
		return &Status{Conditions: []Condition{m.when("Accepted", "", "", bad), m.when("Programmed", "", "", none)}}
	case model.KindListenerSet:
		return &Status{Conditions: []Condition{m.when("Accepted", "", "", bad), m.when("Programmed", "", "", none)}}
	case model.KindBackendTLSPolicy:
		out := &Status{}
		for i := range w.Spec.TargetRefs {
			p := w.Spec.TargetRefs[i].parent("", "Service", in.Object.Namespace)
			out.Ancestors = append(out.Ancestors, parentOf(&p, ownController, true, []Condition{m.when("Accepted", "", "", bad)}))
		}
		return out
	}
	return m.refusedRoute(&w, why)
}

// ownController is our name where no class gives one.
const ownController = "weft.dev/gateway-controller"

func (m *maker) refusedRoute(w *written, why string) *Status {
	bad := model.APIFault{Reason: "UnsupportedValue", Message: why}
	if strings.Contains(why, incompatible) {
		bad.Reason = "IncompatibleFilters"
	}
	out := &Status{Parents: []Parent{}}
	for i := range w.Spec.ParentRefs {
		p := w.Spec.ParentRefs[i].parent(model.GatewayAPIGroup, "Gateway", m.Object.Namespace)
		controller := ownController
		if p.Group == model.GatewayAPIGroup {
			key := model.Key{Kind: cmp.Or(gatewayKinds[p.Kind], model.Kind(p.Kind)), Namespace: p.Namespace, Name: p.Name}
			v := m.Snapshot.Verdicts[key]
			if v == nil {
				continue // another controller's, or not there
			}
			controller = v.Controller
		}
		out.Parents = append(out.Parents, parentOf(&p, controller, false, []Condition{
			m.when("Accepted", "", "", bad),
			{Type: "ResolvedRefs", Status: unknown, Reason: "Pending", Message: "it is not accepted", ObservedGeneration: m.generation},
		}))
	}
	return out
}

// incompatible is what control/source/gatewayapi says of filters that exclude each other.
const incompatible = "only one of RequestRedirect, URLRewrite"

// gatewayKinds are the kinds of parents whose name here is another one.
var gatewayKinds = map[string]model.Kind{"Gateway": model.KindAPIGateway}

// about tells whether a Finding is about a field or what is in it.
func (in *Input) about(field string) bool {
	for _, f := range in.Findings {
		if strings.HasPrefix(f.Field, field) {
			return true
		}
	}
	return false
}
