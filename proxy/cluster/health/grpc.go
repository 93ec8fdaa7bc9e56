package health

import (
	"context"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

type grpcProbe struct {
	s    *Spec
	dial Dial
	name string
	conn *grpc.ClientConn // kept
}

// Close implements Probe.
func (p *grpcProbe) Close() {
	if p.conn != nil {
		_ = p.conn.Close()
		p.conn = nil
	}
}

// Ask implements Probe.
func (p *grpcProbe) Ask(ctx context.Context) Answer {
	if p.conn == nil {
		conn, err := grpc.NewClient("passthrough:///host",
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return p.dial(ctx) }),
			grpc.WithTransportCredentials(insecure.NewCredentials()), // TLS is the dialler's
			grpc.WithAuthority(p.name), grpc.WithUserAgent(userAgent), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
			grpc.WithIdleTimeout(0))
		if err != nil {
			return Answer{Result: NetworkFailed}
		}
		p.conn = conn
	}
	if md := p.s.GRPC.Metadata; len(md) > 0 {
		ctx = metadata.AppendToOutgoingContext(ctx, md...)
	}
	resp, err := healthpb.NewHealthClient(p.conn).Check(ctx, &healthpb.HealthCheckRequest{Service: p.s.GRPC.Service})
	a := Answer{Result: Failed}
	switch {
	case err == nil && resp.GetStatus() == healthpb.HealthCheckResponse_SERVING:
		a.Result = Passed
	case err == nil:
	case ctx.Err() != nil || status.Code(err) == codes.Unavailable || status.Code(err) == codes.DeadlineExceeded:
		a = failure(ctx)
		p.Close() // so that the next question does not wait for its back-off
	}
	if p.s.NoReuse {
		p.Close()
	}
	return a
}
