package behave

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// keys are the authority whose certificates servers and clients outside the mesh have,
// and the issuer of tokens.
type keys struct {
	dir    string // ca, server and client: .crt and .key
	tokens *ecdsa.PrivateKey
}

// certNames are the names in the server's certificate.
var certNames = []string{"*.example.com", "*.east.example.com", "*.west.example.com", "localhost"}

func newKeys(t *testing.T, dir string) *keys {
	t.Helper()
	k := &keys{dir: dir, tokens: newKey(t)}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	root := newKey(t)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "behave"}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	k.write(t, "ca", ca, ca, root, root)
	for i, name := range []string{"server", "client"} {
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 2)), Subject: pkix.Name{CommonName: name}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
			DNSNames: []string{"client.example.org"},
		}
		if name == "server" {
			leaf.DNSNames = certNames
		}
		k.write(t, name, leaf, ca, newKey(t), root)
	}
	k.partner(t)
	return k
}

// partner makes the authority of another trust domain, a workload's certificate of it, and
// one that it has no business to make: for this mesh's domain.
func (k *keys) partner(t *testing.T) {
	t.Helper()
	root := newKey(t)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "partner"}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	k.write(t, "partner-ca", ca, ca, root, root)
	for i, name := range []string{"partner.example", "cluster.local"} {
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 2)), NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
			URIs:        []*url.URL{{Scheme: "spiffe", Host: name, Path: "/ns/partner/sa/billing"}},
		}
		k.write(t, []string{"partner", "forged"}[i], leaf, ca, newKey(t), root)
	}
}

// bundles serves the partner's bundle as SPIFFE Federation has it. It
// returns the address.
func (k *keys) bundles(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(k.dir, "partner-ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(raw)
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	raw, err = spiffebundle.FromX509Authorities(spiffeid.RequireTrustDomainFromString("partner.example"), []*x509.Certificate{ca}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(k.dir, "server.crt"), filepath.Join(k.dir, "server.key"))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(raw) }))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return strings.Replace(s.URL, "127.0.0.1", "localhost", 1)
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// write signs a certificate and writes it with its key.
func (k *keys) write(t *testing.T, name string, c, parent *x509.Certificate, own, signer *ecdsa.PrivateKey) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &own.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	for ext, b := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(filepath.Join(k.dir, name+ext), pem.EncodeToMemory(b), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// base64 is a file of the folder as a Secret holds it.
func (k *keys) base64(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(k.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(raw)
}

// quoted is a file of the folder within a quoted string of YAML.
func (k *keys) quoted(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(k.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(raw), "\n", `\n`)
}

// jwks is what tokens are checked with.
func (k *keys) jwks(t *testing.T) string {
	t.Helper()
	raw, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: k.tokens.Public(), KeyID: "one", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// token signs claims; what they leave out is a good token's.
func (k *keys) token(claims map[string]any) (string, error) {
	all := map[string]any{"iss": "testing@secure.istio.io", "sub": "testing@secure.istio.io", "iat": time.Now().Add(-time.Minute).Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(all, claims)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	raw, err := json.Marshal(all)
	if err != nil {
		return "", err
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: k.tokens, KeyID: "one"}}, nil)
	if err != nil {
		return "", err
	}
	o, err := s.Sign(raw)
	if err != nil {
		return "", fmt.Errorf("token: %w", err)
	}
	return o.CompactSerialize()
}
