package oracle

import "google.golang.org/protobuf/reflect/protoreflect"

// deed is what a rule does with a field.
type deed int

const (
	// drop leaves the field out: it says nothing about what a proxy does.
	drop deed = iota + 1
	// unset takes the field for not set where it is arg: Envoy does the same then.
	unset
	// keyed goes by fields of the elements (arg, with spaces between; "": all of them)
	// in place of their numbers. The order counts.
	keyed
	// set is keyed where the order does not count.
	set
)

// rule is a rule for one field, and its reason.
type rule struct {
	do  deed
	arg string
	why string
}

// rules are all that normalise. Each must have had something to do in a run over the
// whole corpus.
var rules = map[protoreflect.FullName]rule{
	"envoy.config.listener.v3.Listener.filter_chains":                                                {set, "filter_chain_match", "Envoy looks for the chain that matches best, wherever it stands"},
	"envoy.config.listener.v3.Listener.listener_filters":                                             {keyed, "name", "read as names"},
	"envoy.config.listener.v3.FilterChain.filters":                                                   {keyed, "name", "read as names"},
	"envoy.config.listener.v3.FilterChainMatch.prefix_ranges":                                        {set, "", "any of them matches"},
	"envoy.config.listener.v3.FilterChainMatch.server_names":                                         {set, "", "any of them matches"},
	"envoy.config.listener.v3.FilterChainMatch.application_protocols":                                {set, "", "any of them matches"},
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.http_filters": {keyed, "name", "read as names"},
	"envoy.config.route.v3.RouteConfiguration.virtual_hosts":                                         {set, "domains", "Envoy looks for the domain that matches best, wherever it stands"},
	"envoy.config.route.v3.VirtualHost.domains":                                                      {set, "", "any of them matches"},
	"envoy.config.route.v3.VirtualHost.routes":                                                       {keyed, "match", "the first match wins: read as matches in their order"},
	"envoy.config.route.v3.RouteMatch.headers":                                                       {set, "", "all of them must match"},
	"envoy.config.route.v3.RouteMatch.query_parameters":                                              {set, "", "all of them must match"},
	"envoy.config.route.v3.WeightedCluster.clusters":                                                 {set, "name", "one is drawn by weight"},
	"envoy.config.cluster.v3.Cluster.transport_socket_matches":                                       {keyed, "name", "the first match wins: read as names in their order"},
	"envoy.config.endpoint.v3.ClusterLoadAssignment.endpoints":                                       {set, "priority locality.region locality.zone locality.sub_zone", "a locality of a priority is one thing, wherever it stands"},
	"envoy.config.endpoint.v3.LocalityLbEndpoints.lb_endpoints":                                      {set, "endpoint.address", "balancers take all of them alike"},

	"envoy.config.route.v3.RouteMatch.case_sensitive":                                                         {unset, "true", "Envoy's default"},
	"envoy.config.listener.v3.FilterChain.filter_chain_match":                                                 {unset, "{}", "a match that asks for nothing"},
	"envoy.config.cluster.v3.Cluster.common_lb_config":                                                        {unset, "{}", "settings that set nothing"},
	"envoy.config.core.v3.SubstitutionFormatString.json_format_options":                                       {unset, "{}", "options that set nothing"},
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.http_protocol_options": {unset, "{}", "options that set nothing"},
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.request_id_extension": {unset,
		"typed_config>@type=envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig, typed_config>use_request_id_for_trace_sampling=true", "Envoy's default"},
	"envoy.config.core.v3.TransportSocket.name":                                                                {drop, "", "Envoy goes by the type of the configuration"},
	"envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector.initial_read_buffer_size":                 {drop, "", "how much is read at first decides nothing"},
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.http2_protocol_options": {unset, "{}", "options that set nothing"},
	"envoy.config.route.v3.RedirectAction.path_redirect":                                                       {unset, "", "no path is no redirect to one"},

	"envoy.extensions.transport_sockets.tls.v3.TlsParameters.tls_minimum_protocol_version":                  {unset, "TLSv1_2", "Envoy's default"},
	"envoy.extensions.transport_sockets.tls.v3.CommonTlsContext.tls_params":                                 {unset, "{}", "parameters that are Envoy's defaults"},
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing.custom_tags": {set, "tag", "a span has each tag once"},
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.access_log":          {set, "name", "each log is written"},
	"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.access_log":                                     {set, "name", "each log is written"},
	"stats.PluginConfig.metrics": {set, "name", "read as names of metrics"},
	"envoy.config.listener.v3.ListenerFilterChainMatchPredicate.MatchSet.rules":                            {set, "", "the one or all of them must match"},
	"envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext.match_typed_subject_alt_names": {set, "", "any of them matches"},
}
