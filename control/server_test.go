package control

import (
	"net"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	mcppb "istio.io/api/mcp/v1alpha1"
	networkingpb "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/wire"
)

// offering is a server of MCP over xDS that has one ServiceEntry.
type offering struct {
	discoverypb.UnimplementedAggregatedDiscoveryServiceServer
	entry *anypb.Any
}

func (o *offering) StreamAggregatedResources(stream discoverypb.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	for {
		r, err := stream.Recv()
		if err != nil {
			return nil //nolint:nilerr // the client has gone
		}
		if r.GetResponseNonce() != "" {
			continue
		}
		answer := &discoverypb.DiscoveryResponse{TypeUrl: r.GetTypeUrl(), VersionInfo: "1", Nonce: "1"}
		if strings.HasSuffix(r.GetTypeUrl(), "/ServiceEntry") {
			answer.Resources = []*anypb.Any{o.entry}
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}

func inAny(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestConfigurationFromAServer: what a server offers reaches proxies, as what stands in
// a folder does.
func TestConfigurationFromAServer(t *testing.T) {
	entry := &networkingpb.ServiceEntry{
		Hosts: []string{"web.example"}, Resolution: networkingpb.ServiceEntry_STATIC,
		Ports:     []*networkingpb.ServicePort{{Number: 80, Name: "http", Protocol: "HTTP"}},
		Endpoints: []*networkingpb.WorkloadEntry{{Address: "10.1.1.9"}},
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	discoverypb.RegisterAggregatedDiscoveryServiceServer(server, &offering{
		entry: inAny(t, &mcppb.Resource{Metadata: &mcppb.Metadata{Name: "shop/web"}, Body: inAny(t, entry)}),
	})
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() { // after the control plane
		server.Stop()
		<-served
	})
	stream := runAlone(t, Options{Config: []string{"xds://" + l.Addr().String()}}).stream
	if err := stream.Send(&discoverypb.DeltaDiscoveryRequest{
		Node:    &corev3.Node{Id: "sidecar~10.0.0.1~a-0.shop~shop.svc.cluster.local", Metadata: wire.NodeMetadata{Namespace: "shop"}.Struct()},
		TypeUrl: wire.TypeEndpoint, ResourceNamesSubscribe: []string{wire.ClusterName(wire.Outbound, 80, "", "web.example")},
	}); err != nil {
		t.Fatal(err)
	}
	r, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if len(r.GetResources()) != 1 || !strings.Contains(string(r.GetResources()[0].GetResource().GetValue()), "10.1.1.9") {
		t.Errorf("got %v", r)
	}
}
