package model

import (
	"net/netip"
	"time"
)

// GatewayNameLabel is the label by which the proxies of a Gateway API gateway are known.
const GatewayNameLabel = "gateway.networking.k8s.io/gateway-name"

// TargetRef names what a policy is attached to, in the policy's own namespace.
type TargetRef struct{ Group, Kind, Name string }

// AppliesTo tells whether a policy holds for a workload of the policy's namespace (or
// of any, in the root namespace), as Istio does: targets are for gateways of the
// Gateway API; all others go by the selector, and ignore a policy that has targets.
func AppliesTo(selector map[string]string, targets []TargetRef, labels map[string]string, sameNamespace bool) bool {
	if len(targets) == 0 {
		return Matches(selector, labels)
	}
	name, ok := labels[GatewayNameLabel]
	if !ok || !sameNamespace {
		return false
	}
	for _, t := range targets {
		if t.Kind == "Gateway" && t.Group == "gateway.networking.k8s.io" && t.Name == name {
			return true
		}
	}
	return false
}

// RequestAuth is a RequestAuthentication: which tokens requests may carry. A request
// with a token that is not in order is refused, one without goes on.
type RequestAuth struct {
	Meta `json:"meta"`
	// Selector nil: the whole namespace, or the mesh in the root namespace.
	Selector map[string]string
	Targets  []TargetRef
	Rules    []JWTRule
}

// JWTRule is one issuer of tokens.
type JWTRule struct {
	Issuer    string
	Audiences []string // empty: any
	// JWKS are the keys inline; else they are fetched from JWKSURI; else from where
	// the issuer's OpenID configuration says.
	JWKS, JWKSURI string
	// FromHeaders, FromParams and FromCookies are where tokens are; none: in
	// "Authorization: Bearer" and the parameter access_token.
	FromHeaders             []JWTHeader
	FromParams, FromCookies []string
	// PayloadHeader gets the token's payload, base64url; ClaimHeaders single claims.
	PayloadHeader string
	ClaimHeaders  []ClaimHeader
	// Forward keeps the token in the request.
	Forward bool
	// Timeout of a fetch of keys; 0: Istio's 5 s.
	Timeout time.Duration
	// SpaceDelimited are claims that hold lists in one string, besides Istio's own two.
	SpaceDelimited []string
}

// JWTHeader is a header with a token behind a prefix ("Bearer ").
type JWTHeader struct{ Name, Prefix string }

// ClaimHeader copies a claim into a header; a "." in Claim leads into a nested one.
type ClaimHeader struct{ Header, Claim string }

// KeySource names where the keys of a rule are fetched from.
type KeySource struct{ URI, Issuer string }

// KeySource of a rule; not ok: its keys are inline.
func (r *JWTRule) KeySource() (s KeySource, ok bool) {
	if r.JWKS != "" {
		return s, false
	}
	if r.JWKSURI != "" {
		return KeySource{URI: r.JWKSURI}, true
	}
	return KeySource{Issuer: r.Issuer}, true
}

// Key is the key of the KeySet that a source becomes.
func (s KeySource) Key() Key {
	if s.URI != "" {
		return Key{Kind: KindKeySet, Name: s.URI}
	}
	return Key{Kind: KindKeySet, Name: "issuer " + s.Issuer}
}

// KeySet is what was fetched from a KeySource last.
type KeySet struct {
	Meta `json:"meta"`
	JWKS string
}

// JWKSFetch says who fetches keys from a jwksUri.
type JWKSFetch uint8

// Who fetches keys. Hybrid: the proxy where the mesh knows the host.
const (
	FetchControl JWKSFetch = iota
	FetchHybrid
	FetchProxy
)

// JWKS is how keys of tokens are fetched.
type JWKS struct {
	Fetch JWKSFetch
	// Refresh is how old keys may become; 0: Istio's 20 minutes.
	Refresh time.Duration
	// Blocked are addresses that the control plane does not fetch from.
	Blocked []netip.Prefix
}

// ExtAuthz is a service that authorizes requests for CUSTOM policies: an
// extension provider envoyExtAuthzHttp or envoyExtAuthzGrpc.
type ExtAuthz struct {
	Name string
	// GRPC: the service speaks Envoy's authorization API; else plain HTTP.
	GRPC    bool
	Service string
	Port    uint16
	// Timeout of a check; 0: Istio's 600 s.
	Timeout time.Duration
	// FailOpen lets requests pass when the service cannot be asked.
	FailOpen, ClearRouteCache bool
	// StatusOnError is what clients get when the service cannot be asked; 0: 403.
	StatusOnError int
	Body          *ExtAuthzBody
	// The rest is HTTP's. Names of headers may have a "*" at one end.
	PathPrefix                                                      string
	RequestHeaders, UpstreamOnAllow, DownstreamOnDeny, DownstreamOK []string
	AddHeaders                                                      map[string]string
}

// ExtAuthzBody says how much of a request's body is sent along.
type ExtAuthzBody struct {
	MaxBytes         uint32
	Partial, AsBytes bool
}

// ExtAuthz returns the provider of that name, or nil.
func (m *Mesh) ExtAuthz(name string) *ExtAuthz {
	for i := range m.Authorizers {
		if m.Authorizers[i].Name == name {
			return &m.Authorizers[i]
		}
	}
	return nil
}
