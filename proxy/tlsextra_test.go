package proxy_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/weftmesh/weft/test/freeport"
)

// pki is a certificate authority in files.
type pki struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newPKI(t *testing.T) *pki {
	p := &pki{t: t, dir: t.TempDir()}
	p.cert, p.key = p.make(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	})
	p.write("root.pem", "CERTIFICATE", p.cert.Raw)
	return p
}

func (p *pki) make(tmpl *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	tmpl.NotBefore, tmpl.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := p.cert, p.key
	if parent == nil {
		parent, signer = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		p.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		p.t.Fatal(err)
	}
	return cert, key
}

// issue makes a certificate, NAME.pem and NAME.key.
func (p *pki) issue(name string, serial int64) tls.Certificate {
	p.t.Helper()
	cert, key := p.make(&x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: []string{name}, URIs: []*url.URL{{Scheme: "spiffe", Host: name, Path: "/w"}}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		p.t.Fatal(err)
	}
	p.write(name+".pem", "CERTIFICATE", cert.Raw)
	p.write(name+".key", "PRIVATE KEY", raw)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// write makes a file, in PEM where kind is given.
func (p *pki) write(name, kind string, b []byte) {
	p.t.Helper()
	if kind != "" {
		b = pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b})
	}
	if err := os.WriteFile(filepath.Join(p.dir, name), b, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// TestTLSDetails: an OCSP response is stapled, a session resumes at another
// listener with the same ticket keys, and who is on the revocation list of
// that listener comes in neither new nor with a session of the first.
func TestTLSDetails(t *testing.T) {
	ca := newPKI(t)
	server, good, bad := ca.issue("server", 10), ca.issue("good", 11), ca.issue("bad", 12)
	staple, err := ocsp.CreateResponse(ca.cert, ca.cert, ocsp.Response{
		Status: ocsp.Good, SerialNumber: server.Leaf.SerialNumber, ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour),
	}, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	ca.write("staple", "", staple)
	list, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: bad.Leaf.SerialNumber, RevocationTime: time.Now()}},
	}, ca.cert, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	ca.write("crl.pem", "X509 CRL", list)
	one := func(name, more string) string {
		return strings.NewReplacer("NAME", name, "MORE", more, "DIR", ca.dir, "TICKETS",
			base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 80)))).Replace(`
  - name: NAME
    address: {NAME}
    filter_chains:
    - filters: [` + tcpTo + `]
      transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          ocsp_staple_policy: MUST_STAPLE
          session_ticket_keys: {keys: [{inline_bytes: TICKETS}]}
          common_tls_context:
            tls_certificates: [{certificate_chain: {filename: DIR/server.pem}, private_key: {filename: DIR/server.key}, ocsp_staple: {filename: DIR/staple}}]
            validation_context: {trusted_ca: {filename: DIR/root.pem}MORE}
`)
	}
	open, checked := freeport.Addr(t), freeport.Addr(t)
	runStatic(t, "static_resources:\n  listeners:"+one("OPEN", "")+one("CHECKED", ", crl: {filename: "+ca.dir+"/crl.pem}")+staticUp,
		map[string]string{"OPEN": open, "CHECKED": checked, "UP": echoServer(t)})
	for _, who := range []struct {
		name string
		cert tls.Certificate
		want string
	}{{"good", good, "OPEN CHECKED resumed"}, {"bad", bad, "OPEN refused"}} {
		cfg := &tls.Config{
			RootCAs: x509.NewCertPool(), ServerName: "server", Certificates: []tls.Certificate{who.cert},
			ClientSessionCache: tls.NewLRUClientSessionCache(2),
		}
		cfg.RootCAs.AddCert(ca.cert)
		visit := func(addr string) (tls.ConnectionState, error) {
			c := tls.Client(connect(t, addr).(*net.TCPConn), cfg)
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(60 * time.Second))
			if _, err := c.Write([]byte("hello")); err != nil {
				return c.ConnectionState(), err
			}
			_, err := c.Read(make([]byte, 5))
			return c.ConnectionState(), err
		}
		got := ""
		if cs, err := visit(open); err == nil && bytes.Equal(cs.OCSPResponse, staple) && !cs.DidResume {
			got = "OPEN"
		}
		switch cs, err := visit(checked); {
		case err != nil:
			got += " refused"
		case cs.DidResume:
			got += " CHECKED resumed"
		default:
			got += " CHECKED"
		}
		if got != who.want {
			t.Errorf("%s: %s, want %s", who.name, got, who.want)
		}
	}
}

// TestSPIFFEValidator: a peer is checked against the roots of its own trust
// domain only.
func TestSPIFFEValidator(t *testing.T) {
	a, b := newPKI(t), newPKI(t)
	a.issue("server", 10)
	addr := freeport.Addr(t)
	runStatic(t, strings.NewReplacer("DIRA", a.dir, "DIRB", b.dir).Replace(`
static_resources:
  listeners:
  - name: l
    address: {L}
    filter_chains:
    - filters: [`+tcpTo+`]
      transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context:
            tls_certificates: [{certificate_chain: {filename: DIRA/server.pem}, private_key: {filename: DIRA/server.key}}]
            validation_context:
              custom_validator_config:
                name: envoy.tls.cert_validator.spiffe
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig
                  trust_domains:
                  - {name: a.example, trust_bundle: {filename: DIRA/root.pem}}
                  - {name: b.example, trust_bundle: {filename: DIRB/root.pem}}
`)+staticUp, map[string]string{"L": addr, "UP": echoServer(t)})
	for _, c := range []struct {
		name string
		cert tls.Certificate
		want bool
	}{
		{"a of a", a.issue("a.example", 30), true},
		{"b of b", b.issue("b.example", 31), true},
		{"a of b", b.issue("a.example", 32), false},
		{"domain that is not listed", a.issue("c.example", 33), false},
	} {
		nc := tls.Client(connect(t, addr), &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{c.cert}})
		_, _ = nc.Write([]byte("x"))
		_, err := nc.Read(make([]byte, 1))
		nc.Close()
		if (err == nil) != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
