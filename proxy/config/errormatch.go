package config

import (
	"errors"
	"fmt"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/matcher/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/route"
)

// responseTest judges the headers of a response.
type responseTest func(*filter.Headers) bool

// errorMatcher reads which responses are errors for outlier detection; nil: those of
// 500 and above.
func errorMatcher(m *httpv3.HttpProtocolOptions_OutlierDetection) (responseTest, error) {
	if m.GetErrorMatcher() == nil {
		return nil, nil
	}
	t, err := responsePredicate(m.ErrorMatcher)
	return t, at(err, "error_matcher")
}

func responsePredicate(m *matcherv3.MatchPredicate) (responseTest, error) {
	switch r := m.Rule.(type) {
	case *matcherv3.MatchPredicate_AnyMatch:
		return func(*filter.Headers) bool { return true }, nil
	case *matcherv3.MatchPredicate_HttpResponseHeadersMatch:
		list, err := headerMatches(r.HttpResponseHeadersMatch.GetHeaders(), "headers")
		if err != nil {
			return nil, at(err, "http_response_headers_match")
		}
		tests, err := route.NewHeaderTests(list...)
		return tests.All, at(err, "http_response_headers_match")
	case *matcherv3.MatchPredicate_NotMatch:
		t, err := responsePredicate(r.NotMatch)
		return func(h *filter.Headers) bool { return !t(h) }, at(err, "not_match")
	case *matcherv3.MatchPredicate_OrMatch:
		list, err := responsePredicates(r.OrMatch)
		return func(h *filter.Headers) bool { return anyOf(list, h, true) }, at(err, "or_match")
	case *matcherv3.MatchPredicate_AndMatch:
		list, err := responsePredicates(r.AndMatch)
		return func(h *filter.Headers) bool { return !anyOf(list, h, false) }, at(err, "and_match")
	case nil:
		return nil, errors.New("no rule is given")
	default:
		return nil, fmt.Errorf("%T is not supported: only headers of responses are looked at", r)
	}
}

func responsePredicates(m *matcherv3.MatchPredicate_MatchSet) ([]responseTest, error) {
	out := make([]responseTest, 0, len(m.GetRules()))
	for i, r := range m.GetRules() {
		t, err := responsePredicate(r)
		if err != nil {
			return nil, at(err, "rules[%d]", i)
		}
		out = append(out, t)
	}
	return out, nil
}

// anyOf tells whether one of the tests says want.
func anyOf(list []responseTest, h *filter.Headers, want bool) bool {
	for _, t := range list {
		if t(h) == want {
			return true
		}
	}
	return false
}
