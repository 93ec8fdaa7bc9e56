package proxyless

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/control/translate/route"
)

// Between are routes that a client is handed before others which lead to clusters that
// it does not have: those that it holds, and one for no call that names the new
// clusters. nil: there are none. grpc-go begins to choose by new routes a moment
// before it has their clusters, and a call of that moment would fail.
func Between(held, next *routev3.RouteConfiguration) *routev3.RouteConfiguration {
	if len(held.VirtualHosts) != 1 || len(next.VirtualHosts) != 1 {
		return nil
	}
	has := map[string]bool{}
	for _, name := range route.Destinations(held.VirtualHosts[0]) {
		has[name] = true
	}
	fresh := &routev3.WeightedCluster{}
	for _, name := range route.Destinations(next.VirtualHosts[0]) {
		if !has[name] {
			fresh.Clusters = append(fresh.Clusters, &routev3.WeightedCluster_ClusterWeight{Name: name, Weight: wrapperspb.UInt32(1)})
		}
	}
	if len(fresh.Clusters) == 0 || len(has) == 0 {
		return nil
	}
	vh := held.VirtualHosts[0]
	return &routev3.RouteConfiguration{Name: held.Name, VirtualHosts: []*routev3.VirtualHost{{
		Name: vh.Name, Domains: vh.Domains,
		Routes: append(vh.Routes[:len(vh.Routes):len(vh.Routes)], &routev3.Route{
			Match:  never(),
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_WeightedClusters{WeightedClusters: fresh}}},
		}),
	}}}
}

// never is true of no call: a header that is there and is not.
func never() *routev3.RouteMatch {
	m := func(invert bool) *routev3.HeaderMatcher {
		return &routev3.HeaderMatcher{
			Name: "x-weft-never", InvertMatch: invert, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
		}
	}
	return &routev3.RouteMatch{
		PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}, Headers: []*routev3.HeaderMatcher{m(false), m(true)},
	}
}
