package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	capb "istio.io/api/security/v1alpha1"
)

// csr makes a request for a key.
func csr(t *testing.T, key crypto.Signer, template *x509.CertificateRequest) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func curve(t *testing.T, c elliptic.Curve) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestRequestsThatAskForMore: whatever a request asks for beside its key is not granted.
func TestRequestsThatAskForMore(t *testing.T) {
	ca, err := Load(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	foreign, _ := url.Parse("spiffe://cluster.local/ns/kube-system/sa/admin")
	isCA, err := asn1.Marshal(struct{ IsCA bool }{true})
	if err != nil {
		t.Fatal(err)
	}
	chain, err := ca.Sign(csr(t, curve(t, elliptic.P384()), &x509.CertificateRequest{
		URIs: []*url.URL{foreign}, DNSNames: []string{"istiod.istio-system.svc"}, Subject: pkix.Name{CommonName: "admin"},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: isCA}},
	}), me, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	cert := leaf(t, chain)
	if cert.IsCA || cert.KeyUsage&x509.KeyUsageCertSign != 0 || len(cert.URIs) != 1 || cert.URIs[0].String() != me ||
		len(cert.DNSNames) != 0 || cert.Subject.CommonName != "" {
		t.Errorf("CA %v, usage %v, names %v %v %v", cert.IsCA, cert.KeyUsage, cert.URIs, cert.DNSNames, cert.Subject)
	}
}

// TestKeys: which keys are certified.
func TestKeys(t *testing.T) {
	ca, err := Load(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		csr  []byte
		want string // of the error; "": none
	}{
		"P-256":   {csr(t, curve(t, elliptic.P256()), &x509.CertificateRequest{}), ""},
		"P-521":   {csr(t, curve(t, elliptic.P521()), &x509.CertificateRequest{}), ""},
		"Ed25519": {csr(t, ed, &x509.CertificateRequest{}), ""},
		"RSA":     {csr(t, good, &x509.CertificateRequest{}), ""},
		"P-224":   {csr(t, curve(t, elliptic.P224()), &x509.CertificateRequest{}), "P-224"},
		"huge":    {csr(t, curve(t, elliptic.P256()), &x509.CertificateRequest{DNSNames: strings.Fields(strings.Repeat("a.example.com ", 10000))}), "at most"},
	} {
		_, err := ca.Sign(c.csr, me, time.Hour)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.want)
		}
	}
	for bits, ok := range map[int]bool{1024: false, 2048: true, 8192: true, 16384: false} {
		n := new(rsa.PublicKey)
		n.N, n.E = new(big.Int).Lsh(big.NewInt(1), uint(bits-1)), 65537
		if err := checkKey(n); (err == nil) != ok {
			t.Errorf("RSA of %d bits: %v", bits, err)
		}
	}
	if err := checkKey("nonsense"); err == nil {
		t.Error("a key of an unknown kind was taken")
	}
}

// TestRate: a workload that asks without end is refused, others are not, and it is
// served again later.
func TestRate(t *testing.T) {
	ca, err := Load(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	who := "default/a"
	s := NewService(ca, func(context.Context) (Caller, error) { return Caller{SPIFFE: me, Name: who}, nil }, func() time.Duration { return 0 }, func() []string { return nil }, slog.New(slog.DiscardHandler))
	now := time.Now()
	s.rate = newRate(func() time.Time { return now })
	r := &capb.IstioCertificateRequest{Csr: string(request(t))}
	ask := func(want codes.Code) {
		t.Helper()
		if _, err := s.CreateCertificate(t.Context(), r); status.Code(err) != want {
			t.Fatalf("%s: %v, want %v", who, err, want)
		}
	}
	for range rateBurst {
		ask(codes.OK)
	}
	ask(codes.ResourceExhausted)
	who = "default/b"
	ask(codes.OK)
	who = "default/a"
	now = now.Add(-time.Hour) // a clock that jumps back gives nothing, and takes nothing
	ask(codes.ResourceExhausted)
	now = now.Add(time.Second)
	for range ratePerSecond {
		ask(codes.OK)
	}
	ask(codes.ResourceExhausted)
	now = now.Add(time.Hour)
	s.rate.sweep(now)
	if n := len(s.rate.callers); n != 0 {
		t.Errorf("%d callers are remembered that have not asked for an hour", n)
	}
}

// TestRootAtOnce: control planes that start together on an empty folder have one root.
func TestRootAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	var wg sync.WaitGroup
	roots := make([]string, 8)
	for i := range roots {
		wg.Go(func() {
			ca, err := Load(dir)
			if err != nil {
				t.Error(err)
				return
			}
			roots[i] = string(ca.Root())
		})
	}
	wg.Wait()
	for _, r := range roots {
		if r != roots[0] {
			t.Error("two roots")
		}
	}
}

// TestKeyWithoutCertificate: a start that was cut off between the two is completed.
func TestKeyWithoutCertificate(t *testing.T) {
	dir := t.TempDir()
	first, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "ca-cert.pem")); err != nil {
		t.Fatal(err)
	}
	second, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !second.cert.PublicKey.(*ecdsa.PublicKey).Equal(first.key.Public()) {
		t.Error("the key is another one")
	}
}

// TestClock: certificates are of the clock's time, and a root that has ended signs none.
func TestClock(t *testing.T) {
	ca, err := Load(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, jump := range []time.Duration{0, 365 * 24 * time.Hour, -time.Hour} {
		now := time.Now().Add(jump)
		ca.now = func() time.Time { return now }
		chain, err := ca.Sign(request(t), me, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if c := leaf(t, chain); !c.NotBefore.Before(now) || c.NotAfter.Sub(now) > time.Hour || c.NotAfter.Sub(now) < 59*time.Minute {
			t.Errorf("at %v it is from %v to %v", now, c.NotBefore, c.NotAfter)
		}
	}
	ca.now = func() time.Time { return time.Now().Add(rootTTL + time.Hour) }
	if _, err := ca.Sign(request(t), me, time.Hour); err == nil || !strings.Contains(err.Error(), "root certificate has ended") {
		t.Errorf("a root that has ended: %v", err)
	}
}
