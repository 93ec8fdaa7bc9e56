package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
)

// TLSContext describes one side of TLS in plain Go; proxy/config makes it from
// Envoy's DownstreamTlsContext and UpstreamTlsContext.
type TLSContext struct {
	// CertSecrets names certificates in the SecretStore; Certs are inline ones.
	// A server needs one at least; with several the first that the client
	// supports is used (by server name and algorithm).
	CertSecrets []string
	Certs       []*Certificate
	// Validation of the peer.
	Validation Validation
	// ALPN in order of preference.
	ALPN []string
	// MinVersion and MaxVersion are tls.VersionTLS12 etc.; 0: TLS 1.2 and 1.3.
	MinVersion, MaxVersion uint16
	// Ciphers for TLS 1.2, Curves: empty means crypto/tls's.
	Ciphers []uint16
	Curves  []tls.CurveID

	// RequireClientCert (server).
	RequireClientCert bool
	// Tickets (server) encrypt session tickets, or those of the secret named
	// TicketSecret do; without either the keys are random and rotate by themselves.
	Tickets      *TicketKeys
	TicketSecret string
	// Staple (server) says what to do without a valid OCSP response.
	Staple StaplePolicy
	// NoTickets switches session resumption off.
	NoTickets bool

	// SNI that a client sends; empty: none, unless the dial gives one.
	SNI string
	// AutoHostSNI (client): the host name of the endpoint is sent, when the
	// dial gives one; AutoSANValidation: the name sent must be in the peer's
	// certificate.
	AutoHostSNI, AutoSANValidation bool
}

// Validation says which peer certificates are good.
type Validation struct {
	// TrustSecret names the roots in the SecretStore; Trust is inline. Without
	// either the chain is not checked (Envoy's behaviour), and SANs must be empty.
	TrustSecret string
	Trust       *Trust
	// SANs: when not empty one of them must match one of the certificate's.
	SANs []SANMatch
	// SPKI and Hashes are SHA-256 sums of acceptable peers' public keys and
	// certificates; when any is given one must match.
	SPKI, Hashes [][32]byte
	// Revoked, when not nil, are lists of certificates that are good no more,
	// unless the secret with the roots brings its own; RevokedLeafOnly: only the
	// peer's own certificate is looked up, not its issuers'.
	Revoked         *Revocations
	RevokedLeafOnly bool
	// AcceptUntrusted lets a peer in whose chain does not verify.
	AcceptUntrusted bool
}

func (v *Validation) empty() bool {
	return v.TrustSecret == "" && v.Trust == nil && len(v.SANs)+len(v.SPKI)+len(v.Hashes) == 0
}

// check reports what no context may have.
func (c *TLSContext) check() error {
	v := &c.Validation
	if v.TrustSecret != "" && v.Trust != nil {
		return errors.New("tls: trust is given both inline and as secret " + v.TrustSecret)
	}
	if len(v.SANs) > 0 && v.TrustSecret == "" && v.Trust == nil {
		return errors.New("tls: subject names are checked but there is no trusted CA: add one")
	}
	if v.Revoked != nil && v.TrustSecret == "" && v.Trust == nil {
		return errors.New("tls: there is a revocation list but no trusted CA: add one")
	}
	if c.MinVersion != 0 && c.MaxVersion != 0 && c.MinVersion > c.MaxVersion {
		return fmt.Errorf("tls: minimum version %s is above maximum %s", tls.VersionName(c.MinVersion), tls.VersionName(c.MaxVersion))
	}
	for _, p := range c.ALPN {
		if p == "" || len(p) > 255 {
			return fmt.Errorf("tls: ALPN protocol %q: want 1 to 255 bytes", p)
		}
	}
	if strings.ContainsAny(c.SNI, " \t\x00") {
		return fmt.Errorf("tls: sni %q is not a name", c.SNI)
	}
	return nil
}

// config is what both sides have in common.
func (c *TLSContext) config() *tls.Config {
	cfg := &tls.Config{
		MinVersion:             c.MinVersion,
		MaxVersion:             c.MaxVersion,
		CipherSuites:           c.Ciphers,
		CurvePreferences:       c.Curves,
		NextProtos:             c.ALPN,
		SessionTicketsDisabled: c.NoTickets,
		// Records of 1 KiB on the first megabyte cost more than the latency
		// that they win inside a mesh.
		DynamicRecordSizingDisabled: true,
	}
	if cfg.MinVersion == 0 {
		cfg.MinVersion = tls.VersionTLS12
	}
	return cfg
}

// identity resolves the certificates of a context.
func (c *TLSContext) identity(store *SecretStore) []*Secret {
	var out []*Secret
	for _, cert := range c.Certs {
		s := newSecret("")
		s.set(cert, nil)
		out = append(out, s)
	}
	for _, name := range c.CertSecrets {
		out = append(out, store.Get(name))
	}
	return out
}
