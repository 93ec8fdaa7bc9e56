package rbac

import (
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	templatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"
	mtlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/rbac/principals/mtls_authenticated/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/cel"
	"github.com/weftmesh/weft/proxy/http/choose"
	"github.com/weftmesh/weft/proxy/http/match"
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
			if err := match.Open(a, m, supported, choose.Supported, match.SupportedTrees); err != nil {
				return nil, err
			}
			x := &httpFilter{name: ctx.FilterName}
			var err error
			if x.sets, err = parseSets(ctx, m); err != nil {
				return nil, err
			}
			counter := func(stat string) *filter.Counter { return ctx.Counter("rbac." + stat) }
			x.counters = newCounters(m, counter)
			if m.TrackPerRuleStats {
				x.sets.track(m, counter)
			}
			return x, nil
		},
		ParseRoute: func(ctx *filter.ParseContext, a *anypb.Any) (any, error) {
			m := &httpv3.RBACPerRoute{}
			if err := match.Open(a, m, supported, choose.Supported, match.SupportedTrees); err != nil {
				return nil, err
			}
			r := m.GetRbac()
			s, err := parseSets(ctx, r)
			if err != nil {
				return nil, fmt.Errorf("rbac.%w", err)
			}
			if r.GetTrackPerRuleStats() {
				s.track(r, func(stat string) *filter.Counter { return ctx.Counter("rbac." + stat) })
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
			if err := match.Open(a, m, supported, choose.Supported, match.SupportedTrees); err != nil {
				return nil, err
			}
			x := &networkFilter{delay: m.DelayDeny.AsDuration()}
			var err error
			if x.sets, err = parseSets(ctx, m); err != nil {
				return nil, err
			}
			x.counters = newCounters(m, func(stat string) *filter.Counter { return networkCounter(ctx.Stats, m.StatPrefix, stat) })
			if choose.ReadsServerName(m.Matcher) || choose.ReadsServerName(m.ShadowMatcher) {
				return sniFilter{x}, nil
			}
			return x, nil
		},
	}
}

// both are the rules of a filter of requests or of connections.
type both interface {
	GetRules() *rbacv3.RBAC
	GetMatcher() *xdsmatcherv3.Matcher
	GetShadowRules() *rbacv3.RBAC
	GetShadowMatcher() *xdsmatcherv3.Matcher
	GetShadowRulesStatPrefix() string
}

// prefixOf is what stands before the statistics of rules that hold: network
// filters have nothing.
func prefixOf(m both) string {
	if h, ok := m.(*httpv3.RBAC); ok {
		return dotted(h.GetRulesStatPrefix())
	}
	return ""
}

func newCounters(m both, counter func(string) *filter.Counter) counters {
	rules, shadow := prefixOf(m), dotted(m.GetShadowRulesStatPrefix())
	return counters{counter(rules + "allowed"), counter(rules + "denied"), counter(shadow + "shadow_allowed"), counter(shadow + "shadow_denied")}
}

// track makes the counters of each policy.
func (s *sets) track(m both, counter func(string) *filter.Counter) {
	if s.rules != nil {
		rules := prefixOf(m) + "policy."
		s.rules.each(func(p *policy, _ bool) {
			p.counted = [2]*filter.Counter{counter(rules + p.name + ".allowed"), counter(rules + p.name + ".denied")}
		})
	}
	if s.shadow != nil {
		shadow := dotted(m.GetShadowRulesStatPrefix()) + "policy."
		s.shadow.each(func(p *policy, _ bool) {
			p.counted = [2]*filter.Counter{counter(shadow + p.name + ".shadow_allowed"), counter(shadow + p.name + ".shadow_denied")}
		})
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

// parseSets reads the rules that are enforced and those that are only tried. A
// matcher counts where both are there.
func parseSets(ctx *filter.ParseContext, m both) (s sets, err error) {
	if s.rules, err = parse(m.GetRules()); err != nil {
		return s, fmt.Errorf("rules.%w", err)
	}
	if s.shadow, err = parse(m.GetShadowRules()); err != nil {
		return s, fmt.Errorf("shadow_rules.%w", err)
	}
	if t := m.GetMatcher(); t != nil {
		if s.rules, err = parseTree(ctx, t); err != nil {
			return s, fmt.Errorf("matcher.%w", err)
		}
	}
	if t := m.GetShadowMatcher(); t != nil {
		if s.shadow, err = parseTree(ctx, t); err != nil {
			return s, fmt.Errorf("shadow_matcher.%w", err)
		}
	}
	rules := ""
	if h, ok := m.(*httpv3.RBAC); ok {
		rules = h.GetRulesStatPrefix()
	}
	s.prepare(rules, m.GetShadowRulesStatPrefix())
	return s, nil
}

// parseTree compiles a matcher whose actions are policies of their own.
func parseTree(ctx *filter.ParseContext, m *xdsmatcherv3.Matcher) (*Rules, error) {
	r := &Rules{}
	var err error
	r.tree, err = choose.Parse(ctx, m, func(a *anypb.Any) (*policy, error) {
		m := &rbacv3.Action{}
		if !a.MessageIs(m) {
			return nil, fmt.Errorf("%q is not supported, only envoy.config.rbac.v3.Action", a.GetTypeUrl())
		}
		if err := a.UnmarshalTo(m); err != nil {
			return nil, err
		}
		p := &policy{name: m.Name, details: denial(m.Name), deny: m.Action == rbacv3.RBAC_DENY, log: m.Action == rbacv3.RBAC_LOG}
		r.logs = r.logs || p.log
		r.all = append(r.all, p)
		return p, nil
	})
	return r, err
}

// supported lists what is read. Action LOG only marks requests for Envoy's own access log.
var supported = strict.Table{
	"envoy.extensions.filters.http.rbac.v3.RBAC":                      "rules rules_stat_prefix matcher shadow_rules shadow_matcher shadow_rules_stat_prefix track_per_rule_stats",
	"envoy.extensions.filters.http.rbac.v3.RBACPerRoute":              "rbac",
	"envoy.extensions.filters.network.rbac.v3.RBAC":                   "rules matcher stat_prefix shadow_rules shadow_matcher shadow_rules_stat_prefix delay_deny enforcement_type=ONE_TIME_ON_FIRST_BYTE",
	"envoy.config.rbac.v3.RBAC":                                       "action policies",
	"envoy.config.rbac.v3.Policy":                                     "permissions principals condition~ checked_condition~ cel_config",
	"envoy.config.rbac.v3.Action":                                     "name action",
	"envoy.config.core.v3.CelExpressionConfig":                        "enable_string_conversion enable_string_concat enable_string_functions",
	"envoy.extensions.rbac.principals.mtls_authenticated.v3.Config":   "san_matcher any_validated_client_certificate",
	"envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher": "san_type matcher",
	"envoy.type.matcher.v3.AddressMatcher":                            "ranges invert_match",
	"envoy.config.rbac.v3.Permission": "and_rules or_rules any header url_path destination_ip destination_port destination_port_range " +
		"not_rule requested_server_name uri_template metadata sourced_metadata",
	"envoy.config.rbac.v3.Permission.Set": "rules",
	"envoy.config.rbac.v3.Principal": "and_ids or_ids any authenticated source_ip direct_remote_ip remote_ip header url_path " +
		"filter_state not_id metadata sourced_metadata custom",
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
	"envoy.config.core.v3.TypedExtensionConfig":                          "name typed_config",
	"envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig": "path_template",
	"envoy.type.matcher.v3.PathMatcher":                                  "path",
	"envoy.type.matcher.v3.FilterStateMatcher":                           "key string_match address_match",
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
		if p.condition, err = condition(in); err != nil {
			return nil, fmt.Errorf("policies[%q].%w", name, err)
		}
		r.policies = append(r.policies, p)
	}
	return r, nil
}

// condition compiles what has to hold besides; nil: there is nothing.
func condition(m *rbacv3.Policy) (*cel.Program, error) {
	c := m.GetCelConfig()
	on := cel.Enabled{Conversion: c.GetEnableStringConversion(), Concat: c.GetEnableStringConcat(), Functions: c.GetEnableStringFunctions()}
	switch {
	case m.Condition != nil:
		p, err := cel.CompileParsed(m.Condition, on)
		return p, prefixed("condition: ", err)
	case m.CheckedCondition != nil:
		p, err := cel.CompileChecked(m.CheckedCondition, on)
		return p, prefixed("checked_condition: ", err)
	}
	return nil, nil //nolint:nilnil // nothing has to hold
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
		c, err := match.Prefix(p.DestinationIp)
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
		c, err := match.Prefix(p.SourceIp)
		return peerIP{c}, prefixed("source_ip: ", err)
	case *rbacv3.Principal_DirectRemoteIp:
		c, err := match.Prefix(p.DirectRemoteIp)
		return directIP{c}, prefixed("direct_remote_ip: ", err)
	case *rbacv3.Principal_RemoteIp:
		c, err := match.Prefix(p.RemoteIp)
		return clientIP{c}, prefixed("remote_ip: ", err)
	case *rbacv3.Principal_Header:
		t, err := match.Headers(p.Header)
		return &headers{t}, prefixed("header: ", err)
	case *rbacv3.Principal_UrlPath:
		return path(p.UrlPath)
	case *rbacv3.Principal_Custom:
		return certificate(p.Custom)
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
	if r := m.GetAddressMatch(); r != nil {
		out := &stateAddr{key: m.Key, invert: r.InvertMatch}
		var err error
		out.ranges, err = match.Prefixes(r.Ranges)
		return out, strict.At(err, "filter_state.address_match.ranges")
	}
	if m.GetStringMatch() == nil {
		return nil, errors.New("filter_state: wants string_match or address_match")
	}
	t, err := match.Strings(m.GetStringMatch())
	if m.Key == istioPrincipal {
		return &spiffe{t}, prefixed("filter_state.string_match: ", err)
	}
	return &state{m.Key, t}, prefixed("filter_state.string_match: ", err)
}

// certificate reads the principal that is an extension: who a checked certificate is of.
func certificate(m *corev3.TypedExtensionConfig) (rule, error) {
	in := &mtlsv3.Config{}
	if !m.GetTypedConfig().MessageIs(in) {
		return nil, fmt.Errorf("custom.typed_config: %q is not supported", m.GetTypedConfig().GetTypeUrl())
	}
	if err := m.GetTypedConfig().UnmarshalTo(in); err != nil {
		return nil, prefixed("custom.typed_config: ", err)
	}
	if in.SanMatcher == nil {
		if !in.AnyValidatedClientCertificate {
			return nil, errors.New("custom.typed_config: wants san_matcher or any_validated_client_certificate")
		}
		return &validated{}, nil
	}
	name, err := nameTest(in.SanMatcher)
	return &validated{name}, prefixed("custom.typed_config.san_matcher.", err)
}

// nameTest compiles a test of the names of one kind that a certificate has.
func nameTest(m *tlsv3.SubjectAltNameMatcher) (func(*x509.Certificate) bool, error) {
	t, err := match.Strings(m.GetMatcher())
	if err != nil {
		return nil, prefixed("matcher", err)
	}
	switch m.GetSanType() {
	case tlsv3.SubjectAltNameMatcher_DNS:
		return func(c *x509.Certificate) bool { return slices.ContainsFunc(c.DNSNames, t.Any) }, nil
	case tlsv3.SubjectAltNameMatcher_EMAIL:
		return func(c *x509.Certificate) bool { return slices.ContainsFunc(c.EmailAddresses, t.Any) }, nil
	case tlsv3.SubjectAltNameMatcher_URI:
		return func(c *x509.Certificate) bool {
			return slices.ContainsFunc(c.URIs, func(u *url.URL) bool { return t.Any(u.String()) })
		}, nil
	case tlsv3.SubjectAltNameMatcher_IP_ADDRESS:
		return func(c *x509.Certificate) bool {
			return slices.ContainsFunc(c.IPAddresses, func(ip net.IP) bool { return t.Any(ip.String()) })
		}, nil
	}
	return nil, fmt.Errorf("san_type: %s is not supported", m.GetSanType())
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
