package config

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	grpclogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	otellogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/open_telemetry/v3"
	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/proxy/filter/format"
)

// Collector is where logs and spans go: a cluster by gRPC, or with URL by HTTP.
type Collector struct {
	Cluster string
	// Authority and Header of a gRPC call.
	Authority string
	URL       string
	Timeout   time.Duration
	Header    [][2]string
}

// Stream says how entries travel.
type Stream struct {
	To    Collector
	Name  string
	Every time.Duration
	Bytes int
	Tags  []format.Tag
	// Objects of filter state that go with an entry, by their keys.
	Objects []string
}

// GRPCLog is a log that an AccessLogService takes.
type GRPCLog struct {
	Stream
	// TCP logs connections.
	TCP                                       bool
	RequestHeaders, ResponseHeaders, Trailers []string
}

// OTLPLog is a log in OpenTelemetry's form.
type OTLPLog struct {
	Stream
	// Body and Attributes are values whose strings are formats.
	Body       any
	Attributes map[string]any
	Resource   map[string]string
	// NoLabels leaves log name, zone, cluster and node out of Resource.
	NoLabels bool
}

// Envoy's defaults.
const (
	defaultLogFlush = time.Second
	defaultLogBytes = 16384
)

func remoteLog(a *anypb.Any) (AccessLog, error) {
	web, tcp, otel := &grpclogv3.HttpGrpcAccessLogConfig{}, &grpclogv3.TcpGrpcAccessLogConfig{}, &otellogv3.OpenTelemetryAccessLogConfig{}
	switch {
	case a.MessageIs(web):
		if err := unpack(a, web); err != nil {
			return AccessLog{}, err
		}
		s, err := commonLog(web.CommonConfig)
		return AccessLog{GRPC: &GRPCLog{
			Stream: s, RequestHeaders: lowered(web.AdditionalRequestHeadersToLog),
			ResponseHeaders: lowered(web.AdditionalResponseHeadersToLog), Trailers: lowered(web.AdditionalResponseTrailersToLog),
		}}, at(err, "common_config")
	case a.MessageIs(tcp):
		if err := unpack(a, tcp); err != nil {
			return AccessLog{}, err
		}
		s, err := commonLog(tcp.CommonConfig)
		return AccessLog{GRPC: &GRPCLog{Stream: s, TCP: true}}, at(err, "common_config")
	case a.MessageIs(otel):
		if err := unpack(a, otel); err != nil {
			return AccessLog{}, err
		}
		return otelLog(otel)
	}
	return AccessLog{}, fmt.Errorf("%s is not supported", a.TypeUrl)
}

func lowered(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = lower(n)
	}
	return out
}

func commonLog(m *grpclogv3.CommonGrpcAccessLogConfig) (Stream, error) {
	s, err := stream(m.GetBufferFlushInterval(), m.GetBufferSizeBytes(), m.GetCustomTags())
	if err != nil {
		return s, err
	}
	s.Name, s.Objects = m.GetLogName(), m.GetFilterStateObjectsToLog()
	s.To, err = grpcCollector(m.GetGrpcService())
	return s, at(err, "grpc_service")
}

func stream(every *durationpb.Duration, bytes *wrapperspb.UInt32Value, tags []*tracingv3.CustomTag) (s Stream, err error) {
	s.Every, s.Bytes = defaultLogFlush, int(or(bytes, defaultLogBytes))
	if every != nil {
		s.Every = every.AsDuration()
	}
	s.Tags, err = customTags(tags)
	return s, err
}

func grpcCollector(m *corev3.GrpcService) (Collector, error) {
	c := Collector{
		Cluster: m.GetEnvoyGrpc().GetClusterName(), Authority: m.GetEnvoyGrpc().GetAuthority(), Timeout: duration(m.GetTimeout()),
	}
	if c.Cluster == "" {
		return c, errors.New("want envoy_grpc with a cluster")
	}
	for _, h := range m.InitialMetadata {
		c.Header = append(c.Header, [2]string{lower(h.Key), h.Value})
	}
	return c, nil
}

func httpCollector(m *corev3.HttpService) (Collector, error) {
	u := m.GetHttpUri()
	c := Collector{Cluster: u.GetCluster(), URL: u.GetUri(), Timeout: duration(u.GetTimeout())}
	if c.Cluster == "" {
		return c, at(errors.New("is empty"), "http_uri.cluster")
	}
	if p, err := url.Parse(c.URL); err != nil || p.Host == "" {
		return c, at(fmt.Errorf("%q is no URL", c.URL), "http_uri.uri")
	}
	for _, h := range m.RequestHeadersToAdd {
		c.Header = append(c.Header, [2]string{lower(h.GetHeader().GetKey()), h.GetHeader().GetValue()})
	}
	return c, nil
}

// otelLog reads an OpenTelemetry log, whose sink may be written in two places.
func otelLog(m *otellogv3.OpenTelemetryAccessLogConfig) (AccessLog, error) {
	every, bytes, tags := m.BufferFlushInterval, m.BufferSizeBytes, m.CustomTags
	name, service := m.LogName, m.GrpcService
	if c := m.CommonConfig; c != nil {
		every, bytes, tags, name, service = c.BufferFlushInterval, c.BufferSizeBytes, c.CustomTags, c.LogName, c.GrpcService
	}
	s, err := stream(every, bytes, tags)
	if err != nil {
		return AccessLog{}, err
	}
	if err := checkFormatters(m.Formatters); err != nil {
		return AccessLog{}, err
	}
	s.Name, s.Objects = name, m.GetCommonConfig().GetFilterStateObjectsToLog()
	if m.HttpService != nil {
		s.To, err = httpCollector(m.HttpService)
		err = at(err, "http_service")
	} else {
		s.To, err = grpcCollector(service)
		err = at(err, "grpc_service")
	}
	if err != nil {
		return AccessLog{}, err
	}
	l := &OTLPLog{Stream: s, NoLabels: m.DisableBuiltinLabels, Resource: map[string]string{}, Attributes: plainList(m.Attributes)}
	for k, v := range plainList(m.ResourceAttributes) {
		text, ok := v.(string)
		if !ok {
			return AccessLog{}, at(errors.New("only strings are supported"), "resource_attributes[%q]", k)
		}
		l.Resource[k] = text
	}
	if m.Body != nil {
		l.Body = plainAny(m.Body)
	}
	return AccessLog{OTLP: l}, nil
}

func plainList(m *commonpb.KeyValueList) map[string]any {
	out := map[string]any{}
	for _, kv := range m.GetValues() {
		out[kv.Key] = plainAny(kv.Value)
	}
	return out
}

func plainAny(v *commonpb.AnyValue) any {
	switch x := v.GetValue().(type) {
	case *commonpb.AnyValue_StringValue:
		return x.StringValue
	case *commonpb.AnyValue_BoolValue:
		return x.BoolValue
	case *commonpb.AnyValue_IntValue:
		return x.IntValue
	case *commonpb.AnyValue_DoubleValue:
		return x.DoubleValue
	case *commonpb.AnyValue_ArrayValue:
		out := []any{}
		for _, e := range x.ArrayValue.GetValues() {
			out = append(out, plainAny(e))
		}
		return out
	case *commonpb.AnyValue_KvlistValue:
		return plainList(x.KvlistValue)
	}
	return "" // unset, or bytes, which Envoy leaves out too
}

// customTags reads the tags of spans and log entries.
func customTags(list []*tracingv3.CustomTag) ([]format.Tag, error) {
	var out []format.Tag
	for i, c := range list {
		t, err := customTag(c)
		if err != nil {
			return nil, at(err, "custom_tags[%d]", i)
		}
		out = append(out, t)
	}
	return out, nil
}

func customTag(c *tracingv3.CustomTag) (format.Tag, error) {
	t := format.Tag{Name: c.Tag}
	switch v := c.Type.(type) {
	case *tracingv3.CustomTag_Literal_:
		t.Default = v.Literal.Value
	case *tracingv3.CustomTag_Environment_:
		t.Default = v.Environment.DefaultValue
		if env, ok := os.LookupEnv(v.Environment.Name); ok {
			t.Default = env
		}
	case *tracingv3.CustomTag_RequestHeader:
		t.Header, t.Default = lower(v.RequestHeader.Name), v.RequestHeader.DefaultValue
	case *tracingv3.CustomTag_Metadata_:
		if v.Metadata.GetKind().GetRequest() == nil {
			return t, at(errors.New("only request is supported"), "metadata.kind")
		}
		t.Default, t.Metadata = v.Metadata.DefaultValue, []string{v.Metadata.GetMetadataKey().GetKey()}
		for _, p := range v.Metadata.GetMetadataKey().GetPath() {
			t.Metadata = append(t.Metadata, p.GetKey())
		}
	case *tracingv3.CustomTag_Value:
		f, err := format.Compile(v.Value, format.Options{})
		t.Format = f
		return t, at(err, "value")
	default:
		return t, fmt.Errorf("%T is not supported", v)
	}
	return t, nil
}
