package config

import "github.com/weftmesh/weft/base/strict"

const headerOps = " request_headers_to_add request_headers_to_remove response_headers_to_add response_headers_to_remove "

// supportedRoute lists the supported fields of route configurations.
var supportedRoute = strict.Table{
	"envoy.config.route.v3.RouteConfiguration": "name virtual_hosts most_specific_header_mutations_wins validate_clusters=false " +
		"request_mirror_policies ignore_port_in_host_matching typed_per_filter_config~ metadata~ " +
		"max_direct_response_body_size_bytes vhds" + headerOps,
	"envoy.config.route.v3.Vhds":                                  "config_source",
	"envoy.config.route.v3.ScopedRouteConfiguration":              "name on_demand route_configuration_name route_configuration key",
	"envoy.config.route.v3.ScopedRouteConfiguration.Key":          "fragments",
	"envoy.config.route.v3.ScopedRouteConfiguration.Key.Fragment": "string_key",
	"envoy.config.route.v3.VirtualHost": "name domains routes matcher require_tls typed_per_filter_config~ retry_policy metadata~ " +
		"include_request_attempt_count include_attempt_count_in_response include_is_timeout_retry_header hedge_policy request_mirror_policies rate_limits virtual_clusters" + headerOps,
	"envoy.config.route.v3.VirtualCluster": "headers name",
	"envoy.config.route.v3.Route":          "name match route redirect direct_response metadata~ decorator typed_per_filter_config~ stat_prefix" + headerOps,

	"envoy.config.route.v3.RouteList":                                        "routes",
	"envoy.service.runtime.v3.Runtime":                                       "name layer",
	"envoy.type.matcher.v3.HttpRequestHeaderMatchInput":                      "header_name",
	"envoy.extensions.matching.common_inputs.environment_variable.v3.Config": "name",

	"envoy.config.route.v3.RouteMatch": "prefix path safe_regex connect_matcher path_separated_prefix case_sensitive " +
		"runtime_fraction headers query_parameters cookies grpc tls_context path_match_policy dynamic_metadata",
	"envoy.config.route.v3.RouteMatch.ConnectMatcher":                    "",
	"envoy.config.route.v3.RouteMatch.GrpcRouteMatchOptions":             "",
	"envoy.config.route.v3.RouteMatch.TlsContextMatchOptions":            "presented validated",
	"envoy.config.route.v3.CookieMatcher":                                "name string_match invert_match",
	"envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig": "path_template",

	"envoy.config.route.v3.RouteAction": "cluster cluster_header weighted_clusters cluster_not_found_response_code metadata_match~ " +
		"prefix_rewrite regex_rewrite path_rewrite_policy host_rewrite_literal auto_host_rewrite host_rewrite_header host_rewrite_path_regex " +
		"append_x_forwarded_host timeout idle_timeout retry_policy hedge_policy request_mirror_policies priority hash_policy " +
		"rate_limits include_vh_rate_limits max_grpc_timeout grpc_timeout_offset upgrade_configs max_stream_duration internal_redirect_policy",
	"envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig": "path_template_rewrite",
	"envoy.config.route.v3.WeightedCluster":                                  "clusters total_weight runtime_key_prefix header_name use_hash_policy",
	"envoy.config.route.v3.WeightedCluster.ClusterWeight": "name cluster_header weight metadata_match~ typed_per_filter_config~ " +
		"host_rewrite_literal" + headerOps,
	"envoy.config.route.v3.RouteAction.UpgradeConfig":                   "upgrade_type enabled connect_config",
	"envoy.config.route.v3.RouteAction.UpgradeConfig.ConnectConfig":     "proxy_protocol_config allow_post",
	"envoy.config.route.v3.RouteAction.HashPolicy":                      "header cookie connection_properties query_parameter terminal",
	"envoy.config.route.v3.RouteAction.HashPolicy.Header":               "header_name regex_rewrite",
	"envoy.config.route.v3.RouteAction.HashPolicy.Cookie":               "name ttl path attributes",
	"envoy.config.route.v3.RouteAction.HashPolicy.CookieAttribute":      "name value",
	"envoy.config.route.v3.RouteAction.HashPolicy.ConnectionProperties": "source_ip",
	"envoy.config.route.v3.RouteAction.HashPolicy.QueryParameter":       "name",
	"envoy.config.route.v3.RouteAction.RequestMirrorPolicy":             "cluster cluster_header runtime_fraction trace_sampled disable_shadow_host_suffix_append host_rewrite_literal",
	"envoy.config.route.v3.RouteAction.MaxStreamDuration":               "max_stream_duration grpc_timeout_header_max grpc_timeout_header_offset",

	"envoy.config.route.v3.InternalRedirectPolicy": "max_internal_redirects redirect_response_codes predicates allow_cross_scheme_redirect " +
		"response_headers_to_copy",
	"envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig": "allowed_route_names",
	"envoy.extensions.internal_redirect.previous_routes.v3.PreviousRoutesConfig":        "",
	"envoy.extensions.internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig":     "",

	"envoy.config.route.v3.RetryPolicy": "retry_on num_retries per_try_timeout per_try_idle_timeout retry_priority retry_host_predicate " +
		"host_selection_retry_max_attempts retriable_status_codes retry_back_off rate_limited_retry_back_off retriable_headers retriable_request_headers",
	"envoy.config.route.v3.HedgePolicy":                                               "initial_requests additional_request_chance hedge_on_per_try_timeout", // the first two without effect, as in Envoy
	"envoy.config.route.v3.RetryPolicy.RetryBackOff":                                  "base_interval max_interval",
	"envoy.config.route.v3.RetryPolicy.RetryHostPredicate":                            "name typed_config",
	"envoy.config.route.v3.RetryPolicy.RetryPriority":                                 "name typed_config",
	"envoy.config.route.v3.RetryPolicy.RateLimitedRetryBackOff":                       "reset_headers max_interval",
	"envoy.config.route.v3.RetryPolicy.ResetHeader":                                   "name format",
	"envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate":       "",
	"envoy.extensions.retry.host.omit_host_metadata.v3.OmitHostMetadataConfig":        "metadata_match~",
	"envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate":            "",
	"envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig": "update_frequency",

	"envoy.config.route.v3.RedirectAction": "https_redirect scheme_redirect host_redirect port_redirect path_redirect prefix_rewrite " +
		"regex_rewrite response_code strip_query",
	"envoy.config.route.v3.DirectResponseAction": "status body",
	"envoy.config.route.v3.Decorator":            "operation propagate=false",
	"envoy.config.route.v3.FilterConfig":         "config~ is_optional disabled",

	"envoy.type.matcher.v3.RegexMatchAndSubstitute": "pattern substitution",
	"envoy.config.core.v3.DataSource":               "filename inline_bytes inline_string environment_variable",
}
