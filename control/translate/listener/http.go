package listener

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	forwardv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_forward_proxy/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	grpcwebv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_web/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/pb"
)

// httpChain is an HTTP connection manager in the making.
type httpChain struct {
	stage stage
	// stat is the rest of the statistics prefix, "0.0.0.0_9080".
	stat string
	// rds is the name of a route configuration; or inline is one.
	rds    string
	inline *routev3.RouteConfiguration
	// sniffed: the protocol of the port is not declared, so upstream servers have
	// to be told that HTTP comes.
	sniffed bool
	// grpcWeb: clients may be browsers, which speak gRPC-Web; upstreams speak gRPC.
	grpcWeb bool
	// demand: virtual hosts and clusters are asked for.
	demand bool
	// asks: clusters are asked for.
	asks bool
	// messages is the protocol that is spoken instead of HTTP.
	messages string
	// limits are filters of what bounds a service's requests.
	limits []*hcmv3.HttpFilter
	// connect: CONNECT is answered (explicit proxy).
	connect bool
	// forward: a route may lead to a host that the request names.
	forward bool
}

func (b *Builder) http(h httpChain) *listenerv3.Filter {
	m := &hcmv3.HttpConnectionManager{
		StatPrefix:        h.stage.String() + "_" + h.stat,
		UseRemoteAddress:  pb.False(),
		StreamIdleTimeout: pb.Duration(0),
		Proxy_100Continue: true,
		UpgradeConfigs:    []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
		AccessLog:         b.accessLogs(h.stage, false),
		HttpFilters:       b.httpFilters(h),
	}
	b.tracing(m, h.stage)
	b.normalize(m)
	if h.demand {
		m.StreamIdleTimeout = pb.Duration(demandTimeout)
	}
	if h.connect {
		m.UpgradeConfigs = append(m.UpgradeConfigs, &hcmv3.HttpConnectionManager_UpgradeConfig{UpgradeType: "CONNECT"})
	}
	if h.stage != outbound {
		m.ServerName = "istio-envoy" // towards clients of their own, sidecars are "envoy", as in Istio
	}
	switch h.stage {
	case inbound:
		m.ForwardClientCertDetails = hcmv3.HttpConnectionManager_APPEND_FORWARD
		m.SetCurrentClientCertDetails = certDetails()
	case gateway:
		m.UseRemoteAddress = pb.True()
		m.ForwardClientCertDetails = hcmv3.HttpConnectionManager_SANITIZE_SET
		m.SetCurrentClientCertDetails = certDetails()
		// Programs behind a gateway with MUTUAL know their clients by the whole certificate.
		m.SetCurrentClientCertDetails.Cert = true
	}
	b.headers(m, h.stage)
	if h.messages != "" {
		// A client's address would become a field of the message that programs do not expect.
		m.SkipXffAppend = h.stage == gateway
		m.UpgradeConfigs, m.NormalizePath, m.ForwardClientCertDetails, m.SetCurrentClientCertDetails = nil, nil, 0, nil
	}
	if h.inline != nil {
		m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: h.inline}
	} else {
		m.RouteSpecifier = &hcmv3.HttpConnectionManager_Rds{
			Rds: &hcmv3.Rds{ConfigSource: pb.ADS(), RouteConfigName: h.rds},
		}
	}
	if h.messages != "" {
		return b.messageProxy(h.messages, m)
	}
	return filter("envoy.filters.network.http_connection_manager", m)
}

func certDetails() *hcmv3.HttpConnectionManager_SetCurrentClientCertDetails {
	return &hcmv3.HttpConnectionManager_SetCurrentClientCertDetails{Subject: pb.True(), Dns: true, Uri: true}
}

// normalize makes paths look the same to policies here and to the program there.
func (b *Builder) normalize(m *hcmv3.HttpConnectionManager) {
	mode := b.v.Mesh.PathNormalization
	m.NormalizePath = pb.True()
	m.PathWithEscapedSlashesAction = hcmv3.HttpConnectionManager_KEEP_UNCHANGED
	switch mode {
	case "NONE":
		m.NormalizePath = pb.False()
	case "MERGE_SLASHES":
		m.MergeSlashes = true
	case "DECODE_AND_MERGE_SLASHES":
		m.MergeSlashes = true
		m.PathWithEscapedSlashesAction = hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD
	}
}

func httpFilter(name string, m proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{
		Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pb.Any(m)},
	}
}

// httpFilters is the filter chain, in the order in which requests pass it.
func (b *Builder) httpFilters(h httpChain) []*hcmv3.HttpFilter {
	var out []*hcmv3.HttpFilter
	if h.demand || h.asks {
		out = append(out, httpFilter("envoy.filters.http.on_demand", onDemandFilter()))
	}
	if h.stage != outbound {
		out = append(out, b.requestPolicies(h.messages)...)
	}
	out = append(out, h.limits...)
	if h.grpcWeb {
		out = append(out, httpFilter("envoy.filters.http.grpc_web", &grpcwebv3.GrpcWeb{}))
	}
	if h.stage != inbound {
		out = append(out,
			httpFilter("envoy.filters.http.fault", &faultv3.HTTPFault{}),
			httpFilter("envoy.filters.http.cors", &corsv3.Cors{}))
	}
	if h.stage != inbound && h.messages == "" {
		out = append(out, b.conversions(h.stage)...)
	}
	if h.sniffed {
		out = append(out, httpFilter("envoy.filters.http.set_filter_state", announceHTTP()))
	}
	if c := b.stats(h.stage); c != nil && b.v.Proxy.Engine() == scope.EngineGo {
		out = append(out, httpFilter("istio.stats", c))
	}
	if h.forward || h.stage == outbound && b.v.OutboundPolicy() == model.AllowAnyDynamic {
		out = append(out, httpFilter("envoy.filters.http.dynamic_forward_proxy", &forwardv3.FilterConfig{
			ImplementationSpecifier: &forwardv3.FilterConfig_DnsCacheConfig{DnsCacheConfig: b.clusters.DNSCache()},
		}))
	}
	for _, f := range b.limits[h.stage != inbound].Filters() {
		out = append(out, httpFilter(f.Name, f.Config))
	}
	quiet := b.v.Requests.Headers != nil && b.v.Requests.Headers.NoDebug
	return append(out, httpFilter("envoy.filters.http.router", &routerv3.Router{SuppressEnvoyHeaders: quiet}))
}

// announceHTTP makes upstream TLS offer "istio-http/1.1", by which the server's
// proxy knows that HTTP comes. It promises no version, so that either works.
func announceHTTP() *statev3.Config {
	return &statev3.Config{OnRequestHeaders: []*commonstatev3.FilterStateValue{{
		Key: &commonstatev3.FilterStateValue_ObjectKey{ObjectKey: "envoy.network.application_protocols"},
		Value: &commonstatev3.FilterStateValue_FormatString{FormatString: &corev3.SubstitutionFormatString{
			Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
				Specifier: &corev3.DataSource_InlineString{InlineString: "istio-http/1.1,istio"},
			}},
		}},
	}}}
}
