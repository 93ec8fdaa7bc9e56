// Package match reads Envoy's matchers, for routes, listeners and the parsers of
// filters: of strings, headers, query parameters, metadata, addresses and shares of
// requests, and whole matcher trees. What it returns is compiled by proxy/route and
// proxy/filter/choice, so that all of them match alike. It is used while
// configuration is parsed only.
package match

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/route"
)

// Supported lists the fields of the messages read here, for the strict check
// of the filters that use them.
var Supported = strict.Table{
	"envoy.config.route.v3.HeaderMatcher": "name exact_match safe_regex_match range_match present_match prefix_match suffix_match " +
		"contains_match string_match invert_match treat_missing_header_as_empty",
	"envoy.config.route.v3.QueryParameterMatcher":   "name string_match present_match",
	"envoy.type.matcher.v3.StringMatcher":           "exact prefix suffix safe_regex contains ignore_case",
	"envoy.type.matcher.v3.RegexMatcher":            "regex google_re2",
	"envoy.type.matcher.v3.RegexMatcher.GoogleRE2":  "",
	"envoy.type.v3.Int64Range":                      "start end",
	"envoy.type.v3.FractionalPercent":               "numerator denominator",
	"envoy.config.core.v3.RuntimeFractionalPercent": "default_value runtime_key",
	"envoy.config.core.v3.CidrRange":                "address_prefix prefix_len",
	"xds.core.v3.CidrRange":                         "address_prefix prefix_len",
}

// Open reads a filter's configuration into m and checks it strictly, then by the API's own constraints.
func Open(a *anypb.Any, m proto.Message, tables ...strict.Table) error {
	if err := a.UnmarshalTo(m); err != nil {
		return err
	}
	c, err := strict.New(append(tables, Supported)...)
	if err != nil {
		return err
	}
	if err := c.Check(m); err != nil {
		return err
	}
	if v, ok := m.(interface{ Validate() error }); ok {
		return v.Validate()
	}
	return nil
}

// String reads a string matcher.
func String(m *matcherv3.StringMatcher) (route.StringMatch, error) {
	s := route.StringMatch{IgnoreCase: m.GetIgnoreCase()}
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		s.Kind, s.Value = route.StringExact, p.Exact
	case *matcherv3.StringMatcher_Prefix:
		s.Kind, s.Value = route.StringPrefix, p.Prefix
	case *matcherv3.StringMatcher_Suffix:
		s.Kind, s.Value = route.StringSuffix, p.Suffix
	case *matcherv3.StringMatcher_Contains:
		s.Kind, s.Value = route.StringContains, p.Contains
	case *matcherv3.StringMatcher_SafeRegex:
		s.Kind, s.Value = route.StringRegex, p.SafeRegex.GetRegex()
		s.IgnoreCase = false // Envoy: it has no effect on safe_regex
		return s, strict.At(Regex(s.Value), "safe_regex")
	default:
		return s, errors.New("no pattern is set")
	}
	return s, nil
}

// XDSString reads the string matcher of xDS's own matcher trees.
func XDSString(m *xdsmatcherv3.StringMatcher) (route.StringMatch, error) {
	s := route.StringMatch{IgnoreCase: m.GetIgnoreCase()}
	switch p := m.GetMatchPattern().(type) {
	case *xdsmatcherv3.StringMatcher_Exact:
		s.Kind, s.Value = route.StringExact, p.Exact
	case *xdsmatcherv3.StringMatcher_Prefix:
		s.Kind, s.Value = route.StringPrefix, p.Prefix
	case *xdsmatcherv3.StringMatcher_Suffix:
		s.Kind, s.Value = route.StringSuffix, p.Suffix
	case *xdsmatcherv3.StringMatcher_Contains:
		s.Kind, s.Value = route.StringContains, p.Contains
	case *xdsmatcherv3.StringMatcher_SafeRegex:
		s.Kind, s.Value = route.StringRegex, p.SafeRegex.GetRegex()
		return s, strict.At(Regex(s.Value), "safe_regex")
	default:
		return s, errors.New("no pattern is set")
	}
	return s, nil
}

// Regex tells what is wrong with an expression.
func Regex(expr string) error {
	_, err := regexp.Compile(expr)
	return err
}

// Strings reads and compiles a list, of which one has to match.
func Strings(list ...*matcherv3.StringMatcher) (route.Strings, error) {
	specs := make([]route.StringMatch, 0, len(list))
	for i, m := range list {
		s, err := String(m)
		if err != nil {
			return route.Strings{}, fmt.Errorf("[%d]: %w", i, err)
		}
		specs = append(specs, s)
	}
	return route.NewStrings(specs...)
}

// Headers reads and compiles a list, of which all have to match.
func Headers(list ...*routev3.HeaderMatcher) (route.HeaderTests, error) {
	specs := make([]route.HeaderMatch, 0, len(list))
	for _, m := range list {
		h, err := Header(m)
		if err != nil {
			return route.HeaderTests{}, fmt.Errorf("%s: %w", m.GetName(), err)
		}
		specs = append(specs, h)
	}
	return route.NewHeaderTests(specs...)
}

// Header reads the test of one header.
func Header(m *routev3.HeaderMatcher) (route.HeaderMatch, error) {
	h := route.HeaderMatch{Name: strings.ToLower(m.GetName()), Invert: m.GetInvertMatch(), MissingAsEmpty: m.GetTreatMissingHeaderAsEmpty()}
	value := func(k route.StringKind, v string) { h.Value = &route.StringMatch{Kind: k, Value: v} }
	switch s := m.GetHeaderMatchSpecifier().(type) {
	case nil:
	case *routev3.HeaderMatcher_PresentMatch:
		h.Absent = !s.PresentMatch
	case *routev3.HeaderMatcher_ExactMatch:
		value(route.StringExact, s.ExactMatch)
	case *routev3.HeaderMatcher_PrefixMatch:
		value(route.StringPrefix, s.PrefixMatch)
	case *routev3.HeaderMatcher_SuffixMatch:
		value(route.StringSuffix, s.SuffixMatch)
	case *routev3.HeaderMatcher_ContainsMatch:
		value(route.StringContains, s.ContainsMatch)
	case *routev3.HeaderMatcher_SafeRegexMatch:
		value(route.StringRegex, s.SafeRegexMatch.GetRegex())
		return h, strict.At(Regex(h.Value.Value), "safe_regex_match")
	case *routev3.HeaderMatcher_RangeMatch:
		h.Range = &route.Range{Start: s.RangeMatch.GetStart(), End: s.RangeMatch.GetEnd()}
	case *routev3.HeaderMatcher_StringMatch:
		v, err := String(s.StringMatch)
		h.Value = &v
		return h, strict.At(err, "string_match")
	default:
		return h, fmt.Errorf("%T is not supported", s)
	}
	return h, nil
}

// Queries reads the tests of query parameters.
func Queries(list []*routev3.QueryParameterMatcher) ([]route.QueryMatch, error) {
	var out []route.QueryMatch
	for i, q := range list {
		t := route.QueryMatch{Name: q.Name}
		switch s := q.GetQueryParameterMatchSpecifier().(type) {
		case *routev3.QueryParameterMatcher_StringMatch:
			v, err := String(s.StringMatch)
			if err != nil {
				return nil, strict.At(err, "query_parameters[%d].string_match", i)
			}
			t.Value = &v
		case *routev3.QueryParameterMatcher_PresentMatch:
			t.Absent = !s.PresentMatch
		}
		out = append(out, t)
	}
	return out, nil
}

// Fraction reads a share of requests; a nil one is none at all.
func Fraction(p *typev3.FractionalPercent) route.Fraction {
	f := route.Fraction{Numerator: p.GetNumerator(), Denominator: 100}
	switch p.GetDenominator() {
	case typev3.FractionalPercent_TEN_THOUSAND:
		f.Denominator = 10_000
	case typev3.FractionalPercent_MILLION:
		f.Denominator = 1_000_000
	}
	return f
}
