package pb

import (
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// JWT filter and the key of its metadata under which it puts a token's claims.
const (
	JWTFilter  = "envoy.filters.http.jwt_authn"
	JWTPayload = "payload"
)

// MetadataMatch tests a value of a filter's dynamic metadata.
func MetadataMatch(filter string, path []string, v *matcherv3.ValueMatcher) *matcherv3.MetadataMatcher {
	out := &matcherv3.MetadataMatcher{Filter: filter, Value: v}
	for _, key := range path {
		out.Path = append(out.Path, &matcherv3.MetadataMatcher_PathSegment{
			Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: key},
		})
	}
	return out
}

// Claim tests a claim of the request's token.
func Claim(path []string, v *matcherv3.ValueMatcher) *matcherv3.MetadataMatcher {
	return MetadataMatch(JWTFilter, append([]string{JWTPayload}, path...), v)
}

// StringValue matches a string.
func StringValue(m *matcherv3.StringMatcher) *matcherv3.ValueMatcher {
	return &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{StringMatch: m}}
}

// ListValue matches a list that has such a value.
func ListValue(v *matcherv3.ValueMatcher) *matcherv3.ValueMatcher {
	return &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_ListMatch{
		ListMatch: &matcherv3.ListMatcher{MatchPattern: &matcherv3.ListMatcher_OneOf{OneOf: v}},
	}}
}

// OrValue matches what any of the matchers does.
func OrValue(list ...*matcherv3.ValueMatcher) *matcherv3.ValueMatcher {
	return &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_OrMatch{
		OrMatch: &matcherv3.OrMatcher{ValueMatchers: list},
	}}
}
