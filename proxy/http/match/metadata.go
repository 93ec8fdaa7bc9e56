package match

import (
	"errors"
	"fmt"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/route"
)

// SupportedMetadata lists the fields of a metadata matcher.
var SupportedMetadata = strict.Table{
	"envoy.type.matcher.v3.MetadataMatcher":             "filter path value invert",
	"envoy.type.matcher.v3.MetadataMatcher.PathSegment": "key",
	"envoy.type.matcher.v3.ValueMatcher":                "null_match double_match string_match bool_match present_match list_match or_match",
	"envoy.type.matcher.v3.ValueMatcher.NullMatch":      "",
	"envoy.type.matcher.v3.DoubleMatcher":               "range exact",
	"envoy.type.v3.DoubleRange":                         "start end",
	"envoy.type.matcher.v3.ListMatcher":                 "one_of",
	"envoy.type.matcher.v3.OrMatcher":                   "value_matchers",
}

// Metadata reads and compiles a test of dynamic metadata.
func Metadata(m *matcherv3.MetadataMatcher) (*route.MetadataTest, error) {
	spec := route.MetadataMatch{Filter: m.GetFilter(), Invert: m.GetInvert()}
	for _, p := range m.GetPath() {
		spec.Path = append(spec.Path, p.GetKey())
	}
	var err error
	if spec.Value, err = metadataValue(m.GetValue()); err != nil {
		return nil, fmt.Errorf("value.%w", err)
	}
	t, err := route.NewMetadataTest(spec)
	return &t, err
}

func metadataValue(m *matcherv3.ValueMatcher) (v route.ValueMatch, err error) {
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.ValueMatcher_NullMatch_:
		v.Null = true
	case *matcherv3.ValueMatcher_StringMatch:
		s, err := String(p.StringMatch)
		if err != nil {
			return v, fmt.Errorf("string_match: %w", err)
		}
		v.String = &s
	case *matcherv3.ValueMatcher_BoolMatch:
		v.Bool = &p.BoolMatch
	case *matcherv3.ValueMatcher_PresentMatch:
		v.Present = p.PresentMatch
	case *matcherv3.ValueMatcher_DoubleMatch:
		switch n := p.DoubleMatch.GetMatchPattern().(type) {
		case *matcherv3.DoubleMatcher_Exact:
			v.Number = &n.Exact
		case *matcherv3.DoubleMatcher_Range:
			v.Numbers = &[2]float64{n.Range.GetStart(), n.Range.GetEnd()}
		default:
			return v, errors.New("double_match: no pattern is set")
		}
	case *matcherv3.ValueMatcher_ListMatch:
		in, err := metadataValue(p.ListMatch.GetOneOf())
		if err != nil {
			return v, fmt.Errorf("list_match.one_of.%w", err)
		}
		v.OneOf = &in
	case *matcherv3.ValueMatcher_OrMatch:
		for i, o := range p.OrMatch.GetValueMatchers() {
			in, err := metadataValue(o)
			if err != nil {
				return v, fmt.Errorf("or_match.value_matchers[%d].%w", i, err)
			}
			v.AnyOf = append(v.AnyOf, in)
		}
	default:
		return v, errors.New("match_pattern: is missing")
	}
	return v, nil
}
