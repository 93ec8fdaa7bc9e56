package gatewayapi

import (
	"regexp"
	"slices"
	"strings"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

func (f *filters) redirect(at string, p *gatewayv1.HTTPRequestRedirectFilter) {
	r := &model.Redirect{
		Scheme: or(p.Scheme, ""), Authority: string(or(p.Hostname, "")), Port: uint16(or(p.Port, 0)), Code: or(p.StatusCode, 302),
	}
	if r.Scheme != "" && r.Scheme != "http" && r.Scheme != "https" {
		f.d.Invalid(at+".scheme", document.Suggest(r.Scheme, []string{"http", "https"}), "must be http or https, got %q", r.Scheme)
	}
	if !slices.Contains([]int{301, 302, 303, 307, 308}, r.Code) {
		f.d.Invalid(at+".statusCode", "", "must be one of 301, 302, 303, 307, 308, got %d", r.Code)
	}
	if r.Authority != "" {
		f.d.Host(at+".hostname", r.Authority, false)
	}
	r.URI = f.path(at+".path", p.Path)
	f.rule.Route.Redirect = r
}

func (f *filters) rewrite(at string, p *gatewayv1.HTTPURLRewriteFilter) {
	w := &model.Rewrite{Authority: string(or(p.Hostname, ""))}
	if w.Authority != "" {
		f.d.Host(at+".hostname", w.Authority, false)
	}
	if full := f.path(at+".path", p.Path); full != "" {
		// Whatever the match was: the whole path goes.
		w.RegexMatch, w.RegexReplace = "^.*$", substitution(full)
	}
	f.rule.Route.Rewrite = w
}

// path reads a path modifier: the full path that it sets, if it does; a prefix
// is the rule's.
func (f *filters) path(at string, p *gatewayv1.HTTPPathModifier) string {
	if p == nil {
		return ""
	}
	switch {
	case p.Type == gatewayv1.FullPathHTTPPathModifier && p.ReplaceFullPath != nil:
		if !strings.HasPrefix(*p.ReplaceFullPath, "/") {
			return "/" + *p.ReplaceFullPath
		}
		return *p.ReplaceFullPath
	case p.Type == gatewayv1.PrefixMatchHTTPPathModifier && p.ReplacePrefixMatch != nil:
		f.rule.Prefix = p.ReplacePrefixMatch
	default:
		f.d.Invalid(at, "write type: ReplaceFullPath or ReplacePrefixMatch, and the field of that name", "does not say what to replace")
	}
	return ""
}

// substitution writes a text so that RE2's rewriting takes it as it is.
func substitution(s string) string { return strings.ReplaceAll(s, `\`, `\\`) }

func (f *filters) mirror(at string, p *gatewayv1.HTTPRequestMirrorFilter) {
	m := model.APIMirror{Ref: backendRef(f.d, at+".backendRef", &p.BackendRef), Percent: 100}
	switch {
	case p.Percent != nil && p.Fraction != nil:
		f.d.Invalid(at, "keep one", "only one of percent, fraction may be set")
	case p.Percent != nil:
		m.Percent = float64(*p.Percent)
	case p.Fraction != nil:
		of := max(or(p.Fraction.Denominator, 100), 1)
		if p.Fraction.Numerator > of {
			f.d.Invalid(at+".fraction", "", "the numerator must not be above the denominator")
		}
		m.Percent = float64(p.Fraction.Numerator) * 100 / float64(of)
	}
	f.rule.Mirrors = append(f.rule.Mirrors, m)
}

func cors(p *gatewayv1.HTTPCORSFilter) *model.CORS {
	c := &model.CORS{AllowCredentials: p.AllowCredentials, MaxAge: time.Duration(max(p.MaxAge, 0)) * time.Second}
	if c.MaxAge == 0 {
		c.MaxAge = 5 * time.Second // the API's default
	}
	for _, o := range p.AllowOrigins {
		cond := model.Condition{Attr: model.AttrHeader, Name: "origin", Value: string(o)}
		if strings.Contains(string(o), "*") {
			cond.Op = model.Regex
			cond.Value = strings.ReplaceAll(regexp.QuoteMeta(string(o)), `\*`, ".*")
		}
		c.AllowOrigins = append(c.AllowOrigins, cond)
	}
	for _, m := range p.AllowMethods {
		c.AllowMethods = append(c.AllowMethods, string(m))
	}
	for _, h := range p.AllowHeaders {
		c.AllowHeaders = append(c.AllowHeaders, string(h))
	}
	for _, h := range p.ExposeHeaders {
		c.ExposeHeaders = append(c.ExposeHeaders, string(h))
	}
	return c
}
