package mcp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Schemes begin the addresses of servers.
const (
	Scheme    = "xds://"     // plain text
	TLSScheme = "xds+tls://" // TLS, mutual where a certificate is named
)

// Is tells whether a text is a server's address.
func Is(address string) bool {
	return strings.HasPrefix(address, Scheme) || strings.HasPrefix(address, TLSScheme)
}

// parameters of a TLS address, and what they are.
const parameters = "ca, cert and key, server-name, token"

// dialing reads an address: "xds://HOST:PORT", or "xds+tls://HOST:PORT" with parameters that
// name files: ca (roots; default: the system's), cert and key (the client's own), token (sent as
// a bearer), and server-name (whom the server's certificate has to be of; default: HOST). Files
// are read anew for each connection.
func dialing(address string) (host string, opts []grpc.DialOption, err error) {
	u, err := url.Parse(address)
	if err != nil || !Is(address) || u.Host == "" || u.Port() == "" || u.Path != "" || u.User != nil {
		return "", nil, fmt.Errorf("%q: want %sHOST:PORT or %sHOST:PORT?ca=FILE", address, Scheme, TLSScheme)
	}
	if strings.HasPrefix(address, Scheme) {
		if u.RawQuery != "" {
			return "", nil, fmt.Errorf("%q: plain text has no parameters: write %s", address, TLSScheme)
		}
		return u.Host, []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, nil
	}
	f := files{name: u.Hostname()}
	for name, values := range u.Query() {
		into := map[string]*string{"ca": &f.ca, "cert": &f.cert, "key": &f.key, "token": &f.token, "server-name": &f.name}[name]
		if into == nil || len(values) != 1 || values[0] == "" {
			return "", nil, fmt.Errorf("%q: parameter %q: want %s, each once and with a value", address, name, parameters)
		}
		*into = values[0]
	}
	if (f.cert == "") != (f.key == "") {
		return "", nil, fmt.Errorf("%q: cert and key go together", address)
	}
	if err := f.check(); err != nil {
		return "", nil, fmt.Errorf("%q: %w", address, err)
	}
	opts = []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(f.config()))}
	if f.token != "" {
		opts = append(opts, grpc.WithPerRPCCredentials(f))
	}
	return u.Host, opts, nil
}

// files are what a TLS connection is made with.
type files struct{ ca, cert, key, token, name string }

// check reads all once, so that a wrong path shows at the start.
func (f files) check() error {
	if _, err := f.roots(); err != nil {
		return err
	}
	if f.cert != "" {
		if _, err := f.own(nil); err != nil {
			return err
		}
	}
	if f.token != "" {
		if _, err := f.bearer(); err != nil {
			return err
		}
	}
	return nil
}

func (f files) config() *tls.Config {
	c := &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: f.name,
		InsecureSkipVerify: true, //nolint:gosec // verify does it, with the roots of the moment
		VerifyConnection:   f.verify,
	}
	if f.cert != "" {
		c.GetClientCertificate = f.own
	}
	return c
}

// roots are nil for the system's.
func (f files) roots() (*x509.CertPool, error) {
	if f.ca == "" {
		return nil, nil //nolint:nilnil // as x509 has it
	}
	b, err := os.ReadFile(f.ca)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("ca: %s holds no certificate in PEM", f.ca)
	}
	return pool, nil
}

func (f files) own(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	c, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, fmt.Errorf("cert and key: %w", err)
	}
	return &c, nil
}

// verify does what crypto/tls would.
func (f files) verify(s tls.ConnectionState) error {
	roots, err := f.roots()
	if err != nil {
		return err
	}
	o := x509.VerifyOptions{Roots: roots, DNSName: s.ServerName, Intermediates: x509.NewCertPool()}
	if o.DNSName == "" { // an address
		o.DNSName = f.name
	}
	for _, c := range s.PeerCertificates[1:] {
		o.Intermediates.AddCert(c)
	}
	_, err = s.PeerCertificates[0].Verify(o)
	return err
}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (f files) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return f.bearer()
}

func (f files) bearer() (map[string]string, error) {
	b, err := os.ReadFile(f.token)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" {
		return nil, errors.New("token: " + f.token + " is empty")
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (f files) RequireTransportSecurity() bool { return true }
