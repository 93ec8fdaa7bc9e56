package sds

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	capb "istio.io/api/security/v1alpha1"
)

// testCA signs what it is asked for, unless fail is set.
type testCA struct {
	key  *ecdsa.PrivateKey
	root *x509.Certificate
	life time.Duration

	mu    sync.Mutex
	fail  error
	calls int
	uris  []string
}

func newCA(t *testing.T, life time.Duration) *testCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &testCA{key: key, root: root, life: life}
}

func (ca *testCA) CreateCertificate(_ context.Context, r *capb.IstioCertificateRequest, _ ...grpc.CallOption) (*capb.IstioCertificateResponse, error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.calls++
	if ca.fail != nil {
		return nil, ca.fail
	}
	b, _ := pem.Decode([]byte(r.Csr))
	csr, err := x509.ParseCertificateRequest(b.Bytes)
	if err != nil {
		return nil, err
	}
	for _, u := range csr.URIs {
		ca.uris = append(ca.uris, u.String())
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(int64(ca.calls + 1)), URIs: csr.URIs,
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(ca.life),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.root, csr.PublicKey, ca.key)
	if err != nil {
		return nil, err
	}
	enc := func(der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	return &capb.IstioCertificateResponse{CertChain: []string{enc(der), enc(ca.root.Raw)}}, nil
}

func (ca *testCA) setFail(err error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.fail = err
}

func (ca *testCA) count() int {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return ca.calls
}

// run starts a client in the bubble and returns where identities arrive.
func run(t *testing.T, ca *testCA) (<-chan *Identity, func()) {
	t.Helper()
	got := make(chan *Identity, 100)
	c, err := NewClient(Options{CA: ca, URI: "spiffe://cluster.local/ns/default/sa/reviews", Publish: func(id *Identity) { got <- id }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := c.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	}()
	return got, func() { cancel(); <-done }
}

func TestRotationAtHalfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, 10*time.Second)
		got, stop := run(t, ca)
		defer stop()
		first := <-got
		start := time.Now()
		second := <-got
		if d := time.Since(start); d < 4*time.Second || d > 6*time.Second {
			t.Errorf("rotated after %v, want about 5 s", d)
		}
		if string(first.Key) == string(second.Key) {
			t.Error("the key was used again")
		}
		if _, err := tls.X509KeyPair(second.Chain, second.Key); err != nil {
			t.Error(err)
		}
		ca.mu.Lock()
		defer ca.mu.Unlock()
		if !slices.Contains(ca.uris, "spiffe://cluster.local/ns/default/sa/reviews") {
			t.Errorf("the CSR has URIs %v", ca.uris)
		}
	})
}

func TestKeepsTheOldWhileTheAuthorityIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t, 10*time.Second)
		got, stop := run(t, ca)
		defer stop()
		<-got
		ca.setFail(errors.New("away"))
		time.Sleep(time.Minute)
		synctest.Wait()
		select {
		case <-got:
			t.Error("published without an authority")
		default:
		}
		if n := ca.count(); n < 10 || n > 40 {
			t.Errorf("%d calls in a minute, want one about every 5 s", n)
		}
		ca.setFail(nil)
		back := time.Now()
		<-got
		if d := time.Since(back); d > 5*time.Second {
			t.Errorf("came back after %v", d)
		}
	})
}

func TestIdentityIsChecked(t *testing.T) {
	ca := newCA(t, time.Hour)
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	root := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.root.Raw}))
	for _, c := range []struct {
		name, want string
		chain      []string
	}{
		{"no root", "1 certificates", []string{root}},
		{"not PEM", "not PEM", []string{"x", root}},
		{"another key", "another key", []string{root, root}},
	} {
		if _, err := identity(c.chain, key, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := NewClient(Options{URI: "https://x"}); err == nil {
		t.Error("a name that is not SPIFFE was accepted")
	}
}

// serve starts a server and returns a client of it.
func serve(t *testing.T) (*Server, secretv3.SecretDiscoveryServiceClient) {
	t.Helper()
	sock := filepath.Join(t.TempDir(), "sds")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: sock, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	l, err := ListenUnix(sock)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ListenUnix(sock); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a living socket was taken over: %v", err)
	}
	s := NewServer()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(ctx, l) }()
	conn, err := grpc.NewClient("unix://"+sock, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); cancel(); <-done })
	return s, secretv3.NewSecretDiscoveryServiceClient(conn)
}

func TestServeStateOfTheWorld(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	s, c := serve(t)
	stream, err := c.StreamSecrets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&discoveryv3.DiscoveryRequest{ResourceNames: []string{"default"}}); err != nil {
		t.Fatal(err)
	}
	for i, key := range []string{"k1", "k2"} { // the request came first; then a rotation
		s.Publish(&Identity{Chain: []byte("c"), Key: []byte(key), Roots: []byte("r")})
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		got := &tlsv3.Secret{}
		if err := r.Resources[0].UnmarshalTo(got); err != nil {
			t.Fatal(err)
		}
		if got.Name != "default" || string(got.GetTlsCertificate().PrivateKey.GetInlineBytes()) != key {
			t.Errorf("answer %d: %v", i, got)
		}
		ack := &discoveryv3.DiscoveryRequest{ResourceNames: []string{"default"}, VersionInfo: r.VersionInfo, ResponseNonce: r.Nonce}
		if err := stream.Send(ack); err != nil {
			t.Fatal(err)
		}
	}
	_ = stream.CloseSend()
}

func TestServeDelta(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	s, c := serve(t)
	s.Publish(&Identity{Chain: []byte("c"), Key: []byte("k"), Roots: []byte("r")})
	stream, err := c.DeltaSecrets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{ResourceNamesSubscribe: []string{"ROOTCA"}}); err != nil {
		t.Fatal(err)
	}
	r, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	got := &tlsv3.Secret{}
	if err := r.Resources[0].Resource.UnmarshalTo(got); err != nil {
		t.Fatal(err)
	}
	if string(got.GetValidationContext().TrustedCa.GetInlineBytes()) != "r" {
		t.Errorf("got %v", got)
	}
	_ = stream.CloseSend()
}
