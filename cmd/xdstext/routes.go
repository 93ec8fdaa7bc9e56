package xdstext

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftmesh/weft/cli"
)

// Domains are those of a virtual host without the names whose root is written out
// ("reviews.default.svc.cluster.local."): each stands beside the one without the dot.
func Domains(all []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(d string) bool { return strings.HasSuffix(d, ".") })
}

// fewDomains is how many domains of a virtual host are shown.
const fewDomains = 2

func hostRows(t *cli.Table, config string, vh *routev3.VirtualHost) {
	domains := Domains(vh.Domains)
	more := ""
	if n := len(domains) - fewDomains; n > 0 {
		domains, more = domains[:fewDomains], fmt.Sprintf(" +%d", n)
	}
	for i, r := range vh.Routes {
		if i == 0 {
			t.Row(config, vh.Name, strings.Join(domains, ",")+more, Match(r.Match), Action(r), By(r.Metadata))
		} else {
			t.Row(cli.Cell{Text: " "}, cli.Cell{Text: " "}, cli.Cell{Text: " "}, Match(r.Match), Action(r), By(r.Metadata))
		}
	}
	if len(vh.Routes) == 0 {
		t.Row(config, vh.Name, strings.Join(domains, ",")+more, "", "", "")
	}
}

// Match is what a route's match asks for: "/api* and header end-user = ada".
func Match(m *routev3.RouteMatch) string {
	var parts []string
	switch p := m.GetPathSpecifier().(type) {
	case *routev3.RouteMatch_Prefix:
		if p.Prefix != "/" {
			parts = append(parts, "path "+p.Prefix+"*")
		}
	case *routev3.RouteMatch_Path:
		parts = append(parts, "path "+p.Path)
	case *routev3.RouteMatch_SafeRegex:
		parts = append(parts, "path ~ "+p.SafeRegex.GetRegex())
	case *routev3.RouteMatch_PathSeparatedPrefix:
		parts = append(parts, "path "+p.PathSeparatedPrefix+"[/*]")
	case *routev3.RouteMatch_ConnectMatcher_:
		parts = append(parts, "CONNECT")
	}
	for _, h := range m.GetHeaders() {
		parts = append(parts, headerMatch(h))
	}
	for _, q := range m.GetQueryParameters() {
		s := "query " + q.Name
		if v := q.GetStringMatch(); v != nil {
			s += " " + StringMatch(v)
		}
		parts = append(parts, s)
	}
	for _, d := range m.GetDynamicMetadata() {
		var path []string
		for _, p := range d.Path {
			path = append(path, p.GetKey())
		}
		parts = append(parts, "metadata "+d.Filter+" "+strings.Join(path, "."))
	}
	if g := m.GetGrpc(); g != nil {
		parts = append(parts, "gRPC")
	}
	if m.GetRuntimeFraction() != nil {
		parts = append(parts, "a share")
	}
	return orAll(strings.Join(parts, " and "))
}

func headerMatch(h *routev3.HeaderMatcher) string {
	not := ""
	if h.InvertMatch {
		not = "not "
	}
	name := not + "header " + h.Name
	switch h.Name {
	case ":method", ":authority", ":scheme":
		name = not + h.Name[1:]
	}
	switch s := h.GetHeaderMatchSpecifier().(type) {
	case *routev3.HeaderMatcher_StringMatch:
		return name + " " + StringMatch(s.StringMatch)
	case *routev3.HeaderMatcher_PresentMatch:
		if !s.PresentMatch {
			return "no " + name
		}
	}
	return name
}

// StringMatch is what a matcher of strings asks for: "= ada", "~ a.*", "a*".
func StringMatch(m *matcherv3.StringMatcher) string {
	s := ""
	switch p := m.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		s = "= " + p.Exact
	case *matcherv3.StringMatcher_Prefix:
		s = "= " + p.Prefix + "*"
	case *matcherv3.StringMatcher_Suffix:
		s = "= *" + p.Suffix
	case *matcherv3.StringMatcher_Contains:
		s = "= *" + p.Contains + "*"
	case *matcherv3.StringMatcher_SafeRegex:
		s = "~ " + p.SafeRegex.GetRegex()
	}
	if m.GetIgnoreCase() {
		s += " (any case)"
	}
	return s
}

// Action is what a route does: the clusters that it leads to, with their shares.
func Action(r *routev3.Route) string {
	switch a := r.GetAction().(type) {
	case *routev3.Route_Redirect:
		d := a.Redirect
		return "redirect to " + text("", d.GetSchemeRedirect(), strings.TrimPrefix(d.GetHostRedirect(), "/"), d.GetPathRedirect(), d.GetPrefixRewrite())
	case *routev3.Route_DirectResponse:
		return "answer " + strconv.Itoa(int(a.DirectResponse.Status))
	case *routev3.Route_Route:
		if w := a.Route.GetWeightedClusters(); w != nil {
			var total uint32
			for _, c := range w.Clusters {
				total += c.GetWeight().GetValue()
			}
			var parts []string
			for _, c := range w.Clusters {
				parts = append(parts, fmt.Sprintf("%s %.4g%%", c.Name, 100*float64(c.GetWeight().GetValue())/float64(max(total, 1))))
			}
			return strings.Join(parts, ", ")
		}
		if h := a.Route.GetClusterHeader(); h != "" {
			return "by header " + h
		}
		return a.Route.GetCluster()
	}
	return "none"
}
