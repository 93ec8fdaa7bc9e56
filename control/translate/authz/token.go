package authz

import (
	"fmt"
	"strings"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/translate/pb"
)

// requestPrincipal is "issuer/subject" of a request's token, with a "*" at one
// end. Issuers have slashes themselves: the last one counts.
func (t *translator) requestPrincipal(v string) ([]*rbacv3.Principal, error) {
	if t.tcp || t.proxyless {
		return nil, unmatched{}
	}
	some := pb.Regex(".+")
	issuer, subject := some, some
	iss, sub, both := v, "", false
	if i := strings.LastIndexByte(v, '/'); i >= 0 {
		iss, sub, both = v[:i], v[i+1:], true
	}
	switch {
	case v == "*":
	case !both && v[0] == '*':
		subject = pb.Suffix(v[1:])
	case !both && strings.HasSuffix(v, "*"):
		issuer = pb.Prefix(v[:len(v)-1])
	default:
		issuer, subject = pb.Exact(iss), pb.Exact(sub)
		if iss == "*" {
			issuer = some
		} else if strings.HasPrefix(iss, "*") {
			issuer = pb.Suffix(iss[1:])
		}
		if sub == "*" {
			subject = some
		} else if strings.HasSuffix(sub, "*") {
			subject = pb.Prefix(sub[:len(sub)-1])
		}
	}
	return []*rbacv3.Principal{andPrincipals([]*rbacv3.Principal{
		metadataPrincipal(pb.Claim([]string{"iss"}, pb.StringValue(issuer))),
		metadataPrincipal(pb.Claim([]string{"sub"}, pb.StringValue(subject))),
	})}, nil
}

// claims translates a condition on a claim: a string, or a list that has one.
func (t *translator) claims(c *model.AuthzCondition) ([]*rbacv3.Principal, error) {
	if t.tcp || t.proxyless {
		return nil, unmatched{}
	}
	var path []string
	switch name := strings.TrimPrefix(c.Key, "request.auth."); {
	case name == "audiences":
		path = []string{"aud"}
	case name == "presenter":
		path = []string{"azp"}
	case strings.HasPrefix(name, "claims[") && strings.HasSuffix(name, "]") && len(name) > len("claims[]"):
		path = strings.Split(name[len("claims["):len(name)-1], "][")
	default:
		return nil, fmt.Errorf("unknown condition key %q", c.Key)
	}
	var out []*rbacv3.Principal
	for i, list := range [][]string{c.Values, c.NotValues} {
		if len(list) == 0 {
			continue
		}
		value, err := alternatives(list, func(v string) *matcherv3.ValueMatcher { return pb.StringValue(pattern(v, "")) })
		if err != nil {
			return nil, err
		}
		p := metadataPrincipal(pb.Claim(path, pb.OrValue(pb.ListValue(value), value)))
		if i > 0 {
			p = notPrincipal(p)
		}
		out = append(out, p)
	}
	return out, nil
}

// experimental is the beginning of keys that look at other filters' metadata:
// experimental.envoy.filters.a.b[key].
const experimental = "experimental."

func filterMetadata(c *model.AuthzCondition) ([]*rbacv3.Permission, error) {
	namespace, key, ok := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(c.Key, experimental), "]"), "[")
	if !ok || !strings.HasPrefix(namespace, "envoy.filters.") {
		return nil, fmt.Errorf("unknown condition key %q", c.Key)
	}
	var out []*rbacv3.Permission
	for i, list := range [][]string{c.Values, c.NotValues} {
		if len(list) == 0 {
			continue
		}
		value, err := alternatives(list, func(v string) *matcherv3.ValueMatcher {
			if inner, ok := strings.CutPrefix(v, "["); ok && strings.HasSuffix(inner, "]") && len(inner) > 1 {
				return pb.ListValue(pb.StringValue(pattern(inner[:len(inner)-1], "")))
			}
			return pb.StringValue(pattern(v, ""))
		})
		if err != nil {
			return nil, err
		}
		p := metadataPermission(pb.MetadataMatch(namespace, []string{key}, value))
		if i > 0 {
			p = notPermission(p)
		}
		out = append(out, p)
	}
	return out, nil
}

// alternatives is one matcher for several values.
func alternatives(list []string, f func(string) *matcherv3.ValueMatcher) (*matcherv3.ValueMatcher, error) {
	var out []*matcherv3.ValueMatcher
	for _, v := range list {
		if v == "" {
			return nil, fmt.Errorf("a value is empty")
		}
		out = append(out, f(v))
	}
	if len(out) == 1 {
		return out[0], nil
	}
	return pb.OrValue(out...), nil
}

// The field metadata is deprecated for sourced_metadata, and what Istio writes.

func metadataPrincipal(m *matcherv3.MetadataMatcher) *rbacv3.Principal {
	return &rbacv3.Principal{Identifier: &rbacv3.Principal_Metadata{Metadata: m}}
}

func metadataPermission(m *matcherv3.MetadataMatcher) *rbacv3.Permission {
	return &rbacv3.Permission{Rule: &rbacv3.Permission_Metadata{Metadata: m}}
}
