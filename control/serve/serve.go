// Package serve is the xDS server: aggregated discovery (ADS), delta and
// state-of-the-world, for any consumer of Envoy's v3 API.
//
// It knows types, names and versions, and nothing of a mesh: what a consumer
// should hold comes from a Session, as an immutable State that is replaced
// whole. Guarantees, per stream:
//
//   - Only what changed goes out (delta), and a resource is sent again only when
//     its version changes or the consumer asks anew.
//   - Back-pressure: at most one response per type is unacknowledged; states
//     that come meanwhile coalesce, the newest wins.
//   - Make before break: clusters and endpoints go before listeners and routes,
//     which wait a short while until the endpoints of new clusters have been
//     taken; what was removed of clusters and endpoints goes last.
//   - A reconnecting consumer that says which versions it holds
//     (initial_resource_versions) gets only the difference.
//
// It does not decide who may connect, nor what they may see: Backend does.
package serve

import (
	"context"
	"errors"
	"io"
	"log/slog"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Backend admits consumers.
type Backend interface {
	// Open identifies the consumer of a new stream. Errors should be gRPC
	// status errors; the stream ends with them.
	Open(ctx context.Context, node *corev3.Node) (Session, error)
}

// Session is one connected consumer.
type Session interface {
	// State returns what the consumer should hold, and a channel that is closed
	// once there is something newer. It blocks until there is a first state or
	// ctx ends.
	State(ctx context.Context) (*State, <-chan struct{}, error)
	// Report is told what went over the stream; it must not block.
	Report(Report)
	// Close ends the session; called once.
	Close()
}

// ReportKind says what a Report is about.
type ReportKind uint8

// Report kinds.
const (
	Sent ReportKind = iota
	Acked
	Rejected
	// Settled: everything of the State with that Version that the consumer
	// subscribes to has been sent and answered.
	Settled
)

// Report is one step of a stream.
type Report struct {
	Kind ReportKind
	// Type is the type URL; empty for Settled.
	Type string
	// Version of the State.
	Version uint64
	// Names that were sent or removed.
	Names []string
	// Bytes of the resources sent.
	Bytes int
	// Error is the consumer's, for Rejected.
	Error string
}

// Server implements AggregatedDiscoveryServiceServer.
type Server struct {
	discoverypb.UnimplementedAggregatedDiscoveryServiceServer
	backend Backend
	log     *slog.Logger
}

// New makes a server.
func New(b Backend, log *slog.Logger) *Server {
	return &Server{backend: b, log: log.With("component", "ads")}
}

// DeltaAggregatedResources serves one delta stream until the consumer leaves.
func (s *Server) DeltaAggregatedResources(stream discoverypb.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	first, err := stream.Recv()
	if err != nil {
		return ended(err)
	}
	session, err := s.open(stream.Context(), first.GetNode())
	if err != nil {
		return err
	}
	defer session.Close()
	requests, wait := receive(stream.Context(), first, stream.Recv)
	d := newDelta(session, stream.Send)
	return run(stream.Context(), d, session, requests, wait)
}

// StreamAggregatedResources serves one state-of-the-world stream.
func (s *Server) StreamAggregatedResources(stream discoverypb.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	first, err := stream.Recv()
	if err != nil {
		return ended(err)
	}
	session, err := s.open(stream.Context(), first.GetNode())
	if err != nil {
		return err
	}
	defer session.Close()
	requests, wait := receive(stream.Context(), first, stream.Recv)
	d := newWorld(session, stream.Send)
	return run(stream.Context(), d, session, requests, wait)
}

func (s *Server) open(ctx context.Context, node *corev3.Node) (Session, error) {
	if node.GetId() == "" {
		return nil, status.Error(codes.InvalidArgument, "the first request of a stream must carry node.id")
	}
	session, err := s.backend.Open(ctx, node)
	if err != nil {
		s.log.Warn("stream refused", "node", node.GetId(), "error", err)
	}
	return session, err
}

// protocol is one variant of xDS on one stream. All methods are called by the
// stream's goroutine.
type protocol[Req any] interface {
	// request takes one message of the consumer.
	request(Req) error
	// pump sends what can be sent of the state.
	pump(*State) error
	// timer, when not nil, asks for another pump when it fires.
	timer() <-chan struct{}
}

// run is the loop of one stream.
func run[Req any](ctx context.Context, p protocol[Req], s Session, requests <-chan Req, wait func() error) error {
	state, changed, err := s.State(ctx)
	if err != nil {
		return ended(err)
	}
	for {
		select {
		case r, ok := <-requests:
			if !ok {
				return wait()
			}
			if err := p.request(r); err != nil {
				return err
			}
		case <-changed:
			if state, changed, err = s.State(ctx); err != nil {
				return ended(err)
			}
		case <-p.timer():
		case <-ctx.Done():
			return ended(ctx.Err())
		}
		if err := p.pump(state); err != nil {
			return ended(err)
		}
	}
}

// receive reads a stream into a channel, which is closed at its end; wait then
// returns why.
func receive[Req any](ctx context.Context, first Req, recv func() (Req, error)) (<-chan Req, func() error) {
	ch := make(chan Req)
	var end error
	go func() {
		defer close(ch)
		for r, err := first, error(nil); ; r, err = recv() {
			if err != nil {
				end = err
				return
			}
			select {
			case ch <- r:
			case <-ctx.Done():
				end = ctx.Err()
				return
			}
		}
	}()
	return ch, func() error { return ended(end) }
}

// ended turns the ordinary ends of a stream into no error.
func ended(err error) error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled {
		return nil
	}
	return err
}
