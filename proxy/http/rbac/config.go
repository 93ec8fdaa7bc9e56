package rbac

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	templatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/match"
	"github.com/weftmesh/weft/proxy/route"
)

// Names of the filters, in Envoy's words.
const (
	HTTPName    = "envoy.filters.http.rbac"
	NetworkName = "envoy.filters.network.rbac"
)

const typePrefix = "type.googleapis.com/envoy.extensions.filters."

// HTTPKind describes the filter of requests.
func HTTPKind() filter.HTTPKind {
	return filter.HTTPKind{
		Name:     HTTPName,
		TypeURLs: []string{typePrefix + "http.rbac.v3.RBAC", typePrefix + "http.rbac.v3.RBACPerRoute"},
		Parse: func(ctx *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
			m := &httpv3.RBAC{}
			if err := match.Open(a, m, supported); err != nil {
				return nil, err
			}
			x := &httpFilter{name: ctx.FilterName}
			var err error
			if x.sets, err = parseSets(m.Rules, m.ShadowRules, m.ShadowRulesStatPrefix); err != nil {
				return nil, err
			}
			x.counters = counters{
				ctx.Counter("rbac." + dotted(m.RulesStatPrefix) + "allowed"), ctx.Counter("rbac." + dotted(m.RulesStatPrefix) + "denied"),
				ctx.Counter("rbac." + dotted(m.ShadowRulesStatPrefix) + "shadow_allowed"),
				ctx.Counter("rbac." + dotted(m.ShadowRulesStatPrefix) + "shadow_denied"),
			}
			return x, nil
		},
		ParseRoute: func(_ *filter.ParseContext, a *anypb.Any) (any, error) {
			m := &httpv3.RBACPerRoute{}
			if err := match.Open(a, m, supported); err != nil {
				return nil, err
			}
			r := m.GetRbac()
			s, err := parseSets(r.GetRules(), r.GetShadowRules(), r.GetShadowRulesStatPrefix())
			if err != nil {
				return nil, fmt.Errorf("rbac.%w", err)
			}
			return &perRoute{s}, nil
		},
	}
}

// NetworkKind describes the filter of connections.
func NetworkKind() filter.NetworkKind {
	return filter.NetworkKind{
		Name:     NetworkName,
		TypeURLs: []string{typePrefix + "network.rbac.v3.RBAC"},
		Parse: func(ctx *filter.ParseContext, a *anypb.Any) (filter.NetworkFactory, error) {
			m := &networkv3.RBAC{}
			if err := match.Open(a, m, supported); err != nil {
				return nil, err
			}
			x := &networkFilter{}
			var err error
			if x.sets, err = parseSets(m.Rules, m.ShadowRules, m.ShadowRulesStatPrefix); err != nil {
				return nil, err
			}
			counter := func(stat string) *filter.Counter { return networkCounter(ctx.Stats, m.StatPrefix, stat) }
			x.counters = counters{
				counter("allowed"), counter("denied"), counter(dotted(m.ShadowRulesStatPrefix) + "shadow_allowed"), counter(dotted(m.ShadowRulesStatPrefix) + "shadow_denied"),
			}
			return x, nil
		},
	}
}

// dotted is a prefix that ends with a dot, if there is one.
func dotted(prefix string) string {
	if prefix == "" || strings.HasSuffix(prefix, ".") {
		return prefix
	}
	return prefix + "."
}

// networkCounter is the counter "PREFIXrbac.stat", as Envoy puts the prefix before it.
func networkCounter(s *filter.Stats, prefix, stat string) *filter.Counter {
	if first, rest, ok := strings.Cut(strings.TrimSuffix(prefix, "."), "."); ok {
		return s.Counter(first, rest+".rbac", stat)
	}
	return s.Counter(strings.TrimSuffix(prefix, "."), "rbac", stat)
}

// parseSets reads the rules that are enforced and those that are only tried.
func parseSets(rules, shadow *rbacv3.RBAC, prefix string) (s sets, err error) {
	if s.rules, err = parse(rules); err != nil {
		return s, fmt.Errorf("rules.%w", err)
	}
	if s.shadow, err = parse(shadow); err != nil {
		return s, fmt.Errorf("shadow_rules.%w", err)
	}
	s.tell(prefix)
	return s, nil
}

// supported lists what is read. Action LOG only marks requests for Envoy's own access log.
var supported = strict.Table{
	"envoy.extensions.filters.http.rbac.v3.RBAC":         "rules rules_stat_prefix shadow_rules shadow_rules_stat_prefix",
	"envoy.extensions.filters.http.rbac.v3.RBACPerRoute": "rbac",
	"envoy.extensions.filters.network.rbac.v3.RBAC":      "rules stat_prefix shadow_rules shadow_rules_stat_prefix enforcement_type=ONE_TIME_ON_FIRST_BYTE",
	"envoy.config.rbac.v3.RBAC":                          "action policies",
	"envoy.config.rbac.v3.Policy":                        "permissions principals",
	"envoy.config.rbac.v3.Permission": "and_rules or_rules any header url_path destination_ip destination_port destination_port_range " +
		"not_rule requested_server_name uri_template metadata sourced_metadata",
	"envoy.config.rbac.v3.Permission.Set": "rules",
	"envoy.config.rbac.v3.Principal": "and_ids or_ids any authenticated source_ip direct_remote_ip remote_ip header url_path " +
		"filter_state not_id metadata sourced_metadata",
	"envoy.config.rbac.v3.SourcedMetadata":                               "metadata_matcher metadata_source",
	"envoy.type.matcher.v3.MetadataMatcher":                              "filter path value invert",
	"envoy.type.matcher.v3.MetadataMatcher.PathSegment":                  "key",
	"envoy.type.matcher.v3.ValueMatcher":                                 "null_match double_match string_match bool_match present_match list_match or_match",
	"envoy.type.matcher.v3.ValueMatcher.NullMatch":                       "",
	"envoy.type.matcher.v3.DoubleMatcher":                                "range exact",
	"envoy.type.v3.DoubleRange":                                          "start end",
	"envoy.type.matcher.v3.ListMatcher":                                  "one_of",
	"envoy.type.matcher.v3.OrMatcher":                                    "value_matchers",
	"envoy.config.rbac.v3.Principal.Set":                                 "ids",
	"envoy.config.rbac.v3.Principal.Authenticated":                       "principal_name",
	"envoy.config.core.v3.CidrRange":                                     "address_prefix prefix_len",
	"envoy.config.core.v3.TypedExtensionConfig":                          "name typed_config",
	"envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig": "path_template",
	"envoy.type.matcher.v3.PathMatcher":                                  "path",
	"envoy.type.matcher.v3.FilterStateMatcher":                           "key string_match",
	"envoy.type.v3.Int32Range":                                           "start end",
}

// parse compiles a set of policies; nil stays nil.
func parse(m *rbacv3.RBAC) (*Rules, error) {
	if m == nil {
		return nil, nil //nolint:nilnil // Rules' zero is "allow"
	}
	r := &Rules{}
	switch m.Action {
	case rbacv3.RBAC_ALLOW:
	case rbacv3.RBAC_DENY:
		r.deny = true
	case rbacv3.RBAC_LOG:
		r.logs = true
	default:
		return nil, fmt.Errorf("action: %s is not supported", m.Action)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Policies)) {
		in := m.Policies[name]
		p := policy{name: name, details: denial(name)}
		var err error
		if p.permissions, err = permissions(in.Permissions); err != nil {
			return nil, fmt.Errorf("policies[%q].permissions%w", name, err)
		}
		if p.principals, err = principals(in.Principals); err != nil {
			return nil, fmt.Errorf("policies[%q].principals%w", name, err)
		}
		r.policies = append(r.policies, p)
	}
	return r, nil
}

// permissions compiles a list. Errors begin with the index: "[2].header: …".
func permissions(list []*rbacv3.Permission) ([]rule, error) {
	out := make([]rule, 0, len(list))
	for i, m := range list {
		r, err := permission(m)
		if err != nil {
			return nil, fmt.Errorf("[%d].%w", i, err)
		}
		out = append(out, r)
	}
	return out, nil
}

func permission(m *rbacv3.Permission) (rule, error) {
	switch p := m.GetRule().(type) {
	case *rbacv3.Permission_Any:
		return anyRule{}, nil
	case *rbacv3.Permission_AndRules:
		list, err := permissions(p.AndRules.GetRules())
		return allOf(list), prefixed("and_rules.rules", err)
	case *rbacv3.Permission_OrRules:
		list, err := permissions(p.OrRules.GetRules())
		return oneOf(list), prefixed("or_rules.rules", err)
	case *rbacv3.Permission_NotRule:
		r, err := permission(p.NotRule)
		return notRule{r}, prefixed("not_rule.", err)
	case *rbacv3.Permission_Header:
		t, err := match.Headers(p.Header)
		return &headers{t}, prefixed("header: ", err)
	case *rbacv3.Permission_UrlPath:
		return path(p.UrlPath)
	case *rbacv3.Permission_DestinationIp:
		c, err := cidr(p.DestinationIp)
		return localIP{c}, prefixed("destination_ip: ", err)
	case *rbacv3.Permission_DestinationPort:
		return localPort{uint16(p.DestinationPort), uint16(p.DestinationPort)}, nil
	case *rbacv3.Permission_DestinationPortRange:
		return ports(p.DestinationPortRange.GetStart(), p.DestinationPortRange.GetEnd())
	case *rbacv3.Permission_RequestedServerName:
		t, err := match.Strings(p.RequestedServerName)
		return &sni{t}, prefixed("requested_server_name: ", err)
	case *rbacv3.Permission_UriTemplate:
		return uriTemplate(p.UriTemplate)
	case *rbacv3.Permission_Metadata: //nolint:staticcheck // deprecated, and in use
		return metadataRule("metadata", p.Metadata, rbacv3.MetadataSource_DYNAMIC)
	case *rbacv3.Permission_SourcedMetadata:
		return metadataRule("sourced_metadata.metadata_matcher", p.SourcedMetadata.GetMetadataMatcher(), p.SourcedMetadata.GetMetadataSource())
	}
	return nil, fmt.Errorf("rule: %T is not supported", m.GetRule())
}

func principals(list []*rbacv3.Principal) ([]rule, error) {
	out := make([]rule, 0, len(list))
	for i, m := range list {
		r, err := principal(m)
		if err != nil {
			return nil, fmt.Errorf("[%d].%w", i, err)
		}
		out = append(out, r)
	}
	return out, nil
}

func principal(m *rbacv3.Principal) (rule, error) {
	switch p := m.GetIdentifier().(type) {
	case *rbacv3.Principal_Any:
		return anyRule{}, nil
	case *rbacv3.Principal_AndIds:
		list, err := principals(p.AndIds.GetIds())
		return allOf(list), prefixed("and_ids.ids", err)
	case *rbacv3.Principal_OrIds:
		list, err := principals(p.OrIds.GetIds())
		return oneOf(list), prefixed("or_ids.ids", err)
	case *rbacv3.Principal_NotId:
		r, err := principal(p.NotId)
		return notRule{r}, prefixed("not_id.", err)
	case *rbacv3.Principal_Authenticated_:
		return authenticated(p.Authenticated)
	case *rbacv3.Principal_SourceIp:
		c, err := cidr(p.SourceIp)
		return peerIP{c}, prefixed("source_ip: ", err)
	case *rbacv3.Principal_DirectRemoteIp:
		c, err := cidr(p.DirectRemoteIp)
		return directIP{c}, prefixed("direct_remote_ip: ", err)
	case *rbacv3.Principal_RemoteIp:
		c, err := cidr(p.RemoteIp)
		return clientIP{c}, prefixed("remote_ip: ", err)
	case *rbacv3.Principal_Header:
		t, err := match.Headers(p.Header)
		return &headers{t}, prefixed("header: ", err)
	case *rbacv3.Principal_UrlPath:
		return path(p.UrlPath)
	case *rbacv3.Principal_FilterState:
		return filterState(p.FilterState)
	case *rbacv3.Principal_Metadata: //nolint:staticcheck // deprecated, and in use
		return metadataRule("metadata", p.Metadata, rbacv3.MetadataSource_DYNAMIC)
	case *rbacv3.Principal_SourcedMetadata:
		return metadataRule("sourced_metadata.metadata_matcher", p.SourcedMetadata.GetMetadataMatcher(), p.SourcedMetadata.GetMetadataSource())
	}
	return nil, fmt.Errorf("identifier: %T is not supported", m.GetIdentifier())
}

// prefixed puts a field before an error.
func prefixed(field string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s%w", field, err)
}

func path(m *matcherv3.PathMatcher) (rule, error) {
	t, err := match.Strings(m.GetPath())
	return &urlPath{t}, prefixed("url_path.path: ", err)
}

func ports(start, end int32) (rule, error) {
	if start < 0 || start >= end || end > 65536 {
		return nil, fmt.Errorf("destination_port_range: %d up to %d is empty or out of range", start, end)
	}
	return localPort{uint16(start), uint16(end - 1)}, nil
}

func cidr(m *corev3.CidrRange) (netip.Prefix, error) {
	a, err := netip.ParseAddr(m.GetAddressPrefix())
	if err != nil {
		return netip.Prefix{}, err
	}
	bits := int(m.GetPrefixLen().GetValue())
	if a.Is4In6() && bits >= 96 {
		a, bits = a.Unmap(), bits-96
	}
	return a.Prefix(bits)
}

func authenticated(m *rbacv3.Principal_Authenticated) (rule, error) {
	if m.GetPrincipalName() == nil {
		return &identity{}, nil
	}
	t, err := match.Strings(m.PrincipalName)
	return &identity{&t}, prefixed("authenticated.principal_name: ", err)
}

// istioPrincipal is the filter state in which Istio keeps the peer's identity.
const istioPrincipal = "io.istio.peer_principal"

func filterState(m *matcherv3.FilterStateMatcher) (rule, error) {
	if m.Key != istioPrincipal {
		return nil, fmt.Errorf("filter_state.key: %q is not supported, only %q", m.Key, istioPrincipal)
	}
	if m.GetStringMatch() == nil {
		return nil, errors.New("filter_state.string_match: is missing")
	}
	var t route.Strings
	t, err := match.Strings(m.GetStringMatch())
	return &spiffe{t}, prefixed("filter_state.string_match: ", err)
}

func uriTemplate(m *corev3.TypedExtensionConfig) (rule, error) {
	in := &templatev3.UriTemplateMatchConfig{}
	if err := m.GetTypedConfig().UnmarshalTo(in); err != nil {
		return nil, prefixed("uri_template.typed_config: ", err)
	}
	t, err := parseTemplate(in.PathTemplate)
	return &uriForm{t}, prefixed("uri_template.typed_config.path_template: ", err)
}

func metadataRule(field string, m *matcherv3.MetadataMatcher, source rbacv3.MetadataSource) (rule, error) {
	r := &metadata{namespace: m.GetFilter(), invert: m.GetInvert(), ofRoute: source == rbacv3.MetadataSource_ROUTE}
	for _, p := range m.GetPath() {
		r.path = append(r.path, p.GetKey())
	}
	var err error
	r.value, err = value(m.GetValue())
	return r, prefixed(field+".value.", err)
}

// value compiles a matcher of one value.
func value(m *matcherv3.ValueMatcher) (valueTest, error) {
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.ValueMatcher_NullMatch_:
		return func(v any, there bool) bool { return there && v == nil }, nil
	case *matcherv3.ValueMatcher_PresentMatch:
		// False matches nothing, as in Envoy.
		return func(v any, there bool) bool { return there && v != nil && p.PresentMatch }, nil
	case *matcherv3.ValueMatcher_BoolMatch:
		return func(v any, _ bool) bool { b, ok := v.(bool); return ok && b == p.BoolMatch }, nil
	case *matcherv3.ValueMatcher_StringMatch:
		t, err := match.Strings(p.StringMatch)
		return func(v any, _ bool) bool { s, ok := v.(string); return ok && t.Any(s) }, prefixed("string_match", err)
	case *matcherv3.ValueMatcher_DoubleMatch:
		if r := p.DoubleMatch.GetRange(); r != nil {
			return func(v any, _ bool) bool { f, ok := v.(float64); return ok && r.Start <= f && f < r.End }, nil
		}
		exact := p.DoubleMatch.GetExact()
		return func(v any, _ bool) bool { f, ok := v.(float64); return ok && f == exact }, nil
	case *matcherv3.ValueMatcher_ListMatch:
		one, err := value(p.ListMatch.GetOneOf())
		return func(v any, _ bool) bool {
			list, ok := v.([]any)
			return ok && slices.ContainsFunc(list, func(x any) bool { return one(x, true) })
		}, prefixed("list_match.one_of.", err)
	case *matcherv3.ValueMatcher_OrMatch:
		var all []valueTest
		for i, x := range p.OrMatch.GetValueMatchers() {
			t, err := value(x)
			if err != nil {
				return nil, fmt.Errorf("or_match.value_matchers[%d].%w", i, err)
			}
			all = append(all, t)
		}
		return func(v any, there bool) bool {
			return slices.ContainsFunc(all, func(t valueTest) bool { return t(v, there) })
		}, nil
	}
	return nil, errors.New("match_pattern: is missing")
}
