package mcp

import (
	"context"
	"encoding/json"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/tools/txtar"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	mcppb "istio.io/api/mcp/v1alpha1"

	"github.com/weftmesh/weft/base/watch"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/serve"
	"github.com/weftmesh/weft/control/source/document"
	"github.com/weftmesh/weft/control/source/file"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// decode are the good objects of documents.
func decode(text []byte) (out []model.Object) {
	for _, d := range file.NewDecoder().Decode(text, document.Input{Source: "file", File: "x.yaml"}) {
		if !d.Bad {
			out = append(out, d.Objects...)
		}
	}
	return out
}

// plain is an object without what says where it was read.
func plain(t *testing.T, o model.Object) map[string]any {
	t.Helper()
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	meta := out["meta"].(map[string]any)
	for _, k := range []string{"Origin", "Hash", "Lines"} {
		delete(meta, k)
	}
	return out
}

// TestEntriesAreWhatTheyWere: each entry of the goldens, written and read again, is the same.
func TestEntriesAreWhatTheyWere(t *testing.T) {
	entries := 0
	err := filepath.WalkDir("../../test/golden/testdata", func(p string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(p, ".txtar") {
			return err
		}
		a, err := txtar.ParseFile(p)
		if err != nil {
			return err
		}
		for _, f := range a.Files {
			if !strings.HasSuffix(f.Name, ".yaml") && !strings.Contains(string(f.Data), "kind: ServiceEntry") {
				continue
			}
			entries += again(t, p+"/"+f.Name, f.Data)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if entries < 20 {
		t.Errorf("only %d entries were found", entries)
	}
}

func again(t *testing.T, name string, text []byte) (n int) {
	t.Helper()
	snap := &model.Snapshot{}
	before := map[model.Key]model.Object{}
	for _, o := range decode(text) {
		switch o := o.(type) {
		case *model.Service:
			if o.FromEntry {
				snap.Services = append(snap.Services, o)
				before[o.Key] = o
			}
		case *model.Workload:
			if o.Key.Kind == model.KindWorkloadEntry {
				snap.Workloads = append(snap.Workloads, o)
				before[o.Key] = o
			}
		}
	}
	for kind, bodies := range map[model.Kind]map[string]proto.Message{
		model.KindServiceEntry: bodies(services(snap), serviceEntry), model.KindWorkloadEntry: bodies(workloads(snap), workloadEntry),
	} {
		for at, body := range bodies {
			spec, err := protojson.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			namespace, short, _ := strings.Cut(at, "/")
			of := before[model.Key{Kind: kind, Namespace: namespace, Name: short}].Head()
			doc, err := json.Marshal(map[string]any{
				"apiVersion": "networking.istio.io/v1", "kind": kind, "spec": json.RawMessage(spec),
				"metadata": map[string]any{"name": short, "namespace": namespace, "labels": of.Labels, "annotations": of.Annotations},
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range decode(doc) {
				n++
				if d := cmp.Diff(plain(t, before[o.Head().Key]), plain(t, o)); d != "" {
					t.Errorf("%s: %s: %s\n%s", name, at, d, doc)
				}
				delete(before, o.Head().Key)
			}
		}
	}
	for k := range before {
		t.Errorf("%s: %s is not offered", name, k)
	}
	return n
}

func bodies(objects map[string][]model.Object, body func([]model.Object) proto.Message) map[string]proto.Message {
	out := map[string]proto.Message{}
	for name, of := range objects {
		out[name] = body(of)
	}
	return out
}

// dial serves the backend and connects to it.
func dial(t *testing.T, b *Backend) discoverypb.AggregatedDiscoveryServiceClient {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(serve.Options()...)
	discoverypb.RegisterAggregatedDiscoveryServiceServer(s, serve.New(b, slog.New(slog.DiscardHandler)))
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	c, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		s.Stop()
		<-ended
	})
	return discoverypb.NewAggregatedDiscoveryServiceClient(c)
}

// mesh is a snapshot of services with one instance each.
func mesh(version uint64, services ...*model.Service) *model.Snapshot {
	return &model.Snapshot{Version: version, Services: services}
}

func registered(host, address string) *model.Service {
	return &model.Service{
		Meta: model.Meta{Key: model.Key{Kind: model.KindServiceEntry, Namespace: "shop", Name: host}},
		Host: host, Namespace: "shop", Name: host, FromEntry: true, Exports: model.Visibility{Public: true, Default: true}, Registry: "shop/zk",
		Ports:  []model.ServicePort{{Name: "dubbo-20880", Port: 20880, Protocol: model.MessagesOf("dubbo")}, {Name: "http-80", Port: 80, Protocol: model.HTTP}},
		Inline: []model.Endpoint{{Address: address, Port: 7000, Ports: map[string]uint16{"dubbo-20880": 20880}, Weight: 100, Labels: map[string]string{"version": "v1"}, Healthy: true}},
	}
}

var who = &corev3.Node{Id: "istiod"}

func TestDelta(t *testing.T) {
	snapshots := &watch.Cell[*model.Snapshot]{}
	a, b := registered("a.x", "10.0.0.1"), registered("b.x", "10.0.0.2")
	snapshots.Store(mesh(1, a, b))
	stream, err := dial(t, New(snapshots)).DeltaAggregatedResources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{"networking.istio.io/v1alpha3/ServiceEntry", "networking.istio.io/v1/VirtualService"} {
		if err := stream.Send(&discoverypb.DeltaDiscoveryRequest{Node: who, TypeUrl: url}); err != nil {
			t.Fatal(err)
		}
	}
	next := func() (*discoverypb.DeltaDiscoveryResponse, string) {
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&discoverypb.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, x := range r.GetResources() {
			names = append(names, x.GetName())
		}
		return r, strings.Join(append(names, r.GetRemovedResources()...), " ")
	}
	got := map[string]string{}
	for range 2 {
		r, names := next()
		got[r.GetTypeUrl()] = names
		for _, x := range r.GetResources() {
			m := &mcppb.Resource{}
			if err := x.GetResource().UnmarshalTo(m); err != nil {
				t.Fatal(err)
			}
			body, err := m.GetBody().UnmarshalNew()
			if err != nil {
				t.Fatal(err)
			}
			se := protojson.MarshalOptions{}.Format(body)
			if !strings.Contains(se, "tcp-dubbo-20880") || !strings.Contains(se, "20880") || m.GetMetadata().GetVersion() == "" {
				t.Errorf("%s", se)
			}
		}
	}
	if d := cmp.Diff(map[string]string{"networking.istio.io/v1alpha3/ServiceEntry": "shop/a.x shop/b.x", "networking.istio.io/v1/VirtualService": ""}, got); d != "" {
		t.Error(d)
	}
	// Only what has changed goes out.
	snapshots.Store(mesh(2, a, registered("b.x", "10.0.0.3")))
	if _, names := next(); names != "shop/b.x" {
		t.Errorf("changed: %s", names)
	}
	snapshots.Store(mesh(3, a))
	if r, names := next(); names != "shop/b.x" || len(r.GetRemovedResources()) != 1 {
		t.Errorf("removed: %s", names)
	}
}

func TestWholeWorld(t *testing.T) {
	snapshots := &watch.Cell[*model.Snapshot]{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := dial(t, New(snapshots)).StreamAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	const url = "networking.istio.io/v1/ServiceEntry"
	if err := stream.Send(&discoverypb.DiscoveryRequest{Node: who, TypeUrl: url}); err != nil {
		t.Fatal(err)
	}
	a, b := registered("a.x", "10.0.0.1"), registered("b.x", "10.0.0.2")
	// Each response has all that there is, none included.
	for i, s := range []*model.Snapshot{mesh(1, a, b), mesh(2, b), mesh(3), mesh(4, a)} {
		snapshots.Store(s)
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if len(r.GetResources()) != len(s.Services) || r.GetTypeUrl() != url {
			t.Errorf("%d: %d resources of %s, want %d", i, len(r.GetResources()), r.GetTypeUrl(), len(s.Services))
		}
		if err := stream.Send(&discoverypb.DiscoveryRequest{TypeUrl: url, ResponseNonce: r.GetNonce(), VersionInfo: r.GetVersionInfo()}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestListening(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"xds://127.0.0.1:1": "", "xds://:1": "", "xds://127.0.0.1": "want", "http://h:1": "want", "xds://h:1?cert=x": "no parameters",
		"xds+tls://h:1": "missing", "xds+tls://h:1?cert=x": "missing", "xds+tls://h:1?cert=x&key=y": "no such file", "xds+tls://h:1?nope=x": "nope",
		"xds+tls://h:1?cert=" + empty + "&key=" + empty: "cert and key",
	} {
		_, opts, err := Listening(address)
		if want == "" && (err != nil || len(opts) > 0) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", address, err, want)
		}
	}
	if got := slices.Sorted(maps.Keys(New(nil).kinds)); !slices.Equal(got, []model.Kind{model.KindServiceEntry, model.KindWorkloadEntry}) {
		t.Error(got)
	}
}
