package transport

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

// response is an OCSP response for a certificate that is in force for life.
func (a *authority) response(c *Certificate, life time.Duration) []byte {
	a.t.Helper()
	der, err := ocsp.CreateResponse(a.cert, a.cert, ocsp.Response{
		Status: ocsp.Good, SerialNumber: c.Leaf().SerialNumber,
		ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(life),
	}, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return der
}

func TestStapling(t *testing.T) {
	ca := newAuthority(t, "root")
	plain := ca.issue("spiffe://a/b", time.Hour)
	stapled := func(life time.Duration) *Certificate {
		c, err := plain.WithStaple(ca.response(plain, life))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for _, c := range []struct {
		name   string
		cert   *Certificate
		policy StaplePolicy
		want   string
	}{
		{"none", plain, StapleLenient, "none"},
		{"none, strict", plain, StapleStrict, "none"},
		{"none, must", plain, StapleMust, "refused"},
		{"valid", stapled(time.Hour), StapleLenient, "stapled"},
		{"valid, strict", stapled(time.Hour), StapleStrict, "stapled"},
		{"valid, must", stapled(time.Hour), StapleMust, "stapled"},
		{"expired", stapled(-time.Minute), StapleLenient, "none"},
		{"expired, strict", stapled(-time.Minute), StapleStrict, "failed"},
		{"expired, must", stapled(-time.Minute), StapleMust, "failed"},
	} {
		got := func() string {
			st, err := NewServerTLS(NewSecretStore(), TLSContext{Certs: []*Certificate{c.cert}, Staple: c.policy})
			if err != nil {
				return "refused"
			}
			ct := clientTLS(t, NewSecretStore(), TLSContext{})
			_, client, serr, cerr := shake(t, st, ct, ClientHello{})
			if serr != nil || cerr != nil {
				return "failed"
			}
			if len(client.(*tlsConn).ConnectionState().OCSPResponse) > 0 {
				return "stapled"
			}
			return "none"
		}()
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	if _, err := plain.WithStaple(ca.response(ca.issue("spiffe://a/c", time.Hour), time.Hour)); err == nil {
		t.Error("a response for another certificate was taken")
	}
	if _, err := plain.WithStaple([]byte("x")); err == nil {
		t.Error("nonsense was taken")
	}
}

// TestTicketKeys resumes a session at another server with the same keys, inline
// and from a secret, until the keys rotate out.
func TestTicketKeys(t *testing.T) {
	ca := newAuthority(t, "root")
	cert := ca.issue("spiffe://a/b", time.Hour)
	keys := func(names ...string) *TicketKeys {
		var raw [][]byte
		for _, n := range names {
			raw = append(raw, []byte(strings.Repeat(n, ticketKeySize)))
		}
		k, err := ParseTicketKeys(raw)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	store := NewSecretStore()
	inline := serverTLS(t, store, TLSContext{Certs: []*Certificate{cert}, Tickets: keys("a"), ALPN: []string{"h2"}})
	secret := serverTLS(t, store, TLSContext{Certs: []*Certificate{cert}, TicketSecret: "tickets"})
	other := serverTLS(t, store, TLSContext{Certs: []*Certificate{cert}})
	cache := tls.NewLRUClientSessionCache(4)
	again := func(s *ServerTLS) (bool, error) {
		a, b := tcpPair(t)
		got := make(chan error, 1)
		go func() {
			server, err := s.Handshake(t.Context(), a)
			if err == nil {
				defer server.Close()
				_, err = server.Write([]byte("x"))
			}
			got <- err
		}()
		client := tls.Client(b, &tls.Config{InsecureSkipVerify: true, ClientSessionCache: cache, ServerName: "s"})
		defer client.Close()
		_ = client.SetDeadline(time.Now().Add(patience))
		if _, err := client.Read(make([]byte, 1)); err != nil {
			return false, errors.Join(err, <-got)
		}
		return client.ConnectionState().DidResume, <-got
	}
	if secret.Ready() {
		t.Error("ready without the keys")
	}
	if _, err := again(secret); err == nil {
		t.Error("a handshake without the keys")
	}
	store.SetTicketKeys("tickets", keys("a"))
	if !secret.Ready() {
		t.Error("not ready with the keys")
	}
	for i, c := range []struct {
		server *ServerTLS
		rotate *TicketKeys
		want   bool
	}{
		{inline, nil, false}, {secret, nil, true}, {inline, nil, true},
		{secret, keys("b", "a"), true}, {secret, keys("b"), true}, {inline, nil, false},
		{other, nil, false}, {inline, nil, false},
	} {
		if c.rotate != nil {
			store.SetTicketKeys("tickets", c.rotate)
		}
		if got, err := again(c.server); err != nil || got != c.want {
			t.Errorf("connection %d: resumed %v, %v, want %v", i, got, err, c.want)
		}
	}
	if _, err := ParseTicketKeys([][]byte{make([]byte, 79)}); err == nil {
		t.Error("a key of 79 bytes was taken")
	}
}
