package jwt

import (
	"encoding/json"

	"github.com/go-jose/go-jose/v4"
)

// keys are the keys of a provider as they were at a time. They are immutable.
type keys struct{ list []jose.JSONWebKey }

// readKeys reads a JWKS. Keys that are of no use are left out; status tells when
// none is left.
func readKeys(b []byte) (*keys, status) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(b, &set); err != nil {
		return nil, "Jwks is an invalid JSON"
	}
	if set.Keys == nil {
		return nil, "Jwks does not have [keys] field"
	}
	k := &keys{}
	for _, raw := range set.Keys {
		var one jose.JSONWebKey
		if json.Unmarshal(raw, &one) == nil && usable(&one) {
			k.list = append(k.list, one)
		}
	}
	if len(k.list) == 0 {
		return nil, noKeys
	}
	return k, good
}

// usable leaves out private keys: who publishes one has lost it.
func usable(k *jose.JSONWebKey) bool {
	if _, symmetric := k.Key.([]byte); symmetric {
		return true
	}
	return k.IsPublic() && k.Valid()
}

// verify checks the signature with every key that may be meant.
func (k *keys) verify(t *token) status {
	s := noSuchKey
	var sig *jose.JSONWebSignature
	for i := range k.list {
		key := &k.list[i]
		if t.kid != "" && key.KeyID != "" && t.kid != key.KeyID || key.Algorithm != "" && key.Algorithm != t.alg {
			continue
		}
		s = fails
		if sig == nil {
			var err error
			if sig, err = jose.ParseSignedCompact(t.raw, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(t.alg)}); err != nil {
				return fails
			}
		}
		if _, err := sig.Verify(key.Key); err == nil {
			return good
		}
	}
	return s
}
