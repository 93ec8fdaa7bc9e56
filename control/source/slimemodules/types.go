package slimemodules

import "strings"

// known filters by name: the message of their configuration, and that of a route's; "-": the same, "": none. What is
// not here has to say its type_url.
var filterTypes = map[string][2]string{
	"adaptive_concurrency": {"adaptive_concurrency.v3.AdaptiveConcurrency", ""},
	"admission_control":    {"admission_control.v3.AdmissionControl", ""},
	"bandwidth_limit":      {"bandwidth_limit.v3.BandwidthLimit", "-"},
	"basic_auth":           {"basic_auth.v3.BasicAuth", "basic_auth.v3.BasicAuthPerRoute"},
	"buffer":               {"buffer.v3.Buffer", "buffer.v3.BufferPerRoute"},
	"cdn_loop":             {"cdn_loop.v3.CdnLoopConfig", ""},
	"compressor":           {"compressor.v3.Compressor", "compressor.v3.CompressorPerRoute"},
	"cors":                 {"cors.v3.Cors", "cors.v3.CorsPolicy"},
	"csrf":                 {"csrf.v3.CsrfPolicy", "-"},
	"decompressor":         {"decompressor.v3.Decompressor", ""},
	"ext_authz":            {"ext_authz.v3.ExtAuthz", "ext_authz.v3.ExtAuthzPerRoute"},
	"ext_proc":             {"ext_proc.v3.ExternalProcessor", "ext_proc.v3.ExtProcPerRoute"},
	"fault":                {"fault.v3.HTTPFault", "-"},
	"grpc_http1_bridge":    {"grpc_http1_bridge.v3.Config", ""},
	"grpc_json_transcoder": {"grpc_json_transcoder.v3.GrpcJsonTranscoder", "-"},
	"grpc_stats":           {"grpc_stats.v3.FilterConfig", ""},
	"grpc_web":             {"grpc_web.v3.GrpcWeb", ""},
	"header_mutation":      {"header_mutation.v3.HeaderMutation", "header_mutation.v3.HeaderMutationPerRoute"},
	"header_to_metadata":   {"header_to_metadata.v3.Config", "-"},
	"health_check":         {"health_check.v3.HealthCheck", ""},
	"ip_tagging":           {"ip_tagging.v3.IPTagging", ""},
	"jwt_authn":            {"jwt_authn.v3.JwtAuthentication", "jwt_authn.v3.PerRouteConfig"},
	"local_ratelimit":      {"local_ratelimit.v3.LocalRateLimit", "-"},
	"lua":                  {"lua.v3.Lua", "lua.v3.LuaPerRoute"},
	"oauth2":               {"oauth2.v3.OAuth2", ""},
	"on_demand":            {"on_demand.v3.OnDemand", "on_demand.v3.PerRouteConfig"},
	"original_src":         {"original_src.v3.OriginalSrc", ""},
	"ratelimit":            {"ratelimit.v3.RateLimit", "ratelimit.v3.RateLimitPerRoute"},
	"rbac":                 {"rbac.v3.RBAC", "rbac.v3.RBACPerRoute"},
	"set_metadata":         {"set_metadata.v3.Config", ""},
	"stateful_session":     {"stateful_session.v3.StatefulSession", "stateful_session.v3.StatefulSessionPerRoute"},
}

// typeOf is the type URL of a filter's configuration, or of that of a route; "": it is not known.
func typeOf(name string, route bool) string {
	short, ok := strings.CutPrefix(name, "envoy.filters.http.")
	if !ok {
		short = strings.TrimPrefix(name, "envoy.")
	}
	t := filterTypes[short]
	message := t[0]
	if route && t[1] != "-" {
		message = t[1]
	}
	if message == "" {
		return ""
	}
	return "type.googleapis.com/envoy.extensions.filters.http." + message
}
