package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"sync"
)

// ClientTLS does the client's side of handshakes. Immutable but for the
// secrets behind it; safe for concurrent use.
type ClientTLS struct {
	cfg      *tls.Config
	certs    []*Secret
	verify   *verifier
	context  TLSContext
	sessions sessions
}

// ClientHello is what differs between handshakes of one context.
type ClientHello struct {
	// SNI overrides the context's server name; the context's AutoHostSNI uses
	// Host when SNI is empty.
	SNI, Host string
	// ALPN overrides the context's protocols when not nil.
	ALPN []string
	// VerifyName, when not empty, must be in the peer's certificate.
	VerifyName string
}

// NewClientTLS compiles c. Its secrets may arrive later; until then handshakes
// fail (see Ready).
func NewClientTLS(store *SecretStore, c TLSContext) (*ClientTLS, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	t := &ClientTLS{context: c, cfg: c.config(), certs: c.identity(store)}
	t.verify = newVerifier(store, &t.context.Validation, x509.ExtKeyUsageServerAuth)
	t.verify.required = true
	t.cfg.InsecureSkipVerify = true // verifyPeer does it, by SPIFFE and not by host name
	t.cfg.GetClientCertificate = t.certificate
	return t, nil
}

// Ready tells whether all secrets are there.
func (t *ClientTLS) Ready() bool { return ready(t.certs, t.verify) }

// Secrets are the named secrets in use, for warming.
func (t *ClientTLS) Secrets() []*Secret { return named(t.certs, t.verify) }

func (t *ClientTLS) certificate(req *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	for _, sec := range t.certs {
		c := sec.Certificate()
		if c == nil {
			return nil, fmt.Errorf("secret %q with the client certificate has not arrived", sec.name)
		}
		if len(t.certs) == 1 || req.SupportsCertificate(&c.tls) == nil {
			return &c.tls, nil
		}
	}
	return &tls.Certificate{}, nil
}

// Handshake takes nc over: the returned connection owns it, and so does the
// error, which has closed it.
func (t *ClientTLS) Handshake(ctx context.Context, nc net.Conn, h ClientHello) (net.Conn, error) {
	cfg := t.cfg.Clone()
	switch {
	case h.SNI != "":
		cfg.ServerName = h.SNI
	case t.context.AutoHostSNI && h.Host != "":
		cfg.ServerName = h.Host
	default:
		cfg.ServerName = t.context.SNI
	}
	if h.ALPN != nil {
		cfg.NextProtos = h.ALPN
	}
	verify := h.VerifyName
	if verify == "" && t.context.AutoSANValidation {
		verify = cfg.ServerName
	}
	cfg.VerifyConnection = t.verifyPeer(verify)
	if !t.context.NoTickets {
		var own *Certificate
		if len(t.certs) > 0 {
			own = t.certs[0].Certificate()
		}
		cfg.ClientSessionCache = t.sessions.of(nc.RemoteAddr().String()+"|"+cfg.ServerName, own)
	}
	return handshake(ctx, nc, func(in net.Conn) *tls.Conn { return tls.Client(in, cfg) })
}

func (t *ClientTLS) verifyPeer(name string) func(tls.ConnectionState) error {
	if name == "" {
		return t.verify.verify
	}
	return func(cs tls.ConnectionState) error {
		if err := t.verify.verify(cs); err != nil {
			return err
		}
		if err := cs.PeerCertificates[0].VerifyHostname(name); err != nil {
			return fmt.Errorf("peer %s: %w", describe(cs.PeerCertificates[0]), err)
		}
		return nil
	}
}

// sessions remembers TLS sessions per host. A session is bound to the
// certificate that the client showed when it was made: after a rotation none
// is resumed, else the server would go on to see the old identity.
type sessions struct {
	mu  sync.Mutex
	own *Certificate
	m   map[string]*tls.ClientSessionState
}

const maxSessions = 1024

// sessionRef is the cache as one handshake sees it: its key is the host's.
type sessionRef struct {
	s   *sessions
	key string
	own *Certificate
}

func (s *sessions) of(key string, own *Certificate) tls.ClientSessionCache {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.own != own || s.m == nil {
		s.own, s.m = own, make(map[string]*tls.ClientSessionState)
	}
	return &sessionRef{s, key, own}
}

// Get implements tls.ClientSessionCache.
func (r *sessionRef) Get(string) (*tls.ClientSessionState, bool) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if r.s.own != r.own {
		return nil, false
	}
	st, ok := r.s.m[r.key]
	return st, ok
}

// Put implements tls.ClientSessionCache.
func (r *sessionRef) Put(_ string, st *tls.ClientSessionState) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	if r.s.own != r.own { // a ticket for the identity before
		return
	}
	if st == nil {
		delete(r.s.m, r.key)
		return
	}
	if len(r.s.m) >= maxSessions {
		for k := range r.s.m { // any one will do
			delete(r.s.m, k)
			break
		}
	}
	r.s.m[r.key] = st
}

// Protocols returns the context's ALPN protocols.
func (t *ClientTLS) Protocols() []string { return slices.Clone(t.context.ALPN) }
