package choose

import (
	"crypto/x509"
	"strings"
)

// names is what get finds in the client's certificate, joined by commas; false:
// there is nothing of the kind.
func names(f *Facts, get func(*x509.Certificate) []string) (string, bool) {
	if f.Conn.TLS == nil || len(f.Conn.TLS.PeerCertificates) == 0 {
		return "", false
	}
	list := get(f.Conn.TLS.PeerCertificates[0])
	return strings.Join(list, ","), len(list) > 0
}

func uris(c *x509.Certificate) []string {
	list := make([]string, 0, len(c.URIs))
	for _, u := range c.URIs {
		list = append(list, u.String())
	}
	return list
}

func hosts(c *x509.Certificate) []string { return c.DNSNames }

func subject(c *x509.Certificate) []string { return []string{c.Subject.String()} }
