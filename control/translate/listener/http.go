package listener

import (
	"strconv"

	udpav1 "github.com/cncf/xds/go/udpa/type/v1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	commonstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	rbachttpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	statev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/wire"
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
	// connect: CONNECT is answered (explicit proxy).
	connect bool
}

func (b *Builder) http(h httpChain) *listenerv3.Filter {
	m := &hcmv3.HttpConnectionManager{
		StatPrefix:        h.stage.String() + "_" + h.stat,
		ServerName:        "istio-envoy",
		UseRemoteAddress:  pb.False(),
		StreamIdleTimeout: pb.Duration(0),
		Proxy_100Continue: true,
		UpgradeConfigs:    []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
		AccessLog:         b.accessLogs(h.stage, false),
		HttpFilters:       b.httpFilters(h),
		Tracing:           b.tracing(),
	}
	b.normalize(m)
	if h.connect {
		m.UpgradeConfigs = append(m.UpgradeConfigs, &hcmv3.HttpConnectionManager_UpgradeConfig{UpgradeType: "CONNECT"})
	}
	switch h.stage {
	case inbound:
		m.ForwardClientCertDetails = hcmv3.HttpConnectionManager_APPEND_FORWARD
		m.SetCurrentClientCertDetails = certDetails()
	case gateway:
		m.UseRemoteAddress = pb.True()
		m.ForwardClientCertDetails = hcmv3.HttpConnectionManager_SANITIZE_SET
		m.SetCurrentClientCertDetails = certDetails()
	}
	if h.inline != nil {
		m.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: h.inline}
	} else {
		m.RouteSpecifier = &hcmv3.HttpConnectionManager_Rds{
			Rds: &hcmv3.Rds{ConfigSource: pb.ADS(), RouteConfigName: h.rds},
		}
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
	if h.stage != outbound {
		for _, r := range b.authz(false) {
			out = append(out, httpFilter("envoy.filters.http.rbac", &rbachttpv3.RBAC{Rules: r}))
		}
	}
	if h.stage != inbound {
		out = append(out,
			httpFilter("envoy.filters.http.cors", &corsv3.Cors{}),
			httpFilter("envoy.filters.http.fault", &faultv3.HTTPFault{}))
	}
	if h.sniffed {
		out = append(out, httpFilter("envoy.filters.http.set_filter_state", announceHTTP()))
	}
	if b.v.Proxy.Engine() == scope.EngineGo {
		out = append(out, httpFilter("istio.stats", stats()))
	}
	return append(out, httpFilter("envoy.filters.http.router", &routerv3.Router{}))
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

// stats is Istio's metrics filter, which the Go proxy has and a stock Envoy lacks.
func stats() *udpav1.TypedStruct {
	return &udpav1.TypedStruct{
		TypeUrl: "type.googleapis.com/stats.PluginConfig", Value: &structpb.Struct{},
	}
}

// tracing sends spans where the mesh says; nil when it says nothing.
func (b *Builder) tracing() *hcmv3.HttpConnectionManager_Tracing {
	t := b.v.Mesh.Tracing
	if t == nil || t.Service == "" {
		return nil
	}
	name := wire.ClusterName(wire.Outbound, t.Port, "", t.Service)
	if b.v.Service(t.Service) == nil {
		b.report(model.Finding{
			Code: CodeTracing, Severity: model.Error, Object: b.v.Mesh.Key, Origin: b.v.Mesh.Origin,
			Field:   "extensionProviders",
			Message: "the tracing service " + t.Service + " is not visible to " + b.v.Proxy.ID.Name + "." + b.v.Proxy.Namespace(),
			Remedy:  "create the Service, or admit it in the Sidecar resource",
		})
		return nil
	}
	if t.HTTPPath != "" && b.v.Proxy.Engine() == scope.EngineGo {
		b.report(model.Finding{
			Code: CodeTracing, Severity: model.Error, Object: b.v.Mesh.Key, Origin: b.v.Mesh.Origin,
			Field:   "extensionProviders.opentelemetry.http",
			Message: "the Go engine sends spans over gRPC only: its proxies make none", Remedy: "use the collector's gRPC port (4317) without http",
		})
		return nil
	}
	config := &tracev3.OpenTelemetryConfig{ServiceName: b.serviceName()}
	if t.HTTPPath != "" {
		uri := "http://" + t.Service + ":" + strconv.Itoa(int(t.Port)) + t.HTTPPath
		config.HttpService = &corev3.HttpService{HttpUri: &corev3.HttpUri{
			Uri: uri, HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: name}, Timeout: durationpb.New(10e9),
		}}
	} else {
		config.GrpcService = pb.GRPC(name)
		config.GrpcService.GetEnvoyGrpc().Authority = t.Service
		config.GrpcService.Timeout = durationpb.New(10e9)
	}
	return &hcmv3.HttpConnectionManager_Tracing{
		ClientSampling:  &typev3.Percent{Value: 100},
		RandomSampling:  &typev3.Percent{Value: t.Sampling},
		OverallSampling: &typev3.Percent{Value: 100},
		Provider: &tracev3.Tracing_Http{
			Name:       "envoy.tracers.opentelemetry",
			ConfigType: &tracev3.Tracing_Http_TypedConfig{TypedConfig: pb.Any(config)},
		},
	}
}

// serviceName is how the proxy's spans are named: "reviews.default".
func (b *Builder) serviceName() string {
	name := b.v.Proxy.Labels()["service.istio.io/canonical-name"]
	if name == "" {
		name = b.v.Proxy.Labels()["app"]
	}
	if name == "" {
		name = b.v.Proxy.ID.Name
	}
	return name + "." + b.v.Proxy.Namespace()
}
