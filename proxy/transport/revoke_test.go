package transport

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

// crl makes a revocation list that is in force from an hour ago.
func (a *authority) crl(life time.Duration, gone ...*Certificate) []byte {
	a.t.Helper()
	tmpl := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(life)}
	for _, c := range gone {
		tmpl.RevokedCertificateEntries = append(tmpl.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.Leaf().SerialNumber, RevocationTime: time.Now().Add(-time.Minute)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, tmpl, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

func revocations(t *testing.T, lists ...[]byte) *Revocations {
	t.Helper()
	var all []byte
	for _, l := range lists {
		all = append(all, l...)
	}
	r, err := ParseRevocations(all)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRevocation(t *testing.T) {
	ca, other := newAuthority(t, "root"), newAuthority(t, "other")
	impostor := newAuthority(t, "root") // of the same name
	good, bad := ca.issue("spiffe://a/b", time.Hour), ca.issue("spiffe://a/c", time.Hour)
	for _, c := range []struct {
		name  string
		cert  *Certificate
		lists [][]byte
		want  string
	}{
		{"good", good, [][]byte{ca.crl(time.Hour, bad)}, ""},
		{"revoked", bad, [][]byte{ca.crl(time.Hour, good, bad)}, "is revoked"},
		{"revoked by the second list", bad, [][]byte{other.crl(time.Hour), ca.crl(time.Hour, bad)}, "is revoked"},
		{"list of somebody else", good, [][]byte{other.crl(time.Hour)}, "no revocation list of its issuer"},
		{"list has expired", good, [][]byte{ca.crl(-time.Minute)}, "in force"},
		{"forged list", good, [][]byte{impostor.crl(time.Hour)}, "verification failure"},
	} {
		for _, leafOnly := range []bool{false, true} {
			v := Validation{Trust: ca.trust(), Revoked: revocations(t, c.lists...), RevokedLeafOnly: leafOnly}
			st := serverTLS(t, NewSecretStore(), TLSContext{Certs: []*Certificate{c.cert}})
			ct := clientTLS(t, NewSecretStore(), TLSContext{Validation: v})
			_, _, _, err := shake(t, st, ct, ClientHello{})
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s (leaf only %v): error %v, want %q", c.name, leafOnly, err, c.want)
			}
		}
	}
}

// A session that a list has revoked since is not resumed: the list comes with
// the roots, over SDS.
func TestRevokedIsNotResumed(t *testing.T) {
	ca := newAuthority(t, "root")
	mine := ca.issue("spiffe://a/b", time.Hour)
	store := NewSecretStore()
	store.SetTrust("ROOTCA", ca.trust().WithRevocations(revocations(t, ca.crl(time.Hour)), false))
	st := serverTLS(t, store, TLSContext{
		Certs: []*Certificate{ca.issue("spiffe://a/s", time.Hour)}, Validation: Validation{TrustSecret: "ROOTCA"}, RequireClientCert: true,
	})
	cache := tls.NewLRUClientSessionCache(4)
	again := func() (bool, error) {
		a, b := tcpPair(t)
		got := make(chan error, 1)
		var server net.Conn
		go func() {
			var err error
			server, err = st.Handshake(t.Context(), a)
			got <- err
		}()
		client := tls.Client(b, &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{mine.tls}, ClientSessionCache: cache, ServerName: "s"})
		defer client.Close()
		cerr := client.HandshakeContext(t.Context())
		if err := <-got; err != nil {
			return false, err
		}
		if cerr != nil {
			return false, errors.Join(cerr)
		}
		defer server.Close()
		exchange(t, server, client)
		return client.ConnectionState().DidResume, nil
	}
	for i, want := range []bool{false, true} {
		if resumed, err := again(); err != nil || resumed != want {
			t.Fatalf("connection %d: resumed %v, %v", i, resumed, err)
		}
	}
	store.SetTrust("ROOTCA", ca.trust().WithRevocations(revocations(t, ca.crl(time.Hour, mine)), false))
	if _, err := again(); err == nil || !strings.Contains(err.Error(), "is revoked") {
		t.Errorf("after the revocation: %v", err)
	}
}

func FuzzParseRevocations(f *testing.F) {
	ca := newAuthority(f, "root")
	f.Add(ca.crl(time.Hour, ca.issue("spiffe://a/b", time.Hour)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := ParseRevocations(b); err == nil && len(r.lists) == 0 {
			t.Error("nothing, and no error")
		}
	})
}

// TestVerdictEndsWithTheFirstList: of several lists the one that ends first bounds a verdict,
// also where another names no end.
func TestVerdictEndsWithTheFirstList(t *testing.T) {
	ca := newAuthority(t, "root")
	good := ca.issue("spiffe://a/b", time.Hour)
	r := revocations(t, ca.crl(time.Hour), ca.crl(time.Hour))
	want := r.lists[0].list.NextUpdate
	r.lists[1].list.NextUpdate = time.Time{}
	if until, err := r.checkOne(good.Leaf(), ca.cert, time.Now()); err != nil || !until.Equal(want) {
		t.Errorf("until %v, %v; want %v", until, err, want)
	}
}
