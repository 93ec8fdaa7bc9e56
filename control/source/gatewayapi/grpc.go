package gatewayapi

import (
	"regexp"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

func convertGRPCRoute(d *document.Document) []model.Object {
	s, ok := spec[gatewayv1.GRPCRouteSpec](d)
	if !ok {
		return nil
	}
	out := route(d, &s.CommonRouteSpec, s.Hostnames)
	if len(s.Rules) == 0 {
		s.Rules = []gatewayv1.GRPCRouteRule{{}}
	}
	for i := range s.Rules {
		p, at := &s.Rules[i], document.At("spec.rules", i)
		r := model.APIRule{Name: string(or(p.Name, "")), Field: at}
		r.Route.Name = r.Name
		for j := range p.Matches {
			r.Matches = append(r.Matches, grpcMatch(d, document.At(at+".matches", j), &p.Matches[j]))
		}
		f := filters{d: d, rule: &r}
		for j := range p.Filters {
			h := httpFilter(&p.Filters[j])
			f.http(document.At(at+".filters", j), &h)
		}
		for j := range p.BackendRefs {
			b, bat := &p.BackendRefs[j], document.At(at+".backendRefs", j)
			e := model.APIBackend{Ref: backendRef(d, bat, &b.BackendObjectReference), Weight: uint32(or(b.Weight, 1))}
			for k := range b.Filters {
				h := httpFilter(&b.Filters[k])
				backendFilter(d, document.At(bat+".filters", k), &h, &e)
			}
			r.Backends = append(r.Backends, e)
		}
		out.Rules = append(out.Rules, r)
	}
	return []model.Object{out}
}

// httpFilter is a filter of gRPC as one of HTTP: they are the same.
func httpFilter(p *gatewayv1.GRPCRouteFilter) gatewayv1.HTTPRouteFilter {
	return gatewayv1.HTTPRouteFilter{
		Type: gatewayv1.HTTPRouteFilterType(p.Type), RequestHeaderModifier: p.RequestHeaderModifier,
		ResponseHeaderModifier: p.ResponseHeaderModifier, RequestMirror: p.RequestMirror,
	}
}

// grpcMatch matches a method by its path, "/package.Service/Method".
func grpcMatch(d *document.Document, at string, p *gatewayv1.GRPCRouteMatch) model.Match {
	var m model.Match
	if p.Method != nil {
		service, method := or(p.Method.Service, ""), or(p.Method.Method, "")
		c := model.Condition{Attr: model.AttrPath}
		exact := or(p.Method.Type, gatewayv1.GRPCMethodMatchExact) == gatewayv1.GRPCMethodMatchExact
		if strings.Contains(service, "/") && exact {
			d.Invalid(at+".method.service", "write package.Service", "%q is not the name of a service", service)
		}
		switch {
		case service == "" && method == "":
			d.Error(document.CodeMissing, at+".method", "write service, method or both", "names neither service nor method")
		case exact && method == "":
			c.Op, c.Value = model.Prefix, "/"+service+"/"
		case exact && service == "":
			c.Op, c.Value = model.Regex, "/[^/]+/"+regexp.QuoteMeta(method)
		case exact:
			c.Value = "/" + service + "/" + method
		default:
			for _, part := range []struct {
				name string
				text *string
			}{{"service", &service}, {"method", &method}} {
				if *part.text == "" {
					*part.text = "[^/]+"
				} else {
					d.Regex(at+".method."+part.name, *part.text)
				}
			}
			c.Op, c.Value = model.Regex, "/(?:"+service+")/(?:"+method+")"
		}
		m.Conditions = append(m.Conditions, c)
	}
	for i, h := range p.Headers {
		m.Conditions = named(d, document.At(at+".headers", i), m.Conditions,
			model.Condition{Attr: model.AttrHeader, Name: strings.ToLower(string(h.Name)), Op: op(or(h.Type, gatewayv1.GRPCHeaderMatchExact)), Value: h.Value})
	}
	return m
}
