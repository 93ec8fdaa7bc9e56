package descriptor

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	exprv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/rate_limit_descriptors/expr/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/type/metadata/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/cel"
	"github.com/weftmesh/weft/proxy/filter/format"
	"github.com/weftmesh/weft/proxy/http/match"
)

const limits = "envoy.config.route.v3.RateLimit"

// Supported lists the fields that Parse reads.
var Supported = strict.Table{
	limits: "stage disable_key actions limit hits_addend apply_on_stream_done x_ratelimit_option",
	limits + ".Action": "source_cluster destination_cluster request_headers query_parameters remote_address generic_key header_value_match " +
		"dynamic_metadata metadata masked_remote_address query_parameter_value_match remote_address_match extension~",
	limits + ".Action.SourceCluster":                 "",
	limits + ".Action.DestinationCluster":            "",
	limits + ".Action.RequestHeaders":                "header_name descriptor_key skip_if_absent",
	limits + ".Action.QueryParameters":               "query_parameter_name descriptor_key skip_if_absent",
	limits + ".Action.RemoteAddress":                 "",
	limits + ".Action.MaskedRemoteAddress":           "v4_prefix_mask_len v6_prefix_mask_len",
	limits + ".Action.GenericKey":                    "descriptor_value default_value descriptor_key",
	limits + ".Action.HeaderValueMatch":              "descriptor_value default_value descriptor_key expect_match headers",
	limits + ".Action.DynamicMetaData":               "descriptor_key metadata_key default_value",
	limits + ".Action.MetaData":                      "descriptor_key metadata_key default_value source skip_if_absent",
	limits + ".Action.QueryParameterValueMatch":      "descriptor_value default_value descriptor_key expect_match query_parameters",
	limits + ".Action.RemoteAddressMatch":            "descriptor_value descriptor_key default_value address_matcher",
	limits + ".Override":                             "dynamic_metadata rate_limit",
	limits + ".Override.DynamicMetadata":             "metadata_key",
	limits + ".Override.RateLimitOverride":           "requests_per_unit unit",
	limits + ".HitsAddend":                           "number format is_negative_hits",
	"envoy.type.matcher.v3.AddressMatcher":           "ranges invert_match",
	"envoy.type.metadata.v3.MetadataKey":             "key path",
	"envoy.type.metadata.v3.MetadataKey.PathSegment": "key",
}

// Parse compiles a list. Errors begin with the index.
func Parse(list []*routev3.RateLimit) (Rules, error) {
	var out Rules
	for i, m := range list {
		r, err := parseRule(m)
		if err != nil {
			return nil, fmt.Errorf("[%d].%w", i, err)
		}
		out = append(out, r)
	}
	return out, nil
}

func parseRule(m *routev3.RateLimit) (rule, error) {
	r := rule{stage: m.GetStage().GetValue(), keyed: m.DisableKey != "", done: m.ApplyOnStreamDone}
	switch m.XRatelimitOption {
	case routev3.RateLimit_OFF:
		r.header = HeaderOff
	case routev3.RateLimit_DRAFT_VERSION_03:
		r.header = HeaderDraft03
	}
	for i, a := range m.Actions {
		f, err := parseAction(a)
		if err != nil {
			return r, fmt.Errorf("actions[%d].%w", i, err)
		}
		r.actions = append(r.actions, f)
	}
	var err error
	if r.hits, err = parseHits(m.HitsAddend); err != nil {
		return r, fmt.Errorf("hits_addend.%w", err)
	}
	switch l := m.GetLimit().GetOverrideSpecifier().(type) {
	case *routev3.RateLimit_Override_DynamicMetadata_:
		r.limit = limitOf(l.DynamicMetadata.GetMetadataKey())
	case *routev3.RateLimit_Override_RateLimit:
		fixed := &Limit{Requests: l.RateLimit.GetRequestsPerUnit(), Unit: int32(l.RateLimit.GetUnit())}
		r.limit = func(*filter.Info) *Limit { return fixed }
	}
	return r, nil
}

// limitOf reads an override from dynamic metadata: {requests_per_unit: 42, unit: HOUR}.
func limitOf(key *metadatav3.MetadataKey) func(*filter.Info) *Limit {
	at := match.MetadataPath(key)
	return func(i *filter.Info) *Limit {
		m, ok := filter.Lookup(i.Metadata, at).(map[string]any)
		if !ok {
			return nil
		}
		n, isNumber := m["requests_per_unit"].(float64)
		unit, isUnit := m["unit"].(string)
		u, known := typev3.RateLimitUnit_value[unit]
		if !isNumber || !isUnit || !known {
			return nil
		}
		return &Limit{Requests: uint32(n), Unit: u}
	}
}

// mostHits bounds what one request may count for, as in Envoy.
const mostHits = 1_000_000_000

func parseHits(m *routev3.RateLimit_HitsAddend) (hits, error) {
	h := hits{set: m != nil, negative: m.GetIsNegativeHits()}
	switch {
	case m == nil:
	case m.Number != nil && m.Format != "":
		return h, errors.New("number: is set beside format; want one of them")
	case m.Number != nil:
		h.fixed = m.Number.Value
	case m.Format != "":
		f, err := newFormat(m.Format)
		if err != nil {
			return h, fmt.Errorf("format: %w", err)
		}
		h.from = func(i *filter.Info) (uint64, bool) {
			n, err := strconv.ParseUint(string(f.Append(nil, i)), 10, 64)
			return n, err == nil && n <= mostHits
		}
	default:
		h.set = false
	}
	return h, nil
}

func newFormat(text string) (*format.Format, error) {
	host, _ := os.Hostname() // without a name the command is empty
	return format.Compile(text, format.Options{Hostname: host, Env: os.Getenv})
}

// text compiles a descriptor's value, which may hold commands; def stands in where it comes out empty.
func text(value, def string) (func(*filter.Info) string, error) {
	f, err := newFormat(value)
	if err != nil {
		return nil, fmt.Errorf("descriptor_value: %w", err)
	}
	if s, literal := f.Literal(); literal {
		if s == "" {
			s = def
		}
		return func(*filter.Info) string { return s }, nil
	}
	return func(i *filter.Info) string {
		if s := string(f.Append(nil, i)); s != "" {
			return s
		}
		return def
	}, nil
}

// or is the key, or Envoy's usual one.
func or(key, usual string) string {
	if key == "" {
		return usual
	}
	return key
}

// RouteConfig is what a route's or a virtual host's rate_limits become; nil when there is nothing.
func RouteConfig(list []*routev3.RateLimit, host, include bool) (*Policy, error) {
	if len(list) == 0 && !include {
		return nil, nil //nolint:nilnil // there is none
	}
	r, err := Parse(list)
	for i := range r {
		r[i].hits = hits{} // of routes, Envoy does not look at them
	}
	return &Policy{Rules: r, Host: host, Include: include}, err
}

func parseAction(m *routev3.RateLimit_Action) (action, error) {
	switch a := m.GetActionSpecifier().(type) {
	case *routev3.RateLimit_Action_SourceCluster_:
		return sourceCluster, nil
	case *routev3.RateLimit_Action_DestinationCluster_:
		return destinationCluster, nil
	case *routev3.RateLimit_Action_RemoteAddress_:
		return remoteAddress, nil
	case *routev3.RateLimit_Action_RequestHeaders_:
		h := a.RequestHeaders
		return header(strings.ToLower(h.HeaderName), h.DescriptorKey, h.SkipIfAbsent), nil
	case *routev3.RateLimit_Action_QueryParameters_:
		q := a.QueryParameters
		return query(q.QueryParameterName, q.DescriptorKey, q.SkipIfAbsent), nil
	case *routev3.RateLimit_Action_MaskedRemoteAddress_:
		return maskedAddress(bits(a.MaskedRemoteAddress.V4PrefixMaskLen, 32), bits(a.MaskedRemoteAddress.V6PrefixMaskLen, 128)), nil
	case *routev3.RateLimit_Action_Extension:
		f, err := parseExtension(a.Extension.GetTypedConfig())
		return f, prefixed("extension", err)
	case *routev3.RateLimit_Action_GenericKey_:
		v, err := text(a.GenericKey.DescriptorValue, a.GenericKey.DefaultValue)
		return constant(or(a.GenericKey.DescriptorKey, "generic_key"), v), prefixed("generic_key", err)
	case *routev3.RateLimit_Action_DynamicMetadata:
		d := a.DynamicMetadata
		return metadata(match.MetadataPath(d.MetadataKey), false, d.DescriptorKey, d.DefaultValue, false), nil
	case *routev3.RateLimit_Action_Metadata:
		d := a.Metadata
		ofRoute := d.Source == routev3.RateLimit_Action_MetaData_ROUTE_ENTRY
		return metadata(match.MetadataPath(d.MetadataKey), ofRoute, d.DescriptorKey, d.DefaultValue, d.SkipIfAbsent), nil
	}
	return parseMatch(m)
}

const exprPrefix = "envoy.extensions.rate_limit_descriptors.expr.v3."

var supportedExpr = strict.Table{exprPrefix + "Descriptor": "descriptor_key skip_if_error text parsed~"}

// parseExtension reads the one extension that there is: the value of an expression.
func parseExtension(a *anypb.Any) (action, error) {
	m := &exprv3.Descriptor{}
	if !a.MessageIs(m) {
		return nil, fmt.Errorf("typed_config: %s is not supported: want %sDescriptor", a.GetTypeUrl(), exprPrefix)
	}
	if err := match.Open(a, m, supportedExpr); err != nil {
		return nil, fmt.Errorf("typed_config.%w", err)
	}
	v, field, err := (*cel.Value)(nil), "text", error(nil)
	switch e := m.ExprSpecifier.(type) {
	case *exprv3.Descriptor_Text:
		v, err = cel.CompileValue(e.Text, nil)
	case *exprv3.Descriptor_Parsed:
		field = "parsed"
		v, err = cel.ParsedValue(e.Parsed)
	default:
		err = errors.New("is missing; want text or parsed")
	}
	if err != nil {
		return nil, fmt.Errorf("typed_config.%s: %w", field, err)
	}
	return expression(v, m.DescriptorKey, m.SkipIfError), nil
}

// parseMatch reads the actions that test something.
func parseMatch(m *routev3.RateLimit_Action) (action, error) {
	switch a := m.GetActionSpecifier().(type) {
	case *routev3.RateLimit_Action_HeaderValueMatch_:
		h := a.HeaderValueMatch
		t, err := match.Headers(h.Headers...)
		if err != nil {
			return nil, prefixed("header_value_match.headers", err)
		}
		v, err := text(h.DescriptorValue, h.DefaultValue)
		return headerMatch(t, expected(h.ExpectMatch), or(h.DescriptorKey, "header_match"), v), prefixed("header_value_match", err)
	case *routev3.RateLimit_Action_QueryParameterValueMatch_:
		q := a.QueryParameterValueMatch
		tests, err := queryTests(q.QueryParameters)
		if err != nil {
			return nil, prefixed("query_parameter_value_match", err)
		}
		v, err := text(q.DescriptorValue, q.DefaultValue)
		return queryMatch(tests, expected(q.ExpectMatch), or(q.DescriptorKey, "query_match"), v), prefixed("query_parameter_value_match", err)
	case *routev3.RateLimit_Action_RemoteAddressMatch_:
		r := a.RemoteAddressMatch
		ranges, err := match.Prefixes(r.GetAddressMatcher().GetRanges())
		if err != nil {
			return nil, prefixed("remote_address_match.address_matcher", err)
		}
		v, err := text(r.DescriptorValue, r.DefaultValue)
		return addressMatch(ranges, r.GetAddressMatcher().GetInvertMatch(), or(r.DescriptorKey, "remote_address_match"), v), prefixed("remote_address_match", err)
	}
	return nil, fmt.Errorf("action_specifier: %T is not supported", m.GetActionSpecifier())
}

func prefixed(field string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s.%w", field, err)
}

func bits(m *wrapperspb.UInt32Value, all int) int {
	if m == nil {
		return all
	}
	return int(m.Value)
}

func expected(m *wrapperspb.BoolValue) bool { return m == nil || m.Value }

func queryTests(list []*routev3.QueryParameterMatcher) ([]queryTest, error) {
	var out []queryTest
	for i, m := range list {
		t := queryTest{name: m.Name, present: true}
		switch s := m.GetQueryParameterMatchSpecifier().(type) {
		case *routev3.QueryParameterMatcher_PresentMatch:
			t.present = s.PresentMatch
		case *routev3.QueryParameterMatcher_StringMatch:
			c, err := match.Strings(s.StringMatch)
			if err != nil {
				return nil, fmt.Errorf("query_parameters[%d].string_match: %w", i, err)
			}
			t.tests = &c
		}
		out = append(out, t)
	}
	return out, nil
}
