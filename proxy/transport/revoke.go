package transport

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// Revocations are certificate revocation lists by issuer. Immutable.
type Revocations struct{ lists []revoked }

// revoked is one list.
type revoked struct {
	list    *x509.RevocationList
	serials map[string]struct{}
}

// ParseRevocations reads lists in PEM, or one in DER.
func ParseRevocations(b []byte) (*Revocations, error) {
	out := &Revocations{}
	add := func(der []byte) error {
		l, err := x509.ParseRevocationList(der)
		if err != nil {
			return fmt.Errorf("revocation list %d: %w", len(out.lists)+1, err)
		}
		r := revoked{l, make(map[string]struct{}, len(l.RevokedCertificateEntries))}
		for _, e := range l.RevokedCertificateEntries {
			r.serials[string(e.SerialNumber.Bytes())] = struct{}{}
		}
		out.lists = append(out.lists, r)
		return nil
	}
	for rest := b; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "X509 CRL" {
			return nil, fmt.Errorf("a PEM block is a %q, want X509 CRL", block.Type)
		}
		if err := add(block.Bytes); err != nil {
			return nil, err
		}
	}
	if len(out.lists) == 0 {
		if err := add(b); err != nil {
			return nil, errors.New("no revocation list found: want PEM blocks of type X509 CRL, or DER")
		}
	}
	return out, nil
}

// check refuses a chain of which a certificate is revoked. Each issuer in it
// needs a list of its own that is in force, of which the end is returned; with
// leafOnly that of the leaf does.
func (r *Revocations) check(chain []*x509.Certificate, leafOnly bool, now time.Time) (until time.Time, err error) {
	n := len(chain)
	if leafOnly {
		n = 1
	}
	for i, c := range chain[:n] {
		end, err := r.checkOne(c, chain[min(i+1, len(chain)-1)], now)
		if err != nil {
			return until, err
		}
		if !end.IsZero() && (until.IsZero() || end.Before(until)) {
			until = end
		}
	}
	return until, nil
}

func (r *Revocations) checkOne(c, issuer *x509.Certificate, now time.Time) (until time.Time, err error) {
	why := fmt.Errorf("peer %s: there is no revocation list of its issuer %s", describe(c), issuer.Subject)
	good := false
	for i := range r.lists {
		l := r.lists[i].list
		if !bytes.Equal(l.RawIssuer, issuer.RawSubject) {
			continue
		}
		switch err := l.CheckSignatureFrom(issuer); {
		case err != nil:
			why = fmt.Errorf("revocation list of %s: %w", issuer.Subject, err)
			continue
		case now.Before(l.ThisUpdate) || !l.NextUpdate.IsZero() && now.After(l.NextUpdate):
			why = fmt.Errorf("revocation list of %s: it is in force from %v to %v", issuer.Subject, l.ThisUpdate, l.NextUpdate)
			continue
		}
		if _, ok := r.lists[i].serials[string(c.SerialNumber.Bytes())]; ok {
			return until, fmt.Errorf("peer %s: its certificate is revoked", describe(c))
		}
		good = true
		if !l.NextUpdate.IsZero() && (until.IsZero() || l.NextUpdate.Before(until)) {
			until = l.NextUpdate
		}
	}
	if !good {
		return until, why
	}
	return until, nil
}
