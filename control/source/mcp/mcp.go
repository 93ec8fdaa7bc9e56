// Package mcp is the source of configuration that a server offers by MCP over xDS, as
// Istio's configSources xds://HOST:PORT do: Istio's kinds, each a type of ADS
// (state of the world) whose resources are istio.mcp.v1alpha1.Resource.
//
// A resource goes through the same front ends as a document in a file does. What a server
// says of a type replaces what it said before, but for an object whose new version is bad:
// there the last good one stays. A server that cannot be reached, or that sends what
// cannot be read, changes nothing: its last state stands, and a Finding says so.
//
// It asks for all namespaces.
package mcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/base/backoff"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source"
	"github.com/weftmesh/weft/control/source/document"
)

// CodeUnreachable is the code of Findings about a server.
const CodeUnreachable = "WEFT0117"

const (
	// whole bounds the wait for the first answer about every type: a server may say
	// nothing of those that it has none of.
	whole = 3 * time.Second
	alive = 30 * time.Second
	// largest is how large a response may be.
	largest = 256 << 20
)

// Source follows one server. Make one with New.
type Source struct {
	address string
	log     *slog.Logger
	dec     *document.Decoder
	dial    []grpc.DialOption

	// The rest belongs to Run.
	types map[string]*offer
	// told: the first Full delta is out.
	told bool
	down string // why the server cannot be reached; empty: it can
}

// offer is what the server has of one type.
type offer struct {
	answered bool
	objects  map[model.Key][]model.Object // by the key of the resource
	findings []model.Finding
	refused  string // why the newest response could not be read
}

// New returns a source of a server's address, as the flag --config has it: "xds://HOST:PORT", or
// "xds+tls://HOST:PORT?ca=FILE&cert=FILE&key=FILE&server-name=NAME&token=FILE". The decoder reads documents.
func New(address string, dec *document.Decoder, log *slog.Logger) (*Source, error) {
	host, opts, err := dialing(address)
	if err != nil {
		return nil, err
	}
	s := &Source{address: host, log: log.With("component", "source/mcp", "server", host), dec: dec, types: map[string]*offer{}}
	for _, k := range kinds {
		s.types[k] = &offer{}
	}
	s.dial = append(opts,
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(largest)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: alive, Timeout: alive}),
	)
	return s, nil
}

// Name implements source.Source.
func (s *Source) Name() string { return "mcp " + s.address }

// Run implements source.Source.
func (s *Source) Run(ctx context.Context, out chan<- model.Delta) error {
	conn, err := grpc.NewClient(s.address, s.dial...)
	if err != nil {
		return fmt.Errorf("%s%s: %w", Scheme, s.address, err)
	}
	defer conn.Close()
	var wait backoff.Backoff
	for {
		answered, err := s.follow(ctx, discoverypb.NewAggregatedDiscoveryServiceClient(conn), out)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if answered {
			wait.Reset()
		}
		if errors.Is(err, io.EOF) {
			err = errors.New("the server has ended the stream")
		}
		s.log.Warn("not connected", "error", err)
		s.down = err.Error()
		if err := s.tell(ctx, out, false); err != nil {
			return err
		}
		if err := wait.Wait(ctx); err != nil {
			return err
		}
	}
}

// follow is one stream; answered: the server has said something.
func (s *Source) follow(ctx context.Context, client discoverypb.AggregatedDiscoveryServiceClient, out chan<- model.Delta) (answered bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := client.StreamAggregatedResources(ctx)
	if err != nil {
		return false, err
	}
	for i, k := range kinds {
		r := &discoverypb.DiscoveryRequest{TypeUrl: k}
		if i == 0 {
			r.Node = node()
		}
		if err := stream.Send(r); err != nil {
			_, err = stream.Recv() // which has the reason
			return false, err
		}
	}
	responses := make(chan *discoverypb.DiscoveryResponse)
	ended := make(chan error, 1)
	go func() { ended <- receive(ctx, stream, responses) }()
	defer func() {
		cancel()
		if e := <-ended; err == nil {
			err = e
		}
	}()
	timer := time.NewTimer(whole)
	defer timer.Stop()
	for {
		select {
		case e := <-ended:
			ended <- e
			return answered, e
		case <-timer.C:
			if answered && !s.told {
				if err := s.tell(ctx, out, true); err != nil {
					return answered, err
				}
			}
		case r := <-responses:
			answered, s.down = true, ""
			if err := stream.Send(s.take(r)); err != nil {
				continue // the reason comes with the end
			}
			if s.told || s.complete() {
				if err := s.tell(ctx, out, true); err != nil {
					return answered, err
				}
			}
		}
	}
}

func receive(ctx context.Context, stream discoverypb.AggregatedDiscoveryService_StreamAggregatedResourcesClient, to chan<- *discoverypb.DiscoveryResponse) error {
	for {
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		select {
		case to <- r:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// node says who asks; GENERATOR makes an istiod offer its configuration.
func node() *corev3.Node {
	return &corev3.Node{
		Id: "sidecar~127.0.0.1~weft.istio-system~istio-system.svc.cluster.local",
		Metadata: &structpb.Struct{Fields: map[string]*structpb.Value{
			"GENERATOR": structpb.NewStringValue("api"), "NAMESPACE": structpb.NewStringValue("istio-system"),
		}},
	}
}

// take takes in a response, and makes its answer.
func (s *Source) take(r *discoverypb.DiscoveryResponse) *discoverypb.DiscoveryRequest {
	answer := &discoverypb.DiscoveryRequest{TypeUrl: r.GetTypeUrl(), VersionInfo: r.GetVersionInfo(), ResponseNonce: r.GetNonce()}
	o := s.types[r.GetTypeUrl()]
	if o == nil {
		return answer
	}
	o.answered = true
	if err := s.read(o, r); err != nil {
		o.refused = err.Error()
		answer.ErrorDetail = &statuspb.Status{Code: int32(codes.InvalidArgument), Message: o.refused}
	}
	return answer
}

func (s *Source) complete() bool {
	for _, o := range s.types {
		if !o.answered {
			return false
		}
	}
	return true
}

// tell sends what is known; known: the server has said something by now.
func (s *Source) tell(ctx context.Context, out chan<- model.Delta, known bool) error {
	d := model.Delta{Source: s.Name(), Full: known || s.told, Why: s.address}
	if d.Full {
		s.told = true
	}
	for _, k := range kinds {
		o := s.types[k]
		for _, key := range slices.SortedFunc(maps.Keys(o.objects), func(a, b model.Key) int { return strings.Compare(a.String(), b.String()) }) {
			d.Upserts = append(d.Upserts, o.objects[key]...)
		}
		d.Findings = append(d.Findings, o.findings...)
		if o.refused != "" {
			d.Findings = append(d.Findings, s.finding("has sent "+k+" that cannot be read: "+o.refused+"; what it had sent of it before stands", "correct what it serves"))
		}
	}
	if s.down != "" {
		d.Findings = append(d.Findings, s.finding("cannot be reached: "+s.down+"; its last state stands", "start it, or take it out of --config"))
	}
	if !d.Full {
		d.Upserts = nil
	}
	return source.Send(ctx, out, d)
}

func (s *Source) finding(message, remedy string) model.Finding {
	return model.Finding{
		Code: CodeUnreachable, Severity: model.Warning, Origin: model.Origin{Source: s.Name(), File: Scheme + s.address},
		Message: "the source of configuration " + message, Remedy: remedy,
	}
}
