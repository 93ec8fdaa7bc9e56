package match

import (
	"errors"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/type/metadata/v3"

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
	spec, err := MetadataSpec(m)
	if err != nil {
		return nil, err
	}
	t, err := route.NewMetadataTest(spec)
	return &t, err
}

// MetadataSpec reads a test of dynamic metadata.
func MetadataSpec(m *matcherv3.MetadataMatcher) (route.MetadataMatch, error) {
	spec := route.MetadataMatch{Filter: m.GetFilter(), Invert: m.GetInvert()}
	for _, p := range m.GetPath() {
		spec.Path = append(spec.Path, p.GetKey())
	}
	var err error
	spec.Value, err = metadataValue(m.GetValue())
	return spec, strict.At(err, "value")
}

func metadataValue(m *matcherv3.ValueMatcher) (v route.ValueMatch, err error) {
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.ValueMatcher_NullMatch_:
		v.Null = true
	case *matcherv3.ValueMatcher_StringMatch:
		s, err := String(p.StringMatch)
		v.String = &s
		return v, strict.At(err, "string_match")
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
			return v, strict.At(errors.New("no pattern is set"), "double_match")
		}
	case *matcherv3.ValueMatcher_ListMatch:
		in, err := metadataValue(p.ListMatch.GetOneOf())
		v.OneOf = &in
		return v, strict.At(err, "list_match.one_of")
	case *matcherv3.ValueMatcher_OrMatch:
		for i, o := range p.OrMatch.GetValueMatchers() {
			in, err := metadataValue(o)
			if err != nil {
				return v, strict.At(err, "or_match.value_matchers[%d]", i)
			}
			v.AnyOf = append(v.AnyOf, in)
		}
	default:
		return v, strict.At(errors.New("no pattern is set"), "match_pattern")
	}
	return v, nil
}

// MetadataPath is a namespace of metadata, and the keys inside.
func MetadataPath(m *metadatav3.MetadataKey) []string {
	out := []string{m.GetKey()}
	for _, p := range m.GetPath() {
		out = append(out, p.GetKey())
	}
	return out
}
