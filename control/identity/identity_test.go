package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	capb "istio.io/api/security/v1alpha1"
)

const me = "spiffe://cluster.local/ns/default/sa/reviews"

// request makes a PEM certificate request that also asks for a foreign name.
func request(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	foreign, _ := url.Parse("spiffe://cluster.local/ns/kube-system/sa/admin")
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{foreign}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

func leaf(t *testing.T, chain []string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(chain[0]))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestSignGivesTheCallersNameOnly(t *testing.T) {
	ca, err := Load(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	chain, err := ca.Sign(request(t), me, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	cert := leaf(t, chain)
	if len(cert.URIs) != 1 || cert.URIs[0].String() != me || len(cert.DNSNames) != 0 {
		t.Errorf("names are %v %v, want only %s", cert.URIs, cert.DNSNames, me)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.Root())
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
			t.Errorf("usage %v: %v", usage, err)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	ca, err := Load(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	tampered := request(t)
	block, _ := pem.Decode(tampered)
	block.Bytes[len(block.Bytes)-1] ^= 1
	for name, c := range map[string]struct {
		csr    []byte
		spiffe string
		want   string
	}{
		"garbage":       {[]byte("hello"), me, "PEM block"},
		"bad signature": {pem.EncodeToMemory(block), me, "csr"},
		"not spiffe":    {request(t), "https://example.com", "not a SPIFFE"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ca.Sign(c.csr, c.spiffe, time.Hour); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestRootSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	first, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if string(first.Root()) != string(second.Root()) {
		t.Error("the root changed over a restart")
	}
	if info, _ := os.Stat(filepath.Join(dir, "ca-key.pem")); info.Mode().Perm() != 0o600 {
		t.Errorf("the key's mode is %v, want 0600", info.Mode().Perm())
	}
	if err := os.Remove(filepath.Join(dir, "ca-key.pem")); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "restore the key") {
		t.Errorf("a root without its key: %v", err)
	}
}

func TestServiceBoundsTheLifetime(t *testing.T) {
	ca, err := Load(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	admit := func(context.Context) (Caller, error) { return Caller{SPIFFE: me, Name: "default/reviews-0"}, nil }
	s := NewService(ca, admit, func() time.Duration { return time.Hour }, func() []string { return nil }, slog.New(slog.DiscardHandler))
	for want, ask := range map[time.Duration]int64{time.Minute: 60, time.Hour: 360000} {
		resp, err := s.CreateCertificate(t.Context(), &capb.IstioCertificateRequest{Csr: string(request(t)), ValidityDuration: ask})
		if err != nil {
			t.Fatal(err)
		}
		if got := time.Until(leaf(t, resp.CertChain).NotAfter); got > want || got < want-30*time.Second {
			t.Errorf("asked for %ds: lifetime is %v, want %v", ask, got, want)
		}
	}
	refuse := func(context.Context) (Caller, error) {
		return Caller{}, status.Error(codes.Unauthenticated, "no token")
	}
	s = NewService(ca, refuse, func() time.Duration { return 0 }, func() []string { return nil }, slog.New(slog.DiscardHandler))
	if _, err := s.CreateCertificate(t.Context(), &capb.IstioCertificateRequest{Csr: string(request(t))}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("a caller without proof got %v", err)
	}
}
