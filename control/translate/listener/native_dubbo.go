package listener

import (
	"strings"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	dubbov3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/dubbo_proxy/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/weftmesh/weft/control/translate/pb"
)

// dubboProxy is Envoy's own proxy of Dubbo. Routes that are for the same service stand together; their order is kept.
func (n *nativeRoutes) dubboProxy(stat string) *listenerv3.Filter {
	set := &dubbov3.MultipleRouteConfiguration{Name: stat}
	n.each(func(r *routev3.Route, m *nativeMatch) string {
		table, fault := dubboTable(m)
		if fault != "" {
			return fault
		}
		e := &dubbov3.Route{Match: &dubbov3.RouteMatch{Method: &dubbov3.MethodMatch{Name: named(m.method)}, Headers: m.headers}, Route: n.dubboAction(r)}
		if k := len(set.RouteConfig) - 1; k >= 0 && sameTable(set.RouteConfig[k], table) {
			table = set.RouteConfig[k]
		} else {
			set.RouteConfig = append(set.RouteConfig, table)
		}
		table.Routes = append(table.Routes, e)
		return ""
	})
	return filter("envoy.filters.network.dubbo_proxy", &dubbov3.DubboProxy{
		StatPrefix: stat, RouteSpecifier: &dubbov3.DubboProxy_MultipleRouteConfig{MultipleRouteConfig: set},
	})
}

// named is a matcher that is never without a pattern, as which Envoy takes none.
func named(m *matcherv3.StringMatcher) *matcherv3.StringMatcher {
	if m == nil {
		return pb.Regex(".*")
	}
	return m
}

// dubboTable is the service, version and group that a route is for, without routes. These stand in the message itself,
// version and group of others than one value are looked for among the attachments.
func dubboTable(m *nativeMatch) (t *dubbov3.RouteConfiguration, fault string) {
	t = &dubbov3.RouteConfiguration{Interface: "*"}
	switch s := m.service; {
	case s == nil:
	case s.IgnoreCase:
		return nil, "a service without regard to case"
	case s.GetExact() != "":
		t.Interface = s.GetExact()
	case s.GetPrefix() != "":
		t.Interface = s.GetPrefix() + "*"
	default:
		return nil, "a pattern of the service"
	}
	left := m.headers[:0:0]
	for _, h := range m.headers {
		exact := h.GetStringMatch().GetExact()
		switch {
		case exact == "" || h.InvertMatch || h.GetStringMatch().GetIgnoreCase():
			left = append(left, h)
		case h.Name == "version":
			t.Version = exact
		case h.Name == "group":
			t.Group = exact
		default:
			left = append(left, h)
		}
	}
	m.headers = left
	return t, ""
}

func sameTable(a, b *dubbov3.RouteConfiguration) bool {
	return a.Interface == b.Interface && a.Version == b.Version && a.Group == b.Group
}

func (n *nativeRoutes) dubboAction(r *routev3.Route) *dubbov3.RouteAction {
	one, many := n.shares(r)
	if one != "" {
		return &dubbov3.RouteAction{ClusterSpecifier: &dubbov3.RouteAction_Cluster{Cluster: one}}
	}
	w := &routev3.WeightedCluster{}
	for _, s := range many {
		w.Clusters = append(w.Clusters, &routev3.WeightedCluster_ClusterWeight{Name: s.cluster, Weight: pb.U32(s.weight)})
	}
	return &dubbov3.RouteAction{ClusterSpecifier: &dubbov3.RouteAction_WeightedClusters{WeightedClusters: w}}
}

// splitPath takes "/service/method" or "/method" apart.
func splitPath(p string) (service, method string) {
	p, ok := strings.CutPrefix(p, "/")
	if !ok {
		return "", ""
	}
	service, method, ok = strings.Cut(p, "/")
	if !ok {
		return "", service
	}
	if strings.Contains(method, "/") {
		return "", ""
	}
	return service, method
}
