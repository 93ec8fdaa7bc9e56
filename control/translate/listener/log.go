package listener

import (
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	grpclogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	otellogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/open_telemetry/v3"
	otlpcommonpb "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/wire"
)

// DefaultLogFormat is Istio's text format, which users' parsers know.
const DefaultLogFormat = `[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" ` +
	`%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% ` +
	`"%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ` +
	`%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" ` +
	`"%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% %UPSTREAM_LOCAL_ADDRESS% ` +
	`%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% %ROUTE_NAME%` + "\n"

// jsonLog is Istio's JSON format.
var jsonLog = map[string]string{
	"authority":                         "%REQ(:AUTHORITY)%",
	"bytes_received":                    "%BYTES_RECEIVED%",
	"bytes_sent":                        "%BYTES_SENT%",
	"connection_termination_details":    "%CONNECTION_TERMINATION_DETAILS%",
	"downstream_local_address":          "%DOWNSTREAM_LOCAL_ADDRESS%",
	"downstream_remote_address":         "%DOWNSTREAM_REMOTE_ADDRESS%",
	"duration":                          "%DURATION%",
	"method":                            "%REQ(:METHOD)%",
	"path":                              "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
	"protocol":                          "%PROTOCOL%",
	"request_id":                        "%REQ(X-REQUEST-ID)%",
	"requested_server_name":             "%REQUESTED_SERVER_NAME%",
	"response_code":                     "%RESPONSE_CODE%",
	"response_code_details":             "%RESPONSE_CODE_DETAILS%",
	"response_flags":                    "%RESPONSE_FLAGS%",
	"route_name":                        "%ROUTE_NAME%",
	"start_time":                        "%START_TIME%",
	"upstream_cluster":                  "%UPSTREAM_CLUSTER_RAW%",
	"upstream_host":                     "%UPSTREAM_HOST%",
	"upstream_local_address":            "%UPSTREAM_LOCAL_ADDRESS%",
	"upstream_service_time":             "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
	"upstream_transport_failure_reason": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
	"user_agent":                        "%REQ(USER-AGENT)%",
	"x_forwarded_for":                   "%REQ(X-FORWARDED-FOR)%",
}

// accessLogs are a chain's logs: those that the mesh configuration and Telemetry
// ask for, and for a stock Envoy, which cannot make Istio's metrics, the stream
// that its agent makes them from.
func (b *Builder) accessLogs(s stage, tcp bool) logs {
	var out logs
	for _, l := range b.telemetryOf(s).Logs {
		name, m := b.log(l.Provider, tcp)
		if m == nil {
			continue
		}
		entry := &accesslogv3.AccessLog{Name: name, ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pb.Any(m)}}
		if l.Filter != "" {
			entry.Filter = &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ExtensionFilter{
				ExtensionFilter: &accesslogv3.ExtensionFilter{
					Name:       "envoy.access_loggers.extension_filters.cel",
					ConfigType: &accesslogv3.ExtensionFilter_TypedConfig{TypedConfig: pb.Any(&celv3.ExpressionFilter{Expression: l.Filter})},
				},
			}}
		}
		out = append(out, entry)
	}
	if b.v.Proxy.Engine() == scope.EngineEnvoy {
		if l, ok := b.logOf(s); ok {
			out = append(out, grpcLog(l, tcp))
		}
	}
	return out
}

// log is the log of a provider; nil: none, for this kind of traffic or because
// nobody takes it.
func (b *Builder) log(p *model.Provider, tcp bool) (name string, m proto.Message) {
	if p.Kind == model.ProviderFileLog {
		return "envoy.access_loggers.file", b.fileLog(p)
	}
	if p.Kind == model.ProviderHTTPLog && tcp || p.Kind == model.ProviderTCPLog && !tcp {
		return "", nil
	}
	cluster, ok := b.backend(p)
	if !ok {
		return "", nil
	}
	common := &grpclogv3.CommonGrpcAccessLogConfig{
		LogName: p.LogName, GrpcService: grpcTo(p, cluster), TransportApiVersion: corev3.ApiVersion_V3, FilterStateObjectsToLog: p.Objects,
	}
	switch p.Kind {
	case model.ProviderHTTPLog:
		return "envoy.access_loggers.http_grpc", &grpclogv3.HttpGrpcAccessLogConfig{
			CommonConfig: common, AdditionalRequestHeadersToLog: p.RequestHeaders,
			AdditionalResponseHeadersToLog: p.ResponseHeaders, AdditionalResponseTrailersToLog: p.Trailers,
		}
	case model.ProviderTCPLog:
		return "envoy.access_loggers.tcp_grpc", &grpclogv3.TcpGrpcAccessLogConfig{CommonConfig: common}
	}
	return "envoy.access_loggers.open_telemetry", otelLog(p, common)
}

// otelLog is a log in OpenTelemetry's form: the text is the body, labels are
// attributes.
func otelLog(p *model.Provider, common *grpclogv3.CommonGrpcAccessLogConfig) *otellogv3.OpenTelemetryAccessLogConfig {
	text := p.Text
	if text == "" {
		text = DefaultLogFormat
	}
	out := &otellogv3.OpenTelemetryAccessLogConfig{
		CommonConfig: common, Body: &otlpcommonpb.AnyValue{Value: &otlpcommonpb.AnyValue_StringValue{StringValue: text}},
	}
	if p.JSON != "" {
		if s := jsonFormat(p.JSON); s != nil {
			out.Attributes = &otlpcommonpb.KeyValueList{}
			for _, k := range pb.Keys(s.Fields) {
				out.Attributes.Values = append(out.Attributes.Values, &otlpcommonpb.KeyValue{
					Key: k, Value: &otlpcommonpb.AnyValue{Value: &otlpcommonpb.AnyValue_StringValue{StringValue: s.Fields[k].GetStringValue()}},
				})
			}
		}
	}
	return out
}

// jsonFormat reads an object of formats; nil when it is none.
func jsonFormat(text string) *structpb.Struct {
	s := &structpb.Struct{}
	if s.UnmarshalJSON([]byte(text)) != nil {
		return nil
	}
	return s
}

func (b *Builder) fileLog(p *model.Provider) *filev3.FileAccessLog {
	text, fields := p.Text, (*structpb.Struct)(nil)
	if p.JSON != "" {
		fields = jsonFormat(p.JSON)
	}
	if m := b.v.Mesh; p.Name == model.BuiltinLog && text == "" && fields == nil {
		text = m.AccessLogFormat
		switch {
		case m.AccessLogJSON && text == "":
			fields = &structpb.Struct{Fields: map[string]*structpb.Value{}}
			for k, v := range jsonLog {
				fields.Fields[k] = structpb.NewStringValue(v)
			}
		case m.AccessLogJSON:
			fields = jsonFormat(text)
		}
	}
	f := &corev3.SubstitutionFormatString{OmitEmptyValues: p.OmitEmpty}
	if fields != nil {
		f.Format = &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: fields}
	} else {
		if text == "" {
			text = DefaultLogFormat
		}
		f.Format = &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
			Specifier: &corev3.DataSource_InlineString{InlineString: text},
		}}
	}
	return &filev3.FileAccessLog{
		Path:            p.Path,
		AccessLogFormat: &filev3.FileAccessLog_LogFormat{LogFormat: f},
	}
}

// grpcLog streams what metrics need. The log's name tells the reporter.
func grpcLog(l logged, tcp bool) *accesslogv3.AccessLog {
	common := &grpclogv3.CommonGrpcAccessLogConfig{
		LogName:             l.name,
		GrpcService:         pb.GRPC(wire.ALSCluster),
		TransportApiVersion: corev3.ApiVersion_V3,
	}
	if tcp {
		return &accesslogv3.AccessLog{
			Name: "envoy.access_loggers.tcp_grpc",
			ConfigType: &accesslogv3.AccessLog_TypedConfig{
				TypedConfig: pb.Any(&grpclogv3.TcpGrpcAccessLogConfig{CommonConfig: common}),
			},
		}
	}
	return &accesslogv3.AccessLog{
		Name: "envoy.access_loggers.http_grpc",
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pb.Any(&grpclogv3.HttpGrpcAccessLogConfig{
			CommonConfig:                   common,
			AdditionalRequestHeadersToLog:  l.request,
			AdditionalResponseHeadersToLog: l.response,
			// Metrics label gRPC calls by their status, which mostly is a trailer.
			AdditionalResponseTrailersToLog: []string{"grpc-status"},
		})},
	}
}
