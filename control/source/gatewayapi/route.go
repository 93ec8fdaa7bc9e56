package gatewayapi

import (
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// route reads what all routes have.
func route(d *document.Document, c *gatewayv1.CommonRouteSpec, hostnames []gatewayv1.Hostname) *model.APIRoute {
	out := &model.APIRoute{Meta: d.Meta}
	if len(c.ParentRefs) == 0 {
		d.Warn(document.CodeMissing, "spec.parentRefs", "name a Gateway, or a Service for routes within the mesh", "is missing: the route is not used")
	}
	for i, p := range c.ParentRefs {
		at := document.At("spec.parentRefs", i)
		if p.Name == "" {
			d.Error(document.CodeMissing, at+".name", "name a Gateway or Service", "is missing")
		}
		out.Parents = append(out.Parents, model.APIParent{
			Ref: model.Ref{
				Group: string(or(p.Group, model.GatewayAPIGroup)), Kind: string(or(p.Kind, "Gateway")), Name: string(p.Name),
				Namespace: string(or(p.Namespace, gatewayv1.Namespace(d.Key.Namespace))), Port: uint16(or(p.Port, 0)), Field: at,
			},
			Section: string(or(p.SectionName, "")),
		})
	}
	for i, h := range hostnames {
		host := strings.ToLower(string(h))
		d.Host(document.At("spec.hostnames", i), host, true)
		if host == "*" {
			d.Invalid(document.At("spec.hostnames", i), "leave hostnames out for all hosts", "\"*\" is not a host name")
		}
		out.Hostnames = append(out.Hostnames, host)
	}
	return out
}

// backendRef reads a reference to a Service.
func backendRef(d *document.Document, at string, r *gatewayv1.BackendObjectReference) model.Ref {
	if r.Name == "" {
		d.Error(document.CodeMissing, at+".name", "name a Service", "is missing")
	}
	return model.Ref{
		Group: string(or(r.Group, "")), Kind: string(or(r.Kind, "Service")), Name: string(r.Name),
		Namespace: string(or(r.Namespace, gatewayv1.Namespace(d.Key.Namespace))), Port: uint16(or(r.Port, 0)), Field: at,
	}
}

// streams reads the rules of a TLSRoute, TCPRoute or UDPRoute.
func streams[R any](d *document.Document, out *model.APIRoute, rules []R, read func(*R) ([]gatewayv1.BackendRef, *gatewayv1.SectionName)) []model.Object {
	if len(rules) == 0 {
		d.Error(document.CodeMissing, "spec.rules", "add a rule with backendRefs", "is missing")
	}
	if len(rules) > 1 {
		d.Unsupported("spec.rules[1]", "put the backends into one rule, by weight", "more than one rule cannot be told apart")
	}
	for i := range rules {
		list, name := read(&rules[i])
		r := model.APIRule{Name: string(or(name, "")), Field: document.At("spec.rules", i)}
		for j := range list {
			at := document.At(r.Field+".backendRefs", j)
			r.Backends = append(r.Backends, model.APIBackend{
				Ref: backendRef(d, at, &list[j].BackendObjectReference), Weight: uint32(or(list[j].Weight, 1)),
			})
		}
		if len(list) == 0 {
			d.Error(document.CodeMissing, r.Field+".backendRefs", "name a Service and port", "is missing")
		}
		out.Rules = append(out.Rules, r)
	}
	return []model.Object{out}
}

func convertTLSRoute(d *document.Document) []model.Object {
	s, ok := spec[gatewayv1.TLSRouteSpec](d)
	if !ok {
		return nil
	}
	return streams(d, route(d, &s.CommonRouteSpec, s.Hostnames), s.Rules, func(r *gatewayv1.TLSRouteRule) ([]gatewayv1.BackendRef, *gatewayv1.SectionName) {
		return r.BackendRefs, r.Name
	})
}

func convertTCPRoute(d *document.Document) []model.Object {
	s, ok := spec[gatewayv1.TCPRouteSpec](d)
	if !ok {
		return nil
	}
	return streams(d, route(d, &s.CommonRouteSpec, nil), s.Rules, func(r *gatewayv1.TCPRouteRule) ([]gatewayv1.BackendRef, *gatewayv1.SectionName) {
		return r.BackendRefs, r.Name
	})
}

func convertUDPRoute(d *document.Document) []model.Object {
	s, ok := spec[gatewayv1.UDPRouteSpec](d)
	if !ok {
		return nil
	}
	return streams(d, route(d, &s.CommonRouteSpec, nil), s.Rules, func(r *gatewayv1.UDPRouteRule) ([]gatewayv1.BackendRef, *gatewayv1.SectionName) {
		return r.BackendRefs, r.Name
	})
}

func convertBackendTLS(d *document.Document) []model.Object {
	s, ok := spec[gatewayv1.BackendTLSPolicySpec](d)
	if !ok {
		return nil
	}
	out := &model.BackendTLSPolicy{Meta: d.Meta, Hostname: string(s.Validation.Hostname)}
	if len(s.TargetRefs) == 0 {
		d.Error(document.CodeMissing, "spec.targetRefs", "name a Service", "is missing")
	}
	for i, t := range s.TargetRefs {
		out.Targets = append(out.Targets, model.PolicyTarget{
			Ref: model.Ref{
				Group: string(t.Group), Kind: string(t.Kind), Name: string(t.Name), Namespace: d.Key.Namespace, Field: document.At("spec.targetRefs", i),
			},
			Section: string(or(t.SectionName, "")),
		})
	}
	v := &s.Validation
	d.Host("spec.validation.hostname", out.Hostname, false)
	switch system := or(v.WellKnownCACertificates, "") != ""; {
	case system && len(v.CACertificateRefs) > 0:
		d.Invalid("spec.validation", "keep one", "only one of caCertificateRefs, wellKnownCACertificates may be set")
	case system && *v.WellKnownCACertificates != gatewayv1.WellKnownCACertificatesSystem:
		d.Unsupported("spec.validation.wellKnownCACertificates", "write System", "%q is not known to Weft", *v.WellKnownCACertificates)
	case !system && len(v.CACertificateRefs) == 0:
		d.Error(document.CodeMissing, "spec.validation.caCertificateRefs", "name a ConfigMap with ca.crt, or write wellKnownCACertificates: System", "is missing")
	case len(v.CACertificateRefs) > 1:
		d.Unsupported("spec.validation.caCertificateRefs[1]", "put all authorities into one", "only one reference is carried out by Weft")
	}
	for i, r := range v.CACertificateRefs {
		out.CAs = append(out.CAs, model.Ref{
			Group: string(r.Group), Kind: string(r.Kind), Name: string(r.Name), Namespace: d.Key.Namespace,
			Field: document.At("spec.validation.caCertificateRefs", i),
		})
	}
	for i, n := range v.SubjectAltNames {
		at := document.At("spec.validation.subjectAltNames", i)
		switch n.Type {
		case gatewayv1.HostnameSubjectAltNameType:
			out.SubjectAltNames = append(out.SubjectAltNames, string(n.Hostname))
		case gatewayv1.URISubjectAltNameType:
			out.SubjectAltNames = append(out.SubjectAltNames, string(n.URI))
		default:
			d.Invalid(at+".type", "write Hostname or URI", "%q is neither", n.Type)
		}
	}
	return []model.Object{out}
}
