package istio

import (
	"slices"
	"strconv"
	"strings"

	securitypb "istio.io/api/security/v1beta1"
	typepb "istio.io/api/type/v1beta1"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

func selector(d *document.Document, p *typepb.WorkloadSelector) map[string]string {
	labels := p.GetMatchLabels()
	d.CheckLabels("spec.selector.matchLabels", labels)
	if len(labels) == 0 {
		return nil
	}
	return labels
}

func convertPeerAuthentication(d *document.Document) []model.Object {
	pa := &securitypb.PeerAuthentication{}
	if !d.Message("spec", d.Spec(), pa) {
		return nil
	}
	out := &model.PeerAuth{Meta: d.Meta, Selector: selector(d, pa.GetSelector()), Mode: mtlsModes[pa.GetMtls().GetMode()]}
	for port, m := range pa.GetPortLevelMtls() {
		if out.Ports == nil {
			out.Ports = map[uint16]model.MTLSMode{}
		}
		out.Ports[uint16(port)] = mtlsModes[m.GetMode()]
	}
	if ports, ok := d.Spec()["portLevelMtls"].(map[string]any); ok && len(ports) == 0 {
		d.Invalid("spec.portLevelMtls", "name a port, or leave it out", "is empty")
	}
	if len(out.Ports) > 0 && out.Selector == nil {
		d.Error(document.CodeMissing, "spec.selector", "say whose ports are meant", "is missing beside portLevelMtls")
	}
	return []model.Object{out}
}

var mtlsModes = map[securitypb.PeerAuthentication_MutualTLS_Mode]model.MTLSMode{
	securitypb.PeerAuthentication_MutualTLS_UNSET:      model.MTLSUnset,
	securitypb.PeerAuthentication_MutualTLS_DISABLE:    model.MTLSDisable,
	securitypb.PeerAuthentication_MutualTLS_PERMISSIVE: model.MTLSPermissive,
	securitypb.PeerAuthentication_MutualTLS_STRICT:     model.MTLSStrict,
}

// dryRun is Istio's annotation of a policy that is not to be enforced.
const dryRun = "istio.io/dry-run"

func convertAuthorizationPolicy(d *document.Document) []model.Object {
	ap := &securitypb.AuthorizationPolicy{}
	if !d.Message("spec", d.Spec(), ap) {
		return nil
	}
	out := &model.Authz{
		Meta: d.Meta, Selector: selector(d, ap.GetSelector()), Targets: targets(d, ap),
		Action: authzActions[ap.GetAction()], Provider: ap.GetProvider().GetName(), DryRun: isDryRun(d),
	}
	custom := out.Action == model.Custom
	switch {
	case ap.GetProvider() != nil && !custom:
		d.Invalid("spec.provider", "remove it", "is for action CUSTOM only")
	case custom && out.Provider == "":
		d.Error(document.CodeMissing, "spec.provider.name", "name one of the mesh's extensionProviders", "is missing")
	}
	for i, r := range ap.GetRules() {
		out.Rules = append(out.Rules, authzRule(d, document.At("spec.rules", i), r))
	}
	if len(out.Rules) == 0 && out.Action != model.Allow {
		d.Warn(document.CodeValue, "spec.rules", "write rules: [{}] for every request", "a policy of action %s without rules never applies", ap.GetAction())
	}
	if custom {
		customRules(d, out.Rules)
	}
	return []model.Object{out}
}

var authzActions = map[securitypb.AuthorizationPolicy_Action]model.AuthzAction{
	securitypb.AuthorizationPolicy_ALLOW: model.Allow, securitypb.AuthorizationPolicy_DENY: model.Deny,
	securitypb.AuthorizationPolicy_AUDIT: model.Audit, securitypb.AuthorizationPolicy_CUSTOM: model.Custom,
}

// isDryRun reads the annotation. One that cannot be read is not one.
func isDryRun(d *document.Document) bool {
	v, ok := d.Annotations[dryRun]
	if !ok {
		return false
	}
	dry, err := strconv.ParseBool(v)
	if err != nil {
		d.Warn(document.CodeValue, document.Join("metadata.annotations", dryRun), "write true or false", "%q is neither: the policy is enforced", v)
	}
	return dry
}

// customRules names what a CUSTOM policy may not look at: the service is asked
// before tokens are read, and Istio leaves identities to it too.
func customRules(d *document.Document, rules []model.AuthzRule) {
	for i := range rules {
		for j := range rules[i].From {
			s, at := &rules[i].From[j], document.At(document.At("spec.rules", i)+".from", j)+".source"
			for name, list := range map[string][]string{
				"principals": s.Principals, "notPrincipals": s.NotPrincipals, "namespaces": s.Namespaces, "notNamespaces": s.NotNamespaces,
				"requestPrincipals": s.RequestPrincipals, "notRequestPrincipals": s.NotRequestPrincipals,
				"serviceAccounts": s.ServiceAccounts, "notServiceAccounts": s.NotServiceAccounts,
				"trustDomains": s.TrustDomains, "notTrustDomains": s.NotTrustDomains,
			} {
				if len(list) > 0 {
					d.Invalid(at+"."+name, "leave it to the service", "cannot be used with action CUSTOM")
				}
			}
		}
		for j, w := range rules[i].When {
			switch {
			case w.Key == "source.namespace", w.Key == "source.serviceAccount", w.Key == "source.trustDomain", w.Key == "source.principal",
				strings.HasPrefix(w.Key, "request.auth."):
				d.Invalid(document.At(document.At("spec.rules", i)+".when", j)+".key", "leave it to the service", "%s cannot be used with action CUSTOM", w.Key)
			}
		}
	}
}

func authzRule(d *document.Document, at string, p *securitypb.Rule) model.AuthzRule {
	var r model.AuthzRule
	for i, f := range p.GetFrom() {
		sat := document.At(at+".from", i) + ".source"
		if f.GetSource() == nil {
			d.Error(document.CodeMissing, sat, "write e.g. source: {principals: […]}", "is missing")
			continue
		}
		r.From = append(r.From, authzSource(d, sat, f.GetSource()))
	}
	for i, t := range p.GetTo() {
		oat := document.At(at+".to", i) + ".operation"
		if t.GetOperation() == nil {
			d.Error(document.CodeMissing, oat, "write e.g. operation: {methods: [GET]}", "is missing")
			continue
		}
		r.To = append(r.To, authzOperation(d, oat, t.GetOperation()))
	}
	for i, w := range p.GetWhen() {
		r.When = append(r.When, authzCondition(d, document.At(at+".when", i), w))
	}
	return r
}

func authzSource(d *document.Document, at string, s *securitypb.Source) model.AuthzSource {
	out := model.AuthzSource{
		Principals: s.GetPrincipals(), NotPrincipals: s.GetNotPrincipals(),
		RequestPrincipals: s.GetRequestPrincipals(), NotRequestPrincipals: s.GetNotRequestPrincipals(),
		Namespaces: s.GetNamespaces(), NotNamespaces: s.GetNotNamespaces(),
		TrustDomains: s.GetTrustDomains(), NotTrustDomains: s.GetNotTrustDomains(),
		ServiceAccounts:    accounts(d, at+".serviceAccounts", s.GetServiceAccounts()),
		NotServiceAccounts: accounts(d, at+".notServiceAccounts", s.GetNotServiceAccounts()),
		IPBlocks:           s.GetIpBlocks(), NotIPBlocks: s.GetNotIpBlocks(),
		RemoteIPBlocks: s.GetRemoteIpBlocks(), NotRemoteIPBlocks: s.GetNotRemoteIpBlocks(),
	}
	patterns := map[string][]string{
		"principals": out.Principals, "notPrincipals": out.NotPrincipals, "namespaces": out.Namespaces, "notNamespaces": out.NotNamespaces,
		"requestPrincipals": out.RequestPrincipals, "notRequestPrincipals": out.NotRequestPrincipals,
		"trustDomains": out.TrustDomains, "notTrustDomains": out.NotTrustDomains,
	}
	for name, list := range patterns {
		Patterns(d, at+"."+name, list)
	}
	for name, list := range map[string][]string{"trustDomains": out.TrustDomains, "notTrustDomains": out.NotTrustDomains} {
		for i, v := range list {
			if strings.Contains(v, "/") {
				d.Invalid(document.At(at+"."+name, i), "write e.g. cluster.local", "%q: a trust domain has no \"/\"", v)
			}
		}
	}
	if len(out.Principals)+len(out.NotPrincipals)+len(out.Namespaces)+len(out.NotNamespaces) > 0 && len(out.ServiceAccounts)+len(out.NotServiceAccounts) > 0 {
		d.Invalid(at+".serviceAccounts", "use a second source", "cannot stand beside namespaces or principals")
	}
	for i, p := range slices.Concat(out.Principals, out.NotPrincipals) {
		if strings.HasPrefix(p, "spiffe://") {
			field := document.At(at+".principals", i)
			d.Invalid(field, "write "+strings.TrimPrefix(p, "spiffe://"), "principals are written without spiffe://")
		}
	}
	blocks := map[string][]string{
		"ipBlocks": out.IPBlocks, "notIpBlocks": out.NotIPBlocks, "remoteIpBlocks": out.RemoteIPBlocks, "notRemoteIpBlocks": out.NotRemoteIPBlocks,
	}
	empty := len(out.ServiceAccounts)+len(out.NotServiceAccounts) == 0
	for name, list := range blocks {
		for i, b := range list {
			d.Prefix(document.At(at+"."+name, i), b)
		}
		empty = empty && len(list) == 0
	}
	for _, list := range patterns {
		empty = empty && len(list) == 0
	}
	if empty {
		d.Error(document.CodeMissing, at, "name principals, namespaces or ipBlocks", "is empty")
	}
	return out
}

// accounts resolves "name" to "namespace/name".
func accounts(d *document.Document, at string, list []string) []string {
	var out []string
	for i, a := range list {
		ns, name, ok := strings.Cut(a, "/")
		if !ok {
			ns, name = d.Key.Namespace, a
		}
		if !document.IsLabel(ns) || !document.IsSubdomain(name) {
			d.Invalid(document.At(at, i), `write "name" or "namespace/name"`, "%q is not a service account", a)
		}
		out = append(out, ns+"/"+name)
	}
	return out
}

// Patterns reports values of policies that are empty, or have a "*" elsewhere than at one end.
func Patterns(d *document.Document, at string, list []string) {
	for i, v := range list {
		if v == "" {
			d.Invalid(document.At(at, i), "remove it", "is empty")
		}
		if inner := strings.TrimSuffix(strings.TrimPrefix(v, "*"), "*"); strings.Contains(inner, "*") || v != "*" && strings.HasPrefix(v, "*") && strings.HasSuffix(v, "*") {
			d.Invalid(document.At(at, i), `write "abc*", "*abc" or "*"`, "%q: \"*\" is allowed at one end only", v)
		}
	}
}

func authzOperation(d *document.Document, at string, o *securitypb.Operation) model.AuthzOperation {
	out := model.AuthzOperation{
		Hosts: o.GetHosts(), NotHosts: o.GetNotHosts(), Ports: o.GetPorts(), NotPorts: o.GetNotPorts(),
		Methods: o.GetMethods(), NotMethods: o.GetNotMethods(), Paths: o.GetPaths(), NotPaths: o.GetNotPaths(),
	}
	empty := true
	for name, list := range map[string][]string{
		"hosts": out.Hosts, "notHosts": out.NotHosts, "methods": out.Methods, "notMethods": out.NotMethods,
		"paths": out.Paths, "notPaths": out.NotPaths, "ports": out.Ports, "notPorts": out.NotPorts,
	} {
		empty = empty && len(list) == 0
		for i, v := range list {
			field := document.At(at+"."+name, i)
			switch name {
			case "ports", "notPorts":
				if n, err := strconv.ParseUint(v, 10, 16); err != nil || n == 0 {
					d.Invalid(field, "", "must be a port from 1 to 65535, got %q", v)
				}
				continue
			case "paths", "notPaths":
				pathTemplate(d, field, v)
			}
		}
		if name != "ports" && name != "notPorts" && !slices.ContainsFunc(list, func(v string) bool { return strings.Contains(v, "{") }) {
			Patterns(d, at+"."+name, list)
		}
	}
	if empty {
		d.Error(document.CodeMissing, at, "name methods, paths, hosts or ports", "is empty")
	}
	return out
}

// pathTemplate judges "/a/{*}/b/{**}": a brace belongs to one of the two, which
// is a segment by itself, and no other "*" stands beside them.
func pathTemplate(d *document.Document, field, path string) {
	if !strings.ContainsAny(path, "{}") {
		return
	}
	for i, segment := range strings.Split(path, "/") {
		if segment == "{*}" || segment == "{**}" {
			continue
		}
		if strings.ContainsAny(segment, "{}*") || i == 0 && segment != "" {
			d.Invalid(field, "write e.g. /a/{*}/b, or /a/{**}", "%q is no path template: {*} and {**} are whole segments, and \"*\" has no place beside them", path)
			return
		}
	}
}

// conditionKeys are those of "when"; some take a [name].
var conditionKeys = []string{
	"request.headers", "source.ip", "remote.ip", "source.namespace", "source.serviceAccount", "source.principal", "source.trustDomain",
	"destination.ip", "destination.port", "connection.sni",
	"request.auth.principal", "request.auth.audiences", "request.auth.presenter", "request.auth.claims",
}

func authzCondition(d *document.Document, at string, c *securitypb.Condition) model.AuthzCondition {
	out := model.AuthzCondition{Key: c.GetKey(), Values: c.GetValues(), NotValues: c.GetNotValues()}
	name, rest, bracket := strings.Cut(out.Key, "[")
	switch {
	case out.Key == "":
		d.Error(document.CodeMissing, at+".key", "write e.g. key: request.headers[x-user]", "is missing")
	case strings.HasPrefix(name, "experimental.envoy.filters."):
		if !bracket || !strings.HasSuffix(rest, "]") || len(rest) < 2 {
			d.Invalid(at+".key", "write experimental.envoy.filters.<filter>[key]", "names no key of the filter's metadata")
		}
	case !slices.Contains(conditionKeys, name):
		d.Invalid(at+".key", document.Suggest(name, conditionKeys), "%q is not a condition", out.Key)
	case name == "request.headers" && (!bracket || !strings.HasSuffix(rest, "]") || len(rest) < 2):
		d.Invalid(at+".key", "write request.headers[name]", "names no header")
	case name == "request.auth.claims" && (!bracket || !strings.HasSuffix(rest, "]") || len(rest) < 2):
		d.Invalid(at+".key", "write request.auth.claims[name], or [name][inner]", "names no claim")
	case bracket && name != "request.headers" && name != "request.auth.claims":
		d.Invalid(at+".key", "write "+name, "%s has no parts", name)
	}
	if len(out.Values)+len(out.NotValues) == 0 {
		d.Error(document.CodeMissing, at+".values", "add values or notValues", "is missing")
	}
	for _, f := range []struct {
		name string
		list []string
	}{{"values", out.Values}, {"notValues", out.NotValues}} {
		for i, v := range f.list {
			field := document.At(at+"."+f.name, i)
			if v == "" {
				d.Invalid(field, "remove it", "is empty")
			}
			switch name {
			case "source.ip", "remote.ip", "destination.ip":
				d.Prefix(field, v)
			case "destination.port":
				if n, err := strconv.ParseUint(v, 10, 16); err != nil || n == 0 {
					d.Invalid(field, "", "must be a port from 1 to 65535, got %q", v)
				}
			}
		}
	}
	return out
}
