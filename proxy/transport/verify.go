package transport

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// verifier checks peer certificates of one TLS context. Chains that were good
// are remembered, for a mesh sees the same few peers again and again and an
// ECDSA verification per link is half of a handshake.
type verifier struct {
	v     *Validation
	trust *Secret // nil: the chain is not checked
	usage x509.ExtKeyUsage
	// required: a peer without certificate is refused.
	required bool

	mu    sync.Mutex
	of    *Trust // what known was checked against
	known map[[32]byte]span
}

// span is when a verified chain is valid.
type span struct{ from, to time.Time }

const maxKnown = 1024

func newVerifier(store *SecretStore, v *Validation, usage x509.ExtKeyUsage) *verifier {
	r := &verifier{v: v, usage: usage}
	switch {
	case v.Trust != nil:
		r.trust = newSecret("")
		r.trust.set(nil, v.Trust)
	case v.TrustSecret != "":
		r.trust = store.Get(v.TrustSecret)
	}
	return r
}

// verify is tls.Config.VerifyConnection: it also sees resumed sessions, so
// that a peer that is no longer trusted cannot resume.
func (r *verifier) verify(cs tls.ConnectionState) error {
	if len(cs.PeerCertificates) == 0 {
		if r.required {
			return errors.New("the peer presented no certificate")
		}
		return nil
	}
	leaf := cs.PeerCertificates[0]
	if r.trust != nil && !r.v.AcceptUntrusted {
		if err := r.verifyChain(leaf, cs.PeerCertificates[1:]); err != nil {
			return err
		}
	}
	return r.verifyNames(leaf)
}

func (r *verifier) verifyChain(leaf *x509.Certificate, rest []*x509.Certificate) error {
	trust := r.trust.Trust()
	if trust == nil {
		return fmt.Errorf("secret %q with the trusted CA has not arrived", r.trust.name)
	}
	now := time.Now()
	key := sha256.Sum256(leaf.Raw)
	r.mu.Lock()
	if r.of != trust {
		r.of, r.known = trust, make(map[[32]byte]span)
	}
	s, ok := r.known[key]
	r.mu.Unlock()
	if ok && !now.Before(s.from) && now.Before(s.to) {
		return nil
	}
	chain, err := trust.verify(leaf, rest, r.usage, now)
	if err != nil {
		return err
	}
	s = validity(chain)
	if lists, leafOnly := r.revocations(trust); lists != nil {
		until, err := lists.check(chain, leafOnly, now)
		if err != nil {
			return err
		}
		if !until.IsZero() && until.Before(s.to) {
			s.to = until
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.of == trust {
		if len(r.known) >= maxKnown {
			clear(r.known)
		}
		r.known[key] = s
	}
	return nil
}

// revocations are the lists in force: those that came with the roots, else the context's.
func (r *verifier) revocations(t *Trust) (*Revocations, bool) {
	if t.revoked != nil {
		return t.revoked, t.leafOnly || r.v.RevokedLeafOnly
	}
	return r.v.Revoked, t.leafOnly || r.v.RevokedLeafOnly
}

// verify returns one good chain.
func (t *Trust) verify(leaf *x509.Certificate, rest []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) ([]*x509.Certificate, error) {
	pool := t.pool
	if t.domains != nil {
		domain, ok := trustDomain(leaf)
		if !ok {
			return nil, errors.New("the peer's certificate has no SPIFFE name")
		}
		if pool = t.domains[domain]; pool == nil {
			return nil, fmt.Errorf("trust domain %q of the peer is not trusted", domain)
		}
	}
	inter := x509.NewCertPool()
	for _, c := range rest {
		inter.AddCert(c)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: pool, Intermediates: inter, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	if err != nil {
		return nil, fmt.Errorf("peer %s: %w", describe(leaf), err)
	}
	return chains[0], nil
}

// validity is the time in which all certificates of a chain are valid.
func validity(chain []*x509.Certificate) span {
	s := span{chain[0].NotBefore, chain[0].NotAfter}
	for _, c := range chain[1:] {
		if c.NotBefore.After(s.from) {
			s.from = c.NotBefore
		}
		if c.NotAfter.Before(s.to) {
			s.to = c.NotAfter
		}
	}
	return s
}

func (r *verifier) verifyNames(leaf *x509.Certificate) error {
	if len(r.v.SANs) > 0 {
		ok := slices.ContainsFunc(r.v.SANs, func(m SANMatch) bool { return m.matchSAN(leaf) })
		if !ok {
			return fmt.Errorf("peer %s: none of its subject alternative names is expected", describe(leaf))
		}
	}
	if len(r.v.SPKI)+len(r.v.Hashes) > 0 {
		key := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
		whole := sha256.Sum256(leaf.Raw)
		if !slices.Contains(r.v.SPKI, key) && !slices.Contains(r.v.Hashes, whole) {
			return fmt.Errorf("peer %s: neither its key nor its certificate is pinned", describe(leaf))
		}
	}
	return nil
}

// describe names a certificate in an error.
func describe(c *x509.Certificate) string {
	switch {
	case len(c.URIs) > 0:
		return c.URIs[0].String()
	case len(c.DNSNames) > 0:
		return c.DNSNames[0]
	case c.Subject.CommonName != "":
		return "CN=" + c.Subject.CommonName
	}
	return "with serial " + c.SerialNumber.String()
}
