package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// signer makes tokens of an issuer.
type signer struct {
	key *ecdsa.PrivateKey
	id  string
}

func newSigner(t *testing.T, id string) signer {
	return signer{curve(t, elliptic.P256()).(*ecdsa.PrivateKey), id}
}

func (s signer) keys(t *testing.T) []byte {
	t.Helper()
	raw, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: s.key.Public(), KeyID: s.id, Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func (s signer) token(t *testing.T, c jwt.Claims) string {
	t.Helper()
	made, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: s.key, KeyID: s.id}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jwt.Signed(made).Claims(c).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func with(token string) context.Context {
	return metadata.NewIncomingContext(context.Background(), metadata.Pairs("authorization", "Bearer "+token))
}

func mesh() []string { return []string{"cluster.local", "old.example"} }

// TestTokens: whom a token proves, and which prove nothing.
func TestTokens(t *testing.T) {
	s := newSigner(t, "one")
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, s.keys(t), 0o600); err != nil {
		t.Fatal(err)
	}
	i, err := ParseIssuer("test="+file, DefaultAudience)
	if err != nil {
		t.Fatal(err)
	}
	p := NewProver([]*Issuer{i}, mesh)
	good := func(change func(*jwt.Claims)) jwt.Claims {
		c := jwt.Claims{Issuer: "test", Subject: "system:serviceaccount:shop:web", Audience: jwt.Audience{"x", DefaultAudience}, Expiry: jwt.NewNumericDate(time.Now().Add(time.Hour))}
		if change != nil {
			change(&c)
		}
		return c
	}
	for name, c := range map[string]struct {
		token, want string // the account's URI, or a part of the error
	}{
		"Kubernetes":         {s.token(t, good(nil)), "spiffe://cluster.local/ns/shop/sa/web"},
		"SPIFFE":             {s.token(t, good(func(c *jwt.Claims) { c.Subject = "spiffe://old.example/ns/shop/sa/web" })), "spiffe://old.example/ns/shop/sa/web"},
		"another domain":     {s.token(t, good(func(c *jwt.Claims) { c.Subject = "spiffe://else.example/ns/shop/sa/web" })), "another trust domain"},
		"no account":         {s.token(t, good(func(c *jwt.Claims) { c.Subject = "jo" })), "no service account"},
		"half an account":    {s.token(t, good(func(c *jwt.Claims) { c.Subject = "system:serviceaccount:shop" })), "no service account"},
		"a path":             {s.token(t, good(func(c *jwt.Claims) { c.Subject = "system:serviceaccount:shop:a/b" })), "no service account"},
		"another issuer":     {s.token(t, good(func(c *jwt.Claims) { c.Issuer = "else" })), `issuer "else" is not trusted`},
		"for others":         {s.token(t, good(func(c *jwt.Claims) { c.Audience = jwt.Audience{"x"} })), "audience"},
		"expired":            {s.token(t, good(func(c *jwt.Claims) { c.Expiry = jwt.NewNumericDate(time.Now().Add(-time.Hour)) })), "expired"},
		"without an end":     {s.token(t, good(func(c *jwt.Claims) { c.Expiry = nil })), "does not expire"},
		"not yet":            {s.token(t, good(func(c *jwt.Claims) { c.NotBefore = jwt.NewNumericDate(time.Now().Add(time.Hour)) })), "not valid yet"},
		"another key":        {newSigner(t, "one").token(t, good(nil)), "cryptographic primitive"},
		"a key of its own":   {newSigner(t, "two").token(t, good(nil)), "not valid"},
		"garbage":            {"a.b.c", "no signed JSON web token"},
		"without signature":  {"eyJhbGciOiJub25lIn0.eyJpc3MiOiJ0ZXN0In0.", "no signed JSON web token"},
		"symmetric, by name": {"eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJ0ZXN0In0.AAAA", "no signed JSON web token"},
	} {
		a, err := p.Account(with(c.token))
		if err == nil && a.SPIFFE() != c.want || err != nil && (!strings.Contains(err.Error(), c.want) || status.Code(err) != codes.Unauthenticated && status.Code(err) != codes.PermissionDenied) {
			t.Errorf("%s: %v, %v, want %s", name, a, err, c.want)
		}
	}
	if _, err := NewProver(nil, mesh).Account(with(s.token(t, good(nil)))); err == nil || !strings.Contains(err.Error(), "--token-issuer") {
		t.Errorf("without an issuer: %v", err)
	}
}

// TestKeysThatChange: keys are found by the issuer's discovery document, fetched anew when a
// token has another, and kept while they cannot be had.
func TestKeysThatChange(t *testing.T) {
	var now atomic.Pointer[signer]
	first := newSigner(t, "one")
	now.Store(&first)
	var down atomic.Bool
	var asked atomic.Int32
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	defer srv.Close()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"issuer": "x", "jwks_uri": "` + srv.URL + `/keys"}`))
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		if down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write(now.Load().keys(t))
	})
	i, err := ParseIssuer(srv.URL, DefaultAudience)
	if err != nil {
		t.Fatal(err)
	}
	clock := time.Now()
	i.now = func() time.Time { return clock }
	p := NewProver([]*Issuer{i}, mesh)
	show := func(s signer) error {
		_, err := p.Account(with(s.token(t, jwt.Claims{
			Issuer: srv.URL, Subject: "system:serviceaccount:shop:web", Audience: jwt.Audience{DefaultAudience}, Expiry: jwt.NewNumericDate(clock.Add(time.Hour)),
		})))
		return err
	}
	if err := show(first); err != nil {
		t.Fatal(err)
	}
	second := newSigner(t, "two")
	now.Store(&second)
	if err := show(second); err == nil {
		t.Error("keys were fetched twice in a row")
	}
	clock = clock.Add(fetchPause)
	if err := show(second); err != nil {
		t.Error(err)
	}
	down.Store(true)
	clock = clock.Add(2 * keysAge)
	if err := show(second); err != nil {
		t.Errorf("while the keys cannot be had: %v", err)
	}
	if n := asked.Load(); n != 3 {
		t.Errorf("the keys were asked for %d times", n)
	}
	for _, text := range []string{"", "=x", "name", "name=/nonexistent/keys"} {
		if _, err := ParseIssuer(text, DefaultAudience); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// TestServing: the server shows a certificate of the authority for its names, renews it, and
// knows clients by theirs; a certificate of another authority ends the handshake.
func TestServing(t *testing.T) {
	ca, err := Load(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	other, err := Load(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	clock := time.Now()
	ca.now = func() time.Time { return clock }
	s := ca.Serve([]string{"istiod.istio-system.svc", "127.0.0.1"}, func() []string { return nil })
	first, err := s.certificate()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.certificate(); err != nil || again != first {
		t.Errorf("another certificate at once: %v", err)
	}
	clock = clock.Add(serverTTL/2 + time.Minute)
	if next, err := s.certificate(); err != nil || next == first {
		t.Errorf("the same certificate after half its life: %v", err)
	}
	ca.now = time.Now
	s = ca.Serve(s.names, s.more)
	client := func(ca *Authority, spiffe string) *tls.Certificate {
		key := curve(t, elliptic.P256())
		chain, err := ca.Sign(csr(t, key, &x509.CertificateRequest{}), spiffe, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Certificate{Certificate: [][]byte{leaf(t, chain).Raw}, PrivateKey: key.(crypto.PrivateKey)}
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.Root())
	p := NewProver(nil, mesh)
	for name, c := range map[string]struct {
		server string
		cert   *tls.Certificate
		want   string // the account's URI, or a part of an error
	}{
		"a workload":          {"istiod.istio-system.svc", client(ca, me), me},
		"by address":          {"127.0.0.1", client(ca, me), me},
		"no certificate":      {"127.0.0.1", nil, "neither a token nor a certificate"},
		"another authority":   {"127.0.0.1", client(other, me), "certificate"},
		"another domain":      {"127.0.0.1", client(ca, "spiffe://else.example/ns/a/sa/b"), "another trust domain"},
		"no account's name":   {"127.0.0.1", client(ca, "spiffe://cluster.local/x"), "spiffe://TRUST-DOMAIN/ns"},
		"a name it has not":   {"evil.example", client(ca, me), "evil.example"},
		"with a query string": {"127.0.0.1", client(ca, me+"?x=y"), "spiffe://TRUST-DOMAIN/ns"},
	} {
		got, err := handshake(s.Config(), &tls.Config{RootCAs: roots, ServerName: c.server, Certificates: one(c.cert), NextProtos: []string{"h2"}})
		var a Account
		if err == nil {
			a, err = p.Account(peer.NewContext(t.Context(), &peer.Peer{AuthInfo: credentials.TLSInfo{State: *got}}))
		}
		if err == nil && a.SPIFFE() != c.want || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v, want %s", name, a, err, c.want)
		}
	}
	if ls := Names([]string{"a"}, "host", &net.TCPAddr{IP: net.IPv4zero}); len(ls) < 4 || ls[0] != "a" {
		t.Errorf("names: %v", ls)
	}
}

func one(c *tls.Certificate) []tls.Certificate {
	if c == nil {
		return nil
	}
	return []tls.Certificate{*c}
}

// handshake returns the server's side of a connection.
func handshake(server, client *tls.Config) (*tls.ConnectionState, error) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	srv := tls.Server(a, server)
	ended := make(chan error, 1)
	go func() {
		err := srv.Handshake()
		a.Close()
		ended <- err
	}()
	c := tls.Client(b, client)
	err := c.Handshake()
	if err == nil {
		_, _ = c.Read(make([]byte, 1)) // the server's verdict comes after TLS 1.3's handshake
	}
	b.Close()
	if e := <-ended; err == nil && e != nil {
		err = e
	}
	if err != nil {
		return nil, err
	}
	state := srv.ConnectionState()
	return &state, nil
}
