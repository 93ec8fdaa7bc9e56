package route

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/wire"
)

// forward makes the action that sends requests to destinations.
func (s *site) forward(out *routev3.Route, r *model.Route) {
	action := &routev3.RouteAction{AppendXForwardedHost: s.told()}
	setTimeout(action, r)
	setRewrite(action, r.Rewrite)
	for i := range r.Mirrors {
		if r.Mirrors[i].Percent == 0 {
			continue // said to be off
		}
		action.RequestMirrorPolicies = append(action.RequestMirrorPolicies, &routev3.RouteAction_RequestMirrorPolicy{
			Cluster:         s.cluster(&r.Mirrors[i].Destination),
			RuntimeFraction: pb.RuntimeFraction(r.Mirrors[i].Percent),
			// Istio's: the copy has the request's own host, and no spans.
			DisableShadowHostSuffixAppend: true,
			TraceSampled:                  pb.False(),
		})
	}
	if slices.ContainsFunc(r.Destinations, func(d model.Destination) bool { return d.Invalid }) {
		action.ClusterNotFoundResponseCode = routev3.RouteAction_INTERNAL_SERVER_ERROR
	}
	live := slices.DeleteFunc(slices.Clone(r.Destinations), func(d model.Destination) bool {
		return len(r.Destinations) > 1 && d.Weight == 0
	})
	if len(live) == 1 {
		d := &live[0]
		name := s.cluster(d)
		action.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: name}
		setHeaders(out, d.Headers)
		if _, port, _, host, ok := wire.SplitClusterName(name); ok {
			out.Decorator = decorator(out, host, port)
		}
	} else {
		action.ClusterSpecifier = s.weighted(live)
	}
	if host := authorityOf(r.Headers.Request); host != "" {
		action.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: host}
	}
	if len(live) == 1 {
		if host := authorityOf(live[0].Headers.Request); host != "" {
			action.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: host}
		}
	}
	action.HashPolicy = s.hashPolicies(live)
	action.RetryPolicy = retryPolicy(r.Retry, s.v.Mesh.DefaultRetry, len(action.HashPolicy) > 0)
	out.Action = &routev3.Route_Route{Route: action}
}

func (s *site) weighted(list []model.Destination) *routev3.RouteAction_WeightedClusters {
	w := &routev3.WeightedCluster{}
	for i := range list {
		d := &list[i]
		c := &routev3.WeightedCluster_ClusterWeight{
			Name:                    s.cluster(d),
			Weight:                  pb.U32(d.Weight),
			RequestHeadersToAdd:     headerValues(d.Headers.Request),
			RequestHeadersToRemove:  d.Headers.Request.Remove,
			ResponseHeadersToAdd:    headerValues(d.Headers.Response),
			ResponseHeadersToRemove: d.Headers.Response.Remove,
		}
		if host := authorityOf(d.Headers.Request); host != "" {
			c.HostRewriteSpecifier = &routev3.WeightedCluster_ClusterWeight_HostRewriteLiteral{HostRewriteLiteral: host}
		}
		w.Clusters = append(w.Clusters, c)
	}
	return &routev3.RouteAction_WeightedClusters{WeightedClusters: w}
}

// setTimeout: without one, none (Istio's default), and a client's grpc-timeout
// is honoured up to the same bound. That bound is the deprecated field: a route
// with the newer max_stream_duration has no timeout at all in Envoy.
func setTimeout(action *routev3.RouteAction, r *model.Route) {
	action.Timeout = pb.Duration(r.Timeout)
	action.MaxGrpcTimeout = action.Timeout
}

// decorator names the operation in traces: "host:port/path*".
func decorator(r *routev3.Route, host string, port uint16) *routev3.Decorator {
	path := "/*"
	switch p := r.Match.PathSpecifier.(type) {
	case *routev3.RouteMatch_Path:
		path = p.Path
	case *routev3.RouteMatch_Prefix:
		path = p.Prefix + "*"
	case *routev3.RouteMatch_PathSeparatedPrefix:
		path = p.PathSeparatedPrefix + "*"
	case *routev3.RouteMatch_SafeRegex:
		path = p.SafeRegex.Regex
	}
	return &routev3.Decorator{Operation: host + ":" + strconv.Itoa(int(port)) + path}
}

func setRewrite(action *routev3.RouteAction, w *model.Rewrite) {
	if w == nil {
		return
	}
	switch {
	case w.RegexMatch != "":
		action.RegexRewrite = &matcherv3.RegexMatchAndSubstitute{
			Pattern: pb.RE2(w.RegexMatch), Substitution: w.RegexReplace,
		}
	case w.URI != "":
		action.PrefixRewrite = w.URI
	}
	switch {
	case w.AutoAuthority:
		action.HostRewriteSpecifier = &routev3.RouteAction_AutoHostRewrite{AutoHostRewrite: pb.True()}
	case w.Authority != "":
		action.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: w.Authority}
	}
}

// authorityOf is the new authority when a header operation sets one: Envoy
// changes it by rewriting the host, not as a header.
func authorityOf(op model.HeaderOp) string {
	for _, k := range pb.Keys(op.Set) {
		if isAuthority(k) {
			return op.Set[k]
		}
	}
	return ""
}

func isAuthority(name string) bool {
	return strings.EqualFold(name, "host") || strings.EqualFold(name, ":authority")
}

// setHeaders adds the operations to the route's.
func setHeaders(out *routev3.Route, h model.HeaderOps) {
	out.RequestHeadersToAdd = append(out.RequestHeadersToAdd, headerValues(h.Request)...)
	out.RequestHeadersToRemove = append(out.RequestHeadersToRemove, h.Request.Remove...)
	out.ResponseHeadersToAdd = append(out.ResponseHeadersToAdd, headerValues(h.Response)...)
	out.ResponseHeadersToRemove = append(out.ResponseHeadersToRemove, h.Response.Remove...)
}

func headerValues(op model.HeaderOp) []*corev3.HeaderValueOption {
	var out []*corev3.HeaderValueOption
	add := func(m map[string]string, action corev3.HeaderValueOption_HeaderAppendAction) {
		for _, k := range pb.Keys(m) {
			if isAuthority(k) {
				continue
			}
			out = append(out, &corev3.HeaderValueOption{
				Header: &corev3.HeaderValue{Key: k, Value: m[k]}, AppendAction: action,
			})
		}
	}
	add(op.Set, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
	add(op.Add, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD)
	return out
}

func (s *site) redirect(r *model.Redirect) *routev3.Route_Redirect {
	a := &routev3.RedirectAction{HostRedirect: r.Authority}
	switch {
	case r.RegexMatch != "":
		a.PathRewriteSpecifier = &routev3.RedirectAction_RegexRewrite{RegexRewrite: &matcherv3.RegexMatchAndSubstitute{
			Pattern: pb.RE2(r.RegexMatch), Substitution: r.RegexReplace,
		}}
	case r.PrefixRewrite != "":
		a.PathRewriteSpecifier = &routev3.RedirectAction_PrefixRewrite{PrefixRewrite: r.PrefixRewrite}
	case r.URI != "":
		a.PathRewriteSpecifier = &routev3.RedirectAction_PathRedirect{PathRedirect: r.URI}
	}
	if r.Scheme != "" {
		a.SchemeRewriteSpecifier = &routev3.RedirectAction_SchemeRedirect{SchemeRedirect: r.Scheme}
	}
	switch {
	case r.PortFromRequest:
		a.PortRedirect = uint32(s.port)
	case r.Port != 0:
		a.PortRedirect = uint32(r.Port)
	}
	switch r.Code {
	case http.StatusFound:
		a.ResponseCode = routev3.RedirectAction_FOUND
	case http.StatusSeeOther:
		a.ResponseCode = routev3.RedirectAction_SEE_OTHER
	case http.StatusTemporaryRedirect:
		a.ResponseCode = routev3.RedirectAction_TEMPORARY_REDIRECT
	case http.StatusPermanentRedirect:
		a.ResponseCode = routev3.RedirectAction_PERMANENT_REDIRECT
	}
	return &routev3.Route_Redirect{Redirect: a}
}

func direct(d *model.DirectResponse) *routev3.Route_DirectResponse {
	a := &routev3.DirectResponseAction{Status: uint32(d.Status)}
	if d.Body != "" {
		a.Body = &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: d.Body}}
		if d.Binary {
			a.Body.Specifier = &corev3.DataSource_InlineBytes{InlineBytes: []byte(d.Body)}
		}
	}
	return &routev3.Route_DirectResponse{DirectResponse: a}
}
