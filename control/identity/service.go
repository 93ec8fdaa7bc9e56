package identity

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	capb "istio.io/api/security/v1alpha1"
)

// Caller is who asks for a certificate.
type Caller struct {
	// SPIFFE is the identity's URI, Name what tells workloads of one identity apart.
	SPIFFE, Name string
}

// Authenticator tells who the caller of a gRPC method is, or a gRPC status error.
type Authenticator func(ctx context.Context) (Caller, error)

// Service implements istio.v1.auth.IstioCertificateService.
type Service struct {
	capb.UnimplementedIstioCertificateServiceServer
	ca     *Authority
	who    Authenticator
	maxTTL func() time.Duration
	roots  func() []string
	rate   *rate
	log    *slog.Logger

	requests, issued, refused prometheus.Counter
}

// NewService makes the service. maxTTL bounds the lifetime that a request may
// ask for and is what one without a wish gets; 0 means DefaultTTL.
// roots are authorities besides ca, in PEM, that clients are to trust.
func NewService(ca *Authority, who Authenticator, maxTTL func() time.Duration, roots func() []string, log *slog.Logger) *Service {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return &Service{
		ca: ca, who: who, maxTTL: maxTTL, roots: roots, rate: newRate(time.Now), log: log.With("component", "ca"),
		requests: counter("citadel_server_csr_count", "Certificate requests received."),
		issued:   counter("citadel_server_success_cert_issuance_count", "Certificates issued."),
		refused:  counter("citadel_server_authentication_failure_count", "Certificate requests of callers that could not prove who they are."),
	}
}

// For is the service for callers who prove otherwise who they are. What is counted and
// bounded, is so of all together.
func (s *Service) For(who Authenticator) *Service {
	out := *s
	out.who = who
	return &out
}

// Register adds the service's metrics, named as Istio's.
func (s *Service) Register(r prometheus.Registerer) {
	r.MustRegister(s.requests, s.issued, s.refused,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "citadel_server_root_cert_expiry_seconds", Help: "Time until the root certificate expires.",
		}, func() float64 { return time.Until(s.ca.NotAfter()).Seconds() }))
}

// CreateCertificate signs the request's key for the caller's identity.
func (s *Service) CreateCertificate(ctx context.Context, r *capb.IstioCertificateRequest) (*capb.IstioCertificateResponse, error) {
	s.requests.Inc()
	caller, err := s.who(ctx)
	if err != nil {
		s.refused.Inc()
		return nil, err
	}
	if !s.rate.allow(caller.Name) {
		return nil, status.Errorf(codes.ResourceExhausted, "%s asks for certificates too often: more than %d at once, or %d a second", caller.Name, rateBurst, ratePerSecond)
	}
	spiffe := caller.SPIFFE
	ttl := s.maxTTL()
	if ttl <= 0 {
		ttl = DefaultTTL
	}
	if want := time.Duration(r.GetValidityDuration()) * time.Second; want > 0 && want < ttl {
		ttl = want
	}
	chain, err := s.ca.Sign([]byte(r.GetCsr()), spiffe, ttl)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "certificate for %s: %v", spiffe, err)
	}
	if more := s.roots(); len(more) > 0 {
		// The last one is what clients trust: a bundle.
		chain = slices.Clone(chain)
		chain[len(chain)-1] += strings.Join(more, "")
	}
	s.issued.Inc()
	s.log.Debug("certificate issued", "identity", spiffe, "ttl", ttl)
	return &capb.IstioCertificateResponse{CertChain: chain}, nil
}
