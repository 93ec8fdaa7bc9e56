package listener

import (
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/thrift_proxy/router/v3"
	thriftv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/thrift_proxy/v3"

	"github.com/weftmesh/weft/control/translate/pb"
)

// thriftProxy is Envoy's own proxy of Thrift, for all transports and protocols that it knows.
func (n *nativeRoutes) thriftProxy(stat string) *listenerv3.Filter {
	routes := &thriftv3.RouteConfiguration{Name: stat, ValidateClusters: pb.False()}
	n.each(func(r *routev3.Route, m *nativeMatch) string {
		match, fault := thriftMatch(m)
		if fault == "" {
			routes.Routes = append(routes.Routes, &thriftv3.Route{Match: match, Route: n.thriftAction(r)})
		}
		return fault
	})
	return filter("envoy.filters.network.thrift_proxy", &thriftv3.ThriftProxy{
		StatPrefix: stat, RouteConfig: routes,
		ThriftFilters: []*thriftv3.ThriftFilter{{
			Name: "envoy.filters.thrift.router", ConfigType: &thriftv3.ThriftFilter_TypedConfig{TypedConfig: pb.Any(&routerv3.Router{})},
		}},
	})
}

// thriftMatch looks at the name of a message: "operation" or "service:operation".
func thriftMatch(m *nativeMatch) (out *thriftv3.RouteMatch, fault string) {
	service, method := m.service.GetExact(), m.method.GetExact()
	switch {
	case m.service != nil && (service == "" || m.service.IgnoreCase):
		return nil, "a service but by its whole name"
	case m.method != nil && (method == "" || m.method.IgnoreCase):
		return nil, "an operation but by its whole name"
	}
	out = &thriftv3.RouteMatch{Headers: m.headers}
	switch {
	case service != "" && method != "":
		out.MatchSpecifier = &thriftv3.RouteMatch_MethodName{MethodName: service + ":" + method}
	case service != "":
		out.MatchSpecifier = &thriftv3.RouteMatch_ServiceName{ServiceName: service}
	default:
		out.MatchSpecifier = &thriftv3.RouteMatch_MethodName{MethodName: method}
	}
	return out, ""
}

func (n *nativeRoutes) thriftAction(r *routev3.Route) *thriftv3.RouteAction {
	out := &thriftv3.RouteAction{}
	one, many := n.shares(r)
	if one != "" {
		out.ClusterSpecifier = &thriftv3.RouteAction_Cluster{Cluster: one}
	} else {
		w := &thriftv3.WeightedCluster{}
		for _, s := range many {
			w.Clusters = append(w.Clusters, &thriftv3.WeightedCluster_ClusterWeight{Name: s.cluster, Weight: pb.U32(s.weight)})
		}
		out.ClusterSpecifier = &thriftv3.RouteAction_WeightedClusters{WeightedClusters: w}
	}
	for _, p := range r.GetRoute().GetRequestMirrorPolicies() {
		out.RequestMirrorPolicies = append(out.RequestMirrorPolicies, &thriftv3.RouteAction_RequestMirrorPolicy{Cluster: p.Cluster, RuntimeFraction: p.RuntimeFraction})
	}
	return out
}
