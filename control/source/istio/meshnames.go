package istio

import (
	"slices"
	"strings"

	meshpb "istio.io/api/mesh/v1alpha1"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// namespaces reads what the mesh makes of namespaces by their labels.
func namespaces(d *document.Document, m *model.Mesh, mc *meshpb.MeshConfig) {
	for i, s := range mc.GetDiscoverySelectors() {
		m.Discovery = append(m.Discovery, labelSelector(d, document.At("discoverySelectors", i), s))
	}
	for i, s := range mc.GetServiceSettings() {
		// A mesh of one cluster is local to it as it is.
		for j, h := range s.GetHosts() {
			d.Host(document.At(document.At("serviceSettings", i)+".hosts", j), h, true)
		}
	}
	v := mc.GetServiceEntryVisibility()
	if v == nil {
		return
	}
	if !v.GetApplyToSidecars() {
		d.Warn(document.CodeIgnored, "serviceEntryVisibility", "set applyToSidecars: true", "has no effect on sidecars and gateways, as in Istio")
		return
	}
	m.Entries = &model.EntryPolicy{Default: entryVisibility(v.GetDefaultVisibility())}
	for i, p := range v.GetPolicies() {
		r := model.EntryRule{Visibility: entryVisibility(p.GetVisibility())}
		at := document.At("serviceEntryVisibility.policies", i)
		for j, match := range p.GetMatchingRules() {
			mat := document.At(at+".matchingRules", j)
			if match.GetNamespaceSelector() == nil {
				d.Error(document.CodeMissing, mat+".namespaceSelector", "name labels of namespaces", "is missing")
				continue
			}
			r.Selectors = append(r.Selectors, labelSelector(d, mat+".namespaceSelector", match.GetNamespaceSelector()))
		}
		m.Entries.Rules = append(m.Entries.Rules, r)
	}
}

func entryVisibility(v meshpb.ServiceEntryVisibility_Visibility) model.EntryVisibility {
	switch v {
	case meshpb.ServiceEntryVisibility_NAMESPACE:
		return model.EntryNamespace
	case meshpb.ServiceEntryVisibility_NONE:
		return model.EntryNobody
	default:
		return model.EntryPublic
	}
}

// operators of expressions of selectors.
var operators = []string{"In", "NotIn", "Exists", "DoesNotExist"}

func labelSelector(d *document.Document, at string, s *meshpb.LabelSelector) *model.LabelSelector {
	out := &model.LabelSelector{Labels: s.GetMatchLabels()}
	d.CheckLabels(at+".matchLabels", out.Labels)
	for i, e := range s.GetMatchExpressions() {
		eat := document.At(at+".matchExpressions", i)
		switch op := e.GetOperator(); {
		case !slices.Contains(operators, op):
			d.Invalid(eat+".operator", document.Suggest(op, operators), "must be one of %s, got %q", strings.Join(operators, ", "), op)
		case strings.HasSuffix(op, "In") && len(e.GetValues()) == 0:
			d.Error(document.CodeMissing, eat+".values", "name values, or write operator: Exists", "is missing for operator %s", op)
		case !strings.HasSuffix(op, "In") && len(e.GetValues()) > 0:
			d.Invalid(eat+".values", "remove them", "have no use with operator %s", op)
		}
		out.Expressions = append(out.Expressions, model.LabelExpression{Key: e.GetKey(), Op: e.GetOperator(), Values: e.GetValues()})
	}
	return out
}
