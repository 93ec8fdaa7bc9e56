// Package proxyless translates for gRPC that speaks xDS itself, in the layout of
// Istio's generator "grpc": everything by name and nothing unasked.
//
// A client asks for the listener "reviews:9080", which has the routes
// "outbound|9080||reviews.default.svc.cluster.local"; clusters and endpoints have the
// names that they have for proxies. A server asks for the listener
// "xds.istio.io/grpc/lds/inbound/[::]:9080" (wire.GRPCServer).
//
// Guarantee: what is made keeps to the part of the API that gRPC knows (its proposals
// A27 to A52). Of a message that has more, gRPC refuses the whole and the client is
// without a route; what it cannot carry out is a Finding that names object and field
// instead. In doubt it is refused: rather no call than one in plain text.
package proxyless

import (
	"strconv"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/control/translate/route"
	"github.com/weftmesh/weft/wire"
)

// CodeLacking is the code of Findings about what gRPC does not carry out.
const CodeLacking = "WEFT0323"

const routerFilter = "envoy.filters.http.router"

// Report takes a Finding.
type Report func(model.Finding)

// Client makes what the gRPC clients of one view ask for.
type Client struct {
	v      *scope.View
	routes *route.Builder
	report Report
}

// NewClient returns the maker of a view.
func NewClient(v *scope.View, report Report) *Client {
	return &Client{v: v, report: report, routes: route.NewBuilder(v, route.Report(report))}
}

// Follow makes the client one of a view that differs in instances only.
func (c *Client) Follow(v *scope.View) {
	c.v = v
	c.routes.Follow(v)
}

// Listener is what a client asks for first: the target of its channel, "reviews:9080".
// nil: the mesh knows nothing of that name.
func (c *Client) Listener(name string) *listenerv3.Listener {
	f, ok := c.routes.Find(name)
	if !ok {
		return nil
	}
	return &listenerv3.Listener{
		Name: name,
		ApiListener: &listenerv3.ApiListener{ApiListener: pb.Any(&hcmv3.HttpConnectionManager{
			StatPrefix: name,
			RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
				ConfigSource: pb.ADS(), RouteConfigName: wire.ClusterName(wire.Outbound, f.Port, "", f.Host),
			}},
			HttpFilters: []*hcmv3.HttpFilter{
				filter(route.FaultFilter, &faultv3.HTTPFault{}), filter(routerFilter, &routerv3.Router{}),
			},
		})},
	}
}

func filter(name string, config proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pb.Any(config)}}
}

// Routes are those that a listener names; nil: there are none of that name.
func (c *Client) Routes(name string) *routev3.RouteConfiguration {
	direction, port, subset, host, ok := wire.SplitClusterName(name)
	if !ok || direction != wire.Outbound || subset != "" {
		return nil
	}
	f, ok := c.routes.Find(authority(host, port))
	if !ok || f.Host != host || f.Port != port {
		return nil
	}
	list, set := c.routes.Routes(f)
	if set != nil {
		c.lacking(set)
	}
	out := &routev3.RouteConfiguration{
		Name: name,
		// The name was asked for by whoever uses it: there is nothing to tell apart.
		VirtualHosts: []*routev3.VirtualHost{{Name: authority(host, port), Domains: []string{"*"}}},
	}
	for _, r := range list {
		out.VirtualHosts[0].Routes = append(out.VirtualHosts[0].Routes, restrict(r)...)
	}
	return out
}

// authority joins a host and a port as clients write them.
func authority(host string, port uint16) string {
	return host + ":" + strconv.Itoa(int(port))
}
