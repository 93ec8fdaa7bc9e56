package listener

import (
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	grpclogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	"google.golang.org/protobuf/types/known/structpb"

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

// accessLogs are a chain's logs: the file that the mesh asks for, and for a
// stock Envoy, which cannot make Istio's metrics, the stream that its agent makes
// them from.
func (b *Builder) accessLogs(s stage, tcp bool) logs {
	var out logs
	if path := b.v.Mesh.AccessLogFile; path != "" {
		out = append(out, &accesslogv3.AccessLog{
			Name:       "envoy.access_loggers.file",
			ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pb.Any(b.fileLog(path))},
		})
	}
	if b.v.Proxy.Engine() == scope.EngineEnvoy {
		out = append(out, grpcLog(s, tcp))
	}
	return out
}

func (b *Builder) fileLog(path string) *filev3.FileAccessLog {
	f := &corev3.SubstitutionFormatString{}
	switch format := b.v.Mesh.AccessLogFormat; {
	case b.v.Mesh.AccessLogJSON && format == "":
		fields := &structpb.Struct{Fields: map[string]*structpb.Value{}}
		for k, v := range jsonLog {
			fields.Fields[k] = structpb.NewStringValue(v)
		}
		f.Format = &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: fields}
	case b.v.Mesh.AccessLogJSON:
		fields := &structpb.Struct{}
		if err := fields.UnmarshalJSON([]byte(format)); err == nil {
			f.Format = &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: fields}
			break
		}
		fallthrough
	default:
		if format == "" {
			format = DefaultLogFormat
		}
		f.Format = &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
			Specifier: &corev3.DataSource_InlineString{InlineString: format},
		}}
	}
	return &filev3.FileAccessLog{
		Path:            path,
		AccessLogFormat: &filev3.FileAccessLog_LogFormat{LogFormat: f},
	}
}

// grpcLog streams what metrics need. The log's name tells the reporter.
func grpcLog(s stage, tcp bool) *accesslogv3.AccessLog {
	common := &grpclogv3.CommonGrpcAccessLogConfig{
		LogName:             s.String(),
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
			AdditionalRequestHeadersToLog:  []string{"content-type"},
			AdditionalResponseHeadersToLog: []string{"grpc-status"},
			// Metrics label gRPC calls by their status, which mostly is a trailer.
			AdditionalResponseTrailersToLog: []string{"grpc-status"},
		})},
	}
}
