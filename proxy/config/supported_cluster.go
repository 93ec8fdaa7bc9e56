package config

import "github.com/weftmesh/weft/base/strict"

const internalUpstream = "envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport"

// supportedCluster lists the supported fields of clusters and endpoints.
var supportedCluster = strict.Table{
	"envoy.config.cluster.v3.Cluster": "transport_socket_matches name alt_stat_name type eds_cluster_config connect_timeout lb_policy " +
		"load_assignment max_requests_per_connection circuit_breakers common_http_protocol_options http2_protocol_options http_protocol_options " +
		"typed_extension_protocol_options dns_refresh_rate dns_failure_refresh_rate respect_dns_ttl dns_lookup_family outlier_detection " +
		"cleanup_interval upstream_bind_config lb_subset_config ring_hash_lb_config maglev_lb_config original_dst_lb_config " +
		"least_request_lb_config round_robin_lb_config common_lb_config transport_socket metadata~ upstream_connection_options " +
		"ignore_health_on_host_removal health_checks load_balancing_policy cluster_type wait_for_warm_on_init=true dns_jitter filters typed_dns_resolver_config preconnect_policy per_connection_buffer_limit_bytes lrs_report_endpoint_metrics " +
		"close_connections_on_host_health_failure connection_pool_per_downstream_connection track_cluster_stats",
	"envoy.config.cluster.v3.TrackClusterStats":        "timeout_budgets request_response_sizes per_endpoint_stats",
	"envoy.config.cluster.v3.Cluster.PreconnectPolicy": "per_upstream_preconnect_ratio predictive_preconnect_ratio",
	// Each question has a socket of its own.
	"envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig": "udp_max_queries",
	"envoy.config.cluster.v3.Filter":                                        "name typed_config~",
	"envoy.config.cluster.v3.Cluster.CustomClusterType":                     "name typed_config",
	"envoy.config.cluster.v3.Cluster.EdsClusterConfig":                      "eds_config service_name",
	"envoy.config.cluster.v3.Cluster.RingHashLbConfig":                      "minimum_ring_size maximum_ring_size hash_function",
	"envoy.config.cluster.v3.Cluster.MaglevLbConfig":                        "table_size",
	"envoy.config.cluster.v3.Cluster.LeastRequestLbConfig":                  "choice_count slow_start_config active_request_bias",
	"envoy.config.cluster.v3.Cluster.RoundRobinLbConfig":                    "slow_start_config",
	"envoy.config.cluster.v3.Cluster.SlowStartConfig":                       "slow_start_window aggression min_weight_percent",
	"envoy.config.core.v3.RuntimeDouble":                                    "default_value runtime_key",
	"envoy.config.cluster.v3.Cluster.OriginalDstLbConfig":                   "use_http_header http_header_name upstream_port_override metadata_key",
	"envoy.config.cluster.v3.Cluster.CommonLbConfig": "healthy_panic_threshold zone_aware_lb_config locality_weighted_lb_config " +
		"consistent_hashing_lb_config update_merge_window ignore_new_hosts_until_first_hc close_connections_on_host_set_change",
	"envoy.config.cluster.v3.Cluster.CommonLbConfig.ZoneAwareLbConfig":         "routing_enabled min_cluster_size fail_traffic_on_panic",
	"envoy.config.cluster.v3.Cluster.CommonLbConfig.LocalityWeightedLbConfig":  "",
	"envoy.config.cluster.v3.Cluster.CommonLbConfig.ConsistentHashingLbConfig": "use_hostname_for_hashing hash_balance_factor",
	"envoy.config.cluster.v3.Cluster.LbSubsetConfig":                           "fallback_policy default_subset subset_selectors panic_mode_any list_as_any locality_weight_aware scale_locality_weight",
	"envoy.config.cluster.v3.Cluster.LbSubsetConfig.LbSubsetSelector":          "keys single_host_per_subset fallback_policy fallback_keys_subset",
	"envoy.config.cluster.v3.Cluster.RefreshRate":                              "base_interval max_interval",
	"envoy.config.cluster.v3.Cluster.TransportSocketMatch":                     "name match transport_socket",
	"envoy.config.cluster.v3.UpstreamConnectionOptions":                        "tcp_keepalive",
	"envoy.config.core.v3.TcpKeepalive":                                        "keepalive_probes keepalive_time keepalive_interval",
	"envoy.config.cluster.v3.CircuitBreakers":                                  "thresholds per_host_thresholds",
	"envoy.config.cluster.v3.CircuitBreakers.Thresholds": "priority max_connections max_pending_requests max_requests max_retries " +
		"retry_budget track_remaining",
	"envoy.config.cluster.v3.CircuitBreakers.Thresholds.RetryBudget": "budget_percent min_retry_concurrency budget_interval",
	"envoy.config.cluster.v3.OutlierDetection": "consecutive_5xx interval base_ejection_time max_ejection_percent enforcing_consecutive_5xx " +
		"enforcing_success_rate success_rate_minimum_hosts success_rate_request_volume success_rate_stdev_factor consecutive_gateway_failure " +
		"enforcing_consecutive_gateway_failure split_external_local_origin_errors consecutive_local_origin_failure " +
		"enforcing_consecutive_local_origin_failure enforcing_local_origin_success_rate failure_percentage_threshold " +
		"enforcing_failure_percentage enforcing_failure_percentage_local_origin failure_percentage_minimum_hosts " +
		"failure_percentage_request_volume max_ejection_time max_ejection_time_jitter always_eject_one_host successful_active_health_check_uneject_host",
	"envoy.config.core.v3.BindConfig":         "source_address extra_source_addresses socket_options freebind",
	"envoy.config.core.v3.SocketOption":       "description level name int_value state",
	"envoy.config.core.v3.ExtraSourceAddress": "address",

	"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": "common_http_protocol_options upstream_http_protocol_options " +
		"explicit_http_config use_downstream_protocol_config auto_config outlier_detection hash_policy",
	"envoy.extensions.upstreams.http.v3.HttpProtocolOptions.OutlierDetection":        "error_matcher",
	"envoy.config.common.matcher.v3.MatchPredicate":                                  "or_match and_match not_match any_match http_response_headers_match",
	"envoy.config.common.matcher.v3.MatchPredicate.MatchSet":                         "rules",
	"envoy.config.common.matcher.v3.HttpHeadersMatch":                                "headers",
	"envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig":      "http_protocol_options http2_protocol_options",
	"envoy.extensions.upstreams.http.v3.HttpProtocolOptions.UseDownstreamHttpConfig": "http_protocol_options http2_protocol_options",
	"envoy.extensions.upstreams.http.v3.HttpProtocolOptions.AutoHttpConfig":          "http_protocol_options http2_protocol_options",
	"envoy.config.core.v3.UpstreamHttpProtocolOptions":                               "auto_sni auto_san_validation",
	"envoy.config.core.v3.HttpProtocolOptions": "idle_timeout max_connection_duration max_headers_count max_stream_duration " +
		"max_requests_per_connection headers_with_underscores_action",
	"envoy.config.core.v3.Http1ProtocolOptions":                                            "allow_absolute_url=true accept_http_10 default_host_for_http_10 enable_trailers header_key_format",
	"envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat":                            "proper_case_words stateful_formatter",
	"envoy.config.core.v3.Http1ProtocolOptions.HeaderKeyFormat.ProperCaseWords":            "",
	"envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig": "forward_reason_phrase=false formatter_type_on_envoy_headers",
	"envoy.config.core.v3.Http2ProtocolOptions": "max_concurrent_streams initial_stream_window_size initial_connection_window_size " +
		"allow_connect connection_keepalive",
	"envoy.config.core.v3.KeepaliveSettings": "interval timeout",

	"envoy.config.endpoint.v3.ClusterLoadAssignment":                     "cluster_name endpoints policy",
	"envoy.config.endpoint.v3.ClusterLoadAssignment.Policy":              "drop_overloads overprovisioning_factor weighted_priority_health endpoint_stale_after",
	"envoy.config.endpoint.v3.ClusterLoadAssignment.Policy.DropOverload": "category drop_percentage",
	"envoy.config.endpoint.v3.LocalityLbEndpoints":                       "locality metadata~ lb_endpoints load_balancing_weight priority",
	"envoy.config.endpoint.v3.LbEndpoint":                                "endpoint health_status metadata~ load_balancing_weight",
	"envoy.config.endpoint.v3.Endpoint":                                  "address hostname additional_addresses health_check_config",
	"envoy.config.endpoint.v3.Endpoint.HealthCheckConfig":                "port_value hostname address disable_active_health_check",
	"envoy.config.endpoint.v3.Endpoint.AdditionalAddress":                "address",
	"envoy.config.core.v3.Locality":                                      "region zone sub_zone",
	"envoy.config.core.v3.Address":                                       "socket_address pipe envoy_internal_address",
	"envoy.config.core.v3.EnvoyInternalAddress":                          "server_listener_name endpoint_id",
	"envoy.config.core.v3.SocketAddress":                                 "protocol address port_value ipv4_compat",
	"envoy.config.core.v3.Pipe":                                          "path",
	"envoy.type.v3.Percent":                                              "value",
}

// supportedSource lists the supported fields of configuration sources.
var supportedSource = strict.Table{
	"envoy.config.core.v3.ConfigSource":           "api_config_source ads path path_config_source initial_fetch_timeout resource_api_version=V3",
	"envoy.config.core.v3.AggregatedConfigSource": "",
	// Secrets only. Files are looked at however they are replaced.
	"envoy.config.core.v3.PathConfigSource":      "path watched_directory",
	"envoy.config.core.v3.WatchedDirectory":      "path",
	"envoy.config.core.v3.ApiConfigSource":       "api_type transport_api_version=V3 grpc_services set_node_on_first_message_only",
	"envoy.config.core.v3.GrpcService":           "envoy_grpc initial_metadata timeout",
	"envoy.config.core.v3.GrpcService.EnvoyGrpc": "cluster_name authority",
}

// supportedTLS lists the supported fields of transport sockets and secrets.
var supportedTLS = strict.Table{
	"envoy.config.core.v3.TransportSocket":                                                "name typed_config",
	"envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer":                          "",
	"envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport": "config transport_socket",
	"envoy.config.core.v3.ProxyProtocolConfig":                                            "version pass_through_tlvs added_tlvs",
	"envoy.config.core.v3.ProxyProtocolPassThroughTLVs":                                   "match_type tlv_type",
	"envoy.config.core.v3.PerHostConfig":                                                  "added_tlvs",
	"envoy.config.core.v3.TlvEntry":                                                       "type value format_string",
	internalUpstream:                                                                      "passthrough_metadata transport_socket",
	internalUpstream + ".MetadataValueSource":                                             "kind name",
	"envoy.type.metadata.v3.MetadataKind.Cluster":                                         "",
	"envoy.type.metadata.v3.MetadataKind.Host":                                            "",
	"envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext":                        "common_tls_context sni auto_host_sni auto_sni_san_validation max_session_keys enforce_rsa_key_usage=false allow_renegotiation=false",
	"envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext": "common_tls_context require_client_certificate disable_stateless_session_resumption disable_stateful_session_resumption require_sni=false " +
		"session_ticket_keys session_ticket_keys_sds_secret_config ocsp_staple_policy",
	"envoy.extensions.transport_sockets.tls.v3.TlsSessionTicketKeys":  "keys",
	"envoy.extensions.transport_sockets.tls.v3.CommonTlsContext":      "tls_params tls_certificates tls_certificate_sds_secret_configs validation_context validation_context_sds_secret_config combined_validation_context alpn_protocols",
	"envoy.extensions.transport_sockets.tls.v3.TlsParameters":         "tls_minimum_protocol_version tls_maximum_protocol_version cipher_suites ecdh_curves",
	"envoy.extensions.transport_sockets.tls.v3.TlsCertificate":        "certificate_chain private_key ocsp_staple watched_directory",
	"envoy.extensions.transport_sockets.tls.v3.SdsSecretConfig":       "name sds_config",
	"envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher": "san_type matcher",
	"envoy.extensions.transport_sockets.tls.v3.Secret":                "name tls_certificate validation_context session_ticket_keys",
	"envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext": "trusted_ca match_typed_subject_alt_names match_subject_alt_names " +
		"verify_certificate_spki verify_certificate_hash trust_chain_verification crl only_verify_leaf_cert_crl custom_validator_config watched_directory",
	"envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig":                             "trust_domains",
	"envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig.TrustDomain":                 "name trust_bundle",
	"envoy.extensions.transport_sockets.tls.v3.CommonTlsContext.CombinedCertificateValidationContext": "default_validation_context validation_context_sds_secret_config",
}
