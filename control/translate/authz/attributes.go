package authz

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/translate/pb"
)

// principalFunc makes the principals of one value; several are alternatives.
type principalFunc func(v string) ([]*rbacv3.Principal, error)

type permissionFunc func(v string) ([]*rbacv3.Permission, error)

// principals is "one of values and none of not".
func principals(values, not []string, f principalFunc) ([]*rbacv3.Principal, error) {
	var out []*rbacv3.Principal
	for i, list := range [][]string{values, not} {
		var any []*rbacv3.Principal
		for _, v := range list {
			if v == "" {
				return nil, fmt.Errorf("a value is empty")
			}
			p, err := f(v)
			if err != nil {
				return nil, err
			}
			any = append(any, p...)
		}
		switch {
		case len(any) == 0:
		case i == 0:
			out = append(out, orPrincipals(any))
		default:
			out = append(out, notPrincipal(orPrincipals(any)))
		}
	}
	return out, nil
}

func permissions(values, not []string, f permissionFunc) ([]*rbacv3.Permission, error) {
	var out []*rbacv3.Permission
	for i, list := range [][]string{values, not} {
		var any []*rbacv3.Permission
		for _, v := range list {
			if v == "" {
				return nil, fmt.Errorf("a value is empty")
			}
			p, err := f(v)
			if err != nil {
				return nil, err
			}
			any = append(any, p...)
		}
		switch {
		case len(any) == 0:
		case i == 0:
			out = append(out, orPermissions(any))
		default:
			out = append(out, notPermission(orPermissions(any)))
		}
	}
	return out, nil
}

// source translates a "from"; with an error, what it could translate.
func (t *translator) source(s *model.AuthzSource) ([]*rbacv3.Principal, error) {
	var out []*rbacv3.Principal
	var failed error
	for _, part := range []struct {
		values, not []string
		f           principalFunc
	}{
		{s.Principals, s.NotPrincipals, t.principal},
		{s.Namespaces, s.NotNamespaces, t.namespace},
		{s.ServiceAccounts, s.NotServiceAccounts, t.serviceAccount},
		{s.IPBlocks, s.NotIPBlocks, sourceIP},
		{s.RemoteIPBlocks, s.NotRemoteIPBlocks, remoteBlock},
		{s.RequestPrincipals, s.NotRequestPrincipals, t.requestPrincipal},
	} {
		list, err := principals(part.values, part.not, part.f)
		if err != nil {
			failed = err
			continue
		}
		out = append(out, list...)
	}
	return out, failed
}

// operation translates a "to"; with an error, what it could translate.
func (t *translator) operation(o *model.AuthzOperation) ([]*rbacv3.Permission, error) {
	var out []*rbacv3.Permission
	var failed error
	for _, part := range []struct {
		values, not []string
		f           permissionFunc
	}{
		{o.Hosts, o.NotHosts, t.http(func(v string) *rbacv3.Permission { return headerPermission(header(":authority", v, true)) })},
		{o.Methods, o.NotMethods, t.http(func(v string) *rbacv3.Permission { return headerPermission(header(":method", v, false)) })},
		{o.Paths, o.NotPaths, t.http(path)},
		{o.Ports, o.NotPorts, port},
	} {
		list, err := permissions(part.values, part.not, part.f)
		if err != nil {
			failed = err
			continue
		}
		out = append(out, list...)
	}
	return out, failed
}

// http marks an attribute that only HTTP has.
func (t *translator) http(f func(string) *rbacv3.Permission) permissionFunc {
	return func(v string) ([]*rbacv3.Permission, error) {
		if t.tcp {
			return nil, unmatched{}
		}
		return []*rbacv3.Permission{f(v)}, nil
	}
}

// principal is an identity without "spiffe://". A trust domain of the mesh, or
// "cluster.local", stands for all of the mesh's own.
func (t *translator) principal(v string) ([]*rbacv3.Principal, error) {
	domain, rest, ok := strings.Cut(v, "/")
	if !ok || v[0] == '*' {
		return []*rbacv3.Principal{identity(pattern(v, "spiffe://"))}, nil
	}
	var out []*rbacv3.Principal
	for _, d := range t.domains(domain) {
		out = append(out, identity(pattern(d+"/"+rest, "spiffe://")))
	}
	return out, nil
}

// domains are the trust domains that one in a policy stands for.
func (t *translator) domains(d string) []string {
	own := d == "cluster.local"
	for _, x := range t.trust {
		own = own || x == d
	}
	if !own {
		return []string{d}
	}
	return t.trust
}

func (t *translator) namespace(v string) ([]*rbacv3.Principal, error) {
	return []*rbacv3.Principal{identity(pb.Regex(".*/ns/" + globRegex(v) + "/.*"))}, nil
}

// serviceAccount is "namespace/name", or a name in the policy's namespace.
func (t *translator) serviceAccount(v string) ([]*rbacv3.Principal, error) {
	namespace, name, ok := strings.Cut(v, "/")
	if !ok {
		namespace, name = t.policy.Key.Namespace, v
	}
	return []*rbacv3.Principal{identity(pb.Regex(
		"spiffe://[^/]+/ns/" + regexp.QuoteMeta(namespace) + "/sa/" + regexp.QuoteMeta(name)))}, nil
}

// globRegex turns a leading or trailing "*" into a regular expression.
func globRegex(v string) string {
	return strings.ReplaceAll(regexp.QuoteMeta(v), `\*`, ".*")
}

func sourceIP(v string) ([]*rbacv3.Principal, error) {
	c, err := pb.ParseCIDR(v)
	if err != nil {
		return nil, err
	}
	return []*rbacv3.Principal{directIP(pb.CIDR(c))}, nil
}

func remoteBlock(v string) ([]*rbacv3.Principal, error) {
	c, err := pb.ParseCIDR(v)
	if err != nil {
		return nil, err
	}
	return []*rbacv3.Principal{remoteIP(pb.CIDR(c))}, nil
}

// requestPrincipal: without RequestAuthentication no request has one.
func (t *translator) requestPrincipal(string) ([]*rbacv3.Principal, error) {
	if !t.tcp {
		t.finding(CodeKey, model.Warning, "spec.rules.from.source.requestPrincipals",
			"RequestAuthentication is not supported: no request has a request principal", "use principals")
	}
	if t.tcp {
		return nil, unmatched{}
	}
	return []*rbacv3.Principal{notPrincipal(anyPrincipal())}, nil
}

// path is exact, prefix or suffix, or a template with {*} and {**}.
func path(v string) *rbacv3.Permission {
	if strings.Contains(v, "{*}") || strings.Contains(v, "{**}") {
		return pathPermission(pb.Regex(templateRegex(v)))
	}
	return pathPermission(pattern(v, ""))
}

// templateRegex: {*} is one segment, {**} any number of them.
func templateRegex(v string) string {
	quoted := regexp.QuoteMeta(v)
	quoted = strings.ReplaceAll(quoted, `\{\*\*\}`, ".*")
	return strings.ReplaceAll(quoted, `\{\*\}`, "[^/]+")
}

func port(v string) ([]*rbacv3.Permission, error) {
	n, err := strconv.ParseUint(v, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("%q is no port number", v)
	}
	return []*rbacv3.Permission{portPermission(uint32(n))}, nil
}

func sni(v string) []*rbacv3.Permission {
	return []*rbacv3.Permission{{Rule: &rbacv3.Permission_RequestedServerName{RequestedServerName: pattern(v, "")}}}
}
