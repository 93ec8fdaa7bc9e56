package extauthz

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/ext_authz/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/match"
	"github.com/weftmesh/weft/proxy/route"
)

const (
	httpPrefix    = "envoy.extensions.filters.http.ext_authz.v3."
	networkPrefix = "envoy.extensions.filters.network.ext_authz.v3."
	typeURL       = "type.googleapis.com/"
)

// usualTimeout is Envoy's for a decision.
const usualTimeout = 200 * time.Millisecond

// HTTPKind describes the filter of requests.
func HTTPKind() filter.HTTPKind {
	return filter.HTTPKind{
		Name:       Name,
		TypeURLs:   []string{typeURL + httpPrefix + "ExtAuthz", typeURL + httpPrefix + "ExtAuthzPerRoute"},
		Parse:      parse,
		ParseRoute: parseRoute,
	}
}

// NetworkKind describes the filter of connections.
func NetworkKind() filter.NetworkKind {
	return filter.NetworkKind{Name: NetworkName, TypeURLs: []string{typeURL + networkPrefix + "ExtAuthz"}, Parse: parseNetwork}
}

var supported = strict.Table{
	httpPrefix + "ExtAuthz": "grpc_service http_service transport_api_version=V3 failure_mode_allow failure_mode_allow_header_add with_request_body " +
		"clear_route_cache status_on_error validate_mutations metadata_context_namespaces route_metadata_context_namespaces filter_enabled filter_enabled_metadata " +
		"deny_at_disable include_peer_certificate stat_prefix allowed_headers disallowed_headers include_tls_session " +
		"charge_cluster_response_stats enable_dynamic_metadata_ingestion emit_client_span=false shadow_mode decoder_header_mutation_rules",
	httpPrefix + "BufferSettings":       "max_request_bytes allow_partial_message pack_as_bytes",
	httpPrefix + "HttpService":          "server_uri path_prefix path_override authorization_request authorization_response",
	httpPrefix + "AuthorizationRequest": "allowed_headers headers_to_add",
	httpPrefix + "AuthorizationResponse": "allowed_upstream_headers allowed_upstream_headers_to_append allowed_client_headers " +
		"allowed_client_headers_on_success dynamic_metadata_from_headers",
	httpPrefix + "ExtAuthzPerRoute": "disabled check_settings",
	httpPrefix + "CheckSettings":    "context_extensions disable_request_body_buffering with_request_body grpc_service http_service emit_client_span=false",
	networkPrefix + "ExtAuthz": "stat_prefix grpc_service failure_mode_allow include_peer_certificate transport_api_version=V3 " +
		"include_tls_session filter_enabled_metadata",
	"envoy.config.core.v3.HttpUri":            "uri cluster timeout",
	"envoy.config.core.v3.HeaderValue":        "key value raw_value",
	"envoy.config.core.v3.RuntimeFeatureFlag": "default_value runtime_key",
	"envoy.type.v3.HttpStatus":                "code",
	"envoy.type.matcher.v3.ListStringMatcher": "patterns",
}

func parse(ctx *filter.ParseContext, a *anypb.Any) (filter.HTTPFactory, error) {
	m := &httpv3.ExtAuthz{}
	if err := match.Open(a, m, supported, match.SupportedServices, match.SupportedMetadata, match.SupportedRules); err != nil {
		return nil, err
	}
	c := newConfig()
	c.name, c.open, c.openHeader, c.clearRoute, c.validate = ctx.FilterName, m.FailureModeAllow, m.FailureModeAllowHeaderAdd, m.ClearRouteCache, m.ValidateMutations
	c.namespaces, c.routeSpaces = m.MetadataContextNamespaces, m.RouteMetadataContextNamespaces
	c.certificate, c.session = m.IncludePeerCertificate, m.IncludeTlsSession
	c.body = buffering(m.WithRequestBody)
	if code := int(m.GetStatusOnError().GetCode()); code > 0 {
		c.errorStatus = code
	}
	if m.FilterEnabled != nil {
		f := match.Share(ctx, m.FilterEnabled)
		c.enabled = &f
	}
	var err error
	if m.FilterEnabledMetadata != nil {
		if c.enabledFor, err = match.Metadata(m.FilterEnabledMetadata); err != nil {
			return nil, fmt.Errorf("filter_enabled_metadata.%w", err)
		}
	}
	if c.rules, err = match.HeaderRules(m.DecoderHeaderMutationRules); err != nil {
		return nil, fmt.Errorf("decoder_header_mutation_rules.%w", err)
	}
	c.shadow = m.ShadowMode
	if m.DenyAtDisable != nil {
		c.denyOff = match.Flag(ctx, m.DenyAtDisable)
	}
	if e := m.EnableDynamicMetadataIngestion; e != nil {
		c.ingest = e.Value
	}
	if c.allow, err = names(m.AllowedHeaders); err != nil {
		return nil, fmt.Errorf("allowed_headers.patterns%w", err)
	}
	if c.disallow, err = names(m.DisallowedHeaders); err != nil {
		return nil, fmt.Errorf("disallowed_headers.patterns%w", err)
	}
	if c.allow != nil && m.GetHttpService().GetAuthorizationRequest().GetAllowedHeaders() != nil {
		return nil, errors.New("http_service.authorization_request.allowed_headers: is set beside allowed_headers; want one of them")
	}
	if c.checker, err = service(ctx, m.GetGrpcService(), m.GetHttpService()); err != nil {
		return nil, err
	}
	c.countAt(ctx, m.StatPrefix)
	return &factory{c}, nil
}

// countAt finds the counters.
func (c *config) countAt(ctx *filter.ParseContext, prefix string) {
	if prefix != "" {
		prefix += "."
	}
	own := func(stat string) *filter.Counter { return ctx.Counter("ext_authz." + prefix + stat) }
	c.ok, c.denied, c.failed, c.disabled = own("ok"), own("denied"), own("error"), own("disabled")
	c.shadowDenied, c.shadowFailed = own("shadow_denied"), own("shadow_error")
	c.opened, c.invalid = own("failure_mode_allowed"), own("invalid")
	stats := ctx.Stats
	c.cluster = func(cluster, stat string) *filter.Counter {
		return stats.Counter("cluster", cluster, "ext_authz."+prefix+stat)
	}
}

// service reads which of the two kinds of services is asked.
func service(ctx *filter.ParseContext, grpc *corev3.GrpcService, plain *httpv3.HttpService) (checker, error) {
	switch {
	case grpc != nil:
		g, err := match.GRPCService(ctx, grpc, usualTimeout)
		if err != nil {
			return nil, fmt.Errorf("grpc_service.%w", err)
		}
		return &grpcService{g}, nil
	case plain != nil:
		h, err := parseHTTP(ctx, plain)
		if err != nil {
			return nil, fmt.Errorf("http_service.%w", err)
		}
		return h, nil
	}
	return nil, errors.New("services: is missing; want grpc_service or http_service")
}

func parseHTTP(ctx *filter.ParseContext, m *httpv3.HttpService) (*httpService, error) {
	u, err := url.Parse(m.GetServerUri().GetUri())
	switch {
	case err != nil:
		return nil, fmt.Errorf("server_uri.uri: %w", err)
	case ctx.Calls == nil:
		return nil, errors.New("server_uri: cannot be called here")
	case m.PathPrefix != "" && m.PathOverride != "":
		return nil, errors.New("path_override: is set beside path_prefix; want one of them")
	}
	h := &httpService{
		calls: ctx.Calls, cluster: m.ServerUri.GetCluster(), host: u.Host, timeout: m.ServerUri.GetTimeout().AsDuration(),
		prefix: m.PathPrefix, path: m.PathOverride,
	}
	for _, f := range m.GetAuthorizationRequest().GetHeadersToAdd() {
		h.add = append(h.add, filter.Field{Name: strings.ToLower(f.Key), Value: match.Value(f)})
	}
	r := m.AuthorizationResponse
	for _, l := range []struct {
		field string
		m     *matcherv3.ListStringMatcher
		to    **route.Strings
	}{
		{"authorization_request.allowed_headers", m.GetAuthorizationRequest().GetAllowedHeaders(), &h.request},
		{"authorization_response.allowed_upstream_headers", r.GetAllowedUpstreamHeaders(), &h.upstream},
		{"authorization_response.allowed_upstream_headers_to_append", r.GetAllowedUpstreamHeadersToAppend(), &h.upstreamAppend},
		{"authorization_response.allowed_client_headers", r.GetAllowedClientHeaders(), &h.client},
		{"authorization_response.allowed_client_headers_on_success", r.GetAllowedClientHeadersOnSuccess(), &h.clientSuccess},
		{"authorization_response.dynamic_metadata_from_headers", r.GetDynamicMetadataFromHeaders(), &h.metadata},
	} {
		if *l.to, err = names(l.m); err != nil {
			return nil, fmt.Errorf("%s.patterns%w", l.field, err)
		}
	}
	return h, nil
}

// names compiles patterns of header names; nil: there are none.
func names(m *matcherv3.ListStringMatcher) (*route.Strings, error) {
	if m == nil {
		return nil, nil //nolint:nilnil // there is none
	}
	t, err := match.Strings(m.Patterns...)
	return &t, err
}

func buffering(m *httpv3.BufferSettings) bodies {
	return bodies{max: int(m.GetMaxRequestBytes()), partial: m.GetAllowPartialMessage(), raw: m.GetPackAsBytes()}
}

func parseRoute(ctx *filter.ParseContext, a *anypb.Any) (any, error) {
	m := &httpv3.ExtAuthzPerRoute{}
	if err := match.Open(a, m, supported, match.SupportedServices); err != nil {
		return nil, err
	}
	s := m.GetCheckSettings()
	p := &perRoute{disabled: m.GetDisabled(), context: s.GetContextExtensions(), noBody: s.GetDisableRequestBodyBuffering()}
	if s.GetWithRequestBody() != nil {
		if p.noBody {
			return nil, errors.New("check_settings.with_request_body: is set beside disable_request_body_buffering; want one of them")
		}
		b := buffering(s.WithRequestBody)
		p.body = &b
	}
	if s.GetServiceOverride() != nil {
		var err error
		if p.checker, err = service(ctx, s.GetGrpcService(), s.GetHttpService()); err != nil {
			return nil, fmt.Errorf("check_settings.%w", err)
		}
	}
	return p, nil
}

func parseNetwork(ctx *filter.ParseContext, a *anypb.Any) (filter.NetworkFactory, error) {
	m := &networkv3.ExtAuthz{}
	if err := match.Open(a, m, supported, match.SupportedServices, match.SupportedMetadata); err != nil {
		return nil, err
	}
	g, err := match.GRPCService(ctx, m.GrpcService, usualTimeout)
	if err != nil {
		return nil, fmt.Errorf("grpc_service.%w", err)
	}
	if g.Timeout <= 0 {
		return nil, errors.New("grpc_service.timeout: 0 would hold connections up without end")
	}
	var only *route.MetadataTest
	if m.FilterEnabledMetadata != nil {
		if only, err = match.Metadata(m.FilterEnabledMetadata); err != nil {
			return nil, fmt.Errorf("filter_enabled_metadata.%w", err)
		}
	}
	s := &grpcService{g}
	counter := func(stat string) *filter.Counter { return ctx.Stats.Counter("ext_authz", m.StatPrefix, stat) }
	return &connections{
		ask: func(info *filter.ConnInfo, done func(*decision)) func() {
			return s.ask(&authv3.CheckRequest{Attributes: peers(info, m.IncludePeerCertificate, m.IncludeTlsSession)}, done)
		},
		only: only, disabled: counter("disabled"),
		open: m.FailureModeAllow, total: counter("total"), ok: counter("ok"), denied: counter("denied"), failed: counter("error"),
		opened: counter("failure_mode_allowed"), closed: counter("cx_closed"), active: ctx.Stats.Gauge("ext_authz", m.StatPrefix, "active"),
	}, nil
}
