package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// serverTTL is the lifetime of the control plane's own certificate.
const serverTTL = 24 * time.Hour

// Serving is the TLS side of a server that the authority vouches for: its certificate,
// renewed in time, and what clients' certificates are checked against.
type Serving struct {
	ca    *Authority
	names []string
	more  func() []string

	mu   sync.Mutex
	cert *tls.Certificate // guarded by mu
	half time.Time        // when it is half over; guarded by mu
}

// Serve returns the TLS side of a server with these names: DNS names or IP addresses.
// more are authorities, in PEM, whose clients are known beside the mesh's own.
func (a *Authority) Serve(names []string, more func() []string) *Serving {
	return &Serving{ca: a, names: names, more: more}
}

// Config is the server's: HTTP/2, and clients may show a certificate, which then has to be
// of one of the authorities.
func (s *Serving) Config() *tls.Config {
	base := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}, ClientAuth: tls.VerifyClientCertIfGiven}
	base.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate() }
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c := base.Clone()
		c.GetConfigForClient = nil
		c.ClientCAs = x509.NewCertPool()
		c.ClientCAs.AddCert(s.ca.cert)
		c.ClientCAs.AppendCertsFromPEM([]byte(strings.Join(s.more(), "\n")))
		// A session would outlive a change of the authorities.
		c.SessionTicketsDisabled = true
		return c, nil
	}
	return base
}

// Public is the configuration of a server over HTTP whose clients show no certificate: API
// servers have none of the mesh.
func (s *Serving) Public() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.certificate() },
	}
}

// certificate is the server's, made anew when its life is half over.
func (s *Serving) certificate() (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.ca.now()
	if s.cert != nil && now.Before(s.half) {
		return s.cert, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("the server's key: %w", err)
	}
	template, err := s.ca.leaf(now, serverTTL)
	if err != nil {
		return nil, err
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, n := range s.names {
		if ip, err := netip.ParseAddr(n); err == nil {
			template.IPAddresses = append(template.IPAddresses, ip.AsSlice())
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, s.ca.cert, key.Public(), s.ca.key)
	if err != nil {
		return nil, fmt.Errorf("the server's certificate: %w", err)
	}
	s.cert = &tls.Certificate{Certificate: [][]byte{der, s.ca.cert.Raw}, PrivateKey: key}
	s.half = now.Add(template.NotAfter.Sub(now) / 2)
	return s.cert, nil
}

// Names are what a server on this machine may be called: those that are given, the
// machine's name, and the addresses that it listens on; of an unspecified address all of
// the machine's.
func Names(given []string, host string, listen net.Addr) []string {
	out := append(slices.Clone(given), "localhost")
	if host != "" {
		out = append(out, host)
	}
	tcp, ok := listen.(*net.TCPAddr)
	if !ok {
		return out
	}
	if !tcp.IP.IsUnspecified() {
		return append(out, tcp.IP.String())
	}
	list, err := net.InterfaceAddrs()
	if err != nil {
		return out
	}
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLinkLocalUnicast() {
			out = append(out, n.IP.String())
		}
	}
	return out
}
