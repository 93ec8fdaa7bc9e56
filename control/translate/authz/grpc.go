package authz

import (
	"strings"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	rbachttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
)

// CodeProxyless is the code of Findings about what a gRPC server without a proxy
// does not enforce.
const CodeProxyless = "WEFT0333"

// denyRBAC is the name of the filter of DENY rules: gRPC wants each filter of a
// chain to have a name of its own (Istio's).
const denyRBAC = httpRBAC + ".DENY"

// GRPC makes the filters that a gRPC server without a proxy enforces: DENY rules, then
// ALLOW rules. It can ask no other service, so that what a CUSTOM policy matches is
// denied; it knows no tokens, so that an ALLOW rule that asks for one never matches,
// and a DENY rule matches by its other attributes: in doubt, refuse. AUDIT and dry
// runs note nothing.
func GRPC(v *scope.View, report Report) []Filter {
	b := builder{v: v, report: report, proxyless: true}
	deny, allow := &ruleSet{action: rbacv3.RBAC_DENY}, &ruleSet{action: rbacv3.RBAC_ALLOW}
	for _, p := range v.Authz() {
		if !b.concerns(p) {
			continue
		}
		t := b.translator(p)
		lacking := func(s model.Severity, field, message string) {
			t.finding(CodeProxyless, s, field, "a gRPC server without a proxy "+message, "run a proxy beside it")
		}
		switch {
		case p.DryRun || p.Action == model.Audit:
			lacking(model.Info, "spec.action", "notes nothing, so that the policy has no effect on it")
		case p.Action == model.Custom:
			lacking(model.Warning, "spec.provider", "can ask nobody: what the policy matches is denied")
			deny.add(t)
		case p.Action == model.Deny:
			deny.add(t)
		default:
			allow.add(t)
		}
		if asksToken(p) {
			lacking(model.Warning, "spec.rules", "knows no tokens: rules that ask for one err on the side of refusing")
		}
	}
	var out []Filter
	if deny.rules != nil {
		out = append(out, Filter{denyRBAC, &rbachttpv3.RBAC{Rules: deny.rules}})
	}
	if allow.rules != nil {
		out = append(out, Filter{httpRBAC, &rbachttpv3.RBAC{Rules: allow.rules}})
	}
	return out
}

// asksToken tells whether a policy looks at a request's token.
func asksToken(p *model.Authz) bool {
	for _, r := range p.Rules {
		for _, f := range r.From {
			if len(f.RequestPrincipals)+len(f.NotRequestPrincipals) > 0 {
				return true
			}
		}
		for _, c := range r.When {
			if strings.HasPrefix(c.Key, "request.auth.") {
				return true
			}
		}
	}
	return false
}

// hidden tells whether gRPC refuses rules that look at a header.
func hidden(header string) bool { return header == ":scheme" || strings.HasPrefix(header, "grpc-") }
