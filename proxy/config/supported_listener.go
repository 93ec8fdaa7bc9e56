package config

import "github.com/weftmesh/weft/base/strict"

const hcm = "envoy.extensions.filters.network.http_connection_manager.v3."

const networkInputs = "envoy.extensions.matching.common_inputs.network.v3."

const proxyProto = "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"

// supportedListener lists the supported fields of listeners and of what is in
// them. The configurations of HTTP and network filters are the filters' own
// business: their parsers refuse what they do not support.
var supportedListener = strict.Table{
	"envoy.config.listener.v3.Listener": "name address additional_addresses filter_chains use_original_dst default_filter_chain " +
		"per_connection_buffer_limit_bytes metadata~ deprecated_v1 drain_type listener_filters listener_filters_timeout " +
		"continue_on_listener_filters_timeout transparent freebind traffic_direction connection_balance_config enable_reuse_port " +
		"tcp_backlog_size bind_to_port tcp_keepalive access_log internal_listener filter_chain_matcher " +
		"max_connections_to_accept_per_socket_event ignore_global_conn_limit bypass_overload_manager udp_listener_config", // connections are accepted one by one
	"envoy.config.listener.v3.Listener.InternalListenerConfig": "",
	"envoy.config.listener.v3.UdpListenerConfig":               "downstream_socket_config",
	"envoy.config.core.v3.UdpSocketConfig":                     "max_rx_datagram_size prefer_gro",
	"envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig": "stat_prefix cluster matcher idle_timeout use_original_src_ip hash_policies " +
		"upstream_socket_config use_per_packet_load_balancing access_log proxy_access_log access_log_options",
	"envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig.HashPolicy":          "source_ip key",
	"envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig.UdpAccessLogOptions": "access_log_flush_interval",
	"envoy.extensions.filters.udp.udp_proxy.v3.Route":                              "cluster",
	networkInputs + "DestinationIPInput":                                           "",
	networkInputs + "DestinationPortInput":                                         "",
	networkInputs + "SourceIPInput":                                                "",
	networkInputs + "SourcePortInput":                                              "",
	networkInputs + "DirectSourceIPInput":                                          "",
	networkInputs + "SourceTypeInput":                                              "",
	networkInputs + "ServerNameInput":                                              "",
	networkInputs + "TransportProtocolInput":                                       "",
	networkInputs + "ApplicationProtocolInput":                                     "",
	networkInputs + "FilterStateInput":                                             "key",
	networkInputs + "DynamicMetadataInput":                                         "filter path",
	networkInputs + "DynamicMetadataInput.PathSegment":                             "key",
	networkInputs + "NetworkNamespaceInput":                                        "",
	"envoy.config.listener.v3.AdditionalAddress":                                   "address",
	"envoy.config.listener.v3.Listener.DeprecatedV1":                               "bind_to_port",
	"envoy.config.listener.v3.Listener.ConnectionBalanceConfig":                    "exact_balance",
	// Connections go to the event loops in turns anyhow, whichever socket they came from.
	"envoy.config.listener.v3.Listener.ConnectionBalanceConfig.ExactBalance": "",
	"envoy.config.listener.v3.FilterChain": "filter_chain_match filters metadata~ transport_socket transport_socket_connect_timeout name " +
		"use_proxy_proto",
	"envoy.config.listener.v3.FilterChainMatch": "destination_port prefix_ranges direct_source_prefix_ranges source_type source_prefix_ranges " +
		"source_ports server_names transport_protocol application_protocols",
	"envoy.config.listener.v3.Filter":                                     "name typed_config~ config_discovery",
	"envoy.config.listener.v3.ListenerFilter":                             "name typed_config filter_disabled config_discovery",
	"envoy.config.listener.v3.ListenerFilterChainMatchPredicate":          "or_match and_match not_match any_match destination_port_range",
	"envoy.config.listener.v3.ListenerFilterChainMatchPredicate.MatchSet": "rules",
	"envoy.type.v3.Int32Range":                                            "start end",
	"envoy.extensions.filters.listener.original_dst.v3.OriginalDst":       "",
	// bind_port is not implemented in Envoy either.
	"envoy.extensions.filters.listener.original_src.v3.OriginalSrc": "mark bind_port=false",
	"envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector": "enable_ja3_fingerprinting=false enable_ja4_fingerprinting=false " +
		"initial_read_buffer_size", // it grows with what is read anyway
	"envoy.extensions.filters.listener.http_inspector.v3.HttpInspector": "",
	proxyProto:                   "rules allow_requests_without_proxy_protocol disallowed_versions stat_prefix tlv_location",
	proxyProto + ".Rule":         "tlv_type on_tlv_present",
	proxyProto + ".KeyValuePair": "metadata_namespace key value_string_encoding",

	"weft.wire.v1.MessageProxy": "protocol manager declared~ module",

	hcm + "HttpConnectionManager": "codec_type stat_prefix rds route_config scoped_routes http_filters tracing common_http_protocol_options http_protocol_options " +
		"http2_protocol_options server_name server_header_transformation max_request_headers_kb stream_idle_timeout request_timeout " +
		"request_headers_timeout drain_timeout delayed_close_timeout access_log access_log_flush_interval flush_access_log_on_new_request access_log_options use_remote_address xff_num_trusted_hops " +
		"internal_address_config skip_xff_append via generate_request_id preserve_external_request_id always_set_request_id_in_response " +
		"forward_client_cert_details set_current_client_cert_details proxy_100_continue upgrade_configs normalize_path merge_slashes " +
		"path_with_escaped_slashes_action append_x_forwarded_port local_reply_config original_ip_detection_extensions " +
		"scheme_header_transformation request_id_extension strip_matching_host_port strip_any_host_port strip_trailing_host_dot",
	hcm + "HttpConnectionManager.HcmAccessLogOptions":         "access_log_flush_interval flush_access_log_on_new_request flush_log_on_tunnel_successfully_established",
	hcm + "LocalReplyConfig":                                  "mappers body_format",
	hcm + "ResponseMapper":                                    "filter status_code body body_format_override headers_to_add",
	hcm + "RequestIDExtension":                                "typed_config",
	"envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig": "pack_trace_reason use_request_id_for_trace_sampling",
	hcm + "Rds":                                          "config_source route_config_name",
	hcm + "ScopedRoutes":                                 "name scope_key_builder rds_config_source scoped_route_configurations_list scoped_rds",
	hcm + "ScopedRouteConfigurationsList":                "scoped_route_configurations",
	hcm + "ScopedRds":                                    "scoped_rds_config_source",
	hcm + "ScopedRoutes.ScopeKeyBuilder":                 "fragments",
	hcm + "ScopedRoutes.ScopeKeyBuilder.FragmentBuilder": "header_value_extractor",
	hcm + "ScopedRoutes.ScopeKeyBuilder.FragmentBuilder.HeaderValueExtractor":           "name element_separator index element",
	hcm + "ScopedRoutes.ScopeKeyBuilder.FragmentBuilder.HeaderValueExtractor.KvElement": "separator key",
	hcm + "HttpFilter":                                        "name typed_config~ config_discovery is_optional disabled",
	"envoy.config.core.v3.TypedExtensionConfig":               "name typed_config~",
	"envoy.config.core.v3.ExtensionConfigSource":              "config_source default_config~ apply_default_config_without_warming type_urls",
	hcm + "HttpConnectionManager.UpgradeConfig":               "upgrade_type filters enabled",
	hcm + "HttpConnectionManager.SetCurrentClientCertDetails": "subject cert chain dns uri",
	hcm + "HttpConnectionManager.InternalAddressConfig":       "cidr_ranges unix_sockets=false",
	hcm + "HttpConnectionManager.Tracing": "client_sampling random_sampling overall_sampling max_path_tag_length custom_tags provider " +
		"spawn_upstream_span no_context_propagation",
	"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy": "stat_prefix cluster weighted_clusters metadata_match~ idle_timeout access_log " +
		"max_connect_attempts backoff_options tunneling_config access_log_flush_interval flush_access_log_on_connected access_log_options hash_policy max_downstream_connection_duration max_downstream_connection_duration_jitter_percentage on_demand",
	"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.OnDemand":                      "odcds_config timeout",
	"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster":               "clusters",
	"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.WeightedCluster.ClusterWeight": "name weight metadata_match~",
	"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.TcpAccessLogOptions":           "access_log_flush_interval flush_access_log_on_connected",
	"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.TunnelingConfig": "hostname use_post headers_to_add propagate_response_headers " +
		"post_path propagate_response_trailers request_id_extension request_id_header request_id_metadata_key",
	"envoy.config.core.v3.BackoffStrategy":      "base_interval max_interval",
	"envoy.type.v3.HashPolicy":                  "source_ip filter_state",
	"envoy.type.v3.HashPolicy.FilterState":      "key",
	"envoy.type.v3.HashPolicy.SourceIp":         "",
	"envoy.config.trace.v3.Tracing.Http":        "name typed_config",
	"envoy.config.trace.v3.OpenTelemetryConfig": "grpc_service http_service service_name resource_detectors",
	"envoy.extensions.tracers.opentelemetry.resource_detectors.v3.EnvironmentResourceDetectorConfig":  "",
	"envoy.extensions.tracers.opentelemetry.resource_detectors.v3.StaticConfigResourceDetectorConfig": "attributes",
	"envoy.config.trace.v3.ZipkinConfig": "collector_cluster collector_endpoint trace_id_128bit shared_span_context collector_endpoint_version " +
		"collector_hostname split_spans_for_request trace_context_option collector_service",
	"envoy.config.core.v3.SchemeHeaderTransformation":                    "scheme_to_overwrite",
	"envoy.extensions.http.original_ip_detection.xff.v3.XffConfig":       "xff_num_trusted_hops xff_trusted_cidrs skip_xff_append",
	"envoy.extensions.http.original_ip_detection.xff.v3.XffTrustedCidrs": "cidrs",
	"envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig": "header_name allow_extension_to_set_address_as_trusted " +
		"reject_with_status",
	"envoy.type.v3.HttpStatus":                       "code",
	"envoy.config.core.v3.HttpService":               "http_uri request_headers_to_add",
	"envoy.config.core.v3.HttpUri":                   "uri cluster timeout",
	"envoy.type.tracing.v3.CustomTag":                "tag literal environment request_header metadata value",
	"envoy.type.tracing.v3.CustomTag.Metadata":       "kind metadata_key default_value",
	"envoy.type.metadata.v3.MetadataKind":            "request cluster host",
	"envoy.type.metadata.v3.MetadataKind.Request":    "",
	"envoy.type.tracing.v3.CustomTag.Literal":        "value",
	"envoy.type.tracing.v3.CustomTag.Environment":    "name default_value",
	"envoy.type.tracing.v3.CustomTag.Header":         "name default_value",
	"envoy.extensions.filters.http.router.v3.Router": "dynamic_stats suppress_envoy_headers respect_expected_rq_timeout start_child_span=false",
	"envoy.config.accesslog.v3.AccessLog":            "name filter typed_config",
	"envoy.config.accesslog.v3.AccessLogFilter": "status_code_filter duration_filter not_health_check_filter traceable_filter runtime_filter " +
		"and_filter or_filter header_filter response_flag_filter grpc_status_filter extension_filter metadata_filter log_type_filter",
	"envoy.config.accesslog.v3.TraceableFilter":                       "",
	"envoy.config.accesslog.v3.RuntimeFilter":                         "runtime_key percent_sampled use_independent_randomness",
	"envoy.config.accesslog.v3.HeaderFilter":                          "header",
	"envoy.config.accesslog.v3.GrpcStatusFilter":                      "statuses exclude",
	"envoy.config.accesslog.v3.ExtensionFilter":                       "name typed_config",
	"envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter": "expression",
	"envoy.config.accesslog.v3.MetadataFilter":                        "matcher match_if_key_not_found",
	"envoy.config.accesslog.v3.LogTypeFilter":                         "types exclude",
	"envoy.config.accesslog.v3.StatusCodeFilter":                      "comparison",
	"envoy.config.accesslog.v3.DurationFilter":                        "comparison",
	"envoy.config.accesslog.v3.NotHealthCheckFilter":                  "",
	"envoy.config.accesslog.v3.ComparisonFilter":                      "op value",
	"envoy.config.core.v3.RuntimeUInt32":                              "default_value runtime_key",
	"envoy.config.accesslog.v3.AndFilter":                             "filters",
	"envoy.config.accesslog.v3.OrFilter":                              "filters",
	"envoy.config.accesslog.v3.ResponseFlagFilter":                    "flags",
	"envoy.extensions.access_loggers.file.v3.FileAccessLog":           "path format typed_json_format log_format",
	"envoy.extensions.access_loggers.stream.v3.StdoutAccessLog":       "log_format",
	"envoy.extensions.access_loggers.stream.v3.StderrAccessLog":       "log_format",
	"envoy.config.core.v3.SubstitutionFormatString":                   "text_format json_format text_format_source omit_empty_values content_type formatters json_format_options",
	// Members come sorted in any case.
	"envoy.config.core.v3.JsonFormatOptions":                          "sort_properties",
	"envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery": "",
	"envoy.extensions.formatter.metadata.v3.Metadata":                 "",
	"envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig": "common_config additional_request_headers_to_log additional_response_headers_to_log " +
		"additional_response_trailers_to_log",
	"envoy.extensions.access_loggers.grpc.v3.TcpGrpcAccessLogConfig": "common_config",
	"envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig": "log_name grpc_service transport_api_version=V3 buffer_flush_interval " +
		"buffer_size_bytes custom_tags filter_state_objects_to_log",
	"envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig": "common_config http_service grpc_service disable_builtin_labels " +
		"resource_attributes~ body~ attributes~ formatters log_name buffer_flush_interval buffer_size_bytes custom_tags",
}
