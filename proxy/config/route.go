package config

import (
	"errors"
	"fmt"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	templatematchv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/path/match/uri_template/v3"

	"github.com/weftmesh/weft/proxy/http/match"
	"github.com/weftmesh/weft/proxy/route"
)

// defaultRouteTimeout is Envoy's for routes that do not say.
const defaultRouteTimeout = 15 * time.Second

// defaultDirectBody is Envoy's bound of the body of a direct response.
const defaultDirectBody = 4096

// decodeRoutes turns a route configuration into its plain form.
func (d *Decoder) decodeRoutes(m *routev3.RouteConfiguration) (*route.Spec, error) {
	s := &route.Spec{
		Name: m.Name, MostSpecificWins: m.MostSpecificHeaderMutationsWins, IgnorePort: m.IgnorePortInHostMatching,
		VirtualHosts: make([]route.VirtualHost, len(m.VirtualHosts)), Demand: m.Vhds != nil,
	}
	var err error
	if s.RequestHeaders, s.ResponseHeaders, err = bothHeaderOps(m); err != nil {
		return nil, err
	}
	if s.FilterConfig, s.FilterOff, err = d.perFilter(m.TypedPerFilterConfig); err != nil {
		return nil, err
	}
	if s.Mirrors, err = d.mirrors(m.RequestMirrorPolicies); err != nil {
		return nil, err
	}
	most := int(or(m.MaxDirectResponseBodySizeBytes, defaultDirectBody))
	for i, vh := range m.VirtualHosts {
		v := &s.VirtualHosts[i]
		if err := d.virtualHost(vh, v); err != nil {
			return nil, at(err, "virtual_hosts[%d]", i)
		}
		if err := checkDirect(v, most); err != nil {
			return nil, at(err, "virtual_hosts[%d]", i)
		}
	}
	return s, nil
}

// checkDirect bounds the bodies of direct responses.
func checkDirect(v *route.VirtualHost, most int) (err error) {
	n := 0
	v.Each(func(r *route.Route) {
		if b := r.Direct; b != nil && len(b.Body) > most {
			err = at(fmt.Errorf("has %d bytes, max_direct_response_body_size_bytes is %d", len(b.Body), most), "routes[%d].direct_response.body", n)
		}
		n++
	})
	return err
}

// vhds reads where virtual hosts on demand come from, nil: there are none.
func (d *Decoder) vhds(m *routev3.Vhds) (*vhds, error) {
	if m == nil {
		return nil, nil
	}
	if d.StateOfTheWorld {
		return nil, at(errors.New("needs the incremental variant of ADS (DELTA_GRPC)"), "vhds")
	}
	src, err := readSource(m.ConfigSource, "")
	if err != nil {
		return nil, at(err, "vhds.config_source")
	}
	return &vhds{hash: contentHash(m.ConfigSource), timeout: src.timeout}, nil
}

func (d *Decoder) virtualHost(m *routev3.VirtualHost, v *route.VirtualHost) error {
	*v = route.VirtualHost{
		Name: m.Name, Domains: m.Domains, Routes: make([]route.Route, len(m.Routes)),
		RequireTLS:   route.TLSRequirement(m.RequireTls),
		AttemptCount: m.IncludeRequestAttemptCount, ResponseAttemptCount: m.IncludeAttemptCountInResponse,
		TimeoutRetryHeader: m.IncludeIsTimeoutRetryHeader, Hedge: hedgePolicy(m.HedgePolicy),
	}
	var err error
	if v.RequestHeaders, v.ResponseHeaders, err = bothHeaderOps(m); err != nil {
		return err
	}
	if v.FilterConfig, v.FilterOff, err = d.perFilter(m.TypedPerFilterConfig); err != nil {
		return err
	}
	if v.FilterConfig, err = withLimits(v.FilterConfig, m.RateLimits, true, false); err != nil {
		return err
	}
	if v.VirtualClusters, err = d.virtualClusters(m); err != nil {
		return err
	}
	if v.Mirrors, err = d.mirrors(m.RequestMirrorPolicies); err != nil {
		return err
	}
	if v.Retry, err = retryPolicy(m.RetryPolicy); err != nil {
		return at(err, "retry_policy")
	}
	if m.Matcher != nil {
		if len(m.Routes) > 0 {
			return at(errors.New("is not for a virtual host that has routes"), "matcher")
		}
		if v.Matcher, err = d.choice(m.Matcher, v.Name); err != nil {
			return at(err, "matcher")
		}
	}
	for i, r := range m.Routes {
		if err := d.route(r, &v.Routes[i], v.Name); err != nil {
			return at(err, "routes[%d]", i)
		}
	}
	return nil
}

// virtualClusters reads shares of requests that are counted by themselves.
func (d *Decoder) virtualClusters(m *routev3.VirtualHost) (out []route.VirtualCluster, err error) {
	for i, c := range m.VirtualClusters {
		headers, err := headerMatches(c.Headers, "headers")
		if err != nil {
			return nil, at(err, "virtual_clusters[%d]", i)
		}
		v, err := route.NewVirtualCluster(d.FilterStats, m.Name, c.Name, headers)
		if err != nil {
			return nil, at(err, "virtual_clusters[%d].headers", i)
		}
		out = append(out, v)
	}
	if out == nil {
		return nil, nil
	}
	other, err := route.NewVirtualCluster(d.FilterStats, m.Name, "other", nil)
	return append(out, other), err
}

func (d *Decoder) route(m *routev3.Route, r *route.Route, virtualHost string) error {
	*r = route.Route{Name: m.Name, Decorator: m.GetDecorator().GetOperation(), Metadata: plain(m.Metadata)}
	if m.StatPrefix != "" {
		r.Stats = route.NewStats(d.FilterStats, virtualHost, m.StatPrefix)
	}
	var err error
	if r.Match, err = d.routeMatch(m.Match); err != nil {
		return at(err, "match")
	}
	if r.RequestHeaders, r.ResponseHeaders, err = bothHeaderOps(m); err != nil {
		return err
	}
	if r.FilterConfig, r.FilterOff, err = d.perFilter(m.TypedPerFilterConfig); err != nil {
		return err
	}
	if a := m.GetRoute(); a != nil {
		r.FilterConfig, err = withLimits(r.FilterConfig, a.RateLimits, false, a.GetIncludeVhRateLimits().GetValue()) //nolint:staticcheck // deprecated, and in use
		if err != nil {
			return at(err, "route")
		}
	}
	switch a := m.Action.(type) {
	case *routev3.Route_Route:
		r.Forward, err = d.forward(a.Route)
		return at(err, "route")
	case *routev3.Route_Redirect:
		r.Redirect, err = redirect(a.Redirect)
		return at(err, "redirect")
	case *routev3.Route_DirectResponse:
		body, err := match.Data(a.DirectResponse.Body)
		r.Direct = &route.Direct{Status: int(a.DirectResponse.Status), Body: string(body)}
		return at(err, "direct_response.body")
	}
	return errors.New("no action: want route, redirect or direct_response")
}

func (d *Decoder) routeMatch(m *routev3.RouteMatch) (route.Match, error) {
	r := route.Match{IgnoreCase: m.GetCaseSensitive() != nil && !m.CaseSensitive.Value, GRPC: m.GetGrpc() != nil}
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		r.PathKind, r.Path = route.PathPrefix, p.Prefix
	case *routev3.RouteMatch_Path:
		r.PathKind, r.Path = route.PathExact, p.Path
	case *routev3.RouteMatch_PathSeparatedPrefix:
		r.PathKind, r.Path = route.PathSeparatedPrefix, p.PathSeparatedPrefix
	case *routev3.RouteMatch_SafeRegex:
		r.PathKind, r.Path = route.PathRegex, p.SafeRegex.GetRegex()
		if err := match.Regex(r.Path); err != nil {
			return r, at(err, "safe_regex")
		}
	case *routev3.RouteMatch_ConnectMatcher_:
		r.PathKind = route.Connect
	case *routev3.RouteMatch_PathMatchPolicy:
		t := &templatematchv3.UriTemplateMatchConfig{}
		if err := open(p.PathMatchPolicy.GetTypedConfig(), t); err != nil {
			return r, at(err, "path_match_policy.typed_config")
		}
		r.PathKind, r.Path = route.PathTemplate, t.PathTemplate
	default:
		return r, errors.New("no path specifier")
	}
	r.Fraction = d.runtimeFraction(m.RuntimeFraction)
	if t := m.TlsContext; t != nil {
		if t.Presented != nil {
			r.ClientCert = &t.Presented.Value
		}
		if t.Validated != nil {
			r.ClientCertValid = &t.Validated.Value
		}
	}
	var err error
	if r.Headers, err = headerMatches(m.Headers, "headers"); err != nil {
		return r, err
	}
	if r.Query, err = match.Queries(m.QueryParameters); err != nil {
		return r, err
	}
	for i, c := range m.Cookies {
		s, err := match.String(c.StringMatch)
		if err != nil {
			return r, at(err, "cookies[%d].string_match", i)
		}
		r.Cookies = append(r.Cookies, route.CookieMatch{Name: c.Name, Value: s, Invert: c.InvertMatch})
	}
	for i, t := range m.DynamicMetadata {
		mm, err := match.MetadataSpec(t)
		if err != nil {
			return r, at(err, "dynamic_metadata[%d]", i)
		}
		r.Metadata = append(r.Metadata, mm)
	}
	return r, nil
}

func headerMatches(list []*routev3.HeaderMatcher, what string) ([]route.HeaderMatch, error) {
	var out []route.HeaderMatch
	for i, m := range list {
		h, err := match.Header(m)
		if err != nil {
			return nil, at(err, "%s[%d]", what, i)
		}
		out = append(out, h)
	}
	return out, nil
}

func redirect(m *routev3.RedirectAction) (*route.Redirect, error) {
	r := &route.Redirect{
		HTTPS: m.GetHttpsRedirect(), Scheme: m.GetSchemeRedirect(), Host: m.HostRedirect,
		Path: m.GetPathRedirect(), PrefixRewrite: m.GetPrefixRewrite(), StripQuery: m.StripQuery,
	}
	if m.PortRedirect > 65535 {
		return nil, at(fmt.Errorf("%d is not a port", m.PortRedirect), "port_redirect")
	}
	r.Port = uint16(m.PortRedirect)
	switch m.ResponseCode {
	case routev3.RedirectAction_FOUND:
		r.Status = 302
	case routev3.RedirectAction_SEE_OTHER:
		r.Status = 303
	case routev3.RedirectAction_TEMPORARY_REDIRECT:
		r.Status = 307
	case routev3.RedirectAction_PERMANENT_REDIRECT:
		r.Status = 308
	default:
		r.Status = 301
	}
	var err error
	r.RegexRewrite, err = regexRewrite(m.GetRegexRewrite())
	return r, at(err, "regex_rewrite")
}
