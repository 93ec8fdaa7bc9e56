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
	out := &model.Authz{Meta: d.Meta, Selector: selector(d, ap.GetSelector())}
	switch ap.GetAction() {
	case securitypb.AuthorizationPolicy_ALLOW:
		out.Action = model.Allow
	case securitypb.AuthorizationPolicy_DENY:
		out.Action = model.Deny
	case securitypb.AuthorizationPolicy_AUDIT:
		d.Warn(document.CodeIgnored, "spec.action", "read the access log", "AUDIT is not carried out by Weft: the policy has no effect")
	default:
		// Refused, it would let everybody in.
		out.Action = model.Custom
		d.Warn(document.CodeIgnored, "spec.action", "use ALLOW or DENY", "%s is not carried out by Weft: everything is denied", ap.GetAction())
	}
	if ap.GetProvider() != nil && ap.GetAction() != securitypb.AuthorizationPolicy_CUSTOM {
		d.Invalid("spec.provider", "remove it", "is for action CUSTOM only")
	}
	for i, r := range ap.GetRules() {
		out.Rules = append(out.Rules, authzRule(d, document.At("spec.rules", i), r))
	}
	if out.Action == model.Deny && len(out.Rules) == 0 {
		d.Warn(document.CodeValue, "spec.rules", "write rules: [{}] to deny everything", "a DENY policy without rules denies nothing")
	}
	if d.Annotations[dryRun] == "true" {
		d.Warn(document.CodeIgnored, "metadata.annotations", "remove "+dryRun+" to enforce it", "a dry-run policy has no effect here")
		return nil
	}
	if ap.GetAction() == securitypb.AuthorizationPolicy_AUDIT {
		return nil
	}
	return []model.Object{out}
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
		ServiceAccounts:    accounts(d, at+".serviceAccounts", s.GetServiceAccounts()),
		NotServiceAccounts: accounts(d, at+".notServiceAccounts", s.GetNotServiceAccounts()),
		IPBlocks:           s.GetIpBlocks(), NotIPBlocks: s.GetNotIpBlocks(),
		RemoteIPBlocks: s.GetRemoteIpBlocks(), NotRemoteIPBlocks: s.GetNotRemoteIpBlocks(),
	}
	patterns := map[string][]string{
		"principals": out.Principals, "notPrincipals": out.NotPrincipals, "namespaces": out.Namespaces, "notNamespaces": out.NotNamespaces,
		"requestPrincipals": out.RequestPrincipals, "notRequestPrincipals": out.NotRequestPrincipals,
	}
	for name, list := range patterns {
		wildcards(d, at+"."+name, list)
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
	if len(out.RequestPrincipals)+len(out.NotRequestPrincipals) > 0 {
		d.Warn(document.CodeIgnored, at+".requestPrincipals", "use principals", "RequestAuthentication is not carried out by Weft: no request has a principal of its own")
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

// wildcards reports "*" elsewhere than at one end.
func wildcards(d *document.Document, at string, list []string) {
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
			wildcards(d, at+"."+name, list)
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

// conditionKeys are those of "when" that are carried out; some take a [name].
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
		d.Unsupported(at+".key", "", "%q is not carried out by Weft", out.Key)
	case !slices.Contains(conditionKeys, name):
		d.Invalid(at+".key", document.Suggest(name, conditionKeys), "%q is not a condition", out.Key)
	case name == "request.headers" && (!bracket || !strings.HasSuffix(rest, "]") || len(rest) < 2):
		d.Invalid(at+".key", "write request.headers[name]", "names no header")
	case strings.HasPrefix(name, "request.auth."):
		d.Warn(document.CodeIgnored, at+".key", "", "RequestAuthentication is not carried out by Weft: no request has %s", name)
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
