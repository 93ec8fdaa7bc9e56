package mcp

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/base/bearertoken"
)

// Schemes begin addresses, as they do of the servers that --config names.
const (
	Scheme    = "xds://"     // plain text
	TLSScheme = "xds+tls://" // TLS
)

// parameters of a TLS address, and what they are.
const parameters = "cert, key, ca, token"

// Listening reads where to listen: "xds://HOST:PORT" in plain text, or
// "xds+tls://HOST:PORT?cert=FILE&key=FILE" with further files: ca (clients need a certificate of
// one of these authorities), token (clients need to send it as a bearer). HOST may be missing.
// Files are read once now, so that a wrong path shows, and anew for each connection; the token for
// each stream.
func Listening(address string) (hostPort string, opts []grpc.ServerOption, err error) {
	u, err := url.Parse(address)
	plain := strings.HasPrefix(address, Scheme)
	if err != nil || !plain && !strings.HasPrefix(address, TLSScheme) || u.Port() == "" || u.Path != "" || u.User != nil {
		return "", nil, fmt.Errorf("%q: want %sHOST:PORT?cert=FILE&key=FILE, or %sHOST:PORT for plain text", address, TLSScheme, Scheme)
	}
	if plain {
		if u.RawQuery != "" {
			return "", nil, fmt.Errorf("%q: plain text has no parameters: write %s", address, TLSScheme)
		}
		return u.Host, nil, nil
	}
	var f files
	for name, values := range u.Query() {
		into := map[string]*string{"cert": &f.cert, "key": &f.key, "ca": &f.ca, "token": &f.token}[name]
		if into == nil || len(values) != 1 || values[0] == "" {
			return "", nil, fmt.Errorf("%q: parameter %q: want %s, each once and with a value", address, name, parameters)
		}
		*into = values[0]
	}
	if f.cert == "" || f.key == "" {
		return "", nil, fmt.Errorf("%q: cert and key are missing: they name the server's certificate and its key, in PEM", address)
	}
	if _, err := f.config(nil); err != nil {
		return "", nil, fmt.Errorf("%q: %w", address, err)
	}
	opts = []grpc.ServerOption{grpc.Creds(credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: f.config}))}
	if f.token != "" {
		if _, err := f.secret(); err != nil {
			return "", nil, fmt.Errorf("%q: %w", address, err)
		}
		opts = append(opts, grpc.StreamInterceptor(func(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
			if err := f.admit(s.Context()); err != nil {
				return err
			}
			return h(srv, s)
		}))
	}
	return u.Host, opts, nil
}

// files are what connections are made with; ca and token may be empty.
type files struct{ cert, key, ca, token string }

func (f files) config(*tls.ClientHelloInfo) (*tls.Config, error) {
	own, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, fmt.Errorf("cert and key: %w", err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{own}}
	if f.ca == "" {
		return c, nil
	}
	b, err := os.ReadFile(f.ca)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("ca: %s holds no certificate in PEM", f.ca)
	}
	return c, nil
}

func (f files) secret() (string, error) {
	b, err := os.ReadFile(f.token)
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	if s := strings.TrimSpace(string(b)); s != "" {
		return s, nil
	}
	return "", fmt.Errorf("token: %s is empty", f.token)
}

// admit tells whether a stream bears the token.
func (f files) admit(ctx context.Context) error {
	want, err := f.secret()
	if err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	for got := range bearertoken.All(ctx) {
		if subtle.ConstantTimeCompare([]byte(got), []byte(want)) == 1 {
			return nil
		}
	}
	return status.Error(codes.Unauthenticated, "send the token that the server was started with, as a bearer")
}
