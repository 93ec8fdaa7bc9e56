package config

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	uuidv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"
	detectorsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/tracers/opentelemetry/resource_detectors/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/weftmesh/weft/proxy/filter/format"
	"github.com/weftmesh/weft/proxy/http"
)

// Tracing describes how spans are made and where they go.
type Tracing struct {
	// Outbound spans are a client's, others a server's.
	Outbound bool
	// To takes the spans; without a cluster none are made: trace contexts are passed
	// on only. Zipkin: in Zipkin's form, else in OpenTelemetry's.
	To     Collector
	Zipkin bool
	// ServiceName and further attributes of the resource.
	ServiceName string
	Resource    [][2]string
	// FromEnvironment takes more of them from OTEL_RESOURCE_ATTRIBUTES.
	FromEnvironment bool
	// Sampling in percent: of requests forced by the client, of all others, and the bound on both.
	Client, Random, Overall float64
	// MaxPath bounds the tag of the path; 0: Envoy's 256.
	MaxPath uint32
	Tags    []format.Tag
	// UpstreamSpan makes a span per upstream attempt too.
	UpstreamSpan bool
	// Long trace ids have 128 bits, Shared spans are those of the client, W3C
	// headers go beside B3 ones; of Zipkin.
	Long, Shared, W3C bool
	// KeepRequestID and Chance: see uuidOptions.
	KeepRequestID, Chance bool
	// Silent: no trace context is written upstream.
	Silent bool
}

func (d *Decoder) tracer(h *hcmv3.HttpConnectionManager, cc *chainContext) (http.Tracer, error) {
	m := h.Tracing
	t := Tracing{
		Outbound: cc.outbound,
		Client:   percent(m.ClientSampling), Random: percent(m.RandomSampling), Overall: percent(m.OverallSampling),
		MaxPath: m.MaxPathTagLength.GetValue(), UpstreamSpan: m.GetSpawnUpstreamSpan().GetValue(),
		Silent: m.NoContextPropagation,
	}
	var err error
	if t.Tags, err = customTags(m.CustomTags); err != nil {
		return nil, err
	}
	if err := uuidOptions(h.RequestIdExtension, &t); err != nil {
		return nil, err
	}
	if p := cmp.Or(m.Provider, d.DefaultTracing); p != nil {
		if err := provider(p, &t); err != nil {
			return nil, at(err, "provider.typed_config")
		}
	}
	if d.Tracer == nil {
		return nil, errors.New("this proxy makes no spans")
	}
	return d.Tracer(t)
}

// uuidOptions says whether the decision to trace goes into the request id, and
// whether it is made by it.
func uuidOptions(m *hcmv3.RequestIDExtension, t *Tracing) error {
	if m == nil {
		return nil
	}
	u := &uuidv3.UuidRequestIdConfig{}
	if err := unpack(m.TypedConfig, u); err != nil {
		return at(err, "request_id_extension.typed_config")
	}
	t.KeepRequestID = u.PackTraceReason != nil && !u.PackTraceReason.Value
	t.Chance = u.UseRequestIdForTraceSampling != nil && !u.UseRequestIdForTraceSampling.Value
	return nil
}

func provider(p *tracev3.Tracing_Http, t *Tracing) error {
	otel, zipkin := &tracev3.OpenTelemetryConfig{}, &tracev3.ZipkinConfig{}
	switch a := p.GetTypedConfig(); {
	case a.MessageIs(otel):
		if err := unpack(a, otel); err != nil {
			return err
		}
		return openTelemetry(otel, t)
	case a.MessageIs(zipkin):
		if err := unpack(a, zipkin); err != nil {
			return err
		}
		return zipkinProvider(zipkin, t)
	default:
		return fmt.Errorf("%s is not supported", a.GetTypeUrl())
	}
}

func openTelemetry(m *tracev3.OpenTelemetryConfig, t *Tracing) error {
	t.ServiceName = m.ServiceName
	for i, r := range m.ResourceDetectors {
		static := &detectorsv3.StaticConfigResourceDetectorConfig{}
		switch a := r.GetTypedConfig(); {
		case a.MessageIs(&detectorsv3.EnvironmentResourceDetectorConfig{}):
			t.FromEnvironment = true
		case a.MessageIs(static):
			if err := open(a, static); err != nil {
				return at(err, "resource_detectors[%d].typed_config", i)
			}
			for k, v := range static.Attributes {
				t.Resource = append(t.Resource, [2]string{k, v})
			}
		default:
			return at(fmt.Errorf("%s is not supported", a.GetTypeUrl()), "resource_detectors[%d].typed_config", i)
		}
	}
	var err error
	if m.HttpService != nil {
		t.To, err = httpCollector(m.HttpService)
		return at(err, "http_service")
	}
	t.To, err = grpcCollector(m.GrpcService)
	return at(err, "grpc_service")
}

func zipkinProvider(m *tracev3.ZipkinConfig, t *Tracing) error {
	t.Zipkin, t.Long = true, m.TraceId_128Bit
	t.Shared = m.SharedSpanContext == nil || m.SharedSpanContext.Value
	t.W3C = m.TraceContextOption == tracev3.ZipkinConfig_USE_B3_WITH_W3C_PROPAGATION
	if m.SplitSpansForRequest {
		t.UpstreamSpan, t.Shared = true, false
	}
	if s := m.CollectorService; s != nil {
		var err error
		t.To, err = httpCollector(s)
		return at(err, "collector_service")
	}
	if m.CollectorCluster == "" || m.CollectorEndpoint == "" {
		return errors.New("want collector_cluster and collector_endpoint, or collector_service")
	}
	if v := m.CollectorEndpointVersion; v != tracev3.ZipkinConfig_HTTP_JSON {
		return at(fmt.Errorf("%v is not supported, only HTTP_JSON", v), "collector_endpoint_version")
	}
	host := m.CollectorHostname
	if host == "" {
		host = m.CollectorCluster
	}
	u := url.URL{Scheme: "http", Host: host, Path: m.CollectorEndpoint}
	t.To = Collector{Cluster: m.CollectorCluster, URL: u.String()}
	return nil
}

// percent is 100 when it is not set.
func percent(p *typev3.Percent) float64 {
	if p == nil {
		return 100
	}
	return p.Value
}

// checkFormatters takes the extensions of the format language that are built in.
func checkFormatters(list []*corev3.TypedExtensionConfig) error {
	for i, f := range list {
		switch f.Name {
		case "envoy.formatter.req_without_query", "envoy.formatter.metadata":
		default:
			return at(fmt.Errorf("%q is not supported", f.Name), "formatters[%d]", i)
		}
	}
	return nil
}
