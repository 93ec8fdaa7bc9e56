// Package authz translates authorization policies into Envoy's RBAC filters:
// one for all DENY policies and behind it one for all ALLOW policies, for HTTP
// and for opaque TCP.
//
// The meaning is Istio's: a request that any DENY rule matches is refused; else,
// if there is any ALLOW policy, one of its rules has to match. On TCP, where
// HTTP attributes are unknown, an ALLOW rule that asks for one never matches,
// and a DENY rule matches by its other attributes: in doubt, refuse.
package authz

import (
	"fmt"
	"strconv"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
)

// Codes of Findings.
const (
	CodeValue  = "WEFT0330" // a value that cannot be read
	CodeAction = "WEFT0331" // an action that is not carried out
	CodeKey    = "WEFT0332" // an unknown condition key
)

// Report takes a Finding.
type Report func(model.Finding)

// Rules makes the RBAC rules for a workload: nil where there is nothing to
// decide. They are in the order in which they must be asked: deny, allow.
func Rules(v *scope.View, tcp bool, report Report) []*rbacv3.RBAC {
	deny := &rbacv3.RBAC{Action: rbacv3.RBAC_DENY, Policies: map[string]*rbacv3.Policy{}}
	allow := &rbacv3.RBAC{Action: rbacv3.RBAC_ALLOW, Policies: map[string]*rbacv3.Policy{}}
	allowing := false
	for _, p := range v.Authz() {
		t := translator{trust: trustDomains(v.Mesh), tcp: tcp, policy: p, report: report}
		switch p.Action {
		case model.Deny:
			t.deny = true
			t.add(deny)
		case model.Allow:
			allowing = true
			t.add(allow)
		case model.Custom:
			// Nobody can be asked, and an open door would be worse than a closed one.
			t.finding(CodeAction, model.Error, "spec.action", "CUSTOM is not supported: everything is denied",
				"use ALLOW or DENY")
			deny.Policies[t.name(0)] = &rbacv3.Policy{
				Permissions: []*rbacv3.Permission{anyPermission()}, Principals: []*rbacv3.Principal{anyPrincipal()},
			}
		case model.Audit:
			t.finding(CodeAction, model.Warning, "spec.action", "AUDIT is not supported and has no effect",
				"use the access log")
		}
	}
	var out []*rbacv3.RBAC
	if len(deny.Policies) > 0 {
		out = append(out, deny)
	}
	if allowing {
		// No policy left means that no rule can match: everything is denied.
		out = append(out, allow)
	}
	return out
}

func trustDomains(m *model.Mesh) []string {
	return append([]string{m.TrustDomain}, m.TrustAliases...)
}

// translator carries what the parts of one policy's translation share.
type translator struct {
	trust  []string
	tcp    bool
	deny   bool
	policy *model.Authz
	report Report
}

func (t *translator) name(rule int) string {
	return "ns[" + t.policy.Key.Namespace + "]-policy[" + t.policy.Key.Name + "]-rule[" + strconv.Itoa(rule) + "]"
}

func (t *translator) finding(code string, s model.Severity, field, message, remedy string) {
	t.report(model.Finding{
		Code: code, Severity: s, Object: t.policy.Key, Origin: t.policy.Origin,
		Field: field, Message: message, Remedy: remedy,
	})
}

func (t *translator) add(to *rbacv3.RBAC) {
	for i := range t.policy.Rules {
		if p := t.rule(&t.policy.Rules[i], i); p != nil {
			to.Policies[t.name(i)] = p
		}
	}
}

// unmatched says that a part of a rule can never be true here.
type unmatched struct{}

func (unmatched) Error() string { return "never matches" }

// rule translates one rule; nil: it never matches.
func (t *translator) rule(r *model.AuthzRule, index int) *rbacv3.Policy {
	out := &rbacv3.Policy{}
	var whenPermissions []*rbacv3.Permission
	var whenPrincipals []*rbacv3.Principal
	for i := range r.When {
		perm, prin, err := t.condition(&r.When[i])
		if err != nil {
			if t.drop(err, fmt.Sprintf("spec.rules[%d].when[%d]", index, i)) {
				continue
			}
			return nil
		}
		whenPermissions, whenPrincipals = append(whenPermissions, perm...), append(whenPrincipals, prin...)
	}
	for i := range r.From {
		list, err := t.source(&r.From[i])
		if err != nil {
			if !t.drop(err, fmt.Sprintf("spec.rules[%d].from[%d].source", index, i)) {
				return nil
			}
		}
		out.Principals = append(out.Principals, andPrincipals(append(list, whenPrincipals...)))
	}
	for i := range r.To {
		list, err := t.operation(&r.To[i])
		if err != nil {
			if !t.drop(err, fmt.Sprintf("spec.rules[%d].to[%d].operation", index, i)) {
				return nil
			}
		}
		out.Permissions = append(out.Permissions, andPermissions(append(list, whenPermissions...)))
	}
	if len(r.From) == 0 {
		out.Principals = []*rbacv3.Principal{andPrincipals(whenPrincipals)}
	}
	if len(r.To) == 0 {
		out.Permissions = []*rbacv3.Permission{andPermissions(whenPermissions)}
	}
	return out
}

// drop decides what becomes of a part that cannot be tested: a DENY rule goes on
// without it and so refuses more; an ALLOW rule falls. Values that are wrong
// are reported.
func (t *translator) drop(err error, field string) bool {
	if _, ok := err.(unmatched); !ok {
		t.finding(CodeValue, model.Error, field, err.Error(), "correct the value; until then the rule errs on the side of refusing")
	}
	return t.deny
}
