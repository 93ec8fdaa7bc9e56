package identity

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net/http"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/weftmesh/weft/wire"
)

// joinKey names what the key of join tokens is derived for, joinKeyID is its name in tokens.
const joinKey, joinKeyID = "weft.dev join tokens v1", "join-1"

// Inviter makes the tokens by which machines join the mesh, and knows them again. Its key is
// derived from the authority's, so that all replicas that share a root have the same, and
// nothing else has to be kept: a new root ends all invitations.
//
// A token may be used until it ends, by whoever has it.
type Inviter struct {
	ca       *Authority
	key      ed25519.PrivateKey
	audience string
}

// Inviter returns the one of the authority; audience is whom its tokens are for.
func (a *Authority) Inviter(audience string) (*Inviter, error) {
	secret, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return nil, fmt.Errorf("the key of join tokens: %w", err)
	}
	seed, err := hkdf.Key(sha256.New, secret, nil, joinKey, ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("the key of join tokens: %w", err)
	}
	return &Inviter{ca: a, key: ed25519.NewKeyFromSeed(seed), audience: audience}, nil
}

// Invite makes a token for what an invitation says; its Root is set here. ttl is how long
// the token holds.
func (v *Inviter) Invite(i wire.Invitation, ttl time.Duration) (token string, expires time.Time, err error) {
	sum := sha256.Sum256(v.ca.cert.Raw)
	i.Root = hex.EncodeToString(sum[:])
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: v.key, KeyID: joinKeyID}}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", time.Time{}, fmt.Errorf("join token: %w", err)
	}
	now := v.ca.now()
	expires = now.Add(ttl)
	token, err = jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: wire.JoinIssuer, Subject: accountPrefix + i.Namespace + ":" + i.ServiceAccount, Audience: jwt.Audience{v.audience},
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(expires), ID: rand.Text(),
	}).Claims(map[string]any{"invitation": i}).Serialize()
	if err != nil {
		return "", time.Time{}, fmt.Errorf("join token: %w", err)
	}
	return token, expires, nil
}

// Issuer is what knows the tokens again.
func (v *Inviter) Issuer() *Issuer {
	return &Issuer{
		name: wire.JoinIssuer, audience: v.audience, client: http.DefaultClient, now: v.ca.now, fixed: true,
		keys: &jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: v.key.Public(), KeyID: joinKeyID}}},
	}
}
