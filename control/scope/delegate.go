package scope

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
)

// CodeDelegate: a delegate cannot be followed.
const CodeDelegate = "WEFT0301"

// indexRoutes files every RouteSet under the gateways that it is for, with its
// delegates' routes put in their places.
func (x *Index) indexRoutes() {
	delegates := map[model.Key]*model.RouteSet{}
	for _, r := range x.Snapshot.Routes {
		if len(r.Hosts) == 0 {
			delegates[r.Key] = r
		}
	}
	for _, r := range x.Snapshot.Routes {
		if len(r.Hosts) == 0 {
			continue
		}
		r = x.expand(r, delegates)
		for _, g := range gatewaysOf(r) {
			x.routes[g] = append(x.routes[g], r)
		}
	}
}

// gatewaysOf is every gateway that some route of the set is for.
func gatewaysOf(r *model.RouteSet) []string {
	out := slices.Clone(r.Gateways)
	for _, list := range [][]model.Route{r.HTTP, r.TLS, r.TCP} {
		for _, route := range list {
			for _, m := range route.Matches {
				out = append(out, m.Gateways...)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (x *Index) expand(r *model.RouteSet, delegates map[model.Key]*model.RouteSet) *model.RouteSet {
	if !slices.ContainsFunc(r.HTTP, func(h model.Route) bool { return h.Delegate != (model.Key{}) }) {
		return r
	}
	out := *r
	out.HTTP = nil
	for i, route := range r.HTTP {
		if route.Delegate == (model.Key{}) {
			route.Place = &model.RulePlace{Index: i}
			out.HTTP = append(out.HTTP, route)
			continue
		}
		d := delegates[route.Delegate]
		switch {
		case d == nil:
			x.delegateFinding(r, i, "delegate", fmt.Sprintf("delegate %s does not exist", route.Delegate),
				"create it without hosts and gateways, or correct the name")
		case !d.Exports.To(r.Key.Namespace):
			x.delegateFinding(r, i, "delegate", fmt.Sprintf("delegate %s is not exported to namespace %s", route.Delegate, r.Key.Namespace),
				"add the namespace to the delegate's exportTo")
		default:
			for j, sub := range d.HTTP {
				if sub.Delegate != (model.Key{}) {
					x.delegateFinding(d, j, "delegate", "a delegate may not delegate again", "put the routes in one of the two")
					continue
				}
				if merged, ok := mergeDelegate(route, sub); ok {
					merged.Place = &model.RulePlace{Object: d.Key, Index: j, Via: i}
					out.HTTP = append(out.HTTP, merged)
				} else {
					x.delegateFinding(d, j, "match", fmt.Sprintf("no request can match both this route and http[%d] of %s", i, r.Key),
						"make the delegate's match narrower than the one that delegates")
				}
			}
		}
	}
	return &out
}

func (x *Index) delegateFinding(r *model.RouteSet, i int, part, message, remedy string) {
	field := fmt.Sprintf("spec.http[%d].%s", i, part)
	x.findings = append(x.findings, model.Finding{
		Code: CodeDelegate, Severity: model.Error, Object: r.Key, Origin: r.At(field),
		Field: field, Message: message, Remedy: remedy,
	})
}

// mergeDelegate is the delegate's route under the root's conditions; what the
// delegate does not say, the root does. Not ok: nothing can match both.
func mergeDelegate(root, sub model.Route) (model.Route, bool) {
	out := sub
	matches, ok := mergeMatches(root.Matches, sub.Matches)
	if !ok {
		return out, false
	}
	out.Matches = matches
	if root.Name != "" {
		out.Name = strings.TrimSuffix(root.Name+"-"+sub.Name, "-")
	}
	if out.Rewrite == nil {
		out.Rewrite = root.Rewrite
	}
	if out.Timeout == 0 {
		out.Timeout = root.Timeout
	}
	if out.Retry == nil {
		out.Retry = root.Retry
	}
	if out.Fault == nil {
		out.Fault = root.Fault
	}
	if out.Mirrors == nil {
		out.Mirrors = root.Mirrors
	}
	if out.CORS == nil {
		out.CORS = root.CORS
	}
	if out.Headers.Request.Empty() && out.Headers.Response.Empty() {
		out.Headers = root.Headers
	}
	return out, true
}

func mergeMatches(root, sub []model.Match) ([]model.Match, bool) {
	if len(root) == 0 {
		return sub, true
	}
	if len(sub) == 0 {
		return root, true
	}
	var out []model.Match
	for _, r := range root {
		for _, s := range sub {
			if m, ok := mergeMatch(r, s); ok {
				out = append(out, m)
			}
		}
	}
	return out, len(out) > 0
}

func mergeMatch(root, sub model.Match) (model.Match, bool) {
	out := sub
	out.Conditions = slices.Clone(sub.Conditions)
	for _, c := range root.Conditions {
		i := slices.IndexFunc(out.Conditions, func(o model.Condition) bool {
			return o.Attr == c.Attr && o.Name == c.Name && !o.Not && !c.Not
		})
		switch {
		case i < 0:
			out.Conditions = append(out.Conditions, c)
		case !narrower(out.Conditions[i], c):
			return out, false
		}
	}
	if root.Name != "" {
		out.Name = strings.TrimSuffix(root.Name+"-"+sub.Name, "-")
	}
	if len(out.Gateways) == 0 {
		out.Gateways = root.Gateways
	}
	if len(root.SourceLabels) > 0 {
		labels := map[string]string{}
		for k, v := range root.SourceLabels {
			labels[k] = v
		}
		for k, v := range sub.SourceLabels {
			if have, ok := labels[k]; ok && have != v {
				return out, false
			}
			labels[k] = v
		}
		out.SourceLabels = labels
	}
	if root.SourceNamespace != "" {
		if sub.SourceNamespace != "" && sub.SourceNamespace != root.SourceNamespace {
			return out, false
		}
		out.SourceNamespace = root.SourceNamespace
	}
	return out, true
}

// narrower tells whether everything that a matches, b matches too.
func narrower(a, b model.Condition) bool {
	if b.IgnoreCase && !a.IgnoreCase || a == b {
		return a == b || b.Op == model.Present
	}
	switch b.Op {
	case model.Present:
		return true
	case model.Prefix:
		return (a.Op == model.Prefix || a.Op == model.Exact) && strings.HasPrefix(a.Value, b.Value)
	}
	return false
}
