// Package authn translates request authentications into Envoy's jwt_authn filter,
// in the shape that Istio gives it: one provider per rule, a request without a
// token goes on, one with a token that is not in order is refused, and the claims
// are in dynamic metadata, where authorization and routes look for them.
//
// It fetches nothing: keys come with the snapshot (control/source/jwks), or the
// proxy fetches them itself where the mesh says so. A rule whose keys are not to
// be had refuses every token of its issuer.
package authn

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/wire"
)

// CodeKeys is the code of Findings about keys that are not to be had.
const CodeKeys = "WEFT0335"

// noKeys is a key set without which Envoy refuses the filter. The only key is a
// point of P-256 whose x is the SHA-256 of a sentence: nobody can sign with it.
const noKeys = `{"keys":[{"kty":"EC","crv":"P-256","x":"zVHttSZSjNLXJgus7ZO_cpPVpt_KErKFo2c3rNDcWcg","y":"MZrJN-_aLJ4rujwqlP9fNpsxwZzxu45kqoUsH2y-D4k"}]}`

const (
	defaultTimeout = 5 * time.Second
	remoteCache    = 5 * time.Minute
)

// Report takes a Finding.
type Report func(model.Finding)

// Filter makes the filter of a view's own workload; nil when it has no rules.
func Filter(v *scope.View, report Report) *jwtv3.JwtAuthentication {
	type rule struct {
		*model.JWTRule
		of    *model.RequestAuth
		field string
	}
	var rules []rule
	for _, p := range v.RequestAuths() {
		for i := range p.Rules {
			rules = append(rules, rule{&p.Rules[i], p, "spec.jwtRules[" + strconv.Itoa(i) + "]"})
		}
	}
	if len(rules) == 0 {
		return nil
	}
	slices.SortStableFunc(rules, func(a, b rule) int { return cmp.Compare(a.Issuer, b.Issuer) })
	out := &jwtv3.JwtAuthentication{Providers: map[string]*jwtv3.JwtProvider{}, BypassCorsPreflight: true}
	var each, any []*jwtv3.JwtRequirement
	for i, r := range rules {
		name := fmt.Sprintf("origins-%d", i)
		p := provider(r.JWTRule, v.Proxy.Gateway())
		keys(v, r.JWTRule, p, func(field, message, remedy string) {
			report(model.Finding{
				Code: CodeKeys, Severity: model.Warning, Object: r.of.Key, Origin: r.of.At(r.field + field), Field: r.field + field,
				Message: message, Remedy: remedy,
			})
		})
		out.Providers[name] = p
		each = append(each, oneOf(named(name), &jwtv3.JwtRequirement{
			RequiresType: &jwtv3.JwtRequirement_AllowMissing{AllowMissing: &emptypb.Empty{}},
		}))
		any = append(any, named(name))
	}
	need := each[0]
	if len(each) > 1 {
		// Every token has to be in order; but where issuers share a place, the token
		// there can only be one's.
		need = oneOf(append(any, &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_RequiresAll{
			RequiresAll: &jwtv3.JwtRequirementAndList{Requirements: each},
		}})...)
	}
	out.Rules = []*jwtv3.RequirementRule{{
		Match:           &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
		RequirementType: &jwtv3.RequirementRule_Requires{Requires: need},
	}}
	return out
}

func named(provider string) *jwtv3.JwtRequirement {
	return &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_ProviderName{ProviderName: provider}}
}

func oneOf(list ...*jwtv3.JwtRequirement) *jwtv3.JwtRequirement {
	return &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_RequiresAny{
		RequiresAny: &jwtv3.JwtRequirementOrList{Requirements: list},
	}}
}

// provider is everything of a rule but its keys. At gateways routes may go by
// claims, so that they are chosen again when those are known.
func provider(r *model.JWTRule, gateway bool) *jwtv3.JwtProvider {
	p := &jwtv3.JwtProvider{
		Issuer: r.Issuer, Audiences: r.Audiences, Forward: r.Forward, ForwardPayloadHeader: r.PayloadHeader,
		FromParams: r.FromParams, FromCookies: r.FromCookies, PayloadInMetadata: pb.JWTPayload, ClearRouteCache: gateway,
		NormalizePayloadInMetadata: &jwtv3.JwtProvider_NormalizePayload{SpaceDelimitedClaims: spaced(r.SpaceDelimited)},
	}
	for _, h := range r.FromHeaders {
		p.FromHeaders = append(p.FromHeaders, &jwtv3.JwtHeader{Name: h.Name, ValuePrefix: h.Prefix})
	}
	for _, c := range r.ClaimHeaders {
		p.ClaimToHeaders = append(p.ClaimToHeaders, &jwtv3.JwtClaimToHeader{HeaderName: c.Header, ClaimName: c.Claim})
	}
	return p
}

// spaced adds the claims that OAuth writes with spaces.
func spaced(own []string) []string {
	out := append([]string{"permission", "scope"}, own...)
	slices.Sort(out)
	return slices.Compact(out)
}

// keys says where a provider's keys are. complain takes what keeps them away.
func keys(v *scope.View, r *model.JWTRule, p *jwtv3.JwtProvider, complain func(field, message, remedy string)) {
	local := func(jwks string) {
		p.JwksSourceSpecifier = &jwtv3.JwtProvider_LocalJwks{LocalJwks: &corev3.DataSource{
			Specifier: &corev3.DataSource_InlineString{InlineString: jwks},
		}}
	}
	from, fetched := r.KeySource()
	if !fetched {
		local(r.JWKS)
		return
	}
	if v.Mesh.JWKS.Fetch != model.FetchControl && from.URI != "" {
		cluster, err := keyCluster(v, from.URI)
		if err == nil {
			p.JwksSourceSpecifier = remote(r, cluster)
			return
		}
		if v.Mesh.JWKS.Fetch == model.FetchProxy {
			complain(".jwksUri", err.Error()+": every token of it is refused", "add a ServiceEntry for the host, or let the control plane fetch (hybrid)")
			local(noKeys)
			return
		}
	}
	set, ok := v.Index.Keys(from)
	if !ok {
		set = noKeys // control/source/jwks says why
	}
	local(set)
}

func remote(r *model.JWTRule, cluster string) *jwtv3.JwtProvider_RemoteJwks {
	timeout := r.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	return &jwtv3.JwtProvider_RemoteJwks{RemoteJwks: &jwtv3.RemoteJwks{
		HttpUri: &corev3.HttpUri{
			Uri: r.JWKSURI, Timeout: pb.Duration(timeout), HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: cluster},
		},
		CacheDuration: pb.Duration(remoteCache),
	}}
}

// keyCluster finds the cluster that leads to the host of a jwksUri.
func keyCluster(v *scope.View, uri string) (string, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return "", err
	}
	port := uint64(80)
	if u.Scheme == "https" {
		port = 443
	}
	if u.Port() != "" {
		if port, err = strconv.ParseUint(u.Port(), 10, 16); err != nil {
			return "", fmt.Errorf("%q has no port number", uri)
		}
	}
	s := v.Service(u.Hostname())
	if s == nil || s.Port(uint16(port)) == nil {
		return "", fmt.Errorf("the proxy is to fetch the keys, and knows no %s:%d", u.Hostname(), port)
	}
	return wire.ClusterName(wire.Outbound, uint16(port), "", s.Host), nil
}
