package aeraki

import (
	"strings"

	api "github.com/weftmesh/weft/api/aeraki/v1alpha1"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
	"github.com/weftmesh/weft/control/source/istio"
	"github.com/weftmesh/weft/wire"
)

// convertDubboAuthorization makes a policy that holds for Dubbo alone: an ALLOW policy must not refuse what the same
// workloads are asked by other protocols.
func convertDubboAuthorization(d *document.Document) []model.Object {
	spec, err := document.Into[api.DubboAuthorizationPolicySpec](d.Spec())
	if err != nil {
		d.Invalid("spec", "", "cannot be read: %v", err)
		return nil
	}
	out := &model.Authz{Meta: d.Meta, Protocol: wire.DubboProtocol}
	switch spec.Action {
	case "", "ALLOW":
	case "DENY":
		out.Action = model.Deny
	default:
		d.Invalid("spec.action", "write ALLOW or DENY", "%q is no action of Dubbo's policies", spec.Action)
		out.Action = model.Deny
	}
	if len(spec.Rules) == 0 && out.Action == model.Deny {
		d.Warn(document.CodeValue, "spec.rules", "write rules: [{}] for every call", "a policy of action DENY without rules never applies")
	}
	for i := range spec.Rules {
		out.Rules = append(out.Rules, dubboRule(d, document.At("spec.rules", i), &spec.Rules[i]))
	}
	return []model.Object{out}
}

func dubboRule(d *document.Document, at string, r *api.DubboRule) model.AuthzRule {
	var out model.AuthzRule
	for i, f := range r.From {
		field := document.At(at+".from", i) + ".source"
		s := f.Source
		if s == nil {
			s = &api.DubboSource{}
		}
		empty := patterns(d, field, map[string][]string{
			"principals": s.Principals, "notPrincipals": s.NotPrincipals, "namespaces": s.Namespaces, "notNamespaces": s.NotNamespaces,
		})
		if empty {
			d.Error(document.CodeMissing, field, "name principals or namespaces", "is empty")
		}
		for name, list := range map[string][]string{"principals": s.Principals, "notPrincipals": s.NotPrincipals} {
			for j, p := range list {
				if short, ok := strings.CutPrefix(p, "spiffe://"); ok {
					d.Invalid(document.At(field+"."+name, j), "write "+short, "principals are written without spiffe://")
				}
			}
		}
		out.From = append(out.From, model.AuthzSource{
			Principals: s.Principals, NotPrincipals: s.NotPrincipals, Namespaces: s.Namespaces, NotNamespaces: s.NotNamespaces,
		})
	}
	for i, t := range r.To {
		field := document.At(at+".to", i) + ".operation"
		o := t.Operation
		if o == nil {
			o = &api.DubboOperation{}
		}
		empty := patterns(d, field, map[string][]string{
			"interfaces": o.Interfaces, "notInterfaces": o.NotInterfaces, "methods": o.Methods, "notMethods": o.NotMethods,
		})
		if empty {
			d.Error(document.CodeMissing, field, "name interfaces or methods", "is empty")
		}
		out.To = append(out.To, model.AuthzOperation{
			Interfaces: o.Interfaces, NotInterfaces: o.NotInterfaces, Methods: o.Methods, NotMethods: o.NotMethods,
		})
	}
	return out
}

// patterns judges lists of values, by their names; empty: there is no value.
func patterns(d *document.Document, at string, lists map[string][]string) (empty bool) {
	empty = true
	for name, list := range lists {
		istio.Patterns(d, at+"."+name, list)
		empty = empty && len(list) == 0
	}
	return empty
}
