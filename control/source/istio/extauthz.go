package istio

import (
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	meshpb "istio.io/api/mesh/v1alpha1"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// authorizer reads a provider for CUSTOM policies; nil when it is for something else.
func authorizer(d *document.Document, at string, p *meshpb.MeshConfig_ExtensionProvider) *model.ExtAuthz {
	var out *model.ExtAuthz
	provider := at
	switch v := p.GetProvider().(type) {
	case *meshpb.MeshConfig_ExtensionProvider_EnvoyExtAuthzHttp:
		at += ".envoyExtAuthzHttp"
		h := v.EnvoyExtAuthzHttp
		out = &model.ExtAuthz{
			Timeout: h.GetTimeout().AsDuration(), FailOpen: h.GetFailOpen(), ClearRouteCache: h.GetClearRouteCache(),
			StatusOnError: statusOnError(d, at, h.GetStatusOnError()), Body: checkedBody(d, at, h.GetIncludeRequestBodyInCheck()),
			PathPrefix: h.GetPathPrefix(), AddHeaders: h.GetIncludeAdditionalHeadersInCheck(),
			RequestHeaders: h.GetIncludeRequestHeadersInCheck(), UpstreamOnAllow: h.GetHeadersToUpstreamOnAllow(),
			DownstreamOnDeny: h.GetHeadersToDownstreamOnDeny(), DownstreamOK: h.GetHeadersToDownstreamOnAllow(),
		}
		out.Service, out.Port = service(d, at, h.GetService(), h.GetPort())
		older := h.GetIncludeHeadersInCheck() //nolint:staticcheck // deprecated, and in use
		if len(out.RequestHeaders) == 0 {
			out.RequestHeaders = older
		}
		if u, err := url.Parse(out.PathPrefix); out.PathPrefix != "" && (err != nil || !strings.HasPrefix(u.Path, "/")) {
			d.Invalid(at+".pathPrefix", "begin it with /", "%q is no path", out.PathPrefix)
		}
		headerPatterns(d, at+".includeRequestHeadersInCheck", out.RequestHeaders)
		headerPatterns(d, at+".headersToUpstreamOnAllow", out.UpstreamOnAllow)
		headerPatterns(d, at+".headersToDownstreamOnDeny", out.DownstreamOnDeny)
		headerPatterns(d, at+".headersToDownstreamOnAllow", out.DownstreamOK)
	case *meshpb.MeshConfig_ExtensionProvider_EnvoyExtAuthzGrpc:
		at += ".envoyExtAuthzGrpc"
		g := v.EnvoyExtAuthzGrpc
		out = &model.ExtAuthz{
			GRPC: true, Timeout: g.GetTimeout().AsDuration(), FailOpen: g.GetFailOpen(), ClearRouteCache: g.GetClearRouteCache(),
			StatusOnError: statusOnError(d, at, g.GetStatusOnError()), Body: checkedBody(d, at, g.GetIncludeRequestBodyInCheck()),
		}
		out.Service, out.Port = service(d, at, g.GetService(), g.GetPort())
	default:
		return nil
	}
	out.Name = p.GetName()
	// The name is part of the names of rules, by which the filters find each other.
	if !document.IsLabel(out.Name) {
		d.Invalid(provider+".name", "use lower-case letters, digits and '-'", "%q is not a valid name", out.Name)
	}
	if out.Timeout < 0 {
		d.Invalid(at+".timeout", "", "must not be negative, got %v", out.Timeout)
	}
	return out
}

func statusOnError(d *document.Document, at, status string) int {
	if status == "" {
		return 0
	}
	n, err := strconv.Atoi(status)
	if err != nil || http.StatusText(n) == "" {
		d.Invalid(at+".statusOnError", "write e.g. 503", "%q is no HTTP status", status)
	}
	return n
}

func checkedBody(d *document.Document, at string, p *meshpb.MeshConfig_ExtensionProvider_EnvoyExternalAuthorizationRequestBody) *model.ExtAuthzBody {
	if p == nil {
		return nil
	}
	if p.GetMaxRequestBytes() == 0 {
		d.Invalid(at+".includeRequestBodyInCheck.maxRequestBytes", "write how many bytes are sent", "must be greater than 0")
	}
	return &model.ExtAuthzBody{MaxBytes: p.GetMaxRequestBytes(), Partial: p.GetAllowPartialMessage(), AsBytes: p.GetPackAsBytes()}
}

func headerPatterns(d *document.Document, field string, list []string) {
	for i, v := range list {
		switch {
		case v == "" || v == "*":
			d.Invalid(document.At(field, i), `write a name, "abc*" or "*abc"`, "%q names no headers", v)
		case strings.Contains(strings.TrimSuffix(strings.TrimPrefix(v, "*"), "*"), "*"), strings.Count(v, "*") > 1:
			d.Invalid(document.At(field, i), `write "abc*" or "*abc"`, "%q: \"*\" is allowed at one end only", v)
		}
	}
}

// Istio's settings of istiod, which here are keys of defaultConfig.proxyMetadata.
const (
	jwksFetch   = "PILOT_JWT_ENABLE_REMOTE_JWKS"
	jwksRefresh = "PILOT_JWT_PUB_KEY_REFRESH_INTERVAL"
	jwksBlocked = "BLOCKED_CIDRS_IN_JWKS_URIS"
)

// jwksSetting reads one of them; false: it is none.
func jwksSetting(d *document.Document, m *model.Mesh, field, key, v string) bool {
	switch key {
	case jwksFetch:
		switch v {
		case "", "false", "istiod":
			m.JWKS.Fetch = model.FetchControl
		case "true", "hybrid":
			m.JWKS.Fetch = model.FetchHybrid
		case "envoy":
			m.JWKS.Fetch = model.FetchProxy
		default:
			d.Invalid(field, "write istiod, hybrid or envoy", "%q says nobody who fetches keys", v)
		}
	case jwksRefresh:
		every, err := time.ParseDuration(v)
		if err != nil || every < time.Second {
			d.Invalid(field, `write e.g. "20m"`, "must be a duration of 1s or more, got %q", v)
		}
		m.JWKS.Refresh = every
	case jwksBlocked:
		for s := range strings.SplitSeq(v, ",") {
			p, err := netip.ParsePrefix(strings.TrimSpace(s))
			if err != nil {
				d.Invalid(field, "write e.g. 169.254.0.0/16,10.0.0.0/8", "%q is no CIDR", s)
				continue
			}
			m.JWKS.Blocked = append(m.JWKS.Blocked, p.Masked())
		}
	default:
		return false
	}
	return true
}
