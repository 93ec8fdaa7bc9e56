package fleet

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/wire"
)

// ends waits for the end of a stream.
func (c *consumer) ends(want codes.Code, says string) {
	c.t.Helper()
	for {
		_, err := c.stream.Recv()
		if err == nil {
			continue
		}
		if status.Code(err) != want || !strings.Contains(err.Error(), says) {
			c.t.Errorf("the stream ended with %v, want %v that says %q", err, want, says)
		}
		return
	}
}

// TestHostileNodes: what a stream says of itself is bounded.
func TestHostileNodes(t *testing.T) {
	f := start(t)
	f.snapshots.Store(snapshot(1, "start", shop, bank))
	for name, c := range map[string]struct {
		node *corev3.Node
		says string
	}{
		"huge metadata": {&corev3.Node{Id: nodeID("shop", "web"), Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{
			"LABELS": structpb.NewStringValue(strings.Repeat("x", 300<<10)),
		}}}, "want at most 262144"},
		"labels that are no labels": {&corev3.Node{Id: nodeID("shop", "web"), Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{
			"LABELS": structpb.NewNumberValue(7),
		}}}, "node metadata"},
		"huge id": {&corev3.Node{Id: strings.Repeat("x", 300<<10)}, "want at most 262144"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer token of web")
			stream, err := f.client.DeltaAggregatedResources(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.Send(&discoverypb.DeltaDiscoveryRequest{Node: c.node, TypeUrl: wire.TypeCluster}); err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want one that says %q", err, c.says)
			}
		})
	}
}

// TestClaims: what a node says of itself opens nothing: labels, namespace, being another
// kind of proxy. The token decides.
func TestClaims(t *testing.T) {
	f := start(t)
	f.publish(t, snapshot(1, "start", shop, bank, service("shop", "web", 80), service("bank", "till", 80)))
	id := wire.NodeID{Type: wire.Router, IP: "10.244.0.2", Name: "web", Namespace: "shop", Domain: "bank.svc.cluster.local"}
	c := f.dialAs(t, id.String(), "token of web", wire.NodeMetadata{
		Namespace: "bank", Name: "till", ServiceAccount: "admin", Labels: map[string]string{"app": "till"}, ClusterID: "other",
	})
	c.subscribe(wire.TypeCluster, nil)
	c.send(&discoverypb.DeltaDiscoveryRequest{TypeUrl: wire.TypeEndpoint, ResourceNamesSubscribe: []string{
		wire.ClusterName(wire.Outbound, 80, "", "till.bank.svc.cluster.local"), wire.ClusterName(wire.Outbound, 80, "", "web.shop.svc.cluster.local"),
	}})
	c.until(wire.TypeEndpoint)
	c.barrier()
	for typ, held := range c.held {
		for name := range held {
			if strings.Contains(name, "bank") {
				t.Errorf("it was handed %s %s of a namespace that is closed to it", typ, name)
			}
		}
	}
	if len(c.held[wire.TypeEndpoint]) != 1 {
		t.Errorf("of two endpoints one is its own to see, it has %v", c.held[wire.TypeEndpoint])
	}
}

// TestHostileNames: names without end, long names and names that come and go.
func TestHostileNames(t *testing.T) {
	f := start(t)
	f.publish(t, snapshot(1, "start", shop, service("shop", "web", 80)))
	long := f.connect(t, "shop", "web")
	long.send(&discoverypb.DeltaDiscoveryRequest{TypeUrl: wire.TypeEndpoint, ResourceNamesSubscribe: []string{strings.Repeat("x", 5<<10)}})
	long.ends(codes.InvalidArgument, "want at most 4096")

	many := func(from, n int) (names []string) {
		for i := range n {
			names = append(names, fmt.Sprintf("outbound|1||x%d.shop.svc.cluster.local", from+i))
		}
		return names
	}
	endless := f.connect(t, "shop", "web")
	endless.send(&discoverypb.DeltaDiscoveryRequest{TypeUrl: wire.TypeEndpoint, ResourceNamesSubscribe: many(0, 15_000)})
	endless.send(&discoverypb.DeltaDiscoveryRequest{TypeUrl: wire.TypeWorkload, ResourceNamesSubscribe: many(0, 15_000)})
	endless.ends(codes.ResourceExhausted, "names that do not exist")

	// Who gives names up may ask for others.
	patient := f.connect(t, "shop", "web")
	for i := range 4 {
		names := many(i*15_000, 15_000)
		patient.send(&discoverypb.DeltaDiscoveryRequest{TypeUrl: wire.TypeEndpoint, ResourceNamesSubscribe: names})
		patient.until(wire.TypeEndpoint)
		patient.send(&discoverypb.DeltaDiscoveryRequest{TypeUrl: wire.TypeEndpoint, ResourceNamesUnsubscribe: names})
	}
	patient.barrier()
}

// TestUnknownNonces: answers to what was never sent change nothing.
func TestUnknownNonces(t *testing.T) {
	f := start(t)
	f.publish(t, snapshot(1, "start", shop, service("shop", "web", 80)))
	c := f.connect(t, "shop", "web")
	for i := range 100 {
		c.send(&discoverypb.DeltaDiscoveryRequest{TypeUrl: wire.TypeCluster, ResponseNonce: fmt.Sprint("never ", i)})
		c.send(&discoverypb.DeltaDiscoveryRequest{TypeUrl: fmt.Sprint("type.googleapis.com/never.", i), ResponseNonce: "1"})
	}
	sent := c.sent
	c.barrier()
	if c.sent != sent {
		t.Errorf("%d resources were sent for it", c.sent-sent)
	}
	f.snapshots.Store(snapshot(2, "a port more", shop, service("shop", "web", 80, 81)))
	c.until(wire.TypeCluster)
}

// TestStreamsOfOneWorkload: one workload cannot have streams without end, and others
// are served meanwhile.
func TestStreamsOfOneWorkload(t *testing.T) {
	f := start(t)
	f.publish(t, snapshot(1, "start", shop, bank, service("shop", "web", 80), service("bank", "till", 80)))
	var open []*consumer
	for range maxStreams {
		c := f.dial(t, nodeID("shop", "web"), "token of web")
		c.until(ghosts)
		open = append(open, c)
	}
	f.dial(t, nodeID("shop", "web"), "token of web").ends(codes.ResourceExhausted, "close some")
	f.connect(t, "bank", "till")
	f.close(open[0])
	f.dial(t, nodeID("shop", "web"), "token of web").until(ghosts)
}

// TestReaderThatNeverReads: a stream whose client reads nothing holds one response,
// however much changes, and holds up nobody else.
func TestReaderThatNeverReads(t *testing.T) {
	f := start(t)
	at := func(version uint64) []any {
		parts := []any{shop, bank, service("bank", "till", 80)}
		s := service("shop", "web")
		for p := range 400 { // some 200 KiB of clusters, more than a stream's window
			s.Ports = append(s.Ports, service("shop", "web", uint16(1000+p)).Ports...)
		}
		s.SubjectAltNames = []string{fmt.Sprint("spiffe://v", version)} // in every cluster
		return append(parts, s)
	}
	f.publish(t, snapshot(1, "start", at(1)...))
	deaf := f.dial(t, nodeID("shop", "web"), "token of web")
	deaf.subscribe(wire.TypeCluster, nil)
	other := f.connect(t, "bank", "till")
	var before, after runtime.MemStats
	for v := uint64(2); v < 60; v++ {
		if v == 10 {
			runtime.GC()
			runtime.ReadMemStats(&before)
		}
		f.snapshots.Store(snapshot(v, "change", at(v)...))
	}
	other.barrier()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
		t.Errorf("50 changes of 200 KiB left %d KiB", grown>>10)
	}
	// It has the newest when it reads at last, and little between.
	deaf.barrier()
	if n := deaf.sent; n > 4000 { // of 23,200
		t.Errorf("%d resources were sent to it", n)
	}
}

// TestOtherVersions: a proxy of another release, which says more of itself or other
// things, is served as any.
func TestOtherVersions(t *testing.T) {
	f := start(t)
	f.publish(t, snapshot(1, "start", shop, service("shop", "web", 80)))
	for name, fields := range map[string]map[string]any{
		"older":   {},
		"newer":   {"ISTIO_VERSION": "99.1.0", "WEFT_ENGINE": "quic", "WEFT_NEW": map[string]any{"a": []any{1, "b"}}, "LABELS": map[string]any{"app": "web"}},
		"istio's": {"ISTIO_VERSION": "1.12.0", "PROXY_CONFIG": map[string]any{"concurrency": 2}, "ENVOY_STATUS_PORT": 15021, "DNS_CAPTURE": "true"},
	} {
		t.Run(name, func(t *testing.T) {
			meta, err := structpb.NewStruct(fields)
			if err != nil {
				t.Fatal(err)
			}
			ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer token of web")
			stream, err := f.client.DeltaAggregatedResources(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.Send(&discoverypb.DeltaDiscoveryRequest{Node: &corev3.Node{Id: nodeID("shop", "web"), Metadata: meta}, TypeUrl: wire.TypeCluster}); err != nil {
				t.Fatal(err)
			}
			if r, err := stream.Recv(); err != nil || len(r.Resources) == 0 {
				t.Errorf("got %v, %v", r, err)
			}
		})
	}
}
