// Package kube is the front end of Kubernetes' own kinds: Namespace, Service,
// ServiceAccount, Secret, ConfigMap (the mesh configuration, and authorities'
// certificates), Ingress and IngressClass. For an analysis it also reads what runs
// in a cluster (ClusterFrontEnds).
//
// Each conversion is a pure function from one document to model objects and
// Findings. What needs other objects (does anything match the selector?) is
// control/check's.
package kube

import (
	"reflect"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// Domain is the cluster's DNS domain.
const Domain = "cluster.local"

// MeshText reads a mesh configuration that stands in a field of a document.
type MeshText func(d *document.Document, field, text string) []model.Object

// FrontEnds returns the front ends of the core group and of Ingress. Mesh configuration is
// another front end's to read.
func FrontEnds(mesh MeshText) []document.FrontEnd {
	s := shapes()
	front := func(kind string, shape *document.Shape, convert func(*document.Document) []model.Object) document.FrontEnd {
		return document.FrontEnd{Kind: kind, Versions: []string{"v1"}, Shape: shape, Convert: convert}
	}
	namespace := front("Namespace", s.namespace, convertNamespace)
	namespace.Cluster = true
	return []document.FrontEnd{
		namespace,
		front("Service", s.service, convertService),
		{Kind: "EndpointSlice", Group: "discovery.k8s.io", Versions: []string{"v1"}, Shape: s.slice, Convert: convertEndpointSlice},
		front("Endpoints", s.endpoints, convertEndpoints),
		front("ServiceAccount", s.account, convertAccount),
		front("Secret", s.secret, convertSecret),
		front("ConfigMap", s.configMap, func(d *document.Document) []model.Object { return convertConfigMap(d, mesh) }),
		{Kind: "Ingress", Group: "networking.k8s.io", Versions: []string{"v1"}, Shape: s.ingress, Convert: convertIngress},
		{Kind: "IngressClass", Group: "networking.k8s.io", Versions: []string{"v1"}, Cluster: true, Shape: s.class, Convert: convertIngressClass},
	}
}

type shapeSet struct{ namespace, service, slice, endpoints, account, secret, configMap, ingress, class *document.Shape }

// rules say what is accepted without effect, and what is not.
var rules = document.Rules{
	"ServiceSpec.sessionAffinityConfig":         {Ignore: "use a DestinationRule with loadBalancer.consistentHash.useSourceIp"},
	"ServiceSpec.externalIPs":                   {Ignore: "use a Gateway"},
	"ServiceSpec.loadBalancerIP":                {Ignore: "the port is opened on 127.0.0.1"},
	"ServiceSpec.loadBalancerSourceRanges":      {Ignore: "the port is opened on 127.0.0.1 only"},
	"ServiceSpec.loadBalancerClass":             {Quiet: true},
	"ServiceSpec.externalTrafficPolicy":         {Quiet: true},
	"ServiceSpec.healthCheckNodePort":           {Quiet: true},
	"ServiceSpec.allocateLoadBalancerNodePorts": {Quiet: true},
	"ServicePort.port":                          document.Port,
	"ServicePort.nodePort":                      {Min: 0, Max: 65535},
	"NamespaceSpec.finalizers":                  {Quiet: true},
	"ServiceBackendPort.number":                 {Min: 0, Max: 65535},
	"IngressClassSpec.parameters":               {Ignore: "classes have no parameters here"},
}

var shapes = sync.OnceValue(func() shapeSet {
	b := document.NewBuilder(rules)
	of := func(t reflect.Type, parts ...string) *document.Shape {
		whole := b.GoType(t)
		var fields []document.Field
		for _, f := range whole.Fields {
			switch f.Name {
			case "apiVersion", "kind", "metadata":
			case "status":
				fields = append(fields, document.Field{Name: "status", Shape: &document.Shape{}, Rule: document.Rule{Quiet: true}})
			default:
				fields = append(fields, f)
			}
		}
		return document.Resource(fields...)
	}
	s := shapeSet{
		namespace: of(reflect.TypeFor[corev1.Namespace]()),
		service:   of(reflect.TypeFor[corev1.Service]()),
		slice:     of(reflect.TypeFor[discoveryv1.EndpointSlice]()),
		endpoints: of(reflect.TypeFor[corev1.Endpoints]()), //nolint:staticcheck // deprecated, and still what people have
		account:   of(reflect.TypeFor[corev1.ServiceAccount]()),
		secret:    of(reflect.TypeFor[corev1.Secret]()),
		configMap: of(reflect.TypeFor[corev1.ConfigMap]()),
		ingress:   of(reflect.TypeFor[networkingv1.Ingress]()),
		class:     of(reflect.TypeFor[networkingv1.IngressClass]()),
	}
	if bad := rules.Unused(b.Used); bad != nil {
		panic("BUG: rules for fields that do not exist: " + bad[0])
	}
	return s
})

func convertNamespace(d *document.Document) []model.Object {
	if !document.IsLabel(d.Key.Name) {
		d.Invalid("metadata.name", "use lower-case letters, digits and '-'", "%q is not a valid namespace", d.Key.Name)
	}
	annotations(d, "metadata.annotations", "Namespace", d.Annotations)
	d.Distribution() // objects of the namespace inherit it; here it is only judged
	return []model.Object{&model.Namespace{Meta: d.Meta}}
}

func convertAccount(d *document.Document) []model.Object {
	return []model.Object{&model.ServiceAccount{Meta: d.Meta}}
}

// Names of the ConfigMap with the mesh configuration, and its key.
const meshKey = "mesh"

func convertConfigMap(d *document.Document, mesh MeshText) []model.Object {
	data, _ := d.Body["data"].(map[string]any)
	if ca, ok := data["ca.crt"].(string); ok {
		return []model.Object{&model.Secret{Meta: d.Meta, CA: model.PrivateBytes(ca)}}
	}
	if strings.HasPrefix(d.Key.Name, injectorName) {
		return injector(d, data)
	}
	if d.Key.Name != "istio" && d.Key.Name != "weft" {
		return nil // for programs, not for us
	}
	text, ok := data[meshKey].(string)
	if !ok {
		return nil
	}
	if _, ok := data["meshNetworks"]; ok {
		d.Warn(document.CodeIgnored, "data.meshNetworks", "", "has no effect here")
	}
	d.Key.Kind = model.KindMeshConfig
	return mesh(d, "data."+meshKey, text)
}
