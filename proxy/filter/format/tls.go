package format

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"net/url"
	"strings"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
)

// certificates are the commands about TLS connections and their certificates.
var certificates = map[string]value{
	"DOWNSTREAM_TLS_VERSION":          down(tlsVersion),
	"DOWNSTREAM_TLS_CIPHER":           down(tlsCipher),
	"DOWNSTREAM_PEER_SUBJECT":         down(peer(subject)),
	"DOWNSTREAM_PEER_ISSUER":          down(peer(issuer)),
	"DOWNSTREAM_PEER_SERIAL":          down(peer(serial)),
	"DOWNSTREAM_PEER_FINGERPRINT_256": down(peer(fingerprint)),
	"DOWNSTREAM_PEER_CERT":            down(peer(pemEscaped)),
	"DOWNSTREAM_PEER_CERT_V_START":    down(peer(func(c *x509.Certificate) string { return validity(c.NotBefore) })),
	"DOWNSTREAM_PEER_CERT_V_END":      down(peer(func(c *x509.Certificate) string { return validity(c.NotAfter) })),
	"DOWNSTREAM_PEER_DNS_SAN":         down(peer(dnsNames)),
	"DOWNSTREAM_PEER_IP_SAN":          down(peer(ipNames)),
	"UPSTREAM_TLS_VERSION":            up(tlsVersion),
	"UPSTREAM_TLS_CIPHER":             up(tlsCipher),
	"UPSTREAM_PEER_SUBJECT":           up(peer(subject)),
	"UPSTREAM_PEER_ISSUER":            up(peer(issuer)),
	"UPSTREAM_PEER_SERIAL":            up(peer(serial)),
	"UPSTREAM_PEER_CERT":              up(peer(pemEscaped)),
	"UPSTREAM_PEER_CERT_V_START":      up(peer(func(c *x509.Certificate) string { return validity(c.NotBefore) })),
	"UPSTREAM_PEER_CERT_V_END":        up(peer(func(c *x509.Certificate) string { return validity(c.NotAfter) })),
	"UPSTREAM_PEER_DNS_SAN":           up(peer(dnsNames)),
	"UPSTREAM_PEER_IP_SAN":            up(peer(ipNames)),
}

func down(get func(*tls.ConnectionState) string) value {
	return connText(func(c *filter.ConnInfo) string {
		if c.TLS == nil {
			return ""
		}
		return get(c.TLS)
	})
}

func up(get func(*tls.ConnectionState) string) value {
	return text(func(i *filter.Info) string {
		if i.Upstream.State == nil {
			return ""
		}
		return get(i.Upstream.State)
	})
}

func peer(get func(*x509.Certificate) string) func(*tls.ConnectionState) string {
	return func(s *tls.ConnectionState) string {
		if len(s.PeerCertificates) == 0 {
			return ""
		}
		return get(s.PeerCertificates[0])
	}
}

// tlsVersion is "TLSv1.3" where Go writes "TLS 1.3".
func tlsVersion(s *tls.ConnectionState) string {
	switch s.Version {
	case tls.VersionTLS12:
		return "TLSv1.2"
	case tls.VersionTLS13:
		return "TLSv1.3"
	}
	return ""
}

// ciphers are OpenSSL's names, which Envoy prints; those of TLS 1.3 are the same everywhere.
var ciphers = map[uint16]string{
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256:         "ECDHE-RSA-AES128-GCM-SHA256",
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384:         "ECDHE-RSA-AES256-GCM-SHA384",
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256:       "ECDHE-ECDSA-AES128-GCM-SHA256",
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384:       "ECDHE-ECDSA-AES256-GCM-SHA384",
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256:   "ECDHE-RSA-CHACHA20-POLY1305",
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: "ECDHE-ECDSA-CHACHA20-POLY1305",
}

func tlsCipher(s *tls.ConnectionState) string {
	if n, ok := ciphers[s.CipherSuite]; ok {
		return n
	}
	return tls.CipherSuiteName(s.CipherSuite)
}

func subject(c *x509.Certificate) string { return c.Subject.String() }
func issuer(c *x509.Certificate) string  { return c.Issuer.String() }
func serial(c *x509.Certificate) string  { return hex.EncodeToString(c.SerialNumber.Bytes()) }

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

func validity(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

func dnsNames(c *x509.Certificate) string { return strings.Join(c.DNSNames, ",") }

func ipNames(c *x509.Certificate) string {
	out := make([]string, len(c.IPAddresses))
	for i, a := range c.IPAddresses {
		out[i] = a.String()
	}
	return strings.Join(out, ",")
}

// pemEscaped is a certificate as Envoy writes it: PEM, percent-encoded.
func pemEscaped(c *x509.Certificate) string {
	p := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	return strings.ReplaceAll(url.QueryEscape(string(p)), "+", "%20")
}
