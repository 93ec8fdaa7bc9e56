package kube

import (
	"strings"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// Annotations of Ingress and IngressClass.
const (
	classAnnotation   = "kubernetes.io/ingress.class"
	defaultAnnotation = "ingressclass.kubernetes.io/is-default-class"
)

func convertIngressClass(d *document.Document) []model.Object {
	s, err := document.Into[networkingv1.IngressClassSpec](d.Spec())
	if err != nil {
		d.Invalid("spec", "", "cannot be read: %v", err)
		return nil
	}
	return []model.Object{&model.IngressClass{Meta: d.Meta, Controller: s.Controller, Default: d.Annotations[defaultAnnotation] == "true"}}
}

// convertIngress reads an Ingress; whose it is and what its Services are called
// is seen beside the others.
func convertIngress(d *document.Document) []model.Object {
	s, err := document.Into[networkingv1.IngressSpec](d.Spec())
	if err != nil {
		d.Invalid("spec", "", "cannot be read: %v", err)
		return nil
	}
	out := &model.Ingress{Meta: d.Meta, ClassAnnotation: d.Annotations[classAnnotation]}
	if s.IngressClassName != nil {
		out.Class = *s.IngressClassName
	}
	if s.DefaultBackend != nil {
		b := ingressBackend(d, "spec.defaultBackend", s.DefaultBackend)
		out.Default = &b
	}
	if s.DefaultBackend == nil && len(s.Rules) == 0 {
		d.Error(document.CodeMissing, "spec.rules", "add a rule or a defaultBackend", "is missing")
	}
	for i, r := range s.Rules {
		at := document.At("spec.rules", i)
		host := strings.ToLower(r.Host)
		if host != "" {
			d.Host(at+".host", host, true)
		}
		if r.HTTP == nil {
			if out.Default != nil {
				out.Rules = append(out.Rules, model.IngressRule{Host: host, Backend: *out.Default, Field: at})
			}
			continue
		}
		for j := range r.HTTP.Paths {
			p, pat := &r.HTTP.Paths[j], document.At(at+".http.paths", j)
			out.Rules = append(out.Rules, model.IngressRule{
				Host: host, Path: ingressPath(d, pat, p), Backend: ingressBackend(d, pat+".backend", &p.Backend), Field: pat,
			})
		}
	}
	for i, t := range s.TLS {
		at := document.At("spec.tls", i)
		if t.SecretName == "" {
			d.Error(document.CodeMissing, at+".secretName", "name a Secret of type kubernetes.io/tls", "is missing")
		}
		for j, h := range t.Hosts {
			d.Host(document.At(at+".hosts", j), h, true)
		}
		out.TLS = append(out.TLS, model.IngressTLS{Hosts: t.Hosts, Secret: t.SecretName, Field: at})
	}
	return []model.Object{out}
}

// ingressPath reads a path. What is ImplementationSpecific follows Istio: a
// trailing ".*" asks for all that begins so, anything else is as Prefix.
func ingressPath(d *document.Document, at string, p *networkingv1.HTTPIngressPath) *model.Condition {
	c := &model.Condition{Attr: model.AttrPath, Op: model.PathPrefix, Value: p.Path}
	kind := networkingv1.PathTypeImplementationSpecific
	if p.PathType == nil {
		d.Error(document.CodeMissing, at+".pathType", "write Prefix or Exact", "is missing")
	} else {
		kind = *p.PathType
	}
	switch kind {
	case networkingv1.PathTypeExact:
		c.Op = model.Exact
	case networkingv1.PathTypePrefix:
	case networkingv1.PathTypeImplementationSpecific:
		if rest, ok := strings.CutSuffix(p.Path, ".*"); ok {
			c.Op, c.Value = model.Prefix, rest
		}
	default:
		d.Invalid(at+".pathType", document.Suggest(string(kind), []string{"Exact", "Prefix", "ImplementationSpecific"}), "%q is none of Exact, Prefix, ImplementationSpecific", kind)
	}
	if p.Path != "" && !strings.HasPrefix(p.Path, "/") {
		d.Invalid(at+".path", "write /"+p.Path, "%q cannot match: a path begins with \"/\"", p.Path)
	}
	if c.Op == model.PathPrefix {
		c.Value = strings.TrimRight(c.Value, "/")
	}
	if c.Value == "" || c.Op == model.Prefix && c.Value == "/" {
		return nil
	}
	return c
}

func ingressBackend(d *document.Document, at string, b *networkingv1.IngressBackend) model.IngressBackend {
	out := model.IngressBackend{Field: at}
	switch {
	case b.Resource != nil:
		d.Unsupported(at+".resource", "name a Service", "backends other than Services are not carried out by Weft")
	case b.Service == nil || b.Service.Name == "":
		d.Error(document.CodeMissing, at+".service", "name a Service and its port", "is missing")
	default:
		out.Service, out.Port, out.PortName = b.Service.Name, uint16(b.Service.Port.Number), b.Service.Port.Name
		if (out.Port == 0) == (out.PortName == "") {
			d.Invalid(at+".service.port", "write number or name", "must say exactly one of number and name")
		}
	}
	return out
}
