// Package grpcinterop runs gRPC's own interoperability cases, its client
// library against its server, through the proxy: in plain HTTP/2, with mutual
// TLS between two proxies, and as gRPC-Web over HTTP/1.1. Each runs on both
// I/O hosts. Cases that need accounts of a cloud are left out.
package grpcinterop

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"

	"github.com/weftmesh/weft/proxy"
)

// cases are those of the client's command line, by its names. They end the
// process when they fail; see fatal.
var cases = []struct {
	name string
	run  func(context.Context, grpc.ClientConnInterface)
}{
	{"empty_unary", with(interop.DoEmptyUnaryCall)},
	{"large_unary", with(interop.DoLargeUnaryCall)},
	{"client_streaming", with(interop.DoClientStreaming)},
	{"server_streaming", with(interop.DoServerStreaming)},
	{"ping_pong", with(interop.DoPingPong)},
	{"empty_stream", with(interop.DoEmptyStream)},
	{"timeout_on_sleeping_server", with(interop.DoTimeoutOnSleepingServer)},
	{"cancel_after_begin", with(interop.DoCancelAfterBegin)},
	{"cancel_after_first_response", with(interop.DoCancelAfterFirstResponse)},
	{"status_code_and_message", with(interop.DoStatusCodeAndMessage)},
	{"special_status_message", with(interop.DoSpecialStatusMessage)},
	{"custom_metadata", with(interop.DoCustomMetadata)},
	{"unimplemented_service", func(ctx context.Context, cc grpc.ClientConnInterface) {
		interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(cc))
	}},
	{"pick_first_unary", func(ctx context.Context, cc grpc.ClientConnInterface) {
		interop.DoPickFirstUnary(ctx, testgrpc.NewTestServiceClient(cc))
	}},
}

// channelCases need gRPC's own connection.
var channelCases = []struct {
	name string
	run  func(context.Context, *grpc.ClientConn)
}{
	{"unimplemented_method", interop.DoUnimplementedMethod},
	{"orca_per_rpc", func(ctx context.Context, cc *grpc.ClientConn) {
		interop.DoORCAPerRPCTest(ctx, testgrpc.NewTestServiceClient(cc))
	}},
	{"orca_oob", func(ctx context.Context, cc *grpc.ClientConn) {
		interop.DoORCAOOBTest(ctx, testgrpc.NewTestServiceClient(cc))
	}},
	{"rpc_soak", func(ctx context.Context, cc *grpc.ClientConn) {
		interop.DoSoakTest(ctx, soak(cc.Target(), func() (*grpc.ClientConn, func()) { return cc, func() {} }))
	}},
	{"channel_soak", func(ctx context.Context, cc *grpc.ClientConn) {
		interop.DoSoakTest(ctx, soak(cc.Target(), func() (*grpc.ClientConn, func()) {
			one, err := connect(cc.Target())
			if err != nil {
				die(err.Error())
			}
			return one, func() { one.Close() }
		}))
	}},
}

// with gives a case a stub.
func with(do func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption)) func(context.Context, grpc.ClientConnInterface) {
	return func(ctx context.Context, cc grpc.ClientConnInterface) { do(ctx, testgrpc.NewTestServiceClient(cc)) }
}

// soak is a small one: large messages from several workers at once.
func soak(target string, channel func() (*grpc.ClientConn, func())) interop.SoakTestConfig {
	return interop.SoakTestConfig{
		RequestSize: 271828, ResponseSize: 314159, PerIterationMaxAcceptableLatency: time.Minute, OverallTimeout: 2 * time.Minute,
		ServerAddr: target, NumWorkers: 4, Iterations: 40, ChannelForTest: channel,
	}
}

// connect has the balancer that the client's command line is told to take: it
// hears the load reports.
func connect(target string) (*grpc.ClientConn, error) {
	return grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"test_backend_metrics_load_balancer": {}}]}`))
}

// play runs one case.
func play[C any](t *testing.T, name string, cc C, run func(context.Context, C)) {
	t.Run(name, func(t *testing.T) {
		failTo(t)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		run(ctx, cc)
	})
}

func TestGRPC(t *testing.T) {
	for _, io := range []string{proxy.IOLoop, proxy.IOGoroutine} {
		for _, way := range []string{"plain", "mtls"} {
			t.Run(io+"/"+way, func(t *testing.T) {
				cc, err := connect("passthrough:///" + through(t, io, way, serve(t)))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { cc.Close() })
				for _, c := range cases {
					play(t, c.name, grpc.ClientConnInterface(cc), c.run)
				}
				for _, c := range channelCases {
					play(t, c.name, cc, c.run)
				}
			})
		}
	}
}

// talks are the cases in which a client waits for an answer with its request
// unfinished, which a text cannot.
var talks = []string{"ping_pong", "cancel_after_first_response", "custom_metadata"}

func TestGRPCWeb(t *testing.T) {
	for _, text := range []bool{false, true} {
		t.Run(map[bool]string{false: "binary", true: "text"}[text], func(t *testing.T) {
			tr := &http.Transport{}
			t.Cleanup(tr.CloseIdleConnections)
			cc := &webConn{http: &http.Client{Transport: tr}, addr: through(t, proxy.IOLoop, "plain", serve(t)), text: text}
			for _, c := range cases {
				if !text || !slices.Contains(talks, c.name) {
					play(t, c.name, grpc.ClientConnInterface(cc), c.run)
				}
			}
		})
	}
}
