package gatewayapi

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
	"github.com/weftmesh/weft/control/source/istio"
)

func convertGateway(d *document.Document) []model.Object {
	s, ok := spec[gatewayv1.GatewaySpec](d)
	if !ok {
		return nil
	}
	out := &model.APIGateway{Meta: d.Meta, Class: string(s.GatewayClassName)}
	if out.Class == "" {
		d.Error(document.CodeMissing, "spec.gatewayClassName", "write weft or istio", "is missing")
	}
	if len(s.Listeners) == 0 {
		d.Error(document.CodeMissing, "spec.listeners", "add a listener with name, port and protocol", "is missing")
	}
	for i := range s.Listeners {
		out.Listeners = append(out.Listeners, listener(d, document.At("spec.listeners", i), &s.Listeners[i]))
	}
	uniqueNames(d, out.Listeners)
	for i, a := range s.Addresses {
		at := document.At("spec.addresses", i)
		if t := or(a.Type, gatewayv1.IPAddressType); t != gatewayv1.HostnameAddressType {
			d.Unsupported(at, "name a Service: {type: Hostname, value: ingress.istio-system.svc.cluster.local}", "addresses of type %s are not carried out by Weft", t)
			continue
		}
		d.Host(at+".value", a.Value, false)
		out.Hostnames = append(out.Hostnames, document.FQDN(a.Value, d.Key.Namespace, "cluster.local"))
	}
	if a := s.AllowedListeners; a != nil && a.Namespaces != nil {
		out.ListenerSets = namespaces(d, "spec.allowedListeners.namespaces", or(a.Namespaces.From, gatewayv1.NamespacesFromNone), a.Namespaces.Selector)
	}
	if s.TLS != nil && s.TLS.Frontend != nil {
		out.Clients = clients(d, s.TLS.Frontend)
	}
	out.Proxy = istio.Annotated(d)
	if i := s.Infrastructure; i != nil && i.Annotations[istio.ProxyAnnotation] != "" {
		// Its annotations are those of the pods, and so count first.
		out.Proxy = istio.OwnProxy(d, document.Join("spec.infrastructure.annotations", istio.ProxyAnnotation), string(i.Annotations[istio.ProxyAnnotation]))
	}
	return []model.Object{out}
}

// clients reads how client certificates are checked, by port.
func clients(d *document.Document, f *gatewayv1.FrontendTLSConfig) map[uint16]model.ClientValidation {
	out := map[uint16]model.ClientValidation{}
	add := func(port uint16, at string, v *gatewayv1.FrontendTLSValidation) {
		if v == nil {
			return
		}
		c := model.ClientValidation{Optional: v.Mode == gatewayv1.AllowInsecureFallback, Field: at}
		if len(v.CACertificateRefs) == 0 {
			d.Error(document.CodeMissing, at+".caCertificateRefs", "name a ConfigMap with ca.crt", "is missing")
		}
		if len(v.CACertificateRefs) > 1 {
			d.Unsupported(document.At(at+".caCertificateRefs", 1), "put all authorities into one", "only one reference is carried out by Weft")
		}
		for i, r := range v.CACertificateRefs {
			c.CAs = append(c.CAs, model.Ref{
				Group: string(r.Group), Kind: string(r.Kind), Name: string(r.Name),
				Namespace: string(or(r.Namespace, gatewayv1.Namespace(d.Key.Namespace))), Field: document.At(at+".caCertificateRefs", i),
			})
		}
		out[port] = c
	}
	add(0, "spec.tls.frontend.default.validation", f.Default.Validation)
	for i, p := range f.PerPort {
		add(uint16(p.Port), document.At("spec.tls.frontend.perPort", i)+".tls.validation", p.TLS.Validation)
	}
	return out
}

func convertListenerSet(d *document.Document) []model.Object {
	s, ok := spec[gatewayv1.ListenerSetSpec](d)
	if !ok {
		return nil
	}
	p := s.ParentRef
	out := &model.ListenerSet{Meta: d.Meta, Parent: model.Key{
		Kind: model.KindAPIGateway, Namespace: string(or(p.Namespace, gatewayv1.Namespace(d.Key.Namespace))), Name: string(p.Name),
	}}
	if or(p.Kind, "Gateway") != "Gateway" || or(p.Group, model.GatewayAPIGroup) != model.GatewayAPIGroup || p.Name == "" {
		d.Invalid("spec.parentRef", "name a Gateway", "does not name a Gateway")
	}
	if len(s.Listeners) == 0 {
		d.Error(document.CodeMissing, "spec.listeners", "add a listener with name, port and protocol", "is missing")
	}
	for i := range s.Listeners {
		l := gatewayv1.Listener(s.Listeners[i])
		out.Listeners = append(out.Listeners, listener(d, document.At("spec.listeners", i), &l))
	}
	uniqueNames(d, out.Listeners)
	return []model.Object{out}
}

func uniqueNames(d *document.Document, list []model.APIListener) {
	seen := map[string]bool{}
	for _, l := range list {
		if seen[l.Name] && l.Name != "" {
			d.Invalid(l.Field+".name", "give each listener a name of its own", "%q is the name of an earlier listener too", l.Name)
		}
		seen[l.Name] = true
	}
}

var protocols = []string{"HTTP", "HTTPS", "TLS", "TCP", "UDP"}

func listener(d *document.Document, at string, l *gatewayv1.Listener) model.APIListener {
	out := model.APIListener{
		Name: string(l.Name), Hostname: strings.ToLower(string(or(l.Hostname, ""))), Port: uint16(l.Port), Protocol: string(l.Protocol),
		Allowed: model.NamespaceFilter{Same: true}, Field: at,
	}
	if out.Name == "" {
		d.Error(document.CodeMissing, at+".name", "write e.g. name: http", "is missing")
	} else if !document.IsSubdomain(out.Name) {
		d.Invalid(at+".name", "use lower-case letters, digits and '-'", "%q is not a valid name", out.Name)
	}
	if out.Hostname != "" {
		d.Host(at+".hostname", out.Hostname, true)
	}
	if out.Port == 0 {
		d.Error(document.CodeMissing, at+".port", "write the port to open", "is missing")
	}
	if out.Protocol == "" {
		d.Error(document.CodeMissing, at+".protocol", "write one of "+strings.Join(protocols, ", "), "is missing")
	}
	if out.Hostname != "" && (out.Protocol == "TCP" || out.Protocol == "UDP") {
		d.Invalid(at+".hostname", "remove it", "has no meaning on protocol %s", out.Protocol)
	}
	listenerTLS(d, at+".tls", l.TLS, &out)
	if a := l.AllowedRoutes; a != nil {
		if a.Namespaces != nil {
			out.Allowed = namespaces(d, at+".allowedRoutes.namespaces", or(a.Namespaces.From, gatewayv1.NamespacesFromSame), a.Namespaces.Selector)
		}
		for _, k := range a.Kinds {
			kind := model.Kind(k.Kind)
			if g := or(k.Group, model.GatewayAPIGroup); g != model.GatewayAPIGroup {
				kind = model.Kind(g) + "/" + kind // control/attach says that none has it
			}
			out.Kinds = append(out.Kinds, kind)
		}
	}
	return out
}

// TLS options with Istio's and Envoy Gateway's meaning.
const (
	optionMin     = "gateway.istio.io/tls-min-protocol-version"
	optionMax     = "gateway.istio.io/tls-max-protocol-version"
	optionCiphers = "gateway.istio.io/tls-cipher-suites"
)

func listenerTLS(d *document.Document, at string, t *gatewayv1.ListenerTLSConfig, out *model.APIListener) {
	ends := out.Protocol == "HTTPS" || out.Protocol == "TLS"
	switch {
	case t == nil && ends:
		d.Error(document.CodeMissing, at, "write e.g. tls: {certificateRefs: [{name: …}]}", "is missing for protocol %s", out.Protocol)
		return
	case t == nil:
		return
	case !ends && !slices.Contains(protocols, out.Protocol):
		return // control/attach says so
	case !ends:
		d.Invalid(at, "write protocol: HTTPS or TLS", "has no meaning on protocol %s", out.Protocol)
		return
	}
	mode := or(t.Mode, gatewayv1.TLSModeTerminate)
	out.Passthrough = mode == gatewayv1.TLSModePassthrough
	switch {
	case mode != gatewayv1.TLSModeTerminate && !out.Passthrough:
		d.Invalid(at+".mode", "write Terminate or Passthrough", "%q is not a mode", mode)
	case out.Passthrough && out.Protocol == "HTTPS":
		d.Invalid(at+".mode", "write protocol: TLS", "Passthrough has no meaning on protocol HTTPS")
	case out.Passthrough && len(t.CertificateRefs) > 0:
		d.Invalid(at+".certificateRefs", "remove it", "has no use in mode Passthrough")
	case !out.Passthrough && len(t.CertificateRefs) == 0:
		d.Error(document.CodeMissing, at+".certificateRefs", "name a Secret", "is missing for mode Terminate")
	}
	for i, r := range t.CertificateRefs {
		out.Certificates = append(out.Certificates, model.Ref{
			Group: string(or(r.Group, "")), Kind: string(or(r.Kind, "Secret")), Name: string(r.Name),
			Namespace: string(or(r.Namespace, gatewayv1.Namespace(d.Key.Namespace))), Field: document.At(at+".certificateRefs", i),
		})
	}
	for k, v := range t.Options {
		switch string(k) {
		case optionMin:
			out.MinTLS = string(v)
		case optionMax:
			out.MaxTLS = string(v)
		case optionCiphers:
			out.CipherSuites = strings.Split(string(v), ",")
		default:
			d.Unsupported(document.Join(at+".options", string(k)), "remove it", "this option is not known to Weft")
		}
	}
}

func namespaces(d *document.Document, at string, from gatewayv1.FromNamespaces, s *metav1.LabelSelector) model.NamespaceFilter {
	switch from {
	case gatewayv1.NamespacesFromAll:
		return model.NamespaceFilter{All: true}
	case gatewayv1.NamespacesFromSame:
		return model.NamespaceFilter{Same: true}
	case gatewayv1.NamespacesFromNone:
		return model.NamespaceFilter{}
	case gatewayv1.NamespacesFromSelector:
		if s == nil {
			d.Error(document.CodeMissing, at+".selector", "name the labels of namespaces", "is missing beside from: Selector")
			return model.NamespaceFilter{}
		}
		out := &model.LabelSelector{Labels: s.MatchLabels}
		for i, e := range s.MatchExpressions {
			if !slices.Contains([]string{"In", "NotIn", "Exists", "DoesNotExist"}, string(e.Operator)) {
				d.Invalid(document.At(at+".selector.matchExpressions", i)+".operator", "write In, NotIn, Exists or DoesNotExist", "%q is not an operator", e.Operator)
			}
			out.Expressions = append(out.Expressions, model.LabelExpression{Key: e.Key, Op: string(e.Operator), Values: e.Values})
		}
		return model.NamespaceFilter{Selector: out}
	}
	d.Invalid(at+".from", "write All, Same, Selector or None", "%q is none of them", from)
	return model.NamespaceFilter{}
}
