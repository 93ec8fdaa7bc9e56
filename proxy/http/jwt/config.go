package jwt

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/match"
)

const typePrefix = "type.googleapis.com/" + jwtPrefix

const jwtPrefix = "envoy.extensions.filters.http.jwt_authn.v3."

// Kind describes the filter.
func Kind() filter.HTTPKind {
	return filter.HTTPKind{
		Name:     Name,
		TypeURLs: []string{typePrefix + "JwtAuthentication", typePrefix + "PerRouteConfig"},
		Parse:    parseConfig,
		ParseRoute: func(_ *filter.ParseContext, a *anypb.Any) (any, error) {
			m := &jwtv3.PerRouteConfig{}
			if err := match.Open(a, m, supported); err != nil {
				return nil, err
			}
			return &perRoute{disabled: m.GetDisabled(), name: m.GetRequirementName()}, nil
		},
	}
}

var supported = strict.Table{
	jwtPrefix + "JwtAuthentication": "providers rules bypass_cors_preflight requirement_map strip_failure_response stat_prefix " +
		"filter_state_rules",
	jwtPrefix + "FilterStateRule": "name requires",
	jwtPrefix + "PerRouteConfig":  "disabled requirement_name",
	jwtPrefix + "JwtProvider": "issuer audiences subjects require_expiration max_lifetime remote_jwks local_jwks forward from_headers " +
		"from_params from_cookies forward_payload_header pad_forward_payload_header payload_in_metadata normalize_payload_in_metadata " +
		"header_in_metadata failed_status_in_metadata clock_skew_seconds jwt_cache_config claim_to_headers clear_route_cache",
	jwtPrefix + "JwtProvider.NormalizePayload": "space_delimited_claims",
	jwtPrefix + "JwtCacheConfig":               "jwt_cache_size jwt_max_token_size",
	jwtPrefix + "RemoteJwks":                   "http_uri cache_duration async_fetch retry_policy",
	jwtPrefix + "JwksAsyncFetch":               "fast_listener failed_refetch_duration",
	jwtPrefix + "JwtHeader":                    "name value_prefix",
	jwtPrefix + "JwtClaimToHeader":             "header_name claim_name claim_path",
	jwtPrefix + "JwtClaimToHeader.PathSegment": "key",
	jwtPrefix + "ProviderWithAudiences":        "provider_name audiences",
	jwtPrefix + "JwtRequirement": "provider_name provider_and_audiences requires_any requires_all allow_missing_or_failed allow_missing " +
		"extract_only_without_validation",
	jwtPrefix + "ExtractOnlyWithoutValidation": "verification_status_header",
	jwtPrefix + "JwtRequirementOrList":         "requirements",
	jwtPrefix + "JwtRequirementAndList":        "requirements",
	jwtPrefix + "RequirementRule":              "match requires requirement_name",
	"envoy.config.core.v3.HttpUri":             "uri cluster timeout",
	"envoy.config.core.v3.DataSource":          "filename inline_bytes inline_string environment_variable",
	"envoy.config.core.v3.RetryPolicy":         "retry_back_off num_retries",
	"envoy.config.core.v3.BackoffStrategy":     "base_interval max_interval",
}

// parser compiles a configuration.
type parser struct {
	ctx       *filter.ParseContext
	stats     *counters
	providers map[string]*provider
}

func parseConfig(ctx *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
	m := &jwtv3.JwtAuthentication{}
	if err := match.Open(a, m, supported, match.SupportedRoutes); err != nil {
		return nil, err
	}
	f := &factory{name: ctx.FilterName, preflight: m.BypassCorsPreflight, strip: m.StripFailureResponse, named: map[string]requirement{}}
	prefix := "jwt_authn."
	if m.StatPrefix != "" {
		prefix += strings.TrimSuffix(m.StatPrefix, ".") + "."
	}
	counter := func(stat string) *filter.Counter { return ctx.Counter(prefix + stat) }
	f.stats = counters{
		counter("allowed"), counter("denied"), counter("cors_preflight_bypassed"), counter("jwt_cache_hit"), counter("jwt_cache_miss"),
		counter("jwks_fetch_success"), counter("jwks_fetch_failed"),
	}
	p := &parser{ctx: ctx, stats: &f.stats, providers: map[string]*provider{}}
	for _, name := range slices.Sorted(maps.Keys(m.Providers)) {
		v, err := p.provider(m.Providers[name])
		if err != nil {
			return nil, fmt.Errorf("providers[%q].%w", name, err)
		}
		v.sole = len(m.Providers) == 1
		p.providers[name] = v
	}
	for _, name := range slices.Sorted(maps.Keys(m.RequirementMap)) {
		r, err := p.requirement(m.RequirementMap[name], nil)
		if err != nil {
			return nil, fmt.Errorf("requirement_map[%q].%w", name, err)
		}
		f.named[name] = r
		f.names = strings.TrimPrefix(f.names+","+name, ",")
	}
	for i, r := range m.Rules {
		out, err := p.rule(r, f.named)
		if err != nil {
			return nil, fmt.Errorf("rules[%d].%w", i, err)
		}
		f.rules = append(f.rules, out)
	}
	if err := p.stateRules(f, m.FilterStateRules); err != nil {
		return nil, err
	}
	for _, v := range p.providers {
		v.source.start()
	}
	return f, nil
}

// stateRules reads the rules by filter state.
func (p *parser) stateRules(f *factory, m *jwtv3.FilterStateRule) error {
	f.stateKey = m.GetName()
	f.byState = make(map[string]requirement, len(m.GetRequires()))
	for _, value := range slices.Sorted(maps.Keys(m.GetRequires())) {
		r, err := p.requirement(m.Requires[value], nil)
		if err != nil {
			return fmt.Errorf("filter_state_rules.requires[%q].%w", value, err)
		}
		f.byState[value] = r
	}
	return nil
}

func (p *parser) rule(m *jwtv3.RequirementRule, named map[string]requirement) (rule, error) {
	var r rule
	var err error
	if r.match, err = match.Route(m.Match); err != nil {
		return r, fmt.Errorf("match.%w", err)
	}
	switch t := m.RequirementType.(type) {
	case *jwtv3.RequirementRule_Requires:
		if r.need, err = p.requirement(t.Requires, nil); err != nil {
			return r, fmt.Errorf("requires.%w", err)
		}
	case *jwtv3.RequirementRule_RequirementName:
		if r.need = named[t.RequirementName]; r.need == nil {
			return r, fmt.Errorf("requirement_name: there is no %q in requirement_map", t.RequirementName)
		}
	}
	return r, nil
}

// requirement compiles m. beside are the providers that stand in the same list.
func (p *parser) requirement(m *jwtv3.JwtRequirement, beside []*provider) (requirement, error) {
	switch t := m.GetRequiresType().(type) {
	case nil:
		return nothing{}, nil
	case *jwtv3.JwtRequirement_ProviderName:
		v := p.providers[t.ProviderName]
		if v == nil {
			return nil, fmt.Errorf("provider_name: there is no provider %q", t.ProviderName)
		}
		return &one{p: v}, nil
	case *jwtv3.JwtRequirement_ProviderAndAudiences:
		v := p.providers[t.ProviderAndAudiences.ProviderName]
		if v == nil {
			return nil, fmt.Errorf("provider_and_audiences.provider_name: there is no provider %q", t.ProviderAndAudiences.ProviderName)
		}
		return &one{p: v, own: plainAudiences(t.ProviderAndAudiences.Audiences)}, nil
	case *jwtv3.JwtRequirement_RequiresAny:
		list, err := p.anyOf(t.RequiresAny.GetRequirements())
		return list, err
	case *jwtv3.JwtRequirement_RequiresAll:
		var list allOf
		for i, r := range t.RequiresAll.GetRequirements() {
			x, err := p.requirement(r, nil)
			if err != nil {
				return nil, fmt.Errorf("requires_all.requirements[%d].%w", i, err)
			}
			list = append(list, x)
		}
		return list, nil
	case *jwtv3.JwtRequirement_AllowMissing:
		return p.lenient(beside, false), nil
	case *jwtv3.JwtRequirement_AllowMissingOrFailed:
		return p.lenient(beside, true), nil
	case *jwtv3.JwtRequirement_ExtractOnlyWithoutValidation:
		l := p.lenient(nil, true)
		if l.mark = strings.ToLower(t.ExtractOnlyWithoutValidation.GetVerificationStatusHeader()); l.mark == "" {
			l.mark = defaultMark
		}
		return l, nil
	}
	return nil, fmt.Errorf("requires_type: %T is not supported", m.GetRequiresType())
}

// anyOf compiles a list; what allows a request without a token comes last, once.
func (p *parser) anyOf(ms []*jwtv3.JwtRequirement) (requirement, error) {
	var list anyOf
	var beside []*provider
	var lax *jwtv3.JwtRequirement
	for i, m := range ms {
		switch t := m.RequiresType.(type) {
		case *jwtv3.JwtRequirement_AllowMissingOrFailed:
			lax = m
			continue
		case *jwtv3.JwtRequirement_AllowMissing:
			if lax == nil {
				lax = m
			}
			continue
		case *jwtv3.JwtRequirement_ProviderName:
			beside = append(beside, p.providers[t.ProviderName])
		case *jwtv3.JwtRequirement_ProviderAndAudiences:
			beside = append(beside, p.providers[t.ProviderAndAudiences.GetProviderName()])
		}
		x, err := p.requirement(m, nil)
		if err != nil {
			return nil, fmt.Errorf("requires_any.requirements[%d].%w", i, err)
		}
		list = append(list, x)
	}
	if lax != nil {
		x, err := p.requirement(lax, beside)
		if err != nil {
			return nil, err
		}
		list = append(list, x)
	}
	return list, nil
}

// lenient looks where the given providers have tokens; without any, where all have.
func (p *parser) lenient(of []*provider, failed bool) *lenient {
	l := &lenient{failed: failed}
	for _, name := range slices.Sorted(maps.Keys(p.providers)) {
		l.providers = append(l.providers, p.providers[name])
	}
	if of == nil {
		of = l.providers
	}
	l.beside = of
	for _, v := range of {
		for _, pl := range v.places {
			l.places = addPlace(l.places, pl)
		}
	}
	return l
}

// defaultMark is the header that tells of a token that did not verify.
const defaultMark = "x-jwt-signature-verified"

// addPlace keeps places sorted as Envoy goes through them: by kind and name, those
// of several issuers once.
func addPlace(list []place, p place) []place {
	for i := range list {
		if list[i].kind == p.kind && list[i].name == p.name && list[i].prefix == p.prefix {
			list[i].issuers = append(slices.Clone(list[i].issuers), p.issuers...)
			return list
		}
	}
	list = append(list, p)
	slices.SortStableFunc(list, func(a, b place) int {
		if a.kind != b.kind {
			return int(a.kind) - int(b.kind)
		}
		return strings.Compare(a.name+a.prefix, b.name+b.prefix)
	})
	return list
}

func plainAudiences(list []string) audiences {
	var out audiences
	for _, a := range list {
		out = append(out, plainAudience(a))
	}
	return out
}

const defaultSkew = 60

func (p *parser) provider(m *jwtv3.JwtProvider) (*provider, error) {
	v := &provider{
		issuer: m.Issuer, audiences: plainAudiences(m.Audiences), needExp: m.RequireExpiration, skew: defaultSkew,
		forward: m.Forward, payloadHeader: strings.ToLower(m.ForwardPayloadHeader), padded: m.PadForwardPayloadHeader,
		payloadKey: m.PayloadInMetadata, headerKey: m.HeaderInMetadata, failedKey: m.FailedStatusInMetadata, spaced: m.GetNormalizePayloadInMetadata().GetSpaceDelimitedClaims(),
		clearRoute: m.ClearRouteCache,
	}
	if m.ClockSkewSeconds > 0 {
		v.skew = uint64(m.ClockSkewSeconds)
	}
	if m.Subjects != nil {
		t, err := match.Strings(m.Subjects)
		if err != nil {
			return nil, fmt.Errorf("subjects%w", err)
		}
		v.subjects = &t
	}
	if m.MaxLifetime != nil {
		d := m.MaxLifetime.AsDuration()
		v.lifetime = &d
	}
	if c := m.JwtCacheConfig; c != nil {
		v.cache = newCache(int(c.JwtCacheSize), int(c.JwtMaxTokenSize))
	}
	if v.payloadHeader != "" {
		v.sanitized = append(v.sanitized, v.payloadHeader)
	}
	for i, c := range m.ClaimToHeaders {
		h := claimHeader{header: strings.ToLower(c.HeaderName), path: strings.Split(c.ClaimName, ".")}
		if len(c.ClaimPath) > 0 {
			if c.ClaimName != "" {
				return nil, fmt.Errorf("claim_to_headers[%d].claim_path: is set beside claim_name; want one of them", i)
			}
			h.path = nil
			for _, s := range c.ClaimPath {
				h.path = append(h.path, s.Key)
			}
		}
		v.claims = append(v.claims, h)
		v.sanitized = append(v.sanitized, h.header)
	}
	v.addPlaces(m)
	return v, p.source(m, &v.source)
}

// addPlaces reads where tokens are: Envoy's usual places when none is named.
func (v *provider) addPlaces(m *jwtv3.JwtProvider) {
	add := func(k placeKind, name, prefix string) {
		v.places = addPlace(v.places, place{kind: k, name: name, prefix: prefix, issuers: []string{v.issuer}})
	}
	for _, h := range m.FromHeaders {
		add(inHeader, strings.ToLower(h.Name), h.ValuePrefix)
	}
	for _, n := range m.FromParams {
		add(inParam, n, "")
	}
	for _, n := range m.FromCookies {
		add(inCookie, n, "")
	}
	if len(v.places) == 0 {
		add(inHeader, "authorization", "Bearer ")
		add(inParam, "access_token", "")
	}
}

func (p *parser) source(m *jwtv3.JwtProvider, s *source) error {
	switch j := m.JwksSourceSpecifier.(type) {
	case *jwtv3.JwtProvider_LocalJwks:
		b, err := match.Data(j.LocalJwks)
		if err == nil && j.LocalJwks.GetSpecifier() == nil {
			err = errors.New("specifier: is missing")
		}
		if err != nil {
			return fmt.Errorf("local_jwks.%w", err)
		}
		k, st := readKeys(b)
		if st != good {
			return fmt.Errorf("local_jwks: %s", st)
		}
		s.now.Store(&fetched{keys: k})
		return nil
	case *jwtv3.JwtProvider_RemoteJwks:
		r, err := p.remote(j.RemoteJwks)
		s.remote = r
		return err
	}
	s.fixed = noKeys
	return nil
}

const (
	defaultCacheDuration = 10 * time.Minute
	defaultRefetch       = time.Second
)

func (p *parser) remote(m *jwtv3.RemoteJwks) (*remote, error) {
	u, err := url.Parse(m.GetHttpUri().GetUri())
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("remote_jwks.http_uri.uri: %q is not an absolute URL", m.GetHttpUri().GetUri())
	}
	if p.ctx.Calls == nil {
		return nil, errors.New("remote_jwks: cannot be fetched here")
	}
	r := &remote{
		calls: p.ctx.Calls, cluster: m.HttpUri.GetCluster(), host: u.Host, path: u.RequestURI(), timeout: m.HttpUri.GetTimeout().AsDuration(),
		cache: defaultCacheDuration, ahead: m.AsyncFetch != nil, again: defaultRefetch,
		succeeded: p.stats.fetched, failed: p.stats.failed, backoff: time.Second, most: 10 * time.Second,
	}
	if d := m.CacheDuration; d != nil {
		r.cache = d.AsDuration()
	}
	if d := m.GetAsyncFetch().GetFailedRefetchDuration(); d != nil {
		r.again = d.AsDuration()
	}
	if rp := m.RetryPolicy; rp != nil {
		r.retries = 1
		if rp.NumRetries != nil {
			r.retries = int(rp.NumRetries.Value)
		}
		if b := rp.RetryBackOff; b != nil {
			r.backoff = b.BaseInterval.AsDuration()
			r.most = 10 * r.backoff
			if b.MaxInterval != nil {
				r.most = b.MaxInterval.AsDuration()
			}
		}
	}
	return r, nil
}
