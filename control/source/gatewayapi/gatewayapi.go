// Package gatewayapi is the front end of Gateway API, the groups
// gateway.networking.k8s.io and gateway.networking.x-k8s.io.
//
// Each conversion is a pure function from one document to a model object and
// Findings. What a route or gateway amounts to shows only beside the others:
// control/attach joins them. What Weft does not carry out is named by its field;
// it refuses the object when leaving it out would send traffic elsewhere or let
// somebody in, and is a Warning otherwise.
package gatewayapi

import (
	"reflect"
	"sync"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// experimental is the group of kinds that were not standard yet.
const experimental = "gateway.networking.x-k8s.io"

// FrontEnds returns the front ends of Gateway API's kinds.
func FrontEnds() []document.FrontEnd {
	s := shapes()
	front := func(kind model.Kind, convert func(*document.Document) []model.Object, versions ...string) document.FrontEnd {
		return document.FrontEnd{
			Kind: string(kind), Group: model.GatewayAPIGroup, Versions: versions, Shape: s[kind], Convert: convert,
		}
	}
	gateway := front("Gateway", convertGateway, "v1", "v1beta1", "v1alpha2")
	gateway.As = model.KindAPIGateway
	class := front(model.KindGatewayClass, convertClass, "v1", "v1beta1", "v1alpha2")
	class.Cluster = true
	older := front("XListenerSet", convertListenerSet, "v1alpha1")
	older.Group, older.As, older.Shape = experimental, model.KindListenerSet, s[model.KindListenerSet]
	return []document.FrontEnd{
		class, gateway, older,
		front(model.KindListenerSet, convertListenerSet, "v1"),
		front(model.KindHTTPRoute, convertHTTPRoute, "v1", "v1beta1", "v1alpha2"),
		front(model.KindGRPCRoute, convertGRPCRoute, "v1", "v1alpha2"),
		front(model.KindTLSRoute, convertTLSRoute, "v1", "v1alpha3", "v1alpha2"),
		front(model.KindTCPRoute, convertTCPRoute, "v1", "v1alpha2"),
		front(model.KindUDPRoute, convertUDPRoute, "v1", "v1alpha2"),
		front(model.KindReferenceGrant, convertGrant, "v1", "v1beta1", "v1alpha2"),
		front(model.KindBackendTLSPolicy, convertBackendTLS, "v1", "v1alpha3"),
	}
}

// rules bound numbers and name what is not carried out.
var rules = document.Rules{
	"Listener.port":                  document.Port,
	"ListenerEntry.port":             document.Port,
	"TLSPortConfig.port":             document.Port,
	"ParentReference.port":           document.Port,
	"BackendObjectReference.port":    document.Port,
	"HTTPRequestRedirectFilter.port": document.Port,
	"BackendRef.weight":              {Max: 1_000_000},
	"HTTPRequestMirrorFilter.percent": {
		Min: 0, Max: 100,
	},
	"Fraction.numerator":      {Max: 1<<31 - 1},
	"Fraction.denominator":    {Min: 1, Max: 1<<31 - 1},
	"HTTPCORSFilter.maxAge":   {Min: 1, Max: 1<<31 - 1},
	"HTTPRouteRetry.attempts": {Max: 1<<31 - 1},
	"HTTPRouteRetry.codes":    {Min: 400, Max: 599},

	"GatewaySpec.infrastructure":         {Quiet: true}, // of what Kubernetes would create
	"GatewaySpec.defaultScope":           {Refuse: "write parentRefs in the routes"},
	"GatewayTLSConfig.backend":           {Refuse: "use a DestinationRule with tls.mode: MUTUAL"},
	"CommonRouteSpec.useDefaultGateways": {Refuse: "write parentRefs"},
	"GatewayClassSpec.parametersRef":     {Ignore: "classes have no parameters here"},
	"GatewayClassSpec.description":       {Quiet: true},
	"HTTPRouteRule.sessionPersistence":   {Refuse: "use a DestinationRule with loadBalancer.consistentHash.httpCookie"},
	"GRPCRouteRule.sessionPersistence":   {Refuse: "use a DestinationRule with loadBalancer.consistentHash"},
	"HTTPRouteFilter.extensionRef":       {Refuse: "filters of other groups are not known to Weft"},
	"GRPCRouteFilter.extensionRef":       {Refuse: "filters of other groups are not known to Weft"},
	"HTTPRouteFilter.externalAuth":       {Refuse: "use an AuthorizationPolicy"},
	"BackendTLSPolicySpec.options":       {Ignore: "options are not known to Weft"},
}

var shapes = sync.OnceValue(func() map[model.Kind]*document.Shape {
	b := document.NewBuilder(rules)
	out := map[model.Kind]*document.Shape{}
	for kind, t := range map[model.Kind]reflect.Type{
		"Gateway":                  reflect.TypeFor[gatewayv1.GatewaySpec](),
		model.KindGatewayClass:     reflect.TypeFor[gatewayv1.GatewayClassSpec](),
		model.KindListenerSet:      reflect.TypeFor[gatewayv1.ListenerSetSpec](),
		model.KindHTTPRoute:        reflect.TypeFor[gatewayv1.HTTPRouteSpec](),
		model.KindGRPCRoute:        reflect.TypeFor[gatewayv1.GRPCRouteSpec](),
		model.KindTLSRoute:         reflect.TypeFor[gatewayv1.TLSRouteSpec](),
		model.KindTCPRoute:         reflect.TypeFor[gatewayv1.TCPRouteSpec](),
		model.KindUDPRoute:         reflect.TypeFor[gatewayv1.UDPRouteSpec](),
		model.KindReferenceGrant:   reflect.TypeFor[gatewayv1.ReferenceGrantSpec](),
		model.KindBackendTLSPolicy: reflect.TypeFor[gatewayv1.BackendTLSPolicySpec](),
	} {
		out[kind] = document.Spec(b.GoType(t))
	}
	if bad := rules.Unused(b.Used); bad != nil {
		panic("BUG: rules for fields that do not exist: " + bad[0])
	}
	return out
})

// spec decodes the spec of a document.
func spec[T any](d *document.Document) (T, bool) {
	out, err := document.Into[T](d.Spec())
	if err != nil {
		d.Invalid("spec", "", "cannot be read: %v", err)
	}
	return out, err == nil
}

// or returns what a pointer points to, or else a default.
func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

func convertClass(d *document.Document) []model.Object {
	s, ok := spec[gatewayv1.GatewayClassSpec](d)
	if !ok {
		return nil
	}
	if s.ControllerName == "" {
		d.Error(document.CodeMissing, "spec.controllerName", "write weft.dev/gateway-controller", "is missing")
	}
	return []model.Object{&model.GatewayClass{Meta: d.Meta, Controller: string(s.ControllerName)}}
}

func convertGrant(d *document.Document) []model.Object {
	s, ok := spec[gatewayv1.ReferenceGrantSpec](d)
	if !ok {
		return nil
	}
	out := &model.ReferenceGrant{Meta: d.Meta}
	for i, f := range s.From {
		if f.Kind == "" || f.Namespace == "" {
			d.Error(document.CodeMissing, document.At("spec.from", i), "write group, kind and namespace", "names nobody")
		}
		out.From = append(out.From, model.GrantFrom{Group: string(f.Group), Kind: string(f.Kind), Namespace: string(f.Namespace)})
	}
	for i, t := range s.To {
		if t.Kind == "" {
			d.Error(document.CodeMissing, document.At("spec.to", i)+".kind", "write e.g. kind: Service", "is missing")
		}
		out.To = append(out.To, model.GrantTo{Group: string(t.Group), Kind: string(t.Kind), Name: string(or(t.Name, ""))})
	}
	for _, l := range []struct {
		name string
		n    int
	}{{"spec.from", len(s.From)}, {"spec.to", len(s.To)}} {
		if l.n == 0 {
			d.Error(document.CodeMissing, l.name, "add an entry", "is missing")
		}
	}
	return []model.Object{out}
}
