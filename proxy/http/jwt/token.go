package jwt

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"slices"
	"strings"
)

// status is what became of a token, in Envoy's words; "" is good.
type status string

const (
	good           status = ""
	missing        status = "Jwt is missing"
	expired        status = "Jwt is expired"
	notYetValid    status = "Jwt not yet valid"
	badForm        status = "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"
	badHeader64    status = "Jwt header is an invalid Base64url encoded"
	badHeaderJSON  status = "Jwt header is an invalid JSON"
	badAlg         status = "Jwt header [alg] field is required and must be a string"
	otherAlg       status = "Jwt header [alg] is not supported"
	badKid         status = "Jwt header [kid] field is not a string"
	badPayload64   status = "Jwt payload is an invalid Base64url encoded"
	badPayloadJSON status = "Jwt payload is an invalid JSON"
	badAud         status = "Jwt payload [aud] field is not a string or string list"
	badSignature64 status = "Jwt signature is an invalid Base64url encoded"
	unknownIssuer  status = "Jwt issuer is not configured"
	badAudience    status = "Audiences in Jwt are not allowed"
	fails          status = "Jwt verification fails"
	noKeys         status = "Jwks doesn't have any valid public key"
	noSuchKey      status = "Jwks doesn't have key to match kid or alg from Jwt"
	noFetch        status = "Jwks remote fetch is failed"
)

// token is a parsed token. It is immutable once it is verified.
type token struct {
	raw, payload64 string
	alg, kid       string
	header, claims map[string]any
	iss, sub       string
	aud            []string
	exp, nbf       uint64 // 0: none
	signature      []byte
	hasExp         bool
	out            *output // made when it is verified, by its provider
	verifiedBy     *keys
}

// algorithms that Envoy supports. ED25519 has its name from an old draft.
var algorithms = map[string]bool{
	"RS256": true, "RS384": true, "RS512": true, "PS256": true, "PS384": true, "PS512": true,
	"ES256": true, "ES384": true, "ES512": true, "HS256": true, "HS384": true, "HS512": true, "EdDSA": true,
}

// parse takes a token apart and reads the registered claims. raw is kept.
func parse(raw string) (*token, status) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 || slices.Contains(parts, "") {
		return nil, badForm
	}
	t := &token{raw: raw, payload64: parts[1]}
	if s := t.readHeader(parts[0]); s != good {
		return nil, s
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, badPayload64
	}
	if json.Unmarshal(b, &t.claims) != nil || t.claims == nil {
		return nil, badPayloadJSON
	}
	if s := t.readClaims(); s != good {
		return nil, s
	}
	if t.signature, err = base64.RawURLEncoding.DecodeString(parts[2]); err != nil {
		return nil, badSignature64
	}
	return t, good
}

func (t *token) readHeader(part string) status {
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return badHeader64
	}
	if json.Unmarshal(b, &t.header) != nil || t.header == nil {
		return badHeaderJSON
	}
	var ok bool
	if t.alg, ok = t.header["alg"].(string); !ok {
		return badAlg
	}
	if !algorithms[t.alg] {
		return otherAlg
	}
	if kid, there := t.header["kid"]; there {
		if t.kid, ok = kid.(string); !ok {
			return badKid
		}
	}
	return good
}

func (t *token) readClaims() status {
	var s status
	if t.iss, s = t.text("iss"); s != good {
		return s
	}
	if t.sub, s = t.text("sub"); s != good {
		return s
	}
	if _, s = t.number("iat"); s != good {
		return s
	}
	if t.nbf, s = t.number("nbf"); s != good {
		return s
	}
	if t.exp, s = t.number("exp"); s != good {
		return s
	}
	_, t.hasExp = t.claims["exp"]
	if _, s = t.text("jti"); s != good {
		return s
	}
	switch a := t.claims["aud"].(type) {
	case nil:
	case string:
		t.aud = []string{plainAudience(a)}
	case []any:
		for _, x := range a {
			one, ok := x.(string)
			if !ok {
				return badAud
			}
			t.aud = append(t.aud, plainAudience(one))
		}
	default:
		return badAud
	}
	return good
}

func (t *token) text(claim string) (string, status) {
	v, there := t.claims[claim]
	s, ok := v.(string)
	if there && !ok {
		return "", notText(claim)
	}
	return s, good
}

func (t *token) number(claim string) (uint64, status) {
	v, there := t.claims[claim]
	if !there {
		return 0, good
	}
	f, ok := v.(float64)
	switch {
	case !ok:
		return 0, notNumber(claim)
	case f < 0 || f >= math.MaxUint64:
		return 0, notPositive(claim)
	}
	return uint64(f), good
}

// plainAudience leaves out what Envoy does not compare: the scheme and a slash at the end.
func plainAudience(a string) string {
	for _, scheme := range []string{"http://", "https://"} {
		if rest, ok := strings.CutPrefix(a, scheme); ok {
			a = rest
			break
		}
	}
	return strings.TrimSuffix(a, "/")
}

// inTime checks nbf and exp. Seconds since 1970.
func (t *token) inTime(now, skew uint64) status {
	switch {
	case t.nbf > now+skew:
		return notYetValid
	case t.hasExp && t.exp > 0 && now > t.exp+skew:
		return expired
	}
	return good
}
