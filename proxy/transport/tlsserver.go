package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
)

// ServerTLS does the server's side of handshakes. Immutable but for the
// secrets behind it; safe for concurrent use.
type ServerTLS struct {
	cfg     *tls.Config
	open    *tls.Config // cfg without application protocols
	certs   []*Secret
	verify  *verifier
	context TLSContext
	// tickets, when not nil, has the keys of session tickets; ticketsOf are those in use.
	tickets   *Secret
	ticketsOf atomic.Pointer[TicketKeys]
}

// NewServerTLS compiles c. Its secrets may arrive later; until then handshakes
// fail (see Ready).
func NewServerTLS(store *SecretStore, c TLSContext) (*ServerTLS, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	s := &ServerTLS{context: c, cfg: c.config(), certs: c.identity(store)}
	if len(s.certs) == 0 {
		return nil, errors.New("tls: a server needs a certificate: none is configured")
	}
	s.verify = newVerifier(store, &s.context.Validation, x509.ExtKeyUsageClientAuth)
	s.verify.required = c.RequireClientCert
	s.cfg.GetCertificate = s.certificate
	s.cfg.VerifyConnection = s.verify.verify
	switch {
	case c.RequireClientCert:
		s.cfg.ClientAuth = tls.RequireAnyClientCert // verify does the rest
	case !c.Validation.empty():
		s.cfg.ClientAuth = tls.RequestClientCert
	}
	switch {
	case c.TicketSecret != "":
		s.tickets = store.Get(c.TicketSecret)
	case c.Tickets != nil:
		s.cfg.SetSessionTicketKeys(c.Tickets.keys)
	}
	if c.Staple == StapleMust {
		for i, cert := range c.Certs {
			if cert.staple == nil {
				return nil, fmt.Errorf("tls: certificate %d has no ocsp_staple, which the policy MUST_STAPLE demands", i)
			}
		}
	}
	if len(c.ALPN) > 0 {
		s.open = s.cfg.Clone()
		s.open.NextProtos = nil
		s.cfg.GetConfigForClient = s.forClient
	}
	return s, nil
}

// forClient leaves application protocols out for clients that offer none of
// ours: Envoy goes on without one, where crypto/tls would refuse. Meshes rely on
// it: a client's offer tells which filter chain is meant, too.
func (s *ServerTLS) forClient(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	for _, p := range hello.SupportedProtos {
		if slices.Contains(s.context.ALPN, p) {
			return nil, nil
		}
	}
	return s.open, nil
}

// Ready tells whether all secrets are there.
func (s *ServerTLS) Ready() bool {
	return ready(s.certs, s.verify) && (s.tickets == nil || s.tickets.tickets.Load() != nil)
}

// Secrets are the named secrets in use, for warming.
func (s *ServerTLS) Secrets() []*Secret { return named(s.certs, s.verify) }

// Verifies tells whether clients' certificates are checked against a trusted CA.
func (s *ServerTLS) Verifies() bool {
	return s.verify.trust != nil && !s.context.Validation.AcceptUntrusted
}

// LocalURI is the SPIFFE name that the server shows, "" when it has none.
func (s *ServerTLS) LocalURI() string {
	for _, sec := range s.certs {
		if c := sec.Certificate(); c != nil {
			return SPIFFEID(c.Leaf())
		}
	}
	return ""
}

func (s *ServerTLS) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	var first *Certificate
	for _, sec := range s.certs {
		c := sec.Certificate()
		if c == nil {
			continue
		}
		if len(s.certs) == 1 || hello.SupportsCertificate(&c.tls) == nil {
			return s.stapledFor(hello, c)
		}
		if first == nil {
			first = c
		}
	}
	if first == nil {
		return nil, fmt.Errorf("secret %q with the certificate has not arrived", s.certs[0].name)
	}
	return s.stapledFor(hello, first)
}

// Handshake takes nc over: the returned connection owns it, and so does the
// error, which has closed it.
func (s *ServerTLS) Handshake(ctx context.Context, nc net.Conn) (net.Conn, error) {
	if err := s.freshTickets(); err != nil {
		nc.Close()
		return nil, err
	}
	return handshake(ctx, nc, func(in net.Conn) *tls.Conn { return tls.Server(in, s.cfg) })
}

// handshake runs one side's handshake on the calling goroutine.
func handshake(ctx context.Context, nc net.Conn, side func(net.Conn) *tls.Conn) (net.Conn, error) {
	in := &cipherSide{Conn: nc}
	c := &tlsConn{Conn: side(in), in: in}
	if err := c.HandshakeContext(ctx); err != nil {
		nc.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("tls handshake with %s: %w", nc.RemoteAddr(), err)
	}
	return c, nil
}

func ready(certs []*Secret, v *verifier) bool {
	for _, s := range certs {
		if s.Certificate() == nil {
			return false
		}
	}
	return v.trust == nil || v.trust.Trust() != nil
}

func named(certs []*Secret, v *verifier) []*Secret {
	var out []*Secret
	for _, s := range certs {
		if s.name != "" {
			out = append(out, s)
		}
	}
	if v.trust != nil && v.trust.name != "" {
		out = append(out, v.trust)
	}
	return out
}
