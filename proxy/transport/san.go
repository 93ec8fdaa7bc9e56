package transport

import (
	"crypto/x509"
	"net/netip"
	"regexp"
	"strings"
)

// SANType is a kind of subject alternative name.
type SANType uint8

// Kinds of names. SANAny looks at DNS names, URIs and IP addresses.
const (
	SANAny SANType = iota
	SANDNS
	SANURI
	SANIP
	SANEmail
)

// SANMatch matches one subject alternative name of a certificate.
type SANMatch struct {
	Type SANType
	Text TextMatch
}

// TextMatch is a string matcher; exactly one of the fields is used. The zero
// value matches the empty string only.
type TextMatch struct {
	Exact, Prefix, Suffix, Contains string
	// Regex comes from CompileRegex and matches the whole.
	Regex      *regexp.Regexp
	IgnoreCase bool
}

// CompileRegex compiles an expression that has to match a whole string.
func CompileRegex(expr string) (*regexp.Regexp, error) {
	if _, err := regexp.Compile(expr); err != nil { // so that the message shows what was written
		return nil, err
	}
	return regexp.Compile("^(?:" + expr + ")$")
}

// Match tells whether s matches.
func (m *TextMatch) Match(s string) bool {
	if m.Regex != nil {
		return m.Regex.MatchString(s)
	}
	e, p, x, c := m.Exact, m.Prefix, m.Suffix, m.Contains
	if m.IgnoreCase {
		s = strings.ToLower(s)
		e, p, x, c = strings.ToLower(e), strings.ToLower(p), strings.ToLower(x), strings.ToLower(c)
	}
	switch {
	case p != "":
		return strings.HasPrefix(s, p)
	case x != "":
		return strings.HasSuffix(s, x)
	case c != "":
		return strings.Contains(s, c)
	}
	return s == e
}

// matchSAN tells whether one of the certificate's names matches.
func (m *SANMatch) matchSAN(cert *x509.Certificate) bool {
	if m.Type == SANURI || m.Type == SANAny {
		for _, u := range cert.URIs {
			if m.Text.Match(u.String()) {
				return true
			}
		}
	}
	if m.Type == SANDNS || m.Type == SANAny {
		for _, d := range cert.DNSNames {
			if m.Text.Match(d) || m.Text.Exact != "" && matchWildcard(d, m.Text.Exact) {
				return true
			}
		}
	}
	if m.Type == SANIP || m.Type == SANAny {
		for _, ip := range cert.IPAddresses {
			if a, ok := netip.AddrFromSlice(ip); ok && m.Text.Match(a.Unmap().String()) {
				return true
			}
		}
	}
	if m.Type == SANEmail {
		for _, e := range cert.EmailAddresses {
			if m.Text.Match(e) {
				return true
			}
		}
	}
	return false
}

// matchWildcard tells whether a certificate's "*.example.com" covers name. The
// star stands for one whole label.
func matchWildcard(pattern, name string) bool {
	rest, ok := strings.CutPrefix(pattern, "*.")
	if !ok {
		return false
	}
	_, parent, ok := strings.Cut(name, ".")
	return ok && strings.EqualFold(parent, rest)
}

// SPIFFEID returns the first URI name of a certificate, "spiffe://…", or "".
func SPIFFEID(cert *x509.Certificate) string {
	if cert == nil || len(cert.URIs) == 0 {
		return ""
	}
	return cert.URIs[0].String()
}

// trustDomain is the domain of a SPIFFE name; a SPIFFE certificate has exactly
// one URI.
func trustDomain(cert *x509.Certificate) (string, bool) {
	if len(cert.URIs) != 1 || cert.URIs[0].Scheme != "spiffe" || cert.URIs[0].Host == "" {
		return "", false
	}
	return cert.URIs[0].Host, true
}
