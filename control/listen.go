package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/control/mcp"
	"github.com/weftmesh/weft/control/serve"
)

// sockets are what the control plane listens on beside its console; nil: not asked for.
type sockets struct {
	xds, secure, plaintext, monitoring, webhook, mcp net.Listener
	// mcpOptions are how mcp is guarded.
	mcpOptions []grpc.ServerOption
}

// listen opens all sockets, or none.
func listen(ctx context.Context, o Options) (s sockets, err error) {
	if o.XDSSocket == "" && o.Secure.Address == "" && o.Plaintext == "" {
		return s, errors.New("the control plane has nowhere to listen: give an xDS socket or address")
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if o.XDSSocket != "" {
		if s.xds, err = console.Listen(ctx, o.XDSSocket); err != nil {
			return s, err
		}
	}
	offer := ""
	if o.ServeMCP != "" {
		if offer, s.mcpOptions, err = mcp.Listening(o.ServeMCP); err != nil {
			return s, err
		}
	}
	for _, x := range []struct {
		to            *net.Listener
		what, address string
	}{
		{&s.secure, "xDS", o.Secure.Address}, {&s.plaintext, "xDS", o.Plaintext}, {&s.monitoring, "monitoring", o.Monitoring}, {&s.webhook, "webhooks", o.Webhook.Address}, {&s.mcp, "MCP", offer},
	} {
		if x.address == "" {
			continue
		}
		var lc net.ListenConfig
		if *x.to, err = lc.Listen(ctx, "tcp", x.address); err != nil {
			return s, fmt.Errorf("%s on %s: %w", x.what, x.address, err)
		}
	}
	return s, nil
}

func (s sockets) close() {
	for _, l := range []net.Listener{s.xds, s.secure, s.plaintext, s.monitoring, s.webhook, s.mcp} {
		if l != nil {
			l.Close()
		}
	}
}

// maxStreams is how many calls one connection may have under way.
const maxStreams = 1000

// readBuffer is what a connection keeps to read into: proxies ask for little, and
// there are thousands of them.
const readBuffer = 4 << 10

func newServer(more ...grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append(append(serve.Options(), more...),
		grpc.ReadBufferSize(readBuffer), grpc.SharedWriteBuffer(true),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)...)
}

// grpcServer is a server and the streams on it.
type grpcServer struct {
	*grpc.Server
	ads *serve.Server
}

// newOffer is the server of what others are offered.
func newOffer(b *mcp.Backend, s sockets, log *slog.Logger) grpcServer {
	ads, server := serve.New(b, log), newServer(s.mcpOptions...)
	discoverypb.RegisterAggregatedDiscoveryServiceServer(server, ads)
	return grpcServer{server, ads}
}

// serveGRPC runs a server until ctx ends. Its streams end at once then, with a word
// that sends proxies to another replica; other calls have a moment to end.
func serveGRPC(ctx context.Context, g *errgroup.Group, server grpcServer, l net.Listener) {
	if l == nil {
		return
	}
	g.Go(func() error {
		// Stopped before it has begun is no fault.
		if err := server.Serve(l); !errors.Is(err, grpc.ErrServerStopped) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		stop := time.AfterFunc(drainBound, server.Stop)
		defer stop.Stop()
		server.ads.Drain()
		server.GracefulStop()
		return nil
	})
}
