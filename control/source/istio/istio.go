// Package istio is the front end of Istio's kinds of the groups
// networking.istio.io, security.istio.io and telemetry.istio.io, and of MeshConfig.
//
// Each conversion is a pure function from one document to model objects and
// Findings: short host names are resolved in the object's namespace, defaults of
// the API are filled in, deprecated spellings are brought to their newer form.
// What Weft does not carry out is named by its field and never passed over in
// silence: it refuses the object when leaving it out would send traffic
// elsewhere or let somebody in, and is a Warning otherwise.
//
// What needs other objects (does the host exist?) is control/check's.
package istio

import (
	"sync"

	extensionspb "istio.io/api/extensions/v1alpha1"
	meshpb "istio.io/api/mesh/v1alpha1"
	networkingpb "istio.io/api/networking/v1alpha3"
	networkingbeta "istio.io/api/networking/v1beta1"
	securitypb "istio.io/api/security/v1beta1"
	telemetrypb "istio.io/api/telemetry/v1alpha1"

	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// Domain is the cluster's DNS domain.
const Domain = "cluster.local"

// FrontEnds returns the front ends of Istio's kinds.
func FrontEnds() []document.FrontEnd {
	s := shapes()
	networking := func(kind string, convert func(*document.Document) []model.Object) document.FrontEnd {
		return document.FrontEnd{
			Kind: kind, Group: "networking.istio.io", Versions: []string{"v1", "v1beta1", "v1alpha3"},
			Shape: s.kinds[kind], Convert: convert,
		}
	}
	security := func(kind string, convert func(*document.Document) []model.Object) document.FrontEnd {
		return document.FrontEnd{
			Kind: kind, Group: "security.istio.io", Versions: []string{"v1", "v1beta1"},
			Shape: s.kinds[kind], Convert: convert,
		}
	}
	return []document.FrontEnd{
		networking("VirtualService", convertVirtualService),
		networking("DestinationRule", convertDestinationRule),
		networking("Gateway", convertGateway),
		networking("ServiceEntry", convertServiceEntry),
		networking("WorkloadEntry", convertWorkloadEntry),
		networking("WorkloadGroup", convertWorkloadGroup),
		networking("Sidecar", convertSidecar),
		networking("EnvoyFilter", convertEnvoyFilter),
		{
			Kind: "ProxyConfig", Group: "networking.istio.io", Versions: []string{"v1beta1"},
			Shape: s.kinds["ProxyConfig"], Convert: convertProxyConfig,
		},
		security("PeerAuthentication", convertPeerAuthentication),
		security("AuthorizationPolicy", convertAuthorizationPolicy),
		security("RequestAuthentication", convertRequestAuthentication),
		{
			Kind: "Telemetry", Group: "telemetry.istio.io", Versions: []string{"v1", "v1alpha1"},
			Shape: s.kinds["Telemetry"], Convert: convertTelemetry,
		},
		{
			Kind: "WasmPlugin", Group: "extensions.istio.io", Versions: []string{"v1alpha1"},
			Shape: s.kinds["WasmPlugin"], Convert: convertWasmPlugin,
		},
		{
			Kind: "TrafficExtension", Group: "extensions.istio.io", Versions: []string{"v1alpha1"},
			Shape: s.kinds["TrafficExtension"], Convert: convertTrafficExtension,
		},
	}
}

type shapeSet struct {
	kinds map[string]*document.Shape
	mesh  *document.Shape
	proxy *document.Shape // of ProxyConfig in the mesh configuration
}

var shapes = sync.OnceValue(func() shapeSet {
	b := document.NewBuilder(rules)
	s := shapeSet{kinds: map[string]*document.Shape{}}
	for kind, m := range map[string]proto.Message{
		"VirtualService":        &networkingpb.VirtualService{},
		"DestinationRule":       &networkingpb.DestinationRule{},
		"Gateway":               &networkingpb.Gateway{},
		"ServiceEntry":          &networkingpb.ServiceEntry{},
		"WorkloadEntry":         &networkingpb.WorkloadEntry{},
		"Sidecar":               &networkingpb.Sidecar{},
		"EnvoyFilter":           &networkingpb.EnvoyFilter{},
		"WorkloadGroup":         &networkingpb.WorkloadGroup{},
		"ProxyConfig":           &networkingbeta.ProxyConfig{},
		"PeerAuthentication":    &securitypb.PeerAuthentication{},
		"AuthorizationPolicy":   &securitypb.AuthorizationPolicy{},
		"Telemetry":             &telemetrypb.Telemetry{},
		"WasmPlugin":            &extensionspb.WasmPlugin{},
		"TrafficExtension":      &extensionspb.TrafficExtension{},
		"RequestAuthentication": &securitypb.RequestAuthentication{},
	} {
		s.kinds[kind] = document.Spec(b.Message(m.ProtoReflect().Descriptor()))
	}
	mb := document.NewBuilder(meshRules)
	mb.Used = b.Used
	s.mesh = mb.Message((&meshpb.MeshConfig{}).ProtoReflect().Descriptor())
	s.proxy = mb.Message((&meshpb.ProxyConfig{}).ProtoReflect().Descriptor())
	for _, r := range []document.Rules{rules, meshRules} {
		if bad := r.Unused(b.Used); bad != nil {
			panic("BUG: rules for fields that do not exist: " + bad[0])
		}
	}
	return s
})

// rules bound numbers and name what is not carried out.
var rules = document.Rules{
	"PortSelector.number":                 document.Port,
	"Port.number":                         document.Port,
	"ServicePort.number":                  document.Port,
	"ServicePort.targetPort":              {Min: 0, Max: 65535},
	"SidecarPort.number":                  document.Port,
	"HTTPMatchRequest.port":               document.Port,
	"L4MatchAttributes.port":              document.Port,
	"TLSMatchAttributes.port":             document.Port,
	"HTTPRedirect.port":                   document.Port,
	"HTTPRedirect.redirectCode":           {Min: 300, Max: 399},
	"HTTPDirectResponse.status":           {Min: 100, Max: 599},
	"WorkloadEntry.ports":                 document.Port,
	"HTTPRouteDestination.weight":         nonNegative,
	"RouteDestination.weight":             nonNegative,
	"HTTPRetry.attempts":                  nonNegative,
	"HTTPFaultInjection.Delay.percent":    percent,
	"HTTPFaultInjection.Abort.httpStatus": {Min: 200, Max: 599},

	"ConnectionPoolSettings.TCPSettings.maxConnections":            nonNegative,
	"ConnectionPoolSettings.HTTPSettings.http1MaxPendingRequests":  nonNegative,
	"ConnectionPoolSettings.HTTPSettings.http2MaxRequests":         nonNegative,
	"ConnectionPoolSettings.HTTPSettings.maxRequestsPerConnection": nonNegative,
	"ConnectionPoolSettings.HTTPSettings.maxRetries":               nonNegative,
	"ConnectionPoolSettings.HTTPSettings.maxConcurrentStreams":     nonNegative,
	"OutlierDetection.maxEjectionPercent":                          percent,
	"OutlierDetection.minHealthPercent":                            percent,
	"OutlierDetection.consecutiveErrors":                           {Ignore: "it is deprecated, and Istio passes it over too; use consecutive5xxErrors or consecutiveGatewayErrors"},
	"OutlierDetection.outlierDetectionHttpErrorCodes":              {Min: 100, Max: 599},

	"Port.targetPort": {Ignore: "it is deprecated; clients use number"},

	"SidecarPort.targetPort": {Ignore: "it is deprecated; use defaultEndpoint"},

	"ProxyConfig.image": {Ignore: "a proxy is part of Weft's own program"},

	"EnvoyFilter.ListenerMatch.portName": {Ignore: "Istio passes it over too; use portNumber"},
	"EnvoyFilter.Patch.filterClass":      {Ignore: "Istio passes it over too; use INSERT_BEFORE or INSERT_AFTER"},
}

var (
	nonNegative = document.Rule{Max: 1<<31 - 1}
	percent     = document.Rule{Max: 100}
)
