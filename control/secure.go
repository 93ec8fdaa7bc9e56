package control

import (
	"context"
	"fmt"
	"net"
	"os"

	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	lrspb "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	capb "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/control/cluster"
	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/control/fleet"
	"github.com/weftmesh/weft/control/identity"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/serve"
)

// Secure is where the control plane offers xDS and certificates over TLS: what Istio's
// proxies have on port 15012. Who calls shows a workload's token, a token of an issuer that is
// trusted, or a certificate of the mesh.
type Secure struct {
	// Address is the host:port; empty: it does not.
	Address string
	// Names are what the server is called beside localhost, this machine's name, and the
	// addresses that it listens on; nil: those of Istio's and Weft's control planes in
	// Kubernetes.
	Names []string
	// Issuers are those of tokens: "ISSUER", or "ISSUER=KEYS" with a file or URL of a JSON
	// web key set. Audience is whom these tokens have to be for; "": identity.DefaultAudience.
	Issuers  []string
	Audience string
}

// ServerNames are what a control plane is called in Kubernetes.
var ServerNames = []string{"istiod.istio-system.svc", "istiod.istio-system", "weft-control.weft-system.svc", "weft-control.weft-system"}

// names are what the server at an address is called.
func (s Secure) names(at net.Addr) []string {
	names := s.Names
	if names == nil {
		names = ServerNames
	}
	host, _ := os.Hostname() // without it there is a name less
	return identity.Names(names, host, at)
}

// secureServer makes the server, when its address is known.
type secureServer struct {
	o            Options
	ca           *identity.Authority
	certificates *identity.Service
	proxies      *fleet.Fleet
	snapshots    fleet.Snapshots
	limits       *limits
	home         *cluster.Cluster // nil: none
	prover       *identity.Prover
	inviter      *identity.Inviter
}

// check reads what users have written.
func (s *secureServer) check() error {
	audience := s.o.Secure.Audience
	if audience == "" {
		audience = identity.DefaultAudience
	}
	var issuers []*identity.Issuer
	for _, text := range s.o.Secure.Issuers {
		i, err := identity.ParseIssuer(text, audience)
		if err != nil {
			return fmt.Errorf("token issuer %w", err)
		}
		issuers = append(issuers, i)
	}
	var err error
	if s.inviter, err = s.ca.Inviter(audience); err != nil {
		return err
	}
	issuers = append(issuers, s.inviter.Issuer())
	if s.home != nil {
		issuers = append(issuers, s.home.Issuer(audience))
	}
	s.prover = identity.NewProver(issuers, domains(s.snapshots))
	return nil
}

// invites makes join tokens; nil: there is nowhere to join.
func (s *secureServer) invites() console.Inviter {
	if s.o.Secure.Address == "" {
		return nil
	}
	return s.inviter
}

// prove implements fleet.Prover.
func (s *secureServer) prove(ctx context.Context) (fleet.Account, error) {
	a, err := s.prover.Account(ctx)
	return fleet.Account(a), err
}

// caller names who asks for a certificate.
func (s *secureServer) caller(ctx context.Context) (identity.Caller, error) {
	if fleet.OwnToken(ctx) {
		return caller(s.proxies)(ctx)
	}
	a, err := s.prover.Account(ctx)
	return identity.Caller{SPIFFE: a.SPIFFE(), Name: a.Namespace + "/" + a.Name}, err
}

// server is the server at an address.
func (s *secureServer) server(at net.Addr) grpcServer {
	tls := s.ca.Serve(s.o.Secure.names(at), roots(s.snapshots))
	server := newServer(grpc.Creds(credentials.NewTLS(tls.Config())))
	ads := serve.New(s.proxies.Secure(s.prove), s.o.Log)
	discoverypb.RegisterAggregatedDiscoveryServiceServer(server, ads)
	capb.RegisterIstioCertificateServiceServer(server, s.certificates.For(s.caller))
	lrspb.RegisterLoadReportingServiceServer(server, s.proxies.SecureLoads(s.prove))
	s.limits.register(server)
	return grpcServer{server, ads}
}

// domains are the mesh's trust domain and those that count as it.
func domains(s fleet.Snapshots) func() []string {
	return func() []string {
		m := model.DefaultMesh()
		if snap := s.Load(); snap != nil && snap.Mesh != nil {
			m = snap.Mesh
		}
		return append([]string{m.TrustDomain}, m.TrustAliases...)
	}
}
