package istio

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	networkingpb "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

func portIs(port uint32) model.Condition {
	return model.Condition{Attr: model.AttrPort, Value: strconv.FormatUint(uint64(port), 10)}
}

// httpMatch converts one match of an HTTP route: all its conditions must be true.
func httpMatch(d *document.Document, at string, p *networkingpb.HTTPMatchRequest, rs *model.RouteSet) model.Match {
	m := model.Match{
		Name: p.GetName(), SourceLabels: p.GetSourceLabels(), SourceNamespace: p.GetSourceNamespace(),
		StatPrefix: p.GetStatPrefix(), Gateways: Gateways(d, at+".gateways", p.GetGateways()),
	}
	for i, g := range m.Gateways {
		if !rs.Delegate && !slices.Contains(rs.Gateways, g) {
			d.Invalid(document.At(at+".gateways", i), "add it to spec.gateways", "%q is not among the gateways of the VirtualService", g)
		}
	}
	add := func(c model.Condition) { m.Conditions = append(m.Conditions, c) }
	for _, f := range []struct {
		name string
		sm   *networkingpb.StringMatch
		attr model.Attr
	}{
		{"uri", p.GetUri(), model.AttrPath},
		{"scheme", p.GetScheme(), model.AttrScheme},
		{"method", p.GetMethod(), model.AttrMethod},
		{"authority", p.GetAuthority(), model.AttrAuthority},
	} {
		if f.sm == nil {
			continue
		}
		c := condition(d, at+"."+f.name, f.sm, f.attr, "")
		if c.Op == model.Present {
			d.Invalid(at+"."+f.name, "write exact, prefix or regex", "matches nothing")
		}
		c.IgnoreCase = f.attr == model.AttrPath && p.GetIgnoreUriCase()
		if c.IgnoreCase && c.Op == model.Regex {
			d.Warn(document.CodeIgnored, at+".ignoreUriCase", "begin the expression with (?i)", "has no effect on a regular expression")
			c.IgnoreCase = false
		}
		add(c)
	}
	for _, name := range slices.Sorted(maps.Keys(p.GetHeaders())) {
		add(header(d, document.Join(at+".headers", name), name, p.GetHeaders()[name], false))
	}
	for _, name := range slices.Sorted(maps.Keys(p.GetWithoutHeaders())) {
		add(header(d, document.Join(at+".withoutHeaders", name), name, p.GetWithoutHeaders()[name], true))
	}
	for _, name := range slices.Sorted(maps.Keys(p.GetQueryParams())) {
		field := document.Join(at+".queryParams", name)
		if name == "" {
			d.Invalid(field, "name a query parameter", "the name is empty")
		}
		add(condition(d, field, p.GetQueryParams()[name], model.AttrQuery, name))
	}
	if p.GetPort() != 0 {
		add(portIs(p.GetPort()))
	}
	return m
}

func header(d *document.Document, field, name string, sm *networkingpb.StringMatch, not bool) model.Condition {
	if claim, ok := routingClaim(name); ok {
		c := condition(d, field, sm, model.AttrClaim, claim)
		c.Not = not
		return c
	}
	checkHeaderName(d, field, name)
	switch name {
	case "uri", "scheme", "method", "authority":
		d.Invalid(field, "write it beside headers, not in it", "%q is not matched as a header", name)
	}
	c := condition(d, field, sm, model.AttrHeader, strings.ToLower(name))
	c.Not = not
	return c
}

// routingClaim reads the name of a header that stands for a claim of the request's
// token: "@request.auth.claims.a.b", or "@request.auth.claims[a][b]" for names that
// have dots themselves. It returns the second form of the claim, "[a][b]".
func routingClaim(name string) (claim string, ok bool) {
	const lead = "@request.auth.claims"
	if len(name) < len(lead) || !strings.EqualFold(name[:len(lead)], lead) {
		return "", false
	}
	switch rest := name[len(lead):]; {
	case len(rest) > 1 && rest[0] == '.':
		return "[" + strings.ReplaceAll(rest[1:], ".", "][") + "]", true
	case len(rest) > 2 && rest[0] == '[' && strings.HasSuffix(rest, "]"):
		return rest, true
	}
	return "", false
}

// condition converts a StringMatch; an empty one asks for presence.
func condition(d *document.Document, field string, sm *networkingpb.StringMatch, a model.Attr, name string) model.Condition {
	c := model.Condition{Attr: a, Name: name}
	switch t := sm.GetMatchType().(type) {
	case *networkingpb.StringMatch_Exact:
		c.Op, c.Value = model.Exact, t.Exact
	case *networkingpb.StringMatch_Prefix:
		c.Op, c.Value = model.Prefix, t.Prefix
		if t.Prefix == "" {
			c.Op = model.Present
		}
	case *networkingpb.StringMatch_Regex:
		c.Op, c.Value = model.Regex, t.Regex
		switch t.Regex {
		case "":
			d.Invalid(field+".regex", "write an expression, or exact: \"\"", "is empty")
		case "*": // Istio's word for "any value"
			c.Op, c.Value = model.Present, ""
		default:
			d.Regex(field+".regex", t.Regex)
		}
	default:
		c.Op = model.Present
	}
	if a == model.AttrPath && c.Op != model.Regex && c.Value != "" && !strings.HasPrefix(c.Value, "/") {
		what := "exact"
		if c.Op == model.Prefix {
			what = "prefix"
		}
		d.Invalid(field+"."+what, "write /"+c.Value, "%q cannot match: a path begins with \"/\"", c.Value)
	}
	return c
}

// checkHeaderName reports what cannot be the name of a header.
func checkHeaderName(d *document.Document, field, name string) {
	ok := name != ""
	for i, r := range name {
		ok = ok && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			strings.ContainsRune("!#$%&'*+-.^_`|~", r) || r == ':' && i == 0)
	}
	if !ok {
		d.Invalid(field, "use letters, digits and '-'", "%q is not a valid header name", name)
	}
}
