package sds

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/watch"
	"github.com/weftmesh/weft/wire"
)

// Server serves the newest identity by SDS, as the secrets `default` and
// `ROOTCA`: a request waits until there is one, and is answered again at
// every rotation. Other names are never answered. Make it with NewServer.
type Server struct {
	secretv3.UnimplementedSecretDiscoveryServiceServer
	now watch.Cell[*published]

	mu    sync.Mutex
	id    *Identity                           // guarded by mu
	trust *tlsv3.CertificateValidationContext // guarded by mu; nil: the identity's roots
}

// published is an identity as resources.
type published struct {
	version string
	secrets map[string]*anypb.Any
}

// NewServer returns a server that has no identity yet.
func NewServer() *Server { return &Server{} }

// Publish replaces the identity; it fits Options.Publish.
func (s *Server) Publish(id *Identity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.id = id
	s.publishLocked()
}

// Trust replaces what peers are checked with, now and with every identity to come.
func (s *Server) Trust(v *tlsv3.CertificateValidationContext) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trust = v
	if s.id != nil {
		s.publishLocked()
	}
}

func (s *Server) publishLocked() {
	id, trust := s.id, s.trust
	if trust == nil {
		trust = &tlsv3.CertificateValidationContext{TrustedCa: inline(id.Roots)}
	}
	_, version := s.now.Get()
	s.now.Store(&published{
		version: strconv.FormatUint(version+1, 10),
		secrets: map[string]*anypb.Any{
			wire.SecretWorkload: secret(&tlsv3.Secret{Name: wire.SecretWorkload, Type: &tlsv3.Secret_TlsCertificate{
				TlsCertificate: &tlsv3.TlsCertificate{CertificateChain: inline(id.Chain), PrivateKey: inline(id.Key)},
			}}),
			wire.SecretRoot: secret(&tlsv3.Secret{Name: wire.SecretRoot, Type: &tlsv3.Secret_ValidationContext{ValidationContext: trust}}),
		},
	})
}

func inline(b []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
}

func secret(s *tlsv3.Secret) *anypb.Any {
	a, err := anypb.New(s)
	if err != nil {
		panic("BUG: secret: " + err.Error())
	}
	return a
}

// Serve answers on l, which it closes, until ctx ends.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	g := grpc.NewServer()
	secretv3.RegisterSecretDiscoveryServiceServer(g, s)
	stop := context.AfterFunc(ctx, g.Stop)
	defer stop()
	if err := g.Serve(l); err != nil && ctx.Err() == nil {
		return fmt.Errorf("sds server at %s: %w", l.Addr(), err)
	}
	return ctx.Err()
}

// StreamSecrets is the state-of-the-world variant, which Envoy uses.
func (s *Server) StreamSecrets(stream secretv3.SecretDiscoveryService_StreamSecretsServer) error {
	requests := receive(stream.Context(), stream.Recv)
	var names []string
	sent, nonce := "", 0
	for {
		changed := s.now.Changed()
		now := s.now.Load()
		if now != nil && now.version != sent && len(names) > 0 {
			nonce++
			r := &discoveryv3.DiscoveryResponse{TypeUrl: wire.TypeSecret, VersionInfo: now.version, Nonce: strconv.Itoa(nonce)}
			for _, n := range names {
				if b := now.secrets[n]; b != nil {
					r.Resources = append(r.Resources, b)
				}
			}
			if err := stream.Send(r); err != nil {
				return err
			}
			sent = now.version
		}
		select {
		case r, ok := <-requests:
			if !ok {
				return nil
			}
			if !slices.Equal(names, r.ResourceNames) {
				names, sent = r.ResourceNames, ""
			}
		case <-changed:
		}
	}
}

// DeltaSecrets is the delta variant.
func (s *Server) DeltaSecrets(stream secretv3.SecretDiscoveryService_DeltaSecretsServer) error {
	requests := receive(stream.Context(), stream.Recv)
	sent := map[string]string{} // wanted name → version
	nonce := 0
	for {
		changed := s.now.Changed()
		if r := s.delta(sent); r != nil {
			nonce++
			r.Nonce = strconv.Itoa(nonce)
			if err := stream.Send(r); err != nil {
				return err
			}
		}
		select {
		case r, ok := <-requests:
			if !ok {
				return nil
			}
			for _, n := range r.ResourceNamesSubscribe {
				sent[n] = r.InitialResourceVersions[n]
			}
			for _, n := range r.ResourceNamesUnsubscribe {
				delete(sent, n)
			}
		case <-changed:
		}
	}
}

func (s *Server) delta(sent map[string]string) *discoveryv3.DeltaDiscoveryResponse {
	now := s.now.Load()
	if now == nil {
		return nil
	}
	r := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: wire.TypeSecret, SystemVersionInfo: now.version}
	for n, v := range sent {
		if b := now.secrets[n]; b != nil && v != now.version {
			sent[n] = now.version
			r.Resources = append(r.Resources, &discoveryv3.Resource{Name: n, Version: now.version, Resource: b})
		}
	}
	if len(r.Resources) == 0 {
		return nil
	}
	return r
}

// FetchSecrets answers once.
func (s *Server) FetchSecrets(_ context.Context, r *discoveryv3.DiscoveryRequest) (*discoveryv3.DiscoveryResponse, error) {
	now := s.now.Load()
	if now == nil {
		return nil, status.Error(codes.Unavailable, "there is no certificate yet: the certificate authority has not answered")
	}
	out := &discoveryv3.DiscoveryResponse{TypeUrl: wire.TypeSecret, VersionInfo: now.version}
	for _, n := range r.ResourceNames {
		if b := now.secrets[n]; b != nil {
			out.Resources = append(out.Resources, b)
		}
	}
	return out, nil
}

// receive turns Recv into a channel that is closed when the stream ends. Its
// goroutine ends with the stream's context, which gRPC cancels on return.
func receive[T any](ctx context.Context, recv func() (T, error)) <-chan T {
	out := make(chan T)
	go func() {
		defer close(out)
		for {
			r, err := recv()
			if err != nil {
				return
			}
			select {
			case out <- r:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}
