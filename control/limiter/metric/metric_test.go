package metric_test

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weftmesh/weft/control/limiter/metric"
	"github.com/weftmesh/weft/wire/metricpb"
	"github.com/weftmesh/weft/wire/push"
)

func dial(t *testing.T, s *metric.Store) *grpc.ClientConn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	metricpb.RegisterMetricDiscoveryServer(server, metric.NewService(s, slog.New(slog.DiscardHandler)))
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// TestPush is a reporter of somebody else's.
func TestPush(t *testing.T) {
	store := metric.NewStore()
	store.Want([]string{"queue"})
	s, err := metricpb.NewMetricDiscoveryClient(dial(t, store)).Push(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if w, err := s.Recv(); err != nil || len(w.Names) != 1 || w.Names[0] != "queue" || w.Interval.AsDuration() <= 0 {
		t.Fatalf("%v, %v", w, err)
	}
	changed := store.Changed()
	if err := s.Send(&metricpb.Report{Reporter: "test", Samples: []*metricpb.Sample{
		{Namespace: "default", Workload: "a-0", Name: "queue", Value: 7},
		{Service: "a.default.svc.cluster.local", Set: "v1", Name: "depth", Value: 8},
		{Namespace: "default", Workload: "a-0", Name: "a b", Value: 7},
		{Namespace: "default", Name: "nobody", Value: 7},
	}}); err != nil {
		t.Fatal(err)
	}
	w, err := s.Recv()
	if err != nil || len(w.Faults) != 2 || w.Faults[0].Sample != 2 || w.Faults[1].Sample != 3 {
		t.Fatalf("%v, %v", w, err)
	}
	<-changed
	if v, ok := store.Get(metric.Subject{Namespace: "default", Workload: "a-0"}, "queue"); !ok || v != 7 {
		t.Error(v, ok)
	}
	if v, ok := store.Get(metric.Subject{Service: "a.default.svc.cluster.local", Set: "v1"}, "depth"); !ok || v != 8 {
		t.Error(v, ok)
	}
	store.Want([]string{"other"})
	if w, err := s.Recv(); err != nil || w.Names[0] != "other" {
		t.Fatalf("%v, %v", w, err)
	}
}

// TestReporter: the mesh's own reporters say nothing before they are asked.
func TestReporter(t *testing.T) {
	store := metric.NewStore()
	conn := dial(t, store)
	calls := make(chan bool, 100)
	r := push.Reporter{Name: "test", Names: []string{"cpu"}, Log: slog.New(slog.DiscardHandler), Samples: func(begin bool) []*metricpb.Sample {
		calls <- begin
		return []*metricpb.Sample{{Namespace: "default", Workload: "a-0", Name: "cpu", Value: 1}}
	}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx, conn) }()
	changed := store.Changed()
	store.Want([]string{"cpu"})
	if !<-calls {
		t.Error("the first call does not begin")
	}
	select {
	case <-changed:
	case <-time.After(time.Minute):
		t.Fatal("nothing is reported")
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("no error")
	}
}

func TestOutOfDate(t *testing.T) {
	store := metric.NewStore()
	of := metric.Subject{Service: "a"}
	if err := store.Set(of, "x", 1, time.Nanosecond); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if _, ok := store.Get(of, "x"); !ok {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it is still there")
		}
	}
	store.Sweep()
}
