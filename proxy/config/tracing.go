package config

import (
	"errors"
	"fmt"
	"os"

	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/weftmesh/weft/proxy/http"
)

// Tracing describes how spans are made and where they go.
type Tracing struct {
	// Outbound spans are a client's, others a server's.
	Outbound bool
	// Cluster takes the spans by OTLP over gRPC; "" makes none: trace contexts
	// are passed on only.
	Cluster     string
	ServiceName string
	// Sampling in percent: of requests forced by the client, of all others, and the bound on both.
	Client, Random, Overall float64
	// MaxPath bounds the tag of the path; 0: Envoy's 256.
	MaxPath uint32
	Tags    []Tag
	// UpstreamSpan makes a span per upstream attempt too.
	UpstreamSpan bool
}

// Tag is a custom tag: a literal Value, or the request header Header with Value
// as its default.
type Tag struct{ Name, Header, Value string }

func (d *Decoder) tracer(m *hcmv3.HttpConnectionManager_Tracing, cc *chainContext) (http.Tracer, error) {
	t := Tracing{
		Outbound: cc.outbound,
		Client:   percent(m.ClientSampling), Random: percent(m.RandomSampling), Overall: percent(m.OverallSampling),
		MaxPath: m.MaxPathTagLength.GetValue(), UpstreamSpan: m.GetSpawnUpstreamSpan().GetValue(),
	}
	for i, c := range m.CustomTags {
		tag := Tag{Name: c.Tag}
		switch v := c.Type.(type) {
		case *tracingv3.CustomTag_Literal_:
			tag.Value = v.Literal.Value
		case *tracingv3.CustomTag_Environment_:
			tag.Value = v.Environment.DefaultValue
			if env, ok := os.LookupEnv(v.Environment.Name); ok {
				tag.Value = env
			}
		case *tracingv3.CustomTag_RequestHeader:
			tag.Header, tag.Value = lower(v.RequestHeader.Name), v.RequestHeader.DefaultValue
		default:
			return nil, at(fmt.Errorf("%T is not supported", v), "custom_tags[%d]", i)
		}
		t.Tags = append(t.Tags, tag)
	}
	if p := m.Provider; p != nil {
		o := &tracev3.OpenTelemetryConfig{}
		if err := unpack(p.GetTypedConfig(), o); err != nil {
			return nil, at(err, "provider.typed_config")
		}
		t.ServiceName, t.Cluster = o.ServiceName, o.GetGrpcService().GetEnvoyGrpc().GetClusterName()
		if t.Cluster == "" {
			return nil, at(errors.New("want envoy_grpc with a cluster"), "provider.typed_config.grpc_service")
		}
	}
	if d.Tracer == nil {
		return nil, errors.New("this proxy makes no spans")
	}
	return d.Tracer(t)
}

// percent is 100 when it is not set.
func percent(p *typev3.Percent) float64 {
	if p == nil {
		return 100
	}
	return p.Value
}
