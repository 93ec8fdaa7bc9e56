package istiod

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"path/filepath"
	"testing"
	"time"
)

// keys are the mesh's root, which istiod signs with, and what tokens of service
// accounts are signed with.
type keys struct {
	root    *x509.Certificate
	key     *ecdsa.PrivateKey
	rootPEM []byte
	tokens  *rsa.PrivateKey
}

func newKeys(t *testing.T) *keys {
	t.Helper()
	k := &keys{}
	var err error
	if k.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	if k.tokens, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{"cluster.local"}, CommonName: "root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.key.PublicKey, k.key)
	if err != nil {
		t.Fatal(err)
	}
	if k.root, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	k.rootPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return k
}

// write puts the root where istiod finds it, and a certificate that objects name by
// its path into certs.
func (k *keys) write(m *mesh, cacerts, certs string) {
	m.t.Helper()
	m.write(filepath.Join(cacerts, "ca-key.pem"), string(keyPEM(m.t, k.key)))
	for _, name := range []string{"ca-cert.pem", "root-cert.pem", "cert-chain.pem"} {
		m.write(filepath.Join(cacerts, name), string(k.rootPEM))
	}
	for dir, account := range map[string]string{certs: "edge", certs + "-client": "client"} {
		chain, key := k.issue(m.t, "demo", account, "secure.example")
		m.write(filepath.Join(dir, "cert-chain.pem"), string(chain))
		m.write(filepath.Join(dir, "key.pem"), string(key))
		m.write(filepath.Join(dir, "root-cert.pem"), string(k.rootPEM))
	}
}

// issue makes a certificate as istiod does.
func (k *keys) issue(t *testing.T, namespace, account, dns string) (chain, key []byte) {
	t.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse("spiffe://cluster.local/ns/" + namespace + "/sa/" + account)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), URIs: []*url.URL{u}, DNSNames: []string{dns},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, k.root, &own.PublicKey, k.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), keyPEM(t, own)
}

func keyPEM(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

// rootKey is the root's, as our control plane has it.
func (k *keys) rootKey(t *testing.T) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// jwks is what tokens are checked with.
func (k *keys) jwks() string {
	b64 := base64.RawURLEncoding.EncodeToString
	e := big.NewInt(int64(k.tokens.E)).Bytes()
	return fmt.Sprintf(`{"keys":[{"kty":"RSA","alg":"RS256","use":"sig","kid":"one","n":%q,"e":%q}]}`, b64(k.tokens.N.Bytes()), b64(e))
}

// token is a service account's, as Kubernetes makes it.
func (k *keys) token(t *testing.T, namespace, account string) string {
	t.Helper()
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	text := part(map[string]any{"alg": "RS256", "kid": "one"}) + "." + part(map[string]any{
		"iss": "test", "aud": []string{"istio-ca"}, "sub": "system:serviceaccount:" + namespace + ":" + account,
		"iat": time.Now().Add(-time.Minute).Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	})
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, k.tokens, crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}
