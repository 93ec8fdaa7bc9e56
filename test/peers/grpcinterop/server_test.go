package grpcinterop

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	orcapb "github.com/cncf/xds/go/xds/data/orca/v3"
	orcaservicepb "github.com/cncf/xds/go/xds/service/orca/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/grpclog"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/orca"
)

// server is the library's, with the name that pick_first_unary asks for.
type server struct {
	testgrpc.TestServiceServer
	name string
}

func (s server) UnaryCall(ctx context.Context, in *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	out, err := s.TestServiceServer.UnaryCall(ctx, in)
	if out != nil && in.GetFillServerId() {
		out.ServerId = s.name
	}
	return out, err
}

// reports sends the server's load as often as it is asked to. The library's
// service does so every 30 seconds at most, where orca_oob gives up.
type reports struct {
	orcaservicepb.UnimplementedOpenRcaServiceServer
	metrics orca.ServerMetricsProvider
}

func (r reports) StreamCoreMetrics(req *orcaservicepb.OrcaLoadReportRequest, st grpc.ServerStreamingServer[orcapb.OrcaLoadReport]) error {
	tick := time.NewTicker(min(req.GetReportInterval().AsDuration(), 50*time.Millisecond))
	defer tick.Stop()
	for {
		m := r.metrics.ServerMetrics()
		if err := st.Send(&orcapb.OrcaLoadReport{CpuUtilization: m.CPUUtilization, MemUtilization: m.MemUtilization, Utilization: m.Utilization}); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-st.Context().Done():
			return nil
		}
	}
}

// serve returns the address of a server.
func serve(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	metrics := orca.NewServerMetricsRecorder()
	s := grpc.NewServer(orca.CallMetricsServerOption(nil))
	testgrpc.RegisterTestServiceServer(s, server{interop.NewTestServer(interop.NewTestServerOptions{MetricsRecorder: metrics}), ln.Addr().String()})
	orcaservicepb.RegisterOpenRcaServiceServer(s, reports{metrics: metrics})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(ln)
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	return ln.Addr().String()
}

// fatal is a log that fails the test which is under way: the library ends the
// process otherwise, and the others would not be heard of.
type fatal struct{ grpclog.LoggerV2 }

// current is the test that runs; the library has one log for all.
var current atomic.Pointer[testing.T]

func init() { grpclog.SetLoggerV2(fatal{grpclog.NewLoggerV2(discard{}, discard{}, discard{})}) }

// failTo makes a test the one that fails.
func failTo(t *testing.T) {
	before := current.Swap(t)
	t.Cleanup(func() { current.Store(before) })
}

func (fatal) Fatal(args ...any)                 { die(fmt.Sprint(args...)) }
func (fatal) Fatalf(format string, args ...any) { die(fmt.Sprintf(format, args...)) }
func (fatal) Fatalln(args ...any)               { die(fmt.Sprintln(args...)) }

func die(text string) {
	t := current.Load()
	t.Helper()
	t.Fatal(strings.TrimSpace(text)) // ends the goroutine before the library ends the process
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
