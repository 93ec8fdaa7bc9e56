package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func serverTLS(t testing.TB, store *SecretStore, c TLSContext) *ServerTLS {
	t.Helper()
	s, err := NewServerTLS(store, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func clientTLS(t testing.TB, store *SecretStore, c TLSContext) *ClientTLS {
	t.Helper()
	s, err := NewClientTLS(store, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPeerIsChecked(t *testing.T) {
	ca, other := newAuthority(t, "root"), newAuthority(t, "other")
	const alice = "spiffe://cluster.local/ns/default/sa/alice"
	exact := func(s string) []SANMatch { return []SANMatch{{Type: SANURI, Text: TextMatch{Exact: s}}} }
	prefix := []SANMatch{{Type: SANURI, Text: TextMatch{Prefix: "spiffe://cluster.local/"}}}
	spiffe, err := ParseSPIFFETrust(map[string][]byte{"cluster.local": ca.pem, "elsewhere": other.pem})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		cert  *Certificate // of the server
		check Validation   // by the client
		want  string       // in the client's error; empty: none
	}{
		{"trusted", ca.issue(alice, time.Hour), Validation{Trust: ca.trust()}, ""},
		{"wrong root", other.issue(alice, time.Hour), Validation{Trust: ca.trust()}, "unknown authority"},
		{"wrong root accepted", other.issue(alice, time.Hour), Validation{Trust: ca.trust(), AcceptUntrusted: true}, ""},
		{"no trust configured", other.issue(alice, time.Hour), Validation{}, ""},
		{"expired", ca.issue(alice, -time.Minute), Validation{Trust: ca.trust()}, "expired"},
		{"name", ca.issue(alice, time.Hour), Validation{Trust: ca.trust(), SANs: exact(alice)}, ""},
		{"name prefix", ca.issue(alice, time.Hour), Validation{Trust: ca.trust(), SANs: prefix}, ""},
		{"other name", ca.issue(alice, time.Hour), Validation{Trust: ca.trust(), SANs: exact(alice + "x")}, "subject alternative"},
		{"no name", ca.issue("", time.Hour), Validation{Trust: ca.trust(), SANs: prefix}, "subject alternative"},
		{"dns wildcard", ca.issue("", time.Hour, "*.example.com"),
			Validation{Trust: ca.trust(), SANs: []SANMatch{{Type: SANDNS, Text: TextMatch{Exact: "a.example.com"}}}}, ""},
		{"dns wildcard, two labels", ca.issue("", time.Hour, "*.example.com"),
			Validation{Trust: ca.trust(), SANs: []SANMatch{{Type: SANDNS, Text: TextMatch{Exact: "a.b.example.com"}}}}, "subject alternative"},
		{"own domain", ca.issue(alice, time.Hour), Validation{Trust: spiffe}, ""},
		{"root of another domain", other.issue(alice, time.Hour), Validation{Trust: spiffe}, "unknown authority"},
		{"unknown domain", ca.issue("spiffe://nowhere/ns/a/sa/b", time.Hour), Validation{Trust: spiffe}, "not trusted"},
		{"no spiffe name", ca.issue("", time.Hour), Validation{Trust: spiffe}, "no SPIFFE name"},
		{"not pinned", ca.issue(alice, time.Hour), Validation{Trust: ca.trust(), Hashes: [][32]byte{{1}}}, "pinned"},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := NewSecretStore()
			st := serverTLS(t, store, TLSContext{Certs: []*Certificate{c.cert}})
			ct := clientTLS(t, store, TLSContext{Validation: c.check})
			_, _, _, err := shake(t, st, ct, ClientHello{})
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestClientCertificate(t *testing.T) {
	ca, other := newAuthority(t, "root"), newAuthority(t, "other")
	own := ca.issue("spiffe://cluster.local/ns/a/sa/a", time.Hour)
	for _, c := range []struct {
		name    string
		certs   []*Certificate
		require bool
		want    string
	}{
		{"required and there", []*Certificate{own}, true, ""},
		{"required and missing", nil, true, "certificate"},
		{"optional and missing", nil, false, ""},
		{"optional and wrong", []*Certificate{other.issue("", time.Hour)}, false, "unknown authority"},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := NewSecretStore()
			st := serverTLS(t, store, TLSContext{
				Certs: []*Certificate{own}, RequireClientCert: c.require, Validation: Validation{Trust: ca.trust()},
			})
			ct := clientTLS(t, store, TLSContext{Certs: c.certs, Validation: Validation{Trust: ca.trust()}})
			_, _, err, _ := shake(t, st, ct, ClientHello{})
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("server: %v, want %q", err, c.want)
			}
		})
	}
}

func TestNamesAndProtocols(t *testing.T) {
	ca := newAuthority(t, "root")
	store := NewSecretStore()
	st := serverTLS(t, store, TLSContext{
		Certs: []*Certificate{ca.issue("", time.Hour, "b.example.com"), ca.issue("", time.Hour, "a.example.com")},
		ALPN:  []string{"h2", "http/1.1"},
	})
	ct := clientTLS(t, store, TLSContext{
		Validation: Validation{Trust: ca.trust()}, ALPN: []string{"http/1.1"}, AutoHostSNI: true, AutoSANValidation: true,
	})
	type seen struct{ SNI, ALPN, Cert string }
	for _, c := range []struct {
		name  string
		hello ClientHello
		want  seen
		err   string
	}{
		{"host", ClientHello{Host: "a.example.com"}, seen{"a.example.com", "http/1.1", "a.example.com"}, ""},
		{"sni wins", ClientHello{SNI: "b.example.com", Host: "a.example.com"}, seen{"b.example.com", "http/1.1", "b.example.com"}, ""},
		{"alpn of the dial", ClientHello{SNI: "b.example.com", ALPN: []string{"h2"}}, seen{"b.example.com", "h2", "b.example.com"}, ""},
		{"no protocol in common", ClientHello{SNI: "b.example.com", ALPN: []string{"istio-http/1.1", "istio"}}, seen{"b.example.com", "", "b.example.com"}, ""},
		{"name not in the certificate", ClientHello{SNI: "c.example.com"}, seen{}, "not c.example.com"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, client, _, err := shake(t, st, ct, c.hello)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			cs := serve(client, Options{}).TLS()
			got := seen{serve(server, Options{}).TLS().ServerName, cs.NegotiatedProtocol, cs.PeerCertificates[0].DNSNames[0]}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestBadContexts(t *testing.T) {
	ca := newAuthority(t, "root")
	cert := []*Certificate{ca.issue("", time.Hour)}
	for _, c := range []struct {
		name string
		tc   TLSContext
		want string
	}{
		{"no certificate", TLSContext{}, "none is configured"},
		{"names without trust", TLSContext{Certs: cert, Validation: Validation{SANs: make([]SANMatch, 1)}}, "no trusted CA"},
		{"two trusts", TLSContext{Certs: cert, Validation: Validation{Trust: ca.trust(), TrustSecret: "x"}}, "both"},
		{"versions", TLSContext{Certs: cert, MinVersion: tls.VersionTLS13, MaxVersion: tls.VersionTLS12}, "above"},
		{"alpn", TLSContext{Certs: cert, ALPN: []string{""}}, "ALPN"},
		{"sni", TLSContext{Certs: cert, SNI: "a b"}, "sni"},
	} {
		_, err := NewServerTLS(NewSecretStore(), c.tc)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
	}
}

func TestSecretsArriveLater(t *testing.T) {
	ca := newAuthority(t, "root")
	store := NewSecretStore()
	tc := TLSContext{CertSecrets: []string{"default"}, Validation: Validation{TrustSecret: "ROOTCA"}, RequireClientCert: true}
	st, ct := serverTLS(t, store, tc), clientTLS(t, store, tc)
	if st.Ready() || ct.Ready() {
		t.Error("ready without secrets")
	}
	if _, _, err, _ := shake(t, st, ct, ClientHello{}); err == nil || !strings.Contains(err.Error(), `"default"`) {
		t.Errorf("handshake without secrets: %v, want the secret's name", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := store.Get("default").Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait: %v", err)
	}
	store.SetTrust("ROOTCA", ca.trust())
	store.SetCertificate("default", ca.issue("", time.Hour))
	if err := store.Get("default").Wait(t.Context()); err != nil {
		t.Errorf("Wait: %v", err)
	}
	if !st.Ready() || !ct.Ready() {
		t.Error("not ready though the secrets are there")
	}
	if _, _, serr, cerr := shake(t, st, ct, ClientHello{}); serr != nil || cerr != nil {
		t.Errorf("handshake: %v, %v", serr, cerr)
	}
	var names []string
	for _, s := range st.Secrets() {
		names = append(names, s.Name())
	}
	if d := cmp.Diff([]string{"default", "ROOTCA"}, names); d != "" {
		t.Error(d)
	}
	store.Remove("default")
	if st.Ready() {
		t.Error("ready though a secret was removed")
	}
}

// exchange lets the server speak, so that the client takes its ticket.
func exchange(t *testing.T, server, client net.Conn) {
	t.Helper()
	go func() { _, _ = server.Write([]byte("x")) }()
	_ = client.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

func TestResumption(t *testing.T) {
	ca, next := newAuthority(t, "root"), newAuthority(t, "next")
	const name = "spiffe://cluster.local/ns/a/sa/a"
	store, clientStore := NewSecretStore(), NewSecretStore()
	store.SetCertificate("default", ca.issue(name, time.Hour))
	store.SetTrust("ROOTCA", ca.trust())
	clientStore.SetCertificate("default", ca.issue(name, time.Hour))
	clientStore.SetTrust("ROOTCA", ca.trust())
	tc := TLSContext{CertSecrets: []string{"default"}, Validation: Validation{TrustSecret: "ROOTCA"}, RequireClientCert: true}
	st, ct := serverTLS(t, store, tc), clientTLS(t, clientStore, tc)

	addr := "127.0.0.1:0"
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	again := func() (resumed bool, serial string, err error) {
		t.Helper()
		got := make(chan struct{})
		var server net.Conn
		var serr error
		go func() {
			defer close(got)
			nc, err := ln.Accept()
			if err != nil {
				serr = err
				return
			}
			server, serr = st.Handshake(t.Context(), nc)
		}()
		nc, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		client, cerr := ct.Handshake(t.Context(), nc, ClientHello{})
		<-got
		if cerr != nil || serr != nil {
			return false, "", errors.Join(cerr, serr)
		}
		defer client.Close()
		defer server.Close()
		exchange(t, server, client)
		cs := server.(*tlsConn).ConnectionState()
		return cs.DidResume, cs.PeerCertificates[0].SerialNumber.String(), nil
	}
	first, serial1, err := again()
	if err != nil || first {
		t.Fatalf("first: resumed %v, %v", first, err)
	}
	second, serial2, err := again()
	if err != nil || !second || serial2 != serial1 {
		t.Fatalf("second: resumed %v, serial %s after %s, %v", second, serial2, serial1, err)
	}
	// A new identity is not hidden behind an old session.
	clientStore.SetCertificate("default", ca.issue(name, time.Hour))
	third, serial3, err := again()
	if err != nil || third || serial3 == serial1 {
		t.Fatalf("after rotation: resumed %v, serial %s, %v", third, serial3, err)
	}
	// A session does not outlive the trust in its peer.
	store.SetTrust("ROOTCA", next.trust())
	if _, _, err := again(); err == nil {
		t.Error("resumed though the root is no longer trusted")
	}
}

// TestRotationUnderTraffic rotates leaf and root while connections come and go;
// none fails.
func TestRotationUnderTraffic(t *testing.T) {
	cas := []*authority{newAuthority(t, "one"), newAuthority(t, "two")}
	both, err := ParseTrust(append(append([]byte{}, cas[0].pem...), cas[1].pem...))
	if err != nil {
		t.Fatal(err)
	}
	const name = "spiffe://cluster.local/ns/a/sa/a"
	store := NewSecretStore()
	store.SetTrust("ROOTCA", both)
	store.SetCertificate("default", cas[0].issue(name, time.Hour))
	tc := TLSContext{
		CertSecrets: []string{"default"}, RequireClientCert: true,
		Validation: Validation{TrustSecret: "ROOTCA", SANs: []SANMatch{{Type: SANURI, Text: TextMatch{Exact: name}}}},
	}
	st, ct := serverTLS(t, store, tc), clientTLS(t, store, tc)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var count atomic.Int64
	for range 3 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				server, client, serr, cerr := shake(t, st, ct, ClientHello{})
				if serr != nil || cerr != nil {
					t.Errorf("handshake: server %v, client %v", serr, cerr)
					return
				}
				exchange(t, server, client)
				server.Close()
				client.Close()
				count.Add(1)
			}
		})
	}
	for i := range 30 {
		before := count.Load()
		store.SetCertificate("default", cas[i%2].issue(name, time.Hour))
		for count.Load() < before+2 && !t.Failed() {
			<-time.After(time.Millisecond)
		}
	}
	close(stop)
	wg.Wait()
}

func TestParseTrustRefuses(t *testing.T) {
	for _, in := range []string{"", "garbage", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		if _, err := ParseTrust([]byte(in)); err == nil {
			t.Errorf("ParseTrust(%q): no error", in)
		}
	}
	if _, err := ParseSPIFFETrust(nil); err == nil {
		t.Error("ParseSPIFFETrust(nil): no error")
	}
}

func TestTextMatch(t *testing.T) {
	re, err := CompileRegex("a|ab")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		m    TextMatch
		s    string
		want bool
	}{
		{TextMatch{Exact: "a"}, "a", true},
		{TextMatch{Exact: "a"}, "A", false},
		{TextMatch{Exact: "A", IgnoreCase: true}, "a", true},
		{TextMatch{Prefix: "ab"}, "abc", true},
		{TextMatch{Prefix: "ab"}, "cab", false},
		{TextMatch{Suffix: "bc"}, "abc", true},
		{TextMatch{Contains: "b"}, "abc", true},
		{TextMatch{Contains: "x"}, "abc", false},
		{TextMatch{Regex: re}, "ab", true},
		{TextMatch{Regex: re}, "abc", false},
		{TextMatch{}, "", true},
		{TextMatch{}, "x", false},
	} {
		if got := c.m.Match(c.s); got != c.want {
			t.Errorf("%+v matches %q: %v, want %v", c.m, c.s, got, c.want)
		}
	}
}
