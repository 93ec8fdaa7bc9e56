package proxyless

import (
	"strconv"

	"github.com/weftmesh/weft/control/model"
)

// lacking reports what gRPC does not carry out of a route set, rule by rule.
func (c *Client) lacking(set *model.RouteSet) {
	for i := range set.HTTP {
		r := &set.HTTP[i]
		at := "spec.http[" + strconv.Itoa(i) + "]"
		report := func(s model.Severity, field, message string) {
			c.report(model.Finding{
				Code: CodeLacking, Severity: s, Object: set.Key, Origin: set.At(at + field), Field: at + field,
				Message: "gRPC without a proxy: " + message, Remedy: "run a proxy beside the clients that need it",
			})
		}
		for _, x := range without(r) {
			report(model.Warning, x.field, x.message)
		}
		for j := range r.Matches {
			for _, x := range unseen(&r.Matches[j]) {
				report(model.Warning, ".match["+strconv.Itoa(j)+"]"+x.field, x.message)
			}
		}
	}
}

// gap is a field that is not carried out, and what happens instead.
type gap struct{ field, message string }

// without lists what gRPC does not do of a rule.
func without(r *model.Route) (out []gap) {
	add := func(is bool, field, message string) {
		if is {
			out = append(out, gap{field, message})
		}
	}
	const nothing = "has no effect"
	add(r.Redirect != nil, ".redirect", "calls that match fail with UNAVAILABLE")
	add(r.Direct != nil, ".directResponse", "calls that match fail with UNAVAILABLE")
	add(r.Rewrite != nil, ".rewrite", nothing)
	add(len(r.Mirrors) > 0, ".mirrors", nothing)
	add(r.CORS != nil, ".corsPolicy", nothing)
	add(!r.Headers.Request.Empty() || !r.Headers.Response.Empty(), ".headers", nothing)
	for i := range r.Destinations {
		h := r.Destinations[i].Headers
		add(!h.Request.Empty() || !h.Response.Empty(), ".route["+strconv.Itoa(i)+"].headers", nothing)
	}
	if t := r.Retry; t != nil && t.Attempts > 0 {
		add(t.PerTryTimeout > 0, ".retries.perTryTimeout", nothing)
		add(t.On != "" && retryOn(t.On) == "", ".retries.retryOn", "none of these is a cause to try again; it knows cancelled, deadline-exceeded, internal, resource-exhausted and unavailable")
	}
	return out
}

// unseen lists what gRPC cannot test of a match, whose rule it leaves out for that.
func unseen(m *model.Match) (out []gap) {
	for _, c := range m.Conditions {
		switch c.Attr {
		case model.AttrAuthority:
			out = append(out, gap{".authority", "cannot be tested; the match is left out"})
		case model.AttrClaim:
			out = append(out, gap{".headers", "claims of tokens cannot be tested; the match is left out"})
		}
	}
	return out
}
