// Package istio is the front end of Istio's kinds of the groups
// networking.istio.io and security.istio.io, and of MeshConfig.
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

	meshpb "istio.io/api/mesh/v1alpha1"
	networkingpb "istio.io/api/networking/v1alpha3"
	securitypb "istio.io/api/security/v1beta1"

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
		networking("Sidecar", convertSidecar),
		security("PeerAuthentication", convertPeerAuthentication),
		security("AuthorizationPolicy", convertAuthorizationPolicy),
	}
}

type shapeSet struct {
	kinds map[string]*document.Shape
	mesh  *document.Shape
}

var shapes = sync.OnceValue(func() shapeSet {
	b := document.NewBuilder(rules)
	s := shapeSet{kinds: map[string]*document.Shape{}}
	for kind, m := range map[string]proto.Message{
		"VirtualService":      &networkingpb.VirtualService{},
		"DestinationRule":     &networkingpb.DestinationRule{},
		"Gateway":             &networkingpb.Gateway{},
		"ServiceEntry":        &networkingpb.ServiceEntry{},
		"WorkloadEntry":       &networkingpb.WorkloadEntry{},
		"Sidecar":             &networkingpb.Sidecar{},
		"PeerAuthentication":  &securitypb.PeerAuthentication{},
		"AuthorizationPolicy": &securitypb.AuthorizationPolicy{},
	} {
		s.kinds[kind] = document.Spec(b.Message(m.ProtoReflect().Descriptor()))
	}
	mb := document.NewBuilder(meshRules)
	mb.Used = b.Used
	s.mesh = mb.Message((&meshpb.MeshConfig{}).ProtoReflect().Descriptor())
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

	"L4MatchAttributes.sourceSubnet":            {Refuse: "use sourceLabels or sourceNamespace"},
	"HTTPFaultInjection.Delay.exponentialDelay": {Refuse: "use fixedDelay"},
	"HTTPFaultInjection.Abort.http2Error":       {Refuse: "use httpStatus"},

	"TrafficPolicy.tunnel":                                         {Refuse: "use an egress Gateway"},
	"TrafficPolicy.retryBudget":                                    {Ignore: "connectionPool.http.maxRetries bounds retries"},
	"LoadBalancerSettings.zoneAwareLbSetting":                      {Refuse: "use localityLbSetting"},
	"LoadBalancerSettings.ConsistentHashLB.HTTPCookie.attributes":  {Refuse: "use name, path and ttl"},
	"WarmupConfiguration.minimumPercent":                           {Ignore: "only duration is used"},
	"WarmupConfiguration.aggression":                               {Ignore: "only duration is used"},
	"ConnectionPoolSettings.HTTPSettings.http2KeepAlive":           {Ignore: "use tcp.tcpKeepalive"},
	"ConnectionPoolSettings.TCPSettings.maxConnections":            nonNegative,
	"ConnectionPoolSettings.HTTPSettings.http1MaxPendingRequests":  nonNegative,
	"ConnectionPoolSettings.HTTPSettings.http2MaxRequests":         nonNegative,
	"ConnectionPoolSettings.HTTPSettings.maxRequestsPerConnection": nonNegative,
	"ConnectionPoolSettings.HTTPSettings.maxRetries":               nonNegative,
	"ConnectionPoolSettings.HTTPSettings.maxConcurrentStreams":     nonNegative,
	"OutlierDetection.maxEjectionPercent":                          percent,
	"OutlierDetection.minHealthPercent":                            percent,
	"OutlierDetection.consecutiveErrors":                           {Refuse: "use consecutive5xxErrors or consecutiveGatewayErrors"},
	"OutlierDetection.outlierDetectionHttpErrorCodes":              {Refuse: "use consecutive5xxErrors or consecutiveGatewayErrors"},

	"Port.targetPort":                      {Ignore: "it is deprecated; clients use number"},
	"Server.defaultEndpoint":               {Refuse: "route with a VirtualService"},
	"ServerTLSSettings.caCrl":              {Refuse: "put ca.crl into the secret of credentialName"},
	"ServerTLSSettings.tlsCertificates":    {Refuse: "use credentialNames"},
	"ServerTLSSettings.insecureSkipVerify": {Refuse: "use mode: SIMPLE when clients need no certificate"},

	"Sidecar.inboundConnectionPool":       {Ignore: "use a DestinationRule for the service"},
	"IstioIngressListener.connectionPool": {Ignore: "use a DestinationRule for the service"},
	"OutboundTrafficPolicy.egressProxy":   {Refuse: "use a VirtualService to an egress Gateway"},
	"SidecarPort.targetPort":              {Ignore: "it is deprecated; use defaultEndpoint"},

	"AuthorizationPolicy.targetRef":  {Refuse: "use selector"},
	"AuthorizationPolicy.targetRefs": {Refuse: "use selector"},
	"Source.trustDomains":            {Refuse: "use principals: [\"<trust domain>/*\"]"},
	"Source.notTrustDomains":         {Refuse: "use notPrincipals: [\"<trust domain>/*\"]"},
}

var (
	nonNegative = document.Rule{Max: 1<<31 - 1}
	percent     = document.Rule{Max: 100}
)
