package orca

import (
	"context"
	"net"
	"time"

	orcasvcpb "github.com/cncf/xds/go/xds/service/orca/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/base/backoff"
)

// Watch asks an endpoint for its load and calls got with each report, on the
// caller's goroutine, until ctx ends or the endpoint says that it has no such service.
// After a failure it asks again, later each time. dial connects, TLS included.
func Watch(ctx context.Context, dial func(context.Context) (net.Conn, error), authority string, interval time.Duration, got func(*Report)) error {
	conn, err := grpc.NewClient("passthrough:///host",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()), // TLS is the dialler's
		grpc.WithAuthority(authority), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(), grpc.WithIdleTimeout(0))
	if err != nil {
		return err
	}
	defer conn.Close()
	wait := backoff.Backoff{Min: time.Second, Max: 2 * time.Minute}
	for {
		err := stream(ctx, conn, interval, func(r *Report) {
			wait.Reset()
			got(r)
		})
		if ctx.Err() != nil || status.Code(err) == codes.Unimplemented {
			return err
		}
		if err := wait.Wait(ctx); err != nil {
			return err
		}
	}
}

func stream(ctx context.Context, conn *grpc.ClientConn, interval time.Duration, got func(*Report)) error {
	s, err := orcasvcpb.NewOpenRcaServiceClient(conn).StreamCoreMetrics(ctx, &orcasvcpb.OrcaLoadReportRequest{ReportInterval: durationpb.New(interval)})
	if err != nil {
		return err
	}
	for {
		r, err := s.Recv()
		if err != nil {
			return err
		}
		got(r)
	}
}
