package oracle

import (
	"context"
	"fmt"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/wire"
)

// Resources are what a control plane gives a node.
type Resources struct {
	Listeners []*listenerv3.Listener
	Routes    []*routev3.RouteConfiguration
	Clusters  []*clusterv3.Cluster
	Endpoints []*endpointv3.ClusterLoadAssignment
}

// maxMessage is above what any case needs, in bytes.
const maxMessage = 64 << 20

// Collect asks a control plane for all that a node gets, as Envoy does: clusters, their
// endpoints, listeners, their routes, over a stream of the state of the world.
func Collect(ctx context.Context, address string, node *corev3.Node) (*Resources, error) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := discoverypb.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx, grpc.WaitForReady(true))
	if err != nil {
		return nil, err
	}
	c := &collector{stream: stream, node: node}
	r := &Resources{}
	if r.Clusters, err = ask[clusterv3.Cluster](c, wire.TypeCluster, nil); err != nil {
		return nil, err
	}
	if names := endpointNames(r.Clusters); len(names) > 0 {
		if r.Endpoints, err = ask[endpointv3.ClusterLoadAssignment](c, wire.TypeEndpoint, names); err != nil {
			return nil, err
		}
	}
	if r.Listeners, err = ask[listenerv3.Listener](c, wire.TypeListener, nil); err != nil {
		return nil, err
	}
	names, err := routeNames(r.Listeners)
	if err != nil {
		return nil, err
	}
	if len(names) > 0 {
		if r.Routes, err = ask[routev3.RouteConfiguration](c, wire.TypeRoute, names); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// collector is one stream.
type collector struct {
	stream grpc.BidiStreamingClient[discoverypb.DiscoveryRequest, discoverypb.DiscoveryResponse]
	node   *corev3.Node // nil once it was sent
}

// ask subscribes to a type and returns the resources of the first response.
func ask[T any, P interface {
	*T
	proto.Message
}](c *collector, typeURL string, names []string) ([]P, error) {
	err := c.stream.Send(&discoverypb.DiscoveryRequest{Node: c.node, TypeUrl: typeURL, ResourceNames: names})
	if err != nil {
		return nil, err
	}
	c.node = nil
	r, err := c.stream.Recv()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", typeURL, err)
	}
	if r.GetTypeUrl() != typeURL {
		// Nothing is edited while a node is asked for: a type that comes again is a fault.
		return nil, fmt.Errorf("%s came in place of %s", r.GetTypeUrl(), typeURL)
	}
	if err := c.stream.Send(&discoverypb.DiscoveryRequest{
		TypeUrl: typeURL, VersionInfo: r.GetVersionInfo(), ResponseNonce: r.GetNonce(), ResourceNames: names,
	}); err != nil {
		return nil, err
	}
	return unpack[T, P](r.GetResources())
}

func unpack[T any, P interface {
	*T
	proto.Message
}](list []*anypb.Any) ([]P, error) {
	out := make([]P, 0, len(list))
	for _, a := range list {
		m := P(new(T))
		if a.GetTypeUrl() == "type.googleapis.com/envoy.service.discovery.v3.Resource" {
			wrapped := &discoverypb.Resource{}
			if err := a.UnmarshalTo(wrapped); err != nil {
				return nil, err
			}
			a = wrapped.GetResource()
		}
		if err := a.UnmarshalTo(m); err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// endpointNames are what the EDS clusters ask for.
func endpointNames(clusters []*clusterv3.Cluster) []string {
	var out []string
	for _, c := range clusters {
		if c.GetType() != clusterv3.Cluster_EDS {
			continue
		}
		name := c.GetEdsClusterConfig().GetServiceName()
		if name == "" {
			name = c.GetName()
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// routeNames are the route configurations that the connection managers ask for.
func routeNames(listeners []*listenerv3.Listener) ([]string, error) {
	var out []string
	for _, l := range listeners {
		for _, chain := range append(slices.Clone(l.GetFilterChains()), l.GetDefaultFilterChain()) {
			for _, f := range chain.GetFilters() {
				if !f.GetTypedConfig().MessageIs(&hcmv3.HttpConnectionManager{}) {
					continue
				}
				h := &hcmv3.HttpConnectionManager{}
				if err := f.GetTypedConfig().UnmarshalTo(h); err != nil {
					return nil, fmt.Errorf("listener %s: %w", l.GetName(), err)
				}
				if rds := h.GetRds(); rds != nil {
					out = append(out, rds.GetRouteConfigName())
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
