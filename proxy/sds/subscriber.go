package sds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"golang.org/x/sync/errgroup"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weftmesh/weft/base/backoff"
	"github.com/weftmesh/weft/wire"
)

// Subscriber gets secrets from an SDS server, a stream each, as Envoy asks for them: the
// identity (`default` and `ROOTCA`) from one that another agent runs at a unix socket
// (pilot-agent, SPIRE). It connects again for as long as it runs.
type Subscriber struct {
	Socket string
	Node   *corev3.Node
	// Publish is told of each secret; its error is the answer to the server.
	Publish func(name string, c *FileContent) error
	Log     *slog.Logger
}

// Run follows the server until ctx ends; it returns ctx's error.
func (s *Subscriber) Run(ctx context.Context) error {
	conn, err := grpc.NewClient("unix:"+s.Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("sds socket %s: %w", s.Socket, err)
	}
	defer conn.Close()
	client := secretv3.NewSecretDiscoveryServiceClient(conn)
	g, ctx := errgroup.WithContext(ctx)
	for _, name := range []string{wire.SecretRoot, wire.SecretWorkload} {
		g.Go(func() error { return s.follow(ctx, client, name) })
	}
	return g.Wait()
}

// follow keeps a stream for one secret of the identity.
func (s *Subscriber) follow(ctx context.Context, c secretv3.SecretDiscoveryServiceClient, name string) error {
	f := Follower{Name: name, Node: s.Node, Log: s.Log.With("socket", s.Socket), Take: func(m *tlsv3.Secret) error {
		t := m.GetTlsCertificate()
		return s.Publish(name, &FileContent{
			Chain: t.GetCertificateChain().GetInlineBytes(), Key: t.GetPrivateKey().GetInlineBytes(),
			Roots: m.GetValidationContext().GetTrustedCa().GetInlineBytes(),
		})
	}}
	return f.Run(ctx, c)
}

// Follower follows one secret of an SDS server.
type Follower struct {
	Name string
	Node *corev3.Node
	// Take is told of the secret, whenever it is another; its error is the answer to the server.
	Take func(*tlsv3.Secret) error
	Log  *slog.Logger
}

// Run follows the secret until ctx ends, whose error it returns. A stream that ends is
// begun again, later each time while the server does not answer.
func (f *Follower) Run(ctx context.Context, c secretv3.SecretDiscoveryServiceClient) error {
	b := backoff.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
	for {
		answered, err := f.stream(ctx, c)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if answered {
			b.Reset()
		}
		f.Log.Warn("secrets: stream ended, keeping what is there", "secret", f.Name, "error", err)
		if err := b.Wait(ctx); err != nil {
			return err
		}
	}
}

func (f *Follower) stream(ctx context.Context, c secretv3.SecretDiscoveryServiceClient) (answered bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.StreamSecrets(ctx)
	if err != nil {
		return false, err
	}
	r := &discoveryv3.DiscoveryRequest{Node: f.Node, TypeUrl: wire.TypeSecret, ResourceNames: []string{f.Name}}
	for {
		if err := stream.Send(r); err != nil {
			return answered, err
		}
		got, err := stream.Recv()
		if err != nil {
			return answered, err
		}
		answered = true
		next := &discoveryv3.DiscoveryRequest{
			TypeUrl: wire.TypeSecret, ResourceNames: []string{f.Name}, VersionInfo: got.VersionInfo, ResponseNonce: got.Nonce,
		}
		if err := f.take(got); err != nil {
			next.VersionInfo = r.VersionInfo
			next.ErrorDetail = &statuspb.Status{Code: int32(codes.InvalidArgument), Message: err.Error()}
			f.Log.Warn("secrets: rejected", "secret", f.Name, "error", err)
		}
		r = next
	}
}

// take hands on the secret of that name.
func (f *Follower) take(r *discoveryv3.DiscoveryResponse) error {
	for _, a := range r.Resources {
		m := &tlsv3.Secret{}
		if err := a.UnmarshalTo(m); err != nil {
			return err
		}
		if m.Name == f.Name {
			return f.Take(m)
		}
	}
	return errors.New("the answer does not have it")
}
