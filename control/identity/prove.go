package identity

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/base/bearertoken"
)

// Account is an identity that has been proved: a service account of a namespace.
type Account struct{ TrustDomain, Namespace, Name string }

// SPIFFE is the account's URI.
func (a Account) SPIFFE() string {
	return "spiffe://" + a.TrustDomain + "/ns/" + a.Namespace + "/sa/" + a.Name
}

// ParseAccount reads the SPIFFE URI of a service account,
// "spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT".
func ParseAccount(spiffe string) (Account, error) {
	u, err := url.Parse(spiffe)
	if err == nil && u.Scheme == "spiffe" && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == "" {
		p := strings.Split(u.Path, "/")
		if len(p) == 5 && p[0] == "" && p[1] == "ns" && p[2] != "" && p[3] == "sa" && p[4] != "" {
			return Account{u.Host, p[2], p[4]}, nil
		}
	}
	return Account{}, fmt.Errorf("%q is no spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT", spiffe)
}

// Prover tells which account the caller of a gRPC method has proved to be: by a token of an
// issuer that is trusted, else by the certificate of its connection.
type Prover struct {
	issuers []*Issuer
	// domains are the mesh's trust domain, and others that count as it.
	domains func() []string
}

// NewProver returns a Prover. domains are the trust domains of which accounts are known, the
// mesh's own first, which those of tokens belong to.
func NewProver(issuers []*Issuer, domains func() []string) *Prover {
	return &Prover{issuers, domains}
}

// Account is the caller's, or a gRPC status error.
func (p *Prover) Account(ctx context.Context) (Account, error) {
	if token := bearertoken.First(ctx); token != "" {
		return p.byToken(ctx, token)
	}
	pr, _ := peer.FromContext(ctx)
	var info credentials.TLSInfo
	if pr != nil {
		info, _ = pr.AuthInfo.(credentials.TLSInfo)
	}
	if len(info.State.VerifiedChains) == 0 {
		return Account{}, status.Error(codes.Unauthenticated, "the caller shows neither a token nor a certificate of the mesh: give the proxy one of them")
	}
	return p.byCertificate(info.State.VerifiedChains[0][0])
}

func (p *Prover) byCertificate(c *x509.Certificate) (Account, error) {
	if len(c.URIs) != 1 {
		return Account{}, status.Errorf(codes.Unauthenticated, "the certificate has %d URIs: want one, of a service account", len(c.URIs))
	}
	a, err := ParseAccount(c.URIs[0].String())
	if err != nil {
		return a, status.Errorf(codes.Unauthenticated, "the certificate's name %v", err)
	}
	return p.known(a)
}

// known tells whether an account is of this mesh.
func (p *Prover) known(a Account) (Account, error) {
	for _, d := range p.domains() {
		if d == a.TrustDomain {
			return a, nil
		}
	}
	return Account{}, status.Errorf(codes.PermissionDenied, "%s is of another trust domain than %s: add it to the mesh's trustDomainAliases", a.SPIFFE(), p.domains()[0])
}

// accountPrefix begins the subject of a service account's token in Kubernetes.
const accountPrefix = "system:serviceaccount:"

func (p *Prover) byToken(ctx context.Context, token string) (Account, error) {
	if len(p.issuers) == 0 {
		return Account{}, status.Error(codes.Unauthenticated, "the token is of an issuer, and none is trusted: name it with --token-issuer")
	}
	subject, err := verify(ctx, p.issuers, token)
	if err != nil {
		return Account{}, status.Errorf(codes.Unauthenticated, "the token is not valid: %v", err)
	}
	if rest, ok := strings.CutPrefix(subject, accountPrefix); ok {
		if ns, name, ok := strings.Cut(rest, ":"); ok && ns != "" && name != "" && !strings.ContainsAny(rest, "/") {
			return Account{p.domains()[0], ns, name}, nil
		}
	}
	a, err := ParseAccount(subject)
	if err != nil {
		return a, status.Errorf(codes.Unauthenticated, "the token's subject %q is no service account: want %sNAMESPACE:NAME, or its SPIFFE URI", subject, accountPrefix)
	}
	return p.known(a)
}
