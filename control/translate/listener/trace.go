package listener

import (
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	uuidv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"
	detectorsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/tracers/opentelemetry/resource_detectors/v3"
	tracingv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/wire"
)

// telemetryOf is what holds for a side, looked up once for all chains.
func (b *Builder) telemetryOf(s stage) *scope.Telemetry {
	side := model.ClientSide
	if s == inbound {
		side = model.ServerSide
	}
	t := b.telemetry[side]
	if t == nil {
		t = new(b.v.Telemetry(side))
		if b.telemetry == nil {
			b.telemetry = map[model.Mode]*scope.Telemetry{}
		}
		b.telemetry[side] = t
	}
	return t
}

// backend is the cluster of a provider's service. Not ok, and reported: the
// proxy may not see the service, so nothing can be sent there.
func (b *Builder) backend(p *model.Provider) (cluster string, ok bool) {
	if b.v.Service(p.Service) == nil {
		b.report(model.Finding{
			Code: CodeTracing, Severity: model.Error, Object: b.v.Mesh.Key, Origin: b.v.Mesh.At(p.Field), Field: p.Field,
			Message: "the service " + p.Service + " of provider " + p.Name + " is not visible to proxies of namespace " + b.v.Proxy.Namespace(),
			Remedy:  "create the Service, or admit it in the Sidecar resource",
		})
		return "", false
	}
	return wire.ClusterName(wire.Outbound, p.Port, "", p.Service), true
}

// grpcTo is a provider's service over gRPC.
func grpcTo(p *model.Provider, cluster string) *corev3.GrpcService {
	g := pb.GRPC(cluster)
	g.GetEnvoyGrpc().Authority = p.Service
	g.Timeout = timeoutOf(p)
	for _, h := range p.Headers {
		g.InitialMetadata = append(g.InitialMetadata, &corev3.HeaderValue{Key: h.Name, Value: h.Value})
	}
	return g
}

// httpTo is a provider's service over HTTP.
func httpTo(p *model.Provider, cluster string) *corev3.HttpService {
	out := &corev3.HttpService{HttpUri: &corev3.HttpUri{
		Uri:              "http://" + p.Service + ":" + strconv.Itoa(int(p.Port)) + p.Path,
		HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: cluster}, Timeout: timeoutOf(p),
	}}
	for _, h := range p.Headers {
		out.RequestHeadersToAdd = append(out.RequestHeadersToAdd, &corev3.HeaderValueOption{
			Header: &corev3.HeaderValue{Key: h.Name, Value: h.Value}, AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		})
	}
	return out
}

func timeoutOf(p *model.Provider) *durationpb.Duration {
	if p.Timeout > 0 {
		return durationpb.New(p.Timeout)
	}
	return durationpb.New(10e9)
}

// tracing makes a connection manager send spans; it leaves it alone when nothing
// says so.
func (b *Builder) tracing(m *hcmv3.HttpConnectionManager, s stage) {
	t := &b.telemetryOf(s).Tracing
	if t.Provider == nil {
		return
	}
	cluster, ok := b.backend(t.Provider)
	if !ok || !b.traces(t.Provider) {
		return
	}
	m.Tracing = &hcmv3.HttpConnectionManager_Tracing{
		ClientSampling:       &typev3.Percent{Value: 100},
		RandomSampling:       &typev3.Percent{Value: t.Sampling},
		OverallSampling:      &typev3.Percent{Value: 100},
		CustomTags:           b.spanTags(t),
		NoContextPropagation: t.NoPropagation,
	}
	if s == gateway || t.Provider.Kind == model.ProviderSkyWalking { // which draws calls between spans of their own
		m.Tracing.SpawnUpstreamSpan = pb.True()
	}
	if n := max(t.Provider.MaxTag, t.MaxTag); n > 0 {
		m.Tracing.MaxPathTagLength = pb.U32(n)
	}
	if !t.UseRequestID {
		m.RequestIdExtension = &hcmv3.RequestIDExtension{
			TypedConfig: pb.Any(&uuidv3.UuidRequestIdConfig{UseRequestIdForTraceSampling: pb.False()}),
		}
	}
	name, config := b.tracer(t.Provider, cluster)
	m.Tracing.Provider = &tracev3.Tracing_Http{Name: name, ConfigType: &tracev3.Tracing_Http_TypedConfig{TypedConfig: pb.Any(config)}}
}

// traces tells whether the proxy's engine has a tracer for the provider, and reports it
// where it has none.
func (b *Builder) traces(p *model.Provider) bool {
	name := ""
	switch {
	case b.v.Proxy.Engine() != scope.EngineGo:
	case p.Kind == model.ProviderDatadog:
		name = "Datadog"
	case p.Kind == model.ProviderSkyWalking:
		name = "SkyWalking"
	}
	if name == "" {
		return true
	}
	b.report(model.Finding{
		Code: CodeTracer, Severity: model.Warning, Object: b.v.Mesh.Key, Origin: b.v.Mesh.At(p.Field), Field: p.Field,
		Message: "proxies with the engine go have no tracer of " + name + ": they make no spans for provider " + p.Name,
		Remedy:  "use a provider with opentelemetry or zipkin, which its collector takes too, or run these workloads with the engine envoy",
	})
	return false
}

// tracer is the engine's for a provider.
func (b *Builder) tracer(p *model.Provider, cluster string) (name string, config proto.Message) {
	service := b.v.Proxy.SpanName(b.v.Requests.Name)
	switch p.Kind {
	case model.ProviderZipkin:
		return "envoy.tracers.zipkin", zipkin(p, cluster)
	case model.ProviderDatadog:
		return "envoy.tracers.datadog", &tracev3.DatadogConfig{CollectorCluster: cluster, CollectorHostname: p.Service, ServiceName: service}
	case model.ProviderSkyWalking:
		c := &tracev3.ClientConfig{ServiceName: service}
		if p.Token != "" {
			c.BackendTokenSpecifier = &tracev3.ClientConfig_BackendToken{BackendToken: p.Token}
		}
		to := grpcTo(p, cluster)
		to.Timeout = nil // one stream for all
		return "envoy.tracers.skywalking", &tracev3.SkyWalkingConfig{GrpcService: to, ClientConfig: c}
	}
	return "envoy.tracers.opentelemetry", b.otlp(p, cluster)
}

func (b *Builder) otlp(p *model.Provider, cluster string) *tracev3.OpenTelemetryConfig {
	out := &tracev3.OpenTelemetryConfig{ServiceName: b.v.Proxy.SpanName(b.v.Requests.Name)}
	if p.HTTP {
		out.HttpService = httpTo(p, cluster)
	} else {
		out.GrpcService = grpcTo(p, cluster)
	}
	if p.FromEnvironment {
		out.ResourceDetectors = []*corev3.TypedExtensionConfig{{
			Name:        "envoy.tracers.opentelemetry.resource_detectors.environment",
			TypedConfig: pb.Any(&detectorsv3.EnvironmentResourceDetectorConfig{}),
		}}
	}
	return out
}

func zipkin(p *model.Provider, cluster string) *tracev3.ZipkinConfig {
	out := &tracev3.ZipkinConfig{
		TraceId_128Bit: !p.Short, SharedSpanContext: pb.False(),
		CollectorEndpointVersion: tracev3.ZipkinConfig_HTTP_JSON,
	}
	if p.W3C {
		out.TraceContextOption = tracev3.ZipkinConfig_USE_B3_WITH_W3C_PROPAGATION
	}
	if p.Timeout > 0 || len(p.Headers) > 0 {
		out.CollectorService = httpTo(p, cluster)
		return out
	}
	out.CollectorCluster, out.CollectorEndpoint, out.CollectorHostname = cluster, p.Path, p.Service
	return out
}

// spanTags are the tags that a user asks for, and Istio's own, which say where a
// span is from.
func (b *Builder) spanTags(t *scope.Tracing) []*tracingv3.CustomTag {
	var out []*tracingv3.CustomTag
	for _, s := range t.Tags {
		c := &tracingv3.CustomTag{Tag: s.Name}
		switch s.Kind {
		case model.TagLiteral:
			c.Type = &tracingv3.CustomTag_Literal_{Literal: &tracingv3.CustomTag_Literal{Value: s.Value}}
		case model.TagEnvironment:
			c.Type = &tracingv3.CustomTag_Environment_{Environment: &tracingv3.CustomTag_Environment{Name: s.Value, DefaultValue: s.Default}}
		case model.TagHeader:
			c.Type = &tracingv3.CustomTag_RequestHeader{RequestHeader: &tracingv3.CustomTag_Header{Name: s.Value, DefaultValue: s.Default}}
		case model.TagFormat:
			c.Type = &tracingv3.CustomTag_Value{Value: s.Value}
		}
		out = append(out, c)
	}
	if !t.IstioTags {
		return out
	}
	tags := append(b.v.Proxy.SpanTags(), [2]string{"istio.mesh_id", b.v.Mesh.TrustDomain}, [2]string{"istio.namespace", b.v.Proxy.Namespace()})
	for _, tag := range tags {
		out = append(out, &tracingv3.CustomTag{
			Tag: tag[0], Type: &tracingv3.CustomTag_Literal_{Literal: &tracingv3.CustomTag_Literal{Value: tag[1]}},
		})
	}
	return out
}
