package config

import (
	"errors"
	"fmt"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftmesh/weft/proxy/route"
)

// metadataMatch reads a test of dynamic metadata.
func metadataMatch(m *matcherv3.MetadataMatcher) (route.MetadataMatch, error) {
	out := route.MetadataMatch{Filter: m.GetFilter(), Invert: m.GetInvert()}
	for _, p := range m.GetPath() {
		out.Path = append(out.Path, p.GetKey())
	}
	var err error
	out.Value, err = valueMatch(m.GetValue())
	return out, at(err, "value")
}

func valueMatch(m *matcherv3.ValueMatcher) (v route.ValueMatch, err error) {
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.ValueMatcher_NullMatch_:
		v.Null = true
	case *matcherv3.ValueMatcher_StringMatch:
		s, err := stringMatch(p.StringMatch)
		v.String = &s
		return v, at(err, "string_match")
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
			return v, at(errors.New("no pattern is set"), "double_match")
		}
	case *matcherv3.ValueMatcher_ListMatch:
		in, err := valueMatch(p.ListMatch.GetOneOf())
		v.OneOf = &in
		return v, at(err, "list_match.one_of")
	case *matcherv3.ValueMatcher_OrMatch:
		for i, o := range p.OrMatch.GetValueMatchers() {
			in, err := valueMatch(o)
			if err != nil {
				return v, at(err, "or_match.value_matchers[%d]", i)
			}
			v.AnyOf = append(v.AnyOf, in)
		}
	default:
		return v, fmt.Errorf("%T is not supported: no pattern is set", p)
	}
	return v, nil
}
