package gatewayapi

import (
	"slices"
	"strconv"
	"strings"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

func convertHTTPRoute(d *document.Document) []model.Object {
	s, ok := spec[gatewayv1.HTTPRouteSpec](d)
	if !ok {
		return nil
	}
	out := route(d, &s.CommonRouteSpec, s.Hostnames)
	if len(s.Rules) == 0 {
		s.Rules = []gatewayv1.HTTPRouteRule{{}}
	}
	for i := range s.Rules {
		out.Rules = append(out.Rules, httpRule(d, document.At("spec.rules", i), &s.Rules[i]))
	}
	return []model.Object{out}
}

func httpRule(d *document.Document, at string, p *gatewayv1.HTTPRouteRule) model.APIRule {
	r := model.APIRule{Name: string(or(p.Name, "")), Field: at}
	r.Route.Name = r.Name
	for i := range p.Matches {
		r.Matches = append(r.Matches, httpMatch(d, document.At(at+".matches", i), &p.Matches[i]))
	}
	f := filters{d: d, rule: &r}
	for i := range p.Filters {
		f.http(document.At(at+".filters", i), &p.Filters[i])
	}
	for i := range p.BackendRefs {
		b := &p.BackendRefs[i]
		bat := document.At(at+".backendRefs", i)
		e := model.APIBackend{Ref: backendRef(d, bat, &b.BackendObjectReference), Weight: uint32(or(b.Weight, 1))}
		for j := range b.Filters {
			backendFilter(d, document.At(bat+".filters", j), &b.Filters[j], &e)
		}
		r.Backends = append(r.Backends, e)
	}
	if r.Route.Redirect != nil && len(r.Backends) > 0 {
		d.Invalid(at+".backendRefs", "remove them, or the filter RequestRedirect", "has no use beside a redirect")
	}
	if r.Route.Redirect != nil && r.Route.Rewrite != nil {
		d.Invalid(at+".filters", "keep one", "only one of RequestRedirect, URLRewrite may be there")
	}
	if r.Prefix != nil {
		for i := range r.Matches {
			if c := pathOf(&r.Matches[i]); c != nil && c.Op != model.PathPrefix {
				d.Invalid(document.At(at+".matches", i)+".path", "write type: PathPrefix", "must be a prefix for ReplacePrefixMatch to replace")
			}
		}
	}
	timeouts(d, at, p, &r.Route)
	return r
}

func pathOf(m *model.Match) *model.Condition {
	for i := range m.Conditions {
		if m.Conditions[i].Attr == model.AttrPath {
			return &m.Conditions[i]
		}
	}
	return nil
}

func httpMatch(d *document.Document, at string, p *gatewayv1.HTTPRouteMatch) model.Match {
	var m model.Match
	if p.Path != nil {
		c := model.Condition{Attr: model.AttrPath, Value: or(p.Path.Value, "/")}
		switch t := or(p.Path.Type, gatewayv1.PathMatchPathPrefix); t {
		case gatewayv1.PathMatchExact:
		case gatewayv1.PathMatchPathPrefix:
			c.Op = model.PathPrefix
			if c.Value != "/" {
				c.Value = strings.TrimRight(c.Value, "/")
			}
		case gatewayv1.PathMatchRegularExpression:
			c.Op = model.Regex
			d.Regex(at+".path.value", c.Value)
		default:
			d.Invalid(at+".path.type", document.Suggest(string(t), []string{"Exact", "PathPrefix", "RegularExpression"}), "%q is none of Exact, PathPrefix, RegularExpression", t)
		}
		if c.Op != model.Regex && !strings.HasPrefix(or(p.Path.Value, "/"), "/") {
			d.Invalid(at+".path.value", "write /"+c.Value, "%q cannot match: a path begins with \"/\"", c.Value)
		}
		if c.Op != model.PathPrefix || c.Value != "/" {
			m.Conditions = append(m.Conditions, c)
		}
	}
	if p.Method != nil {
		if v := string(*p.Method); v != strings.ToUpper(v) || v == "" {
			d.Invalid(at+".method", "write it in upper case", "%q is not a method", v)
		}
		m.Conditions = append(m.Conditions, model.Condition{Attr: model.AttrMethod, Value: string(*p.Method)})
	}
	for i, h := range p.Headers {
		name := strings.ToLower(string(h.Name))
		m.Conditions = named(d, document.At(at+".headers", i), m.Conditions,
			model.Condition{Attr: model.AttrHeader, Name: name, Op: op(or(h.Type, gatewayv1.HeaderMatchExact)), Value: h.Value})
	}
	for i, q := range p.QueryParams {
		m.Conditions = named(d, document.At(at+".queryParams", i), m.Conditions,
			model.Condition{Attr: model.AttrQuery, Name: string(q.Name), Op: op(or(q.Type, gatewayv1.QueryParamMatchExact)), Value: q.Value})
	}
	return m
}

// op is how a header or parameter of a type is compared.
func op[T ~string](t T) model.Op {
	if t == "RegularExpression" {
		return model.Regex
	}
	return model.Exact
}

// named adds a condition of a header or query parameter: of several of one name
// only the first counts.
func named(d *document.Document, at string, to []model.Condition, c model.Condition) []model.Condition {
	if c.Name == "" {
		d.Error(document.CodeMissing, at+".name", "", "is missing")
	}
	if c.Op == model.Regex {
		d.Regex(at+".value", c.Value)
	}
	if slices.ContainsFunc(to, func(x model.Condition) bool { return x.Attr == c.Attr && x.Name == c.Name }) {
		d.Warn(document.CodeIgnored, at, "remove it", "%q is there already: only the first counts", c.Name)
		return to
	}
	return append(to, c)
}

// timeouts reads timeouts and retries.
func timeouts(d *document.Document, at string, p *gatewayv1.HTTPRouteRule, r *model.Route) {
	var try time.Duration
	if t := p.Timeouts; t != nil {
		whole, set := duration(d, at+".timeouts.request", t.Request)
		if r.Timeout = whole; set && whole == 0 {
			r.Timeout = -1 // "0s" disables
		}
		try, _ = duration(d, at+".timeouts.backendRequest", t.BackendRequest)
		if whole > 0 && try > whole {
			d.Invalid(at+".timeouts.backendRequest", "write less", "must not be longer than timeouts.request")
		}
	}
	if p.Retry == nil && try == 0 {
		return
	}
	r.Retry = &model.Retry{Attempts: defaultAttempts, PerTryTimeout: try}
	if t := p.Retry; t != nil {
		r.Retry.Attempts = or(t.Attempts, defaultAttempts)
		r.Retry.Backoff, _ = duration(d, at+".retry.backoff", t.Backoff)
		on := []string{"connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes"}
		for _, c := range t.Codes {
			on = append(on, strconv.Itoa(int(c)))
		}
		r.Retry.On = strings.Join(on, ",")
	}
}

// defaultAttempts is Istio's default number of retries.
const defaultAttempts = 2

// duration reads a duration of Gateway API (GEP-2257): a subset of Go's.
func duration(d *document.Document, at string, p *gatewayv1.Duration) (v time.Duration, set bool) {
	if p == nil {
		return 0, false
	}
	v, err := time.ParseDuration(string(*p))
	if err != nil || v < 0 || v%time.Millisecond != 0 || strings.ContainsAny(string(*p), ".+-") {
		d.Invalid(at, "write e.g. 10s, 500ms or 1m30s", "%q is not a duration", *p)
	}
	return v, true
}

// filters puts the filters of a rule where they belong.
type filters struct {
	d    *document.Document
	rule *model.APIRule
	seen []gatewayv1.HTTPRouteFilterType
}

func (f *filters) http(at string, p *gatewayv1.HTTPRouteFilter) {
	r := &f.rule.Route
	if p.Type != gatewayv1.HTTPRouteFilterRequestMirror && slices.Contains(f.seen, p.Type) {
		f.d.Invalid(at, "join them", "%s may be there once", p.Type)
	}
	f.seen = append(f.seen, p.Type)
	if !present(p) {
		if p.Type == gatewayv1.HTTPRouteFilterExtensionRef || p.Type == gatewayv1.HTTPRouteFilterExternalAuth {
			f.d.Unsupported(at+".type", "remove it", "filters of type %s are not carried out by Weft", p.Type)
			return
		}
		f.d.Error(document.CodeMissing, at, "write the field of the same name, or correct type", "says nothing of type %q", p.Type)
		return
	}
	switch p.Type {
	case gatewayv1.HTTPRouteFilterRequestHeaderModifier:
		r.Headers.Request = headerOp(f.d, at+".requestHeaderModifier", p.RequestHeaderModifier)
	case gatewayv1.HTTPRouteFilterResponseHeaderModifier:
		r.Headers.Response = headerOp(f.d, at+".responseHeaderModifier", p.ResponseHeaderModifier)
	case gatewayv1.HTTPRouteFilterRequestRedirect:
		f.redirect(at+".requestRedirect", p.RequestRedirect)
	case gatewayv1.HTTPRouteFilterURLRewrite:
		f.rewrite(at+".urlRewrite", p.URLRewrite)
	case gatewayv1.HTTPRouteFilterRequestMirror:
		f.mirror(at+".requestMirror", p.RequestMirror)
	case gatewayv1.HTTPRouteFilterCORS:
		r.CORS = cors(p.CORS)
	}
}

// present tells whether the field of the filter's type is there.
func present(p *gatewayv1.HTTPRouteFilter) bool {
	switch p.Type {
	case gatewayv1.HTTPRouteFilterRequestHeaderModifier:
		return p.RequestHeaderModifier != nil
	case gatewayv1.HTTPRouteFilterResponseHeaderModifier:
		return p.ResponseHeaderModifier != nil
	case gatewayv1.HTTPRouteFilterRequestRedirect:
		return p.RequestRedirect != nil
	case gatewayv1.HTTPRouteFilterURLRewrite:
		return p.URLRewrite != nil
	case gatewayv1.HTTPRouteFilterRequestMirror:
		return p.RequestMirror != nil
	case gatewayv1.HTTPRouteFilterCORS:
		return p.CORS != nil
	}
	return false
}

// backendFilter reads a filter of one backend; only header changes can be told
// apart by backend.
func backendFilter(d *document.Document, at string, p *gatewayv1.HTTPRouteFilter, to *model.APIBackend) {
	switch {
	case p.Type == gatewayv1.HTTPRouteFilterRequestHeaderModifier && present(p):
		to.Headers.Request = headerOp(d, at+".requestHeaderModifier", p.RequestHeaderModifier)
	case p.Type == gatewayv1.HTTPRouteFilterResponseHeaderModifier && present(p):
		to.Headers.Response = headerOp(d, at+".responseHeaderModifier", p.ResponseHeaderModifier)
	default:
		d.Unsupported(at, "put it into the rule's filters", "filter %q of one backend is not carried out by Weft", p.Type)
	}
}

func headerOp(d *document.Document, at string, p *gatewayv1.HTTPHeaderFilter) model.HeaderOp {
	read := func(part string, list []gatewayv1.HTTPHeader) map[string]string {
		if len(list) == 0 {
			return nil
		}
		out := map[string]string{}
		for i, h := range list {
			hat := document.At(at+"."+part, i)
			checkHeader(d, hat+".name", string(h.Name))
			if strings.ContainsAny(h.Value, "\r\n\x00") {
				d.Invalid(hat+".value", "write it in one line", "a header's value has no line breaks")
			}
			if _, dup := out[string(h.Name)]; !dup {
				out[string(h.Name)] = literal(h.Value)
			}
		}
		return out
	}
	for i, name := range p.Remove {
		checkHeader(d, document.At(at+".remove", i), name)
	}
	return model.HeaderOp{Set: read("set", p.Set), Add: read("add", p.Add), Remove: p.Remove}
}

// literal keeps "%" from being read as Envoy's command operator.
func literal(v string) string { return strings.ReplaceAll(v, "%", "%%") }

func checkHeader(d *document.Document, at, name string) {
	ok := name != ""
	for _, r := range name {
		ok = ok && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
	}
	if !ok {
		d.Invalid(at, "use letters, digits and '-'", "%q is not a valid header name", name)
	}
}
