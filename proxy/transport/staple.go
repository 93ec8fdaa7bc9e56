package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/ocsp"
)

// StaplePolicy says when a server goes without an OCSP response.
type StaplePolicy uint8

// Policies. All send a response that is in force to clients that ask for one.
const (
	// StapleLenient leaves out a response that has expired.
	StapleLenient StaplePolicy = iota
	// StapleStrict refuses the handshake then.
	StapleStrict
	// StapleMust also demands that each certificate has a response.
	StapleMust
)

// staple is an OCSP response of a certificate.
type staple struct {
	raw      []byte
	from, to time.Time // to zero: for ever
}

func (s *staple) valid(now time.Time) bool {
	return !now.Before(s.from) && (s.to.IsZero() || now.Before(s.to))
}

// WithStaple is c with an OCSP response, in DER, that servers pass on.
func (c *Certificate) WithStaple(der []byte) (*Certificate, error) {
	r, err := ocsp.ParseResponse(der, nil)
	if err != nil {
		return nil, fmt.Errorf("ocsp response: %w", err)
	}
	if r.SerialNumber.Cmp(c.tls.Leaf.SerialNumber) != 0 {
		return nil, errors.New("the OCSP response is for another certificate")
	}
	out := &Certificate{tls: c.tls, staple: &staple{der, r.ThisUpdate, r.NextUpdate}}
	out.stapled = c.tls
	out.stapled.OCSPStaple = der
	return out, nil
}

const extStatusRequest = 5

// stapledFor is the certificate to show to a client.
func (s *ServerTLS) stapledFor(hello *tls.ClientHelloInfo, c *Certificate) (*tls.Certificate, error) {
	if c.staple == nil {
		if s.context.Staple == StapleMust {
			return nil, errors.New("the certificate has no OCSP response, which the policy MUST_STAPLE demands")
		}
		return &c.tls, nil
	}
	if c.staple.valid(time.Now()) {
		return &c.stapled, nil
	}
	if s.context.Staple != StapleLenient && slices.Contains(hello.Extensions, extStatusRequest) {
		return nil, fmt.Errorf("the OCSP response is in force from %v to %v only", c.staple.from, c.staple.to)
	}
	return &c.tls, nil
}
