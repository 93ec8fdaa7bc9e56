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
//   - What is there on demand only (Demander) is looked for before it is answered.
//   - A reconnecting consumer that says which versions it holds
//     (initial_resource_versions) gets only the difference.
//
// Responses are put together of bytes that were made once for all streams, and what
// a change costs on a stream follows the change: see control/resource.
//
// It does not decide who may connect, nor what they may see: Backend does.
package serve

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/wire"
)

// Backend admits consumers.
type Backend interface {
	// Open identifies the consumer of a new stream; resumes says that it has
	// something from an earlier one. Errors should be gRPC status errors; the stream
	// ends with them.
	Open(ctx context.Context, node *corev3.Node, resumes bool) (Session, error)
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

// Demander is a Session whose State has some resources only once they were asked
// for, by name, over a delta stream.
type Demander interface {
	// Demand is told which names of a type the consumer asks for, and which it asks for
	// no more; held are the versions of what it says that it has, which it goes on
	// using. The State after the call takes account of it.
	Demand(typeURL string, asked, dropped []string, held map[string]string)
}

// Watcher is a Session that wants to know which types its consumer subscribes to: it
// need not say that a State is newer which differs in others only.
type Watcher interface {
	// Watch is told of a type before the first State that it is served from.
	Watch(typeURL string)
}

// watch tells a session of a type, if it wants to know.
func watch(s Session, typeURL string) {
	if w, ok := s.(Watcher); ok {
		w.Watch(typeURL)
	}
}

// Patient is a Session of a proxy whose agent says how its program is.
type Patient interface {
	// Health is told what is wrong; an empty failure: the program is well.
	Health(failure string)
}

// health hands on what an agent says of its program; false: the request says nothing of it.
func health(s Session, typeURL string, failure *statuspb.Status) bool {
	if typeURL != wire.TypeHealth {
		return false
	}
	if p, ok := s.(Patient); ok {
		text := ""
		if failure != nil {
			text = "it is not well"
			if m := failure.GetMessage(); m != "" {
				text = m
			}
		}
		p.Health(text)
	}
	return true
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
	// Names that were sent or removed, of Acked and Rejected.
	Names []string
	// Resources are those that were sent, of Acked and Rejected.
	Resources []*resource.Resource
	// Bytes of the resources sent.
	Bytes int
	// Error is the consumer's, for Rejected.
	Error string
}

// Server implements AggregatedDiscoveryServiceServer. The gRPC server that carries
// it is made with Options.
type Server struct {
	discoverypb.UnimplementedAggregatedDiscoveryServiceServer
	backend Backend
	log     *slog.Logger
	drained chan struct{}
	drain   sync.Once
}

// New makes a server.
func New(b Backend, log *slog.Logger) *Server {
	return &Server{backend: b, log: log.With("component", "ads"), drained: make(chan struct{})}
}

// Drain ends all streams, also those that come yet: consumers go to another server at
// once, instead of when their connection ends.
func (s *Server) Drain() { s.drain.Do(func() { close(s.drained) }) }

// errDrained ends streams of a server that ends.
var errDrained = status.Error(codes.Unavailable, "the control plane is ending: connect again, to another")

// DeltaAggregatedResources serves one delta stream until the consumer leaves.
func (s *Server) DeltaAggregatedResources(stream discoverypb.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	first, err := first(stream.Context(), stream.Recv)
	if err != nil {
		return ended(err)
	}
	session, err := s.open(stream.Context(), first.GetNode(), len(first.GetInitialResourceVersions()) > 0)
	if err != nil {
		return err
	}
	defer session.Close()
	requests, wait := receive(stream.Context(), first, stream.Recv)
	d := newDelta(session, func(r *response) error { return stream.SendMsg(r) })
	return run(loop{stream.Context(), session, s.drained}, d, requests, wait)
}

// StreamAggregatedResources serves one state-of-the-world stream.
func (s *Server) StreamAggregatedResources(stream discoverypb.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	first, err := first(stream.Context(), stream.Recv)
	if err != nil {
		return ended(err)
	}
	session, err := s.open(stream.Context(), first.GetNode(), first.GetVersionInfo() != "")
	if err != nil {
		return err
	}
	defer session.Close()
	requests, wait := receive(stream.Context(), first, stream.Recv)
	d := newWorld(session, func(r *response) error { return stream.SendMsg(r) })
	return run(loop{stream.Context(), session, s.drained}, d, requests, wait)
}

func (s *Server) open(ctx context.Context, node *corev3.Node, resumes bool) (Session, error) {
	if err := checkNode(node); err != nil {
		return nil, err
	}
	session, err := s.backend.Open(ctx, node, resumes)
	if err != nil {
		s.log.Warn("stream refused", "node", node.GetId(), "error", err)
	}
	return session, err
}

// protocol is one variant of xDS on one stream. All methods are called by the
// stream's goroutine.
type protocol[Req any] interface {
	// know is told what there is, before a request that is about it.
	know(*State)
	// request takes one message of the consumer.
	request(Req) error
	// pump sends what can be sent of the state.
	pump(*State) error
	// timer, when not nil, asks for another pump when it fires.
	timer() <-chan struct{}
}

// loop is what the loop of a stream goes by.
type loop struct {
	ctx     context.Context
	session Session
	drained <-chan struct{}
}

// run is the loop of one stream.
func run[Req any](l loop, p protocol[Req], requests <-chan Req, wait func() error) error {
	ctx, s := l.ctx, l.session
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
			p.know(state)
			if err := p.request(r); err != nil {
				return err
			}
			// What was asked for may be in a newer one.
			if state, changed, err = s.State(ctx); err != nil {
				return ended(err)
			}
		case <-changed:
			if state, changed, err = s.State(ctx); err != nil {
				return ended(err)
			}
		case <-p.timer():
		case <-l.drained:
			return errDrained
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
