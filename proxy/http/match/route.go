package match

import (
	"errors"
	"fmt"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/route"
)

// SupportedRoutes lists the fields that Route reads.
var SupportedRoutes = strict.Table{
	"envoy.config.route.v3.RouteMatch":                "prefix path safe_regex connect_matcher path_separated_prefix case_sensitive headers query_parameters",
	"envoy.config.route.v3.RouteMatch.ConnectMatcher": "",
}

// Route reads and compiles what a route matches by, for filters that have rules of their own.
func Route(m *routev3.RouteMatch) (*route.Matcher, error) {
	r := route.Match{IgnoreCase: m.GetCaseSensitive() != nil && !m.CaseSensitive.Value}
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		r.PathKind, r.Path = route.PathPrefix, p.Prefix
	case *routev3.RouteMatch_Path:
		r.PathKind, r.Path = route.PathExact, p.Path
	case *routev3.RouteMatch_PathSeparatedPrefix:
		r.PathKind, r.Path = route.PathSeparatedPrefix, p.PathSeparatedPrefix
	case *routev3.RouteMatch_SafeRegex:
		r.PathKind, r.Path = route.PathRegex, p.SafeRegex.GetRegex()
	case *routev3.RouteMatch_ConnectMatcher_:
		r.PathKind = route.Connect
	default:
		return nil, errors.New("path_specifier: is missing")
	}
	for _, h := range m.GetHeaders() {
		t, err := Header(h)
		if err != nil {
			return nil, fmt.Errorf("headers: %s: %w", h.GetName(), err)
		}
		r.Headers = append(r.Headers, t)
	}
	var err error
	if r.Query, err = Queries(m.GetQueryParameters()); err != nil {
		return nil, err
	}
	return route.NewMatcher(r)
}
