// Package identity is the certificate authority of the mesh: it keeps a root,
// signs certificate requests of workloads that have proved who they are, and
// serves Istio's IstioCertificateService.
//
// A certificate carries exactly one name, the caller's SPIFFE URI; whatever
// names a request asks for are ignored, so that a caller cannot ask for
// another's. Who the caller is, is the Authenticator's to say.
//
// It does not revoke: lifetimes are short.
package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/weftmesh/weft/base/wholefile"
)

// Lifetimes.
const (
	rootTTL = 10 * 365 * 24 * time.Hour
	// DefaultTTL is the lifetime of a workload certificate when neither the
	// mesh nor the request says otherwise.
	DefaultTTL = 24 * time.Hour
	// skew is how far before now a certificate begins, for clocks that are late.
	skew = 2 * time.Minute
)

// Bounds of requests, in bytes and bits.
const (
	maxCSR         = 64 << 10
	minRSA, maxRSA = 2048, 8192
)

// Authority signs workload certificates. It is safe for concurrent use.
type Authority struct {
	cert    *x509.Certificate
	key     crypto.Signer
	certPEM []byte
	now     func() time.Time
}

// Load reads the root from ca-cert.pem and ca-key.pem in dir, or makes one
// there when neither exists. Several who do so at once get the same one.
func Load(dir string) (*Authority, error) {
	certFile, keyFile := filepath.Join(dir, "ca-cert.pem"), filepath.Join(dir, "ca-key.pem")
	certPEM, certErr := os.ReadFile(certFile)
	keyPEM, keyErr := os.ReadFile(keyFile)
	switch {
	case certErr == nil && keyErr == nil:
		return parse(certPEM, keyPEM, certFile, keyFile)
	case !errors.Is(certErr, fs.ErrNotExist) && certErr != nil:
		return nil, fmt.Errorf("root certificate: %w", certErr)
	case !errors.Is(keyErr, fs.ErrNotExist) && keyErr != nil:
		return nil, fmt.Errorf("root key: %w", keyErr)
	case certErr == nil:
		return nil, fmt.Errorf("%s exists and %s does not: restore the key, or remove the certificate to start a new root", certFile, keyFile)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("root certificate: %w", err)
	}
	// The key first: a certificate without its key would be a dead end, while a key
	// without a certificate (the disk was full) is what others have seen nothing of.
	var err error
	if keyErr != nil {
		if keyPEM, err = makeFile(keyFile, 0o600, newRootKey); err != nil {
			return nil, fmt.Errorf("root key: %w", err)
		}
	}
	certPEM, err = makeFile(certFile, 0o644, func() ([]byte, error) { return newRoot(keyPEM, keyFile) })
	if err != nil {
		return nil, fmt.Errorf("root certificate: %w", err)
	}
	return parse(certPEM, keyPEM, certFile, keyFile)
}

// Parse reads a root certificate and its key, PEM both. certFile and keyFile are what errors
// call them.
func Parse(certPEM, keyPEM []byte, certFile, keyFile string) (*Authority, error) {
	return parse(certPEM, keyPEM, certFile, keyFile)
}

// NewRoot makes a root certificate and its key, PEM both, for Parse.
func NewRoot() (certPEM, keyPEM []byte, err error) {
	if keyPEM, err = newRootKey(); err != nil {
		return nil, nil, err
	}
	certPEM, err = newRoot(keyPEM, "the new key")
	return certPEM, keyPEM, err
}

// makeFile makes a file, unless another made it meanwhile, and returns what is in it.
func makeFile(path string, mode fs.FileMode, content func() ([]byte, error)) ([]byte, error) {
	raw, err := content()
	if err != nil {
		return nil, err
	}
	if err := wholefile.Create(path, raw, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return os.ReadFile(path)
}

func parse(certPEM, keyPEM []byte, certFile, keyFile string) (*Authority, error) {
	block, _ := pem.Decode(certPEM)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM certificate in it", certFile)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", certFile, err)
	}
	key, err := parseKey(keyPEM, keyFile)
	if err != nil {
		return nil, err
	}
	type equaler interface{ Equal(crypto.PublicKey) bool }
	if pub, ok := cert.PublicKey.(equaler); !ok || !pub.Equal(key.Public()) {
		return nil, fmt.Errorf("%s does not belong to %s", keyFile, certFile)
	}
	return &Authority{cert: cert, key: key, certPEM: certPEM, now: time.Now}, nil
}

func parseKey(keyPEM []byte, keyFile string) (crypto.Signer, error) {
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM key in it", keyFile)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: want an unencrypted PKCS#8 key: %w", keyFile, err)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: %T cannot sign", keyFile, parsed)
	}
	return key, nil
}

func newRootKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// newRoot makes a root certificate for a key.
func newRoot(keyPEM []byte, keyFile string) ([]byte, error) {
	key, err := parseKey(keyPEM, keyFile)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Organization: []string{"Weft"}, CommonName: "Weft root"},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(rootTTL),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("serial number: %w", err)
	}
	return serial, nil
}

// Root returns the root certificate as PEM.
func (a *Authority) Root() []byte { return a.certPEM }

// NotAfter is when the root expires.
func (a *Authority) NotAfter() time.Time { return a.cert.NotAfter }

// checkKey admits what peers can verify, and not what it would take long to.
func checkKey(pub any) error {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P224() {
			return errors.New("the key is on curve P-224: want P-256, P-384 or P-521")
		}
		return nil
	case ed25519.PublicKey:
		return nil
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSA || n > maxRSA {
			return fmt.Errorf("the key is RSA of %d bits: want %d to %d, or a key on a curve", n, minRSA, maxRSA)
		}
		return nil
	}
	return fmt.Errorf("the key is %T: want ECDSA, Ed25519 or RSA", pub)
}

// Sign issues a certificate for the SPIFFE URI and the public key of the
// request, and returns the chain as PEM certificates, leaf first.
func (a *Authority) Sign(csrPEM []byte, spiffe string, ttl time.Duration) ([]string, error) {
	if len(csrPEM) > maxCSR {
		return nil, fmt.Errorf("csr: has %d bytes, want at most %d", len(csrPEM), maxCSR)
	}
	block, _ := pem.Decode(csrPEM)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, errors.New("csr: want one PEM block of type CERTIFICATE REQUEST")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("csr: %w", err)
	}
	if err := checkKey(csr.PublicKey); err != nil {
		return nil, fmt.Errorf("csr: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("csr: the request is not signed by its own key: %w", err)
	}
	uri, err := url.Parse(spiffe)
	if err != nil || uri.Scheme != "spiffe" {
		return nil, fmt.Errorf("identity %q is not a SPIFFE URI", spiffe)
	}
	template, err := a.leaf(a.now(), ttl)
	if err != nil {
		return nil, err
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	template.URIs = []*url.URL{uri}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, csr.PublicKey, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	leaf := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return []string{string(leaf), string(a.certPEM)}, nil
}

// leaf is the template of a certificate without names, which ends with the root at the
// latest.
func (a *Authority) leaf(now time.Time, ttl time.Duration) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	if !now.Before(a.cert.NotAfter) {
		return nil, fmt.Errorf("the root certificate has ended at %s: start a new root, or set this machine's clock", a.cert.NotAfter.UTC().Format(time.RFC3339))
	}
	end := now.Add(ttl)
	if end.After(a.cert.NotAfter) {
		end = a.cert.NotAfter
	}
	return &x509.Certificate{
		SerialNumber: serial, NotBefore: now.Add(-skew), NotAfter: end, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}, nil
}
