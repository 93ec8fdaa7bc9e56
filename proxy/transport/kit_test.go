package transport

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weftmesh/weft/base/serial"
	"github.com/weftmesh/weft/base/stream"
)

// onGoroutines is what serve uses: all tests run on both hosts.
var onGoroutines bool

func TestMain(m *testing.M) {
	code := m.Run()
	onGoroutines = true
	code = max(code, m.Run())
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func serve(nc net.Conn, o Options) stream.Conn {
	o.Goroutine = onGoroutines
	return Serve(nc, o)
}

const patience = time.Minute

// tcpPair returns both ends of a connection over loopback.
func tcpPair(t testing.TB) (a, b *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	got := make(chan net.Conn, 1)
	go func() {
		nc, err := ln.Accept()
		if err != nil {
			close(got)
			return
		}
		got <- nc
	}()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	other, ok := <-got
	if !ok {
		t.Fatal("no connection accepted")
	}
	t.Cleanup(func() { nc.Close(); other.Close() })
	return nc.(*net.TCPConn), other.(*net.TCPConn)
}

// narrowed gives sockets small buffers of a fixed size. What has none, a pipe, stays.
func narrowed(conns ...net.Conn) {
	for _, c := range conns {
		if t, ok := c.(interface{ NetConn() net.Conn }); ok {
			c = t.NetConn()
		}
		if s, ok := c.(*net.TCPConn); ok {
			_, _ = s.SetReadBuffer(64<<10), s.SetWriteBuffer(64<<10)
		}
	}
}

// handler records what happens to a Conn. Its hooks run inside the executor.
type handler struct {
	t      testing.TB
	data   func(b []byte)
	end    func()
	drain  func()
	closed chan error
	once   sync.Once
}

func newHandler(t testing.TB) *handler { return &handler{t: t, closed: make(chan error, 4)} }

func (h *handler) OnData(b []byte) {
	if h.data != nil {
		h.data(b)
	}
}

func (h *handler) OnEnd() {
	if h.end != nil {
		h.end()
	}
}

func (h *handler) OnDrain() {
	if h.drain != nil {
		h.drain()
	}
}

func (h *handler) OnClose(err error) {
	h.closed <- err
	twice := true
	h.once.Do(func() { twice = false })
	if twice {
		h.t.Error("OnClose called twice")
	}
}

// waitClose returns OnClose's error.
func (h *handler) waitClose() error {
	h.t.Helper()
	select {
	case err := <-h.closed:
		return err
	case <-time.After(patience):
		h.t.Fatal("OnClose did not come")
		return nil
	}
}

// echo makes c send back what it gets, with back-pressure, and end when the
// peer ends.
func echo(t testing.TB, c stream.Conn) *handler {
	h := newHandler(t)
	h.data = func(b []byte) {
		c.Write(b)
		c.Flush()
		if c.Buffered() > stream.HighWater {
			c.SetReading(false)
		}
	}
	h.drain = func() { c.SetReading(true) }
	h.end = func() { c.CloseWrite(); c.Close() }
	c.Bind(new(serial.Executor), h)
	return h
}

func within(ex *serial.Executor, f func()) {
	ex.Enter()
	f()
	ex.Leave()
}

func wait(t testing.TB, what string, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(patience):
		t.Fatalf("waited in vain for: %s", what)
	}
}

// authority is a certificate authority of a test.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: serialNumber(t), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t, cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func serialNumber(t testing.TB) *big.Int {
	n, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (a *authority) trust() *Trust {
	tr, err := ParseTrust(a.pem)
	if err != nil {
		a.t.Fatal(err)
	}
	return tr
}

// issue makes a certificate with a SPIFFE name, DNS names and a lifetime.
func (a *authority) issue(spiffe string, life time.Duration, dns ...string) *Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: serialNumber(a.t), DNSNames: dns,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if spiffe != "" {
		u, err := url.Parse(spiffe)
		if err != nil {
			a.t.Fatal(err)
		}
		tmpl.URIs = []*url.URL{u}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	c, err := ParseCertificate(
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

// noise is bytes whose place can be told.
func noise(n int) []byte {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// sendAll writes and half-closes, in the background.
func sendAll(nc net.Conn, b []byte) {
	go func() {
		_, _ = nc.Write(b)
		if w, ok := nc.(interface{ CloseWrite() error }); ok {
			_ = w.CloseWrite()
		}
	}()
}

func readAll(t testing.TB, nc net.Conn) []byte {
	t.Helper()
	_ = nc.SetReadDeadline(time.Now().Add(patience))
	b, err := io.ReadAll(nc)
	if err != nil {
		t.Fatalf("read: %v after %d bytes", err, len(b))
	}
	return b
}
