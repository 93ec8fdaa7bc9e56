package authz

import (
	"fmt"
	"regexp"
	"slices"
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
		{s.TrustDomains, s.NotTrustDomains, t.trustDomain},
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
		{o.Interfaces, o.NotInterfaces, t.http(func(v string) *rbacv3.Permission { return headerPermission(header("interface", v, false)) })},
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
	if !ok || domain == "*" || v[0] == '*' && strings.Count(rest, "/") != identityParts {
		return []*rbacv3.Principal{identity(pattern(v, "spiffe://"))}, nil
	}
	var out []*rbacv3.Principal
	for _, d := range t.domains(domain) {
		out = append(out, identity(pattern(d+"/"+rest, "spiffe://")))
	}
	return out, nil
}

// identityParts are the slashes in "ns/NAMESPACE/sa/ACCOUNT", what follows a trust domain.
const identityParts = 3

// domains are the trust domains that one in a policy stands for. One that begins with "*"
// covers some of the mesh's, and then stands for the others, too.
func (t *translator) domains(d string) []string {
	covers := func(x string) bool { return x == d }
	if end, ok := strings.CutPrefix(d, "*"); ok {
		covers = func(x string) bool { return strings.HasSuffix(x, end) }
	}
	switch {
	case d != "cluster.local" && !slices.ContainsFunc(t.trust, covers):
		return []string{d}
	case d[0] == '*':
		return append([]string{d}, slices.DeleteFunc(slices.Clone(t.trust), covers)...)
	}
	return t.trust
}

// trustDomain is a trust domain with at most one "*"; one of the mesh's stands for
// all of them.
func (t *translator) trustDomain(v string) ([]*rbacv3.Principal, error) {
	if v == "*" {
		return []*rbacv3.Principal{identity(pb.Prefix("spiffe://"))}, nil
	}
	if before, after, ok := strings.Cut(v, "*"); ok {
		return []*rbacv3.Principal{identity(pb.Regex(
			"spiffe://" + regexp.QuoteMeta(before) + "[^/]*" + regexp.QuoteMeta(after) + "/.*"))}, nil
	}
	var out []*rbacv3.Principal
	for _, d := range t.domains(v) {
		out = append(out, identity(pb.Prefix("spiffe://"+d+"/")))
	}
	return out, nil
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
