// Package authz translates authorization policies into filters: RBAC for AUDIT,
// DENY and ALLOW policies, one filter each, and before them, for CUSTOM ones, a
// pair for each service that is asked: an RBAC filter that only notes which rule
// matches, and ext_authz, which asks when one did. For HTTP and for opaque TCP.
//
// The meaning is Istio's: a request that any CUSTOM rule matches has to be let
// pass by its service; then one that any DENY rule matches is refused; else, if
// there is any ALLOW policy, one of its rules has to match. On TCP, where HTTP
// attributes are unknown, an ALLOW rule that asks for one never matches, and all
// others match by their other attributes: in doubt, refuse. What a dry-run policy
// would have done is in metadata and statistics only.
package authz

import (
	"fmt"
	"strconv"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	rbachttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	rbacnetv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
)

// Codes of Findings.
const (
	CodeValue    = "WEFT0330" // a value that cannot be read
	CodeProvider = "WEFT0331" // a service for CUSTOM policies that cannot be asked
	CodeKey      = "WEFT0332" // an unknown condition key
)

// Names of the filters, which are also those of their metadata.
const (
	httpRBAC = "envoy.filters.http.rbac"
	tcpRBAC  = "envoy.filters.network.rbac"
)

// Statistics and metadata of rules that are not enforced begin so (Istio's).
const (
	dryRunAllow = "istio_dry_run_allow_"
	dryRunDeny  = "istio_dry_run_deny_"
	// dryRunCustom is Weft's: which rule would have had a service asked.
	dryRunCustom = "istio_dry_run_custom_"
)

// Report takes a Finding.
type Report func(model.Finding)

// Filter is one filter of a chain.
type Filter struct {
	Name   string
	Config proto.Message
}

// HTTP makes a workload's filters for requests of HTTP, or of the protocol of messages that is named: those that
// stand before tokens are read, and those behind, which may look at them.
func HTTP(v *scope.View, messages string, report Report) (custom, local []Filter) {
	b := builder{v: v, report: report, messages: messages}
	for _, s := range b.sets() {
		local = append(local, Filter{httpRBAC, &rbachttpv3.RBAC{
			Rules: s.rules, ShadowRules: s.shadow, ShadowRulesStatPrefix: s.prefix(),
		}})
	}
	return b.custom(), local
}

// TCP makes a workload's filters for connections of opaque bytes. messages is the protocol that these bytes are, where
// it is one that the engine does not speak.
func TCP(v *scope.View, messages string, report Report) []Filter {
	b := builder{v: v, report: report, tcp: true, messages: messages}
	out := b.custom()
	for _, s := range b.sets() {
		out = append(out, Filter{tcpRBAC, &rbacnetv3.RBAC{
			Rules: s.rules, StatPrefix: tcpPrefix, ShadowRules: s.shadow, ShadowRulesStatPrefix: s.prefix(),
		}})
	}
	return out
}

const tcpPrefix = "tcp."

// builder makes the filters of one view.
type builder struct {
	v      *scope.View
	report Report
	tcp    bool
	// messages is the protocol of messages that is carried; "": another one.
	messages string
	// proxyless: gRPC enforces it, which knows neither tokens nor others' metadata.
	proxyless bool
}

func (b *builder) translator(p *model.Authz) *translator {
	return &translator{
		trust: trustDomains(b.v.Mesh), tcp: b.tcp, proxyless: b.proxyless, wide: p.Action != model.Allow, policy: p, report: b.report,
	}
}

// ruleSet are the rules of one action; nil where there are none.
type ruleSet struct {
	action        rbacv3.RBAC_Action
	rules, shadow *rbacv3.RBAC
}

func (s *ruleSet) prefix() string {
	switch {
	case s.shadow == nil:
		return ""
	case s.action == rbacv3.RBAC_ALLOW:
		return dryRunAllow
	}
	return dryRunDeny
}

// add puts a policy's rules into the set.
func (s *ruleSet) add(t *translator) {
	to := &s.rules
	if t.policy.DryRun {
		to = &s.shadow
	}
	policies := t.policies()
	if len(policies) == 0 && t.wide {
		return
	}
	if *to == nil {
		// An ALLOW policy without rules that can match denies everything.
		*to = &rbacv3.RBAC{Action: s.action, Policies: map[string]*rbacv3.Policy{}}
	}
	for name, p := range policies {
		(*to).Policies[name] = p
	}
}

// sets are the rules in the order in which they must be asked.
func (b *builder) sets() []*ruleSet {
	audit, deny := &ruleSet{action: rbacv3.RBAC_LOG}, &ruleSet{action: rbacv3.RBAC_DENY}
	allow := &ruleSet{action: rbacv3.RBAC_ALLOW}
	for _, p := range b.v.Authz() {
		switch {
		case !b.concerns(p):
		case p.Action == model.Deny:
			deny.add(b.translator(p))
		case p.Action == model.Allow:
			allow.add(b.translator(p))
		case p.Action == model.Audit && !p.DryRun: // which enforces nothing anyway
			audit.add(b.translator(p))
		}
	}
	var out []*ruleSet
	for _, s := range []*ruleSet{audit, deny, allow} {
		if s.rules != nil || s.shadow != nil {
			out = append(out, s)
		}
	}
	return out
}

func (b *builder) concerns(p *model.Authz) bool { return Concerns(b.v, p, b.messages) }

// Concerns tells whether a policy is about what is carried: messages of a protocol, or "" for other traffic.
func Concerns(v *scope.View, p *model.Authz, messages string) bool {
	if p.Protocol == "" || p.Protocol == messages {
		return true
	}
	d := v.Index.Declared(messages)
	return d != nil && d.Codec == p.Protocol
}

func trustDomains(m *model.Mesh) []string {
	return append([]string{m.TrustDomain}, m.TrustAliases...)
}

// translator carries what the parts of one policy's translation share.
type translator struct {
	trust []string
	// tcp and proxyless are the builder's.
	tcp, proxyless bool
	// wide: a part that cannot be tested is left out, so that the rule matches more.
	wide   bool
	policy *model.Authz
	report Report
}

func (t *translator) name(rule int) string {
	prefix := ""
	if t.policy.Action == model.Custom {
		prefix = customPrefix(t.policy.Provider)
	}
	return prefix + "ns[" + t.policy.Key.Namespace + "]-policy[" + t.policy.Key.Name + "]-rule[" + strconv.Itoa(rule) + "]"
}

func (t *translator) finding(code string, s model.Severity, field, message, remedy string) {
	t.report(model.Finding{
		Code: code, Severity: s, Object: t.policy.Key, Origin: t.policy.Origin,
		Field: field, Message: message, Remedy: remedy,
	})
}

// policies are the rules that can match, by name.
func (t *translator) policies() map[string]*rbacv3.Policy {
	out := map[string]*rbacv3.Policy{}
	for i := range t.policy.Rules {
		if p := t.rule(&t.policy.Rules[i], i); p != nil {
			out[t.name(i)] = p
		}
	}
	return out
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

// drop decides what becomes of a part that cannot be tested: an ALLOW rule falls;
// others go on without it, and a DENY rule so refuses more. Values that are wrong
// are reported.
func (t *translator) drop(err error, field string) bool {
	if _, ok := err.(unmatched); !ok {
		t.finding(CodeValue, model.Error, field, err.Error(), "correct the value; until then the rule errs on the side of refusing")
	}
	return t.wide
}
