package route

import (
	"slices"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/translate/pb"
)

// applies tells whether a match is for this client: gateway, port, labels and
// namespace are known when the configuration is made, so they never reach the proxy.
func (s *site) applies(set *model.RouteSet, m *model.Match) bool {
	gateways := set.Gateways
	if len(m.Gateways) > 0 {
		gateways = m.Gateways
	}
	if !slices.Contains(gateways, s.gateway) {
		return false
	}
	for _, c := range m.Conditions {
		if c.Attr == model.AttrPort && (strconv.Itoa(int(s.port)) == c.Value) == c.Not {
			return false
		}
	}
	if s.gateway != MeshGateway {
		return true // source labels and namespaces are for sidecars only
	}
	if m.SourceNamespace != "" && m.SourceNamespace != s.v.Proxy.Namespace() {
		return false
	}
	return model.Matches(m.SourceLabels, s.v.Proxy.Labels())
}

// everything is the match that is always true.
func everything() *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}
}

// match translates the conditions that the proxy has to test.
func match(m *model.Match) *routev3.RouteMatch {
	out := everything()
	if m == nil {
		return out
	}
	for _, c := range m.Conditions {
		switch c.Attr {
		case model.AttrPath:
			setPath(out, c)
		case model.AttrMethod:
			out.Headers = append(out.Headers, header(":method", c))
		case model.AttrAuthority:
			out.Headers = append(out.Headers, header(":authority", c))
		case model.AttrScheme:
			out.Headers = append(out.Headers, header(":scheme", c))
		case model.AttrHeader:
			out.Headers = append(out.Headers, header(c.Name, c))
		case model.AttrClaim:
			out.DynamicMetadata = append(out.DynamicMetadata, claim(c))
		case model.AttrQuery:
			out.QueryParameters = append(out.QueryParameters, query(c))
		}
	}
	slices.SortStableFunc(out.Headers, func(a, b *routev3.HeaderMatcher) int { return strings.Compare(a.Name, b.Name) })
	slices.SortStableFunc(out.QueryParameters, func(a, b *routev3.QueryParameterMatcher) int {
		return strings.Compare(a.Name, b.Name)
	})
	return out
}

func setPath(out *routev3.RouteMatch, c model.Condition) {
	switch c.Op {
	case model.Exact:
		out.PathSpecifier = &routev3.RouteMatch_Path{Path: c.Value}
	case model.Prefix:
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: c.Value}
	case model.PathPrefix:
		if c.Value == "/" {
			out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: "/"}
			break
		}
		out.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: c.Value}
	case model.Regex:
		out.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: pb.RE2(c.Value)}
	}
	if c.IgnoreCase && c.Op != model.Regex {
		out.CaseSensitive = pb.False()
	}
}

func header(name string, c model.Condition) *routev3.HeaderMatcher {
	out := &routev3.HeaderMatcher{Name: name, InvertMatch: c.Not}
	if c.Op == model.Present {
		out.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}
		return out
	}
	out.HeaderMatchSpecifier = &routev3.HeaderMatcher_StringMatch{StringMatch: stringMatch(c)}
	// "without header x: a" holds for a request that has no x at all; Envoy
	// lets a value matcher fail on a missing header even when inverted.
	out.TreatMissingHeaderAsEmpty = c.Not
	return out
}

// claim tests a claim of the request's token: a string, or a list that has one.
func claim(c model.Condition) *matcherv3.MetadataMatcher {
	value := pb.StringValue(pb.Regex(".*"))
	if c.Op != model.Present {
		value = pb.StringValue(stringMatch(c))
	}
	path := strings.Split(strings.TrimSuffix(strings.TrimPrefix(c.Name, "["), "]"), "][")
	out := pb.Claim(path, pb.OrValue(pb.ListValue(value), value))
	out.Invert = c.Not
	return out
}

func query(c model.Condition) *routev3.QueryParameterMatcher {
	out := &routev3.QueryParameterMatcher{Name: c.Name}
	if c.Op == model.Present {
		out.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_PresentMatch{PresentMatch: true}
	} else {
		out.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_StringMatch{StringMatch: stringMatch(c)}
	}
	return out
}

func stringMatch(c model.Condition) *matcherv3.StringMatcher {
	var out *matcherv3.StringMatcher
	switch c.Op {
	case model.Prefix:
		out = pb.Prefix(c.Value)
	case model.Regex:
		return pb.Regex(c.Value)
	default:
		out = pb.Exact(c.Value)
	}
	out.IgnoreCase = c.IgnoreCase
	return out
}

// catchAll tells whether nothing after this route can be reached.
func catchAll(r *routev3.Route) bool {
	m := r.GetMatch()
	return m.GetPrefix() == "/" && len(m.Headers) == 0 && len(m.QueryParameters) == 0 && len(m.DynamicMetadata) == 0
}
