package identity

import (
	"crypto/elliptic"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// TestDiscover: a server that says which issuer it is is believed about its tokens; while it
// does not answer none is.
func TestDiscover(t *testing.T) {
	key := curve(t, elliptic.P256())
	away := true
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case away:
			w.WriteHeader(http.StatusServiceUnavailable)
		case r.URL.Path == documentPath:
			fmt.Fprint(w, `{"issuer": "https://cluster.example", "jwks_uri": "https://elsewhere.invalid/keys"}`)
		case r.URL.Path == keysPath:
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "ES256"}}})
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer srv.Close()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token := func(issuer string) string {
		s, err := jwt.Signed(signer).Claims(jwt.Claims{Issuer: issuer, Subject: "system:serviceaccount:a:b", Audience: jwt.Audience{"istio-ca"}, Expiry: jwt.NewNumericDate(time.Now().Add(time.Hour))}).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	issuers := []*Issuer{Discover(srv.URL+"/", "istio-ca", srv.Client())}
	if _, err := verify(t.Context(), issuers, token("https://cluster.example")); err == nil || !strings.Contains(err.Error(), "not known") {
		t.Errorf("while it is away: %v", err)
	}
	away = false
	if who, err := verify(t.Context(), issuers, token("https://cluster.example")); err != nil || who != "system:serviceaccount:a:b" {
		t.Errorf("%q: %v", who, err)
	}
	if _, err := verify(t.Context(), issuers, token("https://other.example")); err == nil || !strings.Contains(err.Error(), "not trusted") {
		t.Errorf("another issuer: %v", err)
	}
}
