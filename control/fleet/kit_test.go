package fleet

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	"github.com/weftmesh/weft/base/cow"
	"github.com/weftmesh/weft/base/watch"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/serve"
	"github.com/weftmesh/weft/wire"
)

func key(kind model.Kind, namespace, name string) model.Meta {
	return model.Meta{Key: model.Key{Kind: kind, Namespace: namespace, Name: name}}
}

// hashOf is what a workload has of its proxy's token.
func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// service is one that only its own namespace sees, on the given ports.
func service(namespace, name string, ports ...uint16) *model.Service {
	s := &model.Service{
		Meta: key(model.KindService, namespace, name), Namespace: namespace, Name: name,
		Host: name + "." + namespace + ".svc.cluster.local", Selector: map[string]string{"app": name},
		Exports: model.Visibility{Namespaces: []string{namespace}},
		VIPs:    []netip.Prefix{netip.MustParsePrefix("10.96.0." + map[string]string{"shop": "1", "bank": "2"}[namespace] + "/32")},
	}
	for _, p := range ports {
		s.Ports = append(s.Ports, model.ServicePort{Name: "tcp", Port: p, Protocol: model.TCP})
	}
	return s
}

// workload is an instance whose proxy's token is "token of NAME".
func workload(namespace, name string, last byte) *model.Workload {
	return &model.Workload{
		Meta: key(model.KindWorkload, namespace, name), Name: name, App: name, Namespace: namespace,
		Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 244, 0, last})}, Labels: map[string]string{"app": name},
		ServiceAccount: "default", TrustDomain: "cluster.local", Ready: true, Mesh: true, Engine: "go",
		TokenHash: hashOf("token of " + name),
	}
}

// snapshot makes one of services and workloads, and of what is wrong with them.
func snapshot(version uint64, why string, parts ...any) *model.Snapshot {
	s := &model.Snapshot{Version: version, Mesh: model.DefaultMesh(), Why: []string{why}}
	objects := map[model.Key]model.Object{}
	for _, p := range parts {
		switch p := p.(type) {
		case *model.Service:
			s.Services = append(s.Services, p)
			objects[p.Key] = p
		case *model.Workload:
			s.Workloads = append(s.Workloads, p)
			objects[p.Key] = p
		case model.Finding:
			s.Findings = append(s.Findings, p)
		}
	}
	s.Objects = cow.Of(objects)
	return s
}

func nodeID(namespace, name string) string {
	return wire.NodeID{Type: wire.Sidecar, IP: "10.244.0.9", Name: name, Namespace: namespace, Domain: namespace + ".svc.cluster.local"}.String()
}

// testFleet is a fleet behind a server in this process.
type testFleet struct {
	*Fleet
	snapshots watch.Cell[*model.Snapshot]
	client    discoverypb.AggregatedDiscoveryServiceClient
	closed    chan struct{} // one for each session that has been closed
}

// watched tells of the end of sessions.
type watched struct {
	serve.Backend
	closed chan struct{}
}

type watchedSession struct {
	serve.Session
	closed chan struct{}
}

func (w watched) Open(ctx context.Context, node *corev3.Node, resumes bool) (serve.Session, error) {
	s, err := w.Backend.Open(ctx, node, resumes)
	if err != nil {
		return nil, err
	}
	return watchedSession{s, w.closed}, nil
}

// Demand implements serve.Demander.
func (w watchedSession) Demand(typeURL string, asked, dropped []string, held map[string]string) {
	w.Session.(serve.Demander).Demand(typeURL, asked, dropped, held)
}

// Watch implements serve.Watcher.
func (w watchedSession) Watch(typeURL string) { w.Session.(serve.Watcher).Watch(typeURL) }

func (w watchedSession) Close() {
	w.Session.Close()
	w.closed <- struct{}{}
}

// start runs a fleet for as long as the test.
func start(t *testing.T) *testFleet {
	t.Helper()
	f := &testFleet{closed: make(chan struct{}, 1000)}
	f.Fleet = New(&f.snapshots, wire.ModeEager, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- f.Run(ctx) }()

	l := bufconn.Listen(1 << 20)
	server := grpc.NewServer(serve.Options()...)
	discoverypb.RegisterAggregatedDiscoveryServiceServer(server, serve.New(watched{f.Fleet, f.closed}, slog.New(slog.DiscardHandler)))
	go func() { _ = server.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:fleet", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	f.client = discoverypb.NewAggregatedDiscoveryServiceClient(conn)
	t.Cleanup(func() {
		_ = conn.Close()
		server.Stop()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run returned %v", err)
		}
	})
	return f
}

// publish makes a snapshot the newest and returns the event of its push.
func (f *testFleet) publish(t *testing.T, s *model.Snapshot) Event {
	t.Helper()
	events, stop := f.Subscribe()
	defer stop()
	f.snapshots.Store(s)
	return next(t, events)
}

func next(t *testing.T, events <-chan Event) Event {
	t.Helper()
	select {
	case e := <-events:
		return e
	case <-t.Context().Done():
		t.Fatal("the test ended before the event came")
		return Event{}
	}
}

// consumer is the client's end of a stream, which takes what comes until it is
// told not to.
type consumer struct {
	t      *testing.T
	stream grpc.BidiStreamingClient[discoverypb.DeltaDiscoveryRequest, discoverypb.DeltaDiscoveryResponse]
	cancel context.CancelFunc
	held   map[string]map[string]string // version by type and name
	sent   int                          // resources that came, over all
	// refuse names a type whose next response is rejected; hold one whose next
	// response is not answered.
	refuse, hold string
	// because is what a rejection says.
	because    string
	unanswered *discoverypb.DeltaDiscoveryResponse
	barriers   int
}

// dial opens a stream for a workload's proxy.
func (f *testFleet) dial(t *testing.T, id, token string) *consumer {
	t.Helper()
	return f.dialAs(t, id, token, wire.NodeMetadata{Engine: "go"})
}

func (f *testFleet) dialAs(t *testing.T, id, token string, meta wire.NodeMetadata) *consumer {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	if token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	stream, err := f.client.DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c := &consumer{t: t, stream: stream, cancel: cancel, held: map[string]map[string]string{}}
	t.Cleanup(cancel)
	c.send(&discoverypb.DeltaDiscoveryRequest{
		Node:    &corev3.Node{Id: id, Metadata: meta.Struct()},
		TypeUrl: ghosts, ResourceNamesSubscribe: []string{"ghost"},
	})
	return c
}

// connect opens a stream and takes clusters and listeners.
func (f *testFleet) connect(t *testing.T, namespace, name string) *consumer {
	t.Helper()
	c := f.dial(t, nodeID(namespace, name), "token of "+name)
	c.subscribe(wire.TypeCluster, nil)
	c.subscribe(wire.TypeListener, nil)
	for c.held[wire.TypeListener] == nil { // they come when clusters and endpoints were taken
		c.receive()
	}
	c.barrier()
	return c
}

// ghosts are a type of which there is nothing; asking for some is a question to
// which an answer comes.
const ghosts = "type.googleapis.com/weft.test.Ghost"

func (c *consumer) send(r *discoverypb.DeltaDiscoveryRequest) {
	c.t.Helper()
	if err := c.stream.Send(r); err != nil {
		c.t.Fatalf("sending: %v", err)
	}
}

// subscribe asks for everything of a type, beyond the versions that are held.
func (c *consumer) subscribe(typ string, held map[string]string) {
	c.t.Helper()
	c.send(&discoverypb.DeltaDiscoveryRequest{TypeUrl: typ, InitialResourceVersions: held})
}

// barrier returns once the server has taken everything that was sent before, and
// everything that it then had to say has come and been answered: requests are
// served in order. The second question is answered after the answer to the first
// has been taken.
func (c *consumer) barrier() {
	c.t.Helper()
	c.ask()
	c.ask()
}

func (c *consumer) ask() {
	c.t.Helper()
	c.barriers++
	name := strings.Repeat("g", c.barriers)
	c.send(&discoverypb.DeltaDiscoveryRequest{TypeUrl: ghosts, ResourceNamesSubscribe: []string{name}})
	for !strings.Contains(" "+strings.Join(c.receive().GetRemovedResources(), " ")+" ", " "+name+" ") {
	}
}

// receive takes one response.
func (c *consumer) receive() *discoverypb.DeltaDiscoveryResponse {
	c.t.Helper()
	r, err := c.stream.Recv()
	if err != nil {
		c.t.Fatalf("receiving: %v", err)
	}
	if c.held[r.GetTypeUrl()] == nil {
		c.held[r.GetTypeUrl()] = map[string]string{}
	}
	c.sent += len(r.GetResources())
	for _, x := range r.GetResources() {
		c.held[r.GetTypeUrl()][x.GetName()] = x.GetVersion()
	}
	for _, name := range r.GetRemovedResources() {
		delete(c.held[r.GetTypeUrl()], name)
	}
	if r.GetTypeUrl() == wire.TypeCluster {
		c.endpoints(r)
	}
	if c.hold == r.GetTypeUrl() {
		c.unanswered = r
		return r
	}
	c.answer(r)
	return r
}

// endpoints asks for those of clusters that have come.
func (c *consumer) endpoints(r *discoverypb.DeltaDiscoveryResponse) {
	c.t.Helper()
	var names []string
	for _, x := range r.GetResources() {
		if strings.HasPrefix(x.GetName(), wire.Outbound) {
			names = append(names, x.GetName())
		}
	}
	if len(names) > 0 {
		c.send(&discoverypb.DeltaDiscoveryRequest{TypeUrl: wire.TypeEndpoint, ResourceNamesSubscribe: names})
	}
}

func (c *consumer) answer(r *discoverypb.DeltaDiscoveryResponse) {
	c.t.Helper()
	answer := &discoverypb.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}
	if c.refuse == r.GetTypeUrl() {
		c.refuse = ""
		answer.ErrorDetail = &statuspb.Status{Message: cmp.Or(c.because, "field x is not for me")}
	}
	c.send(answer)
}

// until takes responses up to the one of a type.
func (c *consumer) until(typ string) *discoverypb.DeltaDiscoveryResponse {
	c.t.Helper()
	for {
		if r := c.receive(); r.GetTypeUrl() == typ {
			return r
		}
	}
}

// close ends the stream and waits until the fleet knows.
func (f *testFleet) close(c *consumer) {
	c.cancel()
	<-f.closed
}
