package mcp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/anypb"
)

// authority is a root that signs itself, and writes what it makes as files.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.cert, a.key = a.sign(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) sign(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	by, signer := a.cert, a.key
	if by == nil {
		by, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by, &key.PublicKey, signer)
	if err == nil {
		c, err = x509.ParseCertificate(der)
	}
	if err != nil {
		a.t.Fatal(err)
	}
	return c, key
}

func write(t *testing.T, file, kind string, der []byte) string {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func keyOf(t *testing.T, k *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// guarded are options of a server with a certificate for name, which wants one of this
// authority's and the token.
func (a *authority) guarded(name string) []grpc.ServerOption {
	c, key := a.sign(&x509.Certificate{DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return []grpc.ServerOption{
		grpc.Creds(credentials.NewTLS(&tls.Config{
			MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
			Certificates: []tls.Certificate{{Certificate: [][]byte{c.Raw}, PrivateKey: key}},
		})),
		grpc.StreamInterceptor(func(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
			md, _ := metadata.FromIncomingContext(s.Context())
			if v := md.Get("authorization"); len(v) != 1 || v[0] != "Bearer secret" {
				return errors.New("who are you?")
			}
			return h(srv, s)
		}),
	}
}

// TestTLS: both sides show certificates, the client a token; files are read anew.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	a, other := newAuthority(t), newAuthority(t)
	s := &server{offers: map[string][]*anypb.Any{}}
	s.set(virtualService, routes(t, "shop/a", "a.shop.svc.cluster.local"))
	at, stop := s.serve(t, "", a.guarded("config.example")...)
	q := url.Values{"ca": {write(t, filepath.Join(dir, "ca"), "CERTIFICATE", other.cert.Raw)}, "server-name": {"config.example"}, "token": {filepath.Join(dir, "token")}}
	own := func(by *authority) {
		c, key := by.sign(&x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		q["cert"] = []string{write(t, filepath.Join(dir, "cert"), "CERTIFICATE", c.Raw)}
		q["key"] = []string{write(t, filepath.Join(dir, "key"), "PRIVATE KEY", keyOf(t, key))}
	}
	own(a)
	if err := os.WriteFile(q.Get("token"), []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	deltas := runAt(t, TLSScheme+at+"?"+q.Encode())
	until(t, deltas, "cannot be reached", "unknown authority")

	write(t, q.Get("ca"), "CERTIFICATE", a.cert.Raw)
	until(t, deltas, "shop/a")

	// Both sides get certificates of another authority.
	stop()
	until(t, deltas, "cannot be reached")
	write(t, q.Get("ca"), "CERTIFICATE", other.cert.Raw)
	own(other)
	s.set(virtualService, routes(t, "shop/b", "b.shop.svc.cluster.local"))
	_, stop = s.serve(t, at, other.guarded("config.example")...)
	defer stop()
	until(t, deltas, "shop/b")
}

// TestTLSRefused: a certificate of somebody else's is refused, and so is a client without one.
func TestTLSRefused(t *testing.T) {
	dir := t.TempDir()
	a := newAuthority(t)
	s := &server{offers: map[string][]*anypb.Any{}}
	at, stop := s.serve(t, "", a.guarded("config.example")...)
	defer stop()
	ca := "?ca=" + write(t, filepath.Join(dir, "ca"), "CERTIFICATE", a.cert.Raw)
	until(t, runAt(t, TLSScheme+at+ca+"&server-name=other.example"), "cannot be reached", "other.example")
	until(t, runAt(t, TLSScheme+at+ca), "cannot be reached")
}
