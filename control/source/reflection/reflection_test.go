package reflection

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/weftmesh/weft/base/watch"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/examples/bookstore/catalog/catalogpb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve serves the bookstore's catalogue, with reflection if so, at an address or a free one.
func serve(t *testing.T, address string, reflects bool) (at string, stop func()) {
	t.Helper()
	if address == "" {
		address = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	catalogpb.RegisterCatalogServer(s, catalogpb.UnimplementedCatalogServer{})
	healthpb.RegisterHealthServer(s, health.NewServer())
	if reflects {
		reflection.Register(s)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	return l.Addr().String(), func() {
		s.Stop()
		<-ended
	}
}

// transcoding asks an address, or where there is none the service's instances.
func transcoding(address string, services ...string) *model.Transcoding {
	return &model.Transcoding{
		Meta: model.Meta{Key: model.Key{Kind: model.KindTranscoding, Namespace: "shop", Name: "catalog"}}, Host: "catalog.shop.svc.cluster.local",
		GRPC: &model.GRPCTranscoding{Services: services, Reflection: &model.Reflection{Address: address, Authority: "catalog", Every: 10 * time.Millisecond}},
	}
}

func snapshot(t *model.Transcoding, instances ...string) *model.Snapshot {
	s := &model.Service{
		Meta: model.Meta{Key: model.Key{Kind: model.KindService, Namespace: "shop", Name: "catalog"}}, Host: "catalog.shop.svc.cluster.local", Namespace: "shop", Name: "catalog",
		Ports: []model.ServicePort{{Name: "grpc", Port: 9080, Protocol: model.GRPC}},
	}
	for _, in := range instances {
		a, err := net.ResolveTCPAddr("tcp", in)
		if err != nil {
			panic(err)
		}
		s.Inline = append(s.Inline, model.Endpoint{Address: a.IP.String(), Port: uint16(a.Port), Healthy: true})
	}
	out := &model.Snapshot{Services: []*model.Service{s}}
	if t != nil {
		out.Transcodings = []*model.Transcoding{t}
	}
	return out
}

// bench is a source that runs.
type bench struct {
	t      *testing.T
	cell   watch.Cell[*model.Snapshot]
	deltas chan model.Delta
	known  map[model.Key]*model.Descriptors
	finds  []model.Finding
}

func start(t *testing.T, dir string, snap *model.Snapshot) (*bench, func()) {
	t.Helper()
	b := &bench{t: t, deltas: make(chan model.Delta), known: map[model.Key]*model.Descriptors{}}
	b.cell.Store(snap)
	s := New(Options{Snapshots: &b.cell, Dir: dir, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, b.deltas) }()
	return b, func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

// until takes deltas until what is known is so.
func (b *bench) until(is func() bool) {
	b.t.Helper()
	for {
		select {
		case d := <-b.deltas:
			for _, k := range d.Deletes {
				delete(b.known, k)
			}
			for _, o := range d.Upserts {
				b.known[o.Head().Key] = o.(*model.Descriptors)
			}
			if b.finds = d.Findings; is() {
				return
			}
		case <-time.After(time.Minute):
			b.t.Fatalf("known %v, findings %v", b.known, b.finds)
		}
	}
}

func (b *bench) has() bool {
	d := b.known[model.Key{Kind: model.KindDescriptors, Namespace: "shop", Name: "catalog"}]
	if d == nil || !slices.Equal(d.Services, []string{"bookstore.catalog.v1.Catalog"}) {
		return false
	}
	set := &descriptorpb.FileDescriptorSet{}
	return proto.Unmarshal(d.Set, set) == nil && len(set.GetFile()) == 1
}

func (b *bench) finds1(severity model.Severity, text string) bool {
	return len(b.finds) == 1 && b.finds[0].Code == CodeFetch && b.finds[0].Severity == severity && strings.Contains(b.finds[0].Message, text)
}

func TestAsks(t *testing.T) {
	dir := t.TempDir()
	silent, stopSilent := serve(t, "", false)
	defer stopSilent()
	b, end := start(t, dir, snapshot(transcoding(""), silent))
	b.until(func() bool { return b.finds1(model.Error, "Unimplemented") })

	// Another instance answers.
	at, stop := serve(t, "", true)
	b.cell.Store(snapshot(b.cell.Load().Transcodings[0], silent, at))
	b.until(b.has)
	for len(b.finds) > 0 {
		b.until(func() bool { return true })
	}

	// It goes: what it said stays, over a restart too.
	stop()
	b.until(func() bool { return b.finds1(model.Warning, "the last ones stay") && len(b.known) == 1 })
	end()
	b, end = start(t, dir, snapshot(transcoding(at)))
	b.until(b.has)
	b.until(func() bool { return b.finds1(model.Warning, "refused") && b.has() })
	_, stop = serve(t, at, true)
	defer stop()
	b.until(func() bool { return len(b.finds) == 0 && b.has() })

	// What is asked for no more is forgotten.
	b.cell.Store(snapshot(nil))
	b.until(func() bool { return len(b.known) == 0 })
	end()
	b, end = start(t, dir, snapshot(transcoding(at, "bookstore.catalog.v1.Stock")))
	b.until(func() bool { return b.finds1(model.Error, "does not serve bookstore.catalog.v1.Stock") })
	end()
}

func TestNoInstance(t *testing.T) {
	b, end := start(t, "", snapshot(transcoding("")))
	b.until(func() bool { return b.finds1(model.Error, "no instance") })
	end()
}
