package proxyless

import (
	"net/http"
	"regexp"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/control/translate/route"
)

// channelID is what gRPC hashes a channel by.
const channelID = "io.grpc.channel_id"

// retryWords are those of retry_on that gRPC knows.
var retryWords = []string{"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"}

// restrict makes of a proxy's route those that mean the same to gRPC: none when no
// call can match it, several where gRPC has to be told an alternative in two.
func restrict(r *routev3.Route) []*routev3.Route {
	out := &routev3.Route{Name: r.Name, Match: path(r.Match)}
	a := r.GetRoute()
	if a == nil {
		// Nobody answers for gRPC but a server: such a route fails its calls.
		out.Action = r.Action
	} else {
		out.Action = &routev3.Route_Route{Route: action(a)}
		if f := r.TypedPerFilterConfig[route.FaultFilter]; f != nil {
			out.TypedPerFilterConfig = map[string]*anypb.Any{route.FaultFilter: f}
		}
	}
	// A call has no query, and its token is no business of the client's.
	if len(r.Match.QueryParameters)+len(r.Match.DynamicMetadata) > 0 {
		return nil
	}
	all := []*routev3.Route{out}
	for _, h := range r.Match.Headers {
		alternatives, ok := headers(h)
		if !ok {
			return nil
		}
		all = each(all, alternatives)
	}
	return all
}

// each puts every alternative of a matcher into every route; no alternatives: the
// matcher is always true.
func each(routes []*routev3.Route, alternatives []*routev3.HeaderMatcher) []*routev3.Route {
	if len(alternatives) == 0 {
		return routes
	}
	var out []*routev3.Route
	for _, r := range routes {
		for _, h := range alternatives {
			m := &routev3.RouteMatch{
				PathSpecifier: r.Match.PathSpecifier, CaseSensitive: r.Match.CaseSensitive,
				Headers: append(r.Match.Headers[:len(r.Match.Headers):len(r.Match.Headers)], h),
			}
			out = append(out, &routev3.Route{Name: r.Name, Match: m, Action: r.Action, TypedPerFilterConfig: r.TypedPerFilterConfig})
		}
	}
	return out
}

// path is what a match says of the path.
func path(m *routev3.RouteMatch) *routev3.RouteMatch {
	out := &routev3.RouteMatch{PathSpecifier: m.PathSpecifier, CaseSensitive: m.CaseSensitive}
	if p, ok := m.PathSpecifier.(*routev3.RouteMatch_PathSeparatedPrefix); ok {
		flags := ""
		if m.CaseSensitive != nil && !m.CaseSensitive.Value {
			flags = "(?i)"
		}
		out.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: pb.RE2(flags + regexp.QuoteMeta(p.PathSeparatedPrefix) + "(/.*)?")}
		out.CaseSensitive = nil
	}
	return out
}

// headers are the alternatives that mean the same to gRPC as a matcher; not ok: it is
// never true of a call, or what it asks for is hidden. None: it always is.
func headers(h *routev3.HeaderMatcher) (alternatives []*routev3.HeaderMatcher, ok bool) {
	switch h.Name {
	case ":method":
		return nil, matches(h, http.MethodPost)
	case ":scheme":
		return nil, matches(h, "http") // as a proxy beside the program would see it
	case ":authority":
		return nil, false
	}
	same := &routev3.HeaderMatcher{Name: h.Name, InvertMatch: h.InvertMatch, HeaderMatchSpecifier: h.HeaderMatchSpecifier}
	if !h.TreatMissingHeaderAsEmpty || !h.InvertMatch || h.GetStringMatch() == nil {
		return []*routev3.HeaderMatcher{same}, true
	}
	// "Without x: a" holds also of a call that has no x, which gRPC has to be told apart.
	absent := &routev3.HeaderMatcher{
		Name: h.Name, InvertMatch: true, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
	}
	return []*routev3.HeaderMatcher{absent, same}, true
}

// matches tells whether a matcher is true of a value that is known.
func matches(h *routev3.HeaderMatcher, value string) bool {
	yes := true // presence
	if m := h.GetStringMatch(); m != nil {
		yes = stringMatches(m, value)
	}
	return yes != h.InvertMatch
}

func stringMatches(m *matcherv3.StringMatcher, value string) bool {
	fold := func(s string) string {
		if m.IgnoreCase {
			return strings.ToLower(s)
		}
		return s
	}
	value = fold(value)
	switch p := m.MatchPattern.(type) {
	case *matcherv3.StringMatcher_Exact:
		return value == fold(p.Exact)
	case *matcherv3.StringMatcher_Prefix:
		return strings.HasPrefix(value, fold(p.Prefix))
	case *matcherv3.StringMatcher_SafeRegex:
		re, err := regexp.Compile("^(?:" + p.SafeRegex.GetRegex() + ")$")
		return err == nil && re.MatchString(value)
	}
	return false
}

// action is what gRPC knows of a forwarding action.
func action(a *routev3.RouteAction) *routev3.RouteAction {
	out := &routev3.RouteAction{}
	if w := a.GetWeightedClusters(); w != nil {
		shares := &routev3.WeightedCluster{}
		for _, c := range w.Clusters {
			shares.Clusters = append(shares.Clusters, &routev3.WeightedCluster_ClusterWeight{Name: c.Name, Weight: c.Weight})
		}
		out.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: shares}
	} else {
		out.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: a.GetCluster()}
	}
	if t := a.GetTimeout(); t.AsDuration() > 0 {
		out.MaxStreamDuration = &routev3.RouteAction_MaxStreamDuration{MaxStreamDuration: t}
	}
	out.RetryPolicy = retry(a.RetryPolicy)
	for _, p := range a.HashPolicy {
		out.HashPolicy = append(out.HashPolicy, hash(p))
	}
	return out
}

// hash: what is no header is hashed by the channel.
func hash(p *routev3.RouteAction_HashPolicy) *routev3.RouteAction_HashPolicy {
	if h := p.GetHeader(); h != nil {
		return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_Header_{
			Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: h.HeaderName},
		}}
	}
	return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_FilterState_{
		FilterState: &routev3.RouteAction_HashPolicy_FilterState{Key: channelID},
	}}
}

// retry keeps the causes that gRPC knows; nil: none of them. What fails before it
// has left the client, gRPC tries again by itself.
func retry(p *routev3.RetryPolicy) *routev3.RetryPolicy {
	on := retryOn(p.GetRetryOn())
	if on == "" || p.GetNumRetries().GetValue() == 0 {
		return nil
	}
	out := &routev3.RetryPolicy{RetryOn: on, NumRetries: p.NumRetries}
	if b := p.RetryBackOff; b.GetBaseInterval().AsDuration() > 0 {
		out.RetryBackOff = &routev3.RetryPolicy_RetryBackOff{BaseInterval: b.BaseInterval}
	}
	return out
}

// retryOn are the words of a list that gRPC knows.
func retryOn(list string) string {
	var known []string
	for w := range strings.SplitSeq(list, ",") {
		for _, k := range retryWords {
			if strings.TrimSpace(w) == k {
				known = append(known, k)
			}
		}
	}
	return strings.Join(known, ",")
}
