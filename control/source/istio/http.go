package istio

import (
	"maps"
	"slices"
	"strings"
	"time"

	networkingpb "istio.io/api/networking/v1alpha3"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

func httpRoute(d *document.Document, at string, p *networkingpb.HTTPRoute, rs *model.RouteSet) model.Route {
	r := model.Route{Name: p.GetName(), Headers: headerOps(d, at+".headers", p.GetHeaders())}
	for i, m := range p.GetMatch() {
		r.Matches = append(r.Matches, httpMatch(d, document.At(at+".match", i), m, rs))
	}
	action(d, at, p, &r)
	for i, w := range p.GetRoute() {
		dat := document.At(at+".route", i)
		dest := destination(d, dat+".destination", w.GetDestination())
		dest.Weight = uint32(w.GetWeight())
		dest.Headers = headerOps(d, dat+".headers", w.GetHeaders())
		r.Destinations = append(r.Destinations, dest)
	}
	weights(d, at+".route", r.Destinations)
	r.Rewrite = rewrite(d, at+".rewrite", p.GetRewrite())
	r.Retry = Retry(d, at+".retries", p.GetRetries())
	r.Fault = fault(d, at+".fault", p.GetFault())
	r.Mirrors = mirrors(d, at, p)
	r.CORS = cors(d, at+".corsPolicy", p.GetCorsPolicy())
	if p.GetTimeout() != nil {
		if r.Timeout = duration(d, at+".timeout", p.GetTimeout()); r.Timeout == 0 {
			r.Timeout = -1 // "0s" is not "none given": it disables
		}
	}
	return r
}

// action reads what a route does: exactly one of route, redirect, directResponse, delegate.
func action(d *document.Document, at string, p *networkingpb.HTTPRoute, r *model.Route) {
	var set []string
	if len(p.GetRoute()) > 0 {
		set = append(set, "route")
	}
	if p.GetRedirect() != nil {
		set = append(set, "redirect")
		r.Redirect = redirect(d, at+".redirect", p.GetRedirect())
	}
	if p.GetDirectResponse() != nil {
		set = append(set, "directResponse")
		r.Direct = direct(d, at+".directResponse", p.GetDirectResponse())
	}
	if del := p.GetDelegate(); del != nil {
		set = append(set, "delegate")
		ns := del.GetNamespace()
		if ns == "" {
			ns = d.Key.Namespace
		}
		if del.GetName() == "" {
			d.Error(document.CodeMissing, at+".delegate.name", "name a VirtualService without hosts", "is missing")
		}
		r.Delegate = model.Key{Kind: model.KindVirtualService, Namespace: ns, Name: del.GetName()}
	}
	switch {
	case len(set) == 0:
		d.Error(document.CodeMissing, at, "add route, redirect, directResponse or delegate", "says nothing about what to do with a request")
	case len(set) > 1:
		d.Invalid(at, "keep one", "only one of route, redirect, directResponse, delegate may be set, got %s", strings.Join(set, " and "))
	case set[0] == "redirect" || set[0] == "directResponse":
		// These would have nothing to act on.
		for _, f := range []struct {
			name  string
			there bool
		}{
			{"rewrite", p.GetRewrite() != nil},
			{"mirror", p.GetMirror() != nil},
			{"mirrors", len(p.GetMirrors()) > 0},
			{"retries", p.GetRetries() != nil},
			{"timeout", p.GetTimeout() != nil},
		} {
			if f.there {
				d.Invalid(at+"."+f.name, "remove it", "has nothing to act on beside %s", set[0])
			}
		}
	}
}

func redirect(d *document.Document, at string, p *networkingpb.HTTPRedirect) *model.Redirect {
	r := &model.Redirect{
		URI: p.GetUri(), PrefixRewrite: p.GetPrefixRewrite(), Authority: p.GetAuthority(), Scheme: p.GetScheme(),
		Port: uint16(p.GetPort()), Code: int(p.GetRedirectCode()),
	}
	if r.Code == 0 {
		r.Code = 301
	}
	if !slices.Contains([]int{301, 302, 303, 307, 308}, r.Code) {
		d.Invalid(at+".redirectCode", "", "must be one of 301, 302, 303, 307, 308, got %d", r.Code)
	}
	if r.URI != "" && r.PrefixRewrite != "" {
		d.Invalid(at, "keep one", "only one of uri, prefixRewrite may be set")
	}
	if _, ok := p.GetRedirectPort().(*networkingpb.HTTPRedirect_DerivePort); ok {
		r.PortFromRequest = p.GetDerivePort() == networkingpb.HTTPRedirect_FROM_REQUEST_PORT
		r.PortFromProtocol = !r.PortFromRequest
	}
	if r.Scheme != "" && r.Scheme != "http" && r.Scheme != "https" {
		d.Invalid(at+".scheme", document.Suggest(r.Scheme, []string{"http", "https"}), "must be http or https, got %q", r.Scheme)
	}
	if r.URI == "" && r.PrefixRewrite == "" && r.Authority == "" && r.Scheme == "" && p.GetRedirectPort() == nil {
		d.Error(document.CodeMissing, at, "add uri, authority, scheme, port or prefixRewrite", "redirects to where the request came from")
	}
	return r
}

func direct(d *document.Document, at string, p *networkingpb.HTTPDirectResponse) *model.DirectResponse {
	r := &model.DirectResponse{Status: int(p.GetStatus())}
	if r.Status == 0 {
		d.Error(document.CodeMissing, at+".status", "write e.g. status: 503", "is missing")
	}
	switch b := p.GetBody().GetSpecifier().(type) {
	case *networkingpb.HTTPBody_String_:
		r.Body = b.String_
	case *networkingpb.HTTPBody_Bytes:
		r.Body, r.Binary = string(b.Bytes), true
	}
	if len(r.Body) > 1<<20 {
		d.Invalid(at+".body", "serve it from a program", "is larger than 1 MiB")
	}
	return r
}

func rewrite(d *document.Document, at string, p *networkingpb.HTTPRewrite) *model.Rewrite {
	if p == nil {
		return nil
	}
	r := &model.Rewrite{
		URI: p.GetUri(), Authority: p.GetAuthority(),
		RegexMatch: p.GetUriRegexRewrite().GetMatch(), RegexReplace: p.GetUriRegexRewrite().GetRewrite(),
	}
	if p.GetUriRegexRewrite() != nil {
		if r.URI != "" {
			d.Invalid(at, "keep one", "only one of uri, uriRegexRewrite may be set")
		}
		if r.RegexMatch == "" {
			d.Error(document.CodeMissing, at+".uriRegexRewrite.match", "write a regular expression", "is missing")
		} else {
			d.Regex(at+".uriRegexRewrite.match", r.RegexMatch)
		}
	} else if r.URI == "" && r.Authority == "" {
		d.Error(document.CodeMissing, at, "add uri, authority or uriRegexRewrite", "rewrites nothing")
	}
	return r
}

func headerOps(d *document.Document, at string, p *networkingpb.Headers) model.HeaderOps {
	one := func(at string, h *networkingpb.Headers_HeaderOperations) model.HeaderOp {
		for _, m := range []struct {
			name   string
			values map[string]string
		}{{"set", h.GetSet()}, {"add", h.GetAdd()}} {
			for _, name := range slices.Sorted(maps.Keys(m.values)) {
				checkHeaderName(d, document.Join(at+"."+m.name, name), name)
				if strings.ContainsAny(m.values[name], "\r\n\x00") {
					d.Invalid(document.Join(at+"."+m.name, name), "write it in one line", "a header's value has no line breaks")
				}
			}
		}
		for i, name := range h.GetRemove() {
			checkHeaderName(d, document.At(at+".remove", i), name)
		}
		return model.HeaderOp{Set: h.GetSet(), Add: h.GetAdd(), Remove: h.GetRemove()}
	}
	return model.HeaderOps{Request: one(at+".request", p.GetRequest()), Response: one(at+".response", p.GetResponse())}
}

// duration reads a duration that may not be negative.
func duration(d *document.Document, at string, p *durationpb.Duration) time.Duration {
	v := p.AsDuration()
	if v < 0 {
		d.Invalid(at, "", "must not be negative, got %v", v)
	}
	if v > 0 && v < time.Millisecond {
		d.Invalid(at, "write 1ms or more", "must be at least 1ms, got %v", v)
	}
	return v
}
