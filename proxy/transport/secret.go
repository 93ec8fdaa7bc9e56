package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Certificate is an identity: a certificate chain with its private key.
// Immutable.
type Certificate struct {
	tls tls.Certificate
	// staple, when not nil, is in stapled only.
	staple  *staple
	stapled tls.Certificate
}

// ParseCertificate reads a PEM chain, leaf first, and its PEM key.
func ParseCertificate(chain, key []byte) (*Certificate, error) {
	c, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return &Certificate{tls: c}, nil
}

// Leaf is the certificate itself.
func (c *Certificate) Leaf() *x509.Certificate { return c.tls.Leaf }

// Chain is the parsed chain, leaf first, for admin pages.
func (c *Certificate) Chain() []*x509.Certificate {
	var out []*x509.Certificate
	for _, raw := range c.tls.Certificate {
		if x, err := x509.ParseCertificate(raw); err == nil {
			out = append(out, x)
		}
	}
	return out
}

// Trust is a set of root certificates. Immutable.
type Trust struct {
	roots []*x509.Certificate
	pool  *x509.CertPool
	// domains, when not nil, holds one pool per SPIFFE trust domain and
	// replaces pool.
	domains map[string]*x509.CertPool
	// revoked, when not nil, is asked about every chain.
	revoked  *Revocations
	leafOnly bool
}

// WithRevocations is t with lists of what is no longer good; leafOnly: the
// issuers in a chain are not looked up.
func (t *Trust) WithRevocations(r *Revocations, leafOnly bool) *Trust {
	out := *t
	out.revoked, out.leafOnly = r, leafOnly
	return &out
}

// ParseTrust reads PEM roots. All must be certificates.
func ParseTrust(bundle []byte) (*Trust, error) {
	t := &Trust{pool: x509.NewCertPool()}
	err := parsePEM(bundle, func(c *x509.Certificate) {
		t.roots = append(t.roots, c)
		t.pool.AddCert(c)
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// ParseSPIFFETrust reads one PEM bundle per trust domain: a peer is checked
// against the roots of its own domain only.
func ParseSPIFFETrust(bundles map[string][]byte) (*Trust, error) {
	if len(bundles) == 0 {
		return nil, errors.New("trust: no trust domain given")
	}
	t := &Trust{domains: make(map[string]*x509.CertPool, len(bundles))}
	for domain, bundle := range bundles {
		pool := x509.NewCertPool()
		err := parsePEM(bundle, func(c *x509.Certificate) {
			t.roots = append(t.roots, c)
			pool.AddCert(c)
		})
		if err != nil {
			return nil, fmt.Errorf("trust domain %q: %w", domain, err)
		}
		t.domains[domain] = pool
	}
	return t, nil
}

// Roots are the root certificates, for admin pages.
func (t *Trust) Roots() []*x509.Certificate { return t.roots }

func parsePEM(bundle []byte, each func(*x509.Certificate)) error {
	n := 0
	for rest := bundle; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" {
			return fmt.Errorf("trust: a PEM block is a %q, want CERTIFICATE", b.Type)
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return fmt.Errorf("trust: certificate %d: %w", n+1, err)
		}
		each(c)
		n++
	}
	if n == 0 {
		return errors.New("trust: no PEM certificate found")
	}
	return nil
}

// Secret is a named place for a Certificate, a Trust or TicketKeys that may come later and
// change at any time. TLS contexts hold Secrets, so a rotation needs no change
// of configuration and touches no connection. Safe for concurrent use.
type Secret struct {
	name  string
	cert  atomic.Pointer[Certificate]
	trust atomic.Pointer[Trust]
	// tickets is for servers only.
	tickets atomic.Pointer[TicketKeys]

	mu      sync.Mutex
	filled  chan struct{} // closed when there is a value
	closed  bool
	updated time.Time
}

func newSecret(name string) *Secret { return &Secret{name: name, filled: make(chan struct{})} }

// Name is the secret's name; empty for an inline one.
func (s *Secret) Name() string { return s.name }

// Certificate is nil while there is none.
func (s *Secret) Certificate() *Certificate { return s.cert.Load() }

// Trust is nil while there is none.
func (s *Secret) Trust() *Trust { return s.trust.Load() }

// Ready tells whether there is a value.
func (s *Secret) Ready() bool {
	return s.cert.Load() != nil || s.trust.Load() != nil || s.tickets.Load() != nil
}

// Updated is when the value was set last.
func (s *Secret) Updated() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.updated
}

// Wait returns when there is a value or ctx ends.
func (s *Secret) Wait(ctx context.Context) error {
	s.mu.Lock()
	filled := s.filled
	s.mu.Unlock()
	select {
	case <-filled:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("secret %q has not arrived: %w", s.name, context.Cause(ctx))
	}
}

func (s *Secret) set(c *Certificate, t *Trust) { s.setAll(c, t, nil) }

func (s *Secret) setAll(c *Certificate, t *Trust, k *TicketKeys) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cert.Store(c)
	s.trust.Store(t)
	s.tickets.Store(k)
	s.updated = time.Now()
	has := c != nil || t != nil || k != nil
	switch {
	case has && !s.closed:
		close(s.filled)
	case !has && s.closed:
		s.filled = make(chan struct{})
	}
	s.closed = has
}

// SecretStore holds the secrets of a proxy by name. Safe for concurrent use.
type SecretStore struct {
	mu sync.Mutex
	m  map[string]*Secret
}

// NewSecretStore makes an empty store.
func NewSecretStore() *SecretStore { return &SecretStore{m: make(map[string]*Secret)} }

// Get returns the secret of that name; it may be empty as yet.
func (st *SecretStore) Get(name string) *Secret {
	st.mu.Lock()
	defer st.mu.Unlock()
	s := st.m[name]
	if s == nil {
		s = newSecret(name)
		st.m[name] = s
	}
	return s
}

// SetCertificate sets or rotates an identity.
func (st *SecretStore) SetCertificate(name string, c *Certificate) { st.Get(name).set(c, nil) }

// SetTrust sets or rotates roots.
func (st *SecretStore) SetTrust(name string, t *Trust) { st.Get(name).set(nil, t) }

// SetTicketKeys sets or rotates the keys of session tickets.
func (st *SecretStore) SetTicketKeys(name string, k *TicketKeys) { st.Get(name).setAll(nil, nil, k) }

// Remove empties a secret: handshakes that need it fail from now on.
func (st *SecretStore) Remove(name string) { st.Get(name).set(nil, nil) }

// All returns the secrets sorted by name.
func (st *SecretStore) All() []*Secret {
	st.mu.Lock()
	defer st.mu.Unlock()
	out := make([]*Secret, 0, len(st.m))
	for _, s := range st.m {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *Secret) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return out
}
