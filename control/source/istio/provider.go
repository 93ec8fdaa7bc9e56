package istio

import (
	"encoding/json"
	"os"
	"slices"
	"strings"

	meshpb "istio.io/api/mesh/v1alpha1"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// providers reads extensionProviders and defaultProviders, and the older tracing
// settings of the proxy configuration.
func providers(d *document.Document, m *model.Mesh, mc *meshpb.MeshConfig) {
	var names []string
	for i, p := range mc.GetExtensionProviders() {
		at := document.At("extensionProviders", i)
		switch {
		case p.GetName() == "":
			d.Error(document.CodeMissing, at+".name", "name the provider", "is missing")
		case slices.Contains(names, p.GetName()):
			d.Invalid(at+".name", "give each provider a name of its own", "%q is used twice", p.GetName())
		}
		names = append(names, p.GetName())
		if a := authorizer(d, at, p); a != nil {
			m.Authorizers = append(m.Authorizers, *a)
			continue
		}
		m.Providers = append(m.Providers, provider(d, at, p))
	}
	legacyTracing(d, m, mc)
	def := mc.GetDefaultProviders()
	m.DefaultTracing = defaults(d, m, "tracing", def.GetTracing(), model.ProviderKind.Traces)
	m.DefaultLogs = defaults(d, m, "accessLogging", def.GetAccessLogging(), model.ProviderKind.Logs)
	m.DefaultMetrics = defaults(d, m, "metrics", def.GetMetrics(), func(k model.ProviderKind) bool { return k == model.ProviderPrometheus })
	if len(m.DefaultTracing) > 1 {
		d.Warn(document.CodeIgnored, "defaultProviders.tracing[1]", "keep one", "only the first is used")
	}
}

// defaults checks the names in one list of defaultProviders.
func defaults(d *document.Document, m *model.Mesh, name string, list []string, fits func(model.ProviderKind) bool) []string {
	var known []string
	for _, p := range m.Providers {
		known = append(known, p.Name)
	}
	for i, n := range list {
		field := document.At("defaultProviders."+name, i)
		switch p := m.Provider(n); {
		case p == nil:
			d.Invalid(field, document.Suggest(n, known), "extensionProviders has none named %q", n)
		case !fits(p.Kind):
			d.Warn(document.CodeIgnored, field, "", "the provider %q is not for %s, or not carried out by Weft: nothing goes there", n, name)
		}
	}
	return list
}

// legacyTracing reads what defaultConfig says of spans.
func legacyTracing(d *document.Document, m *model.Mesh, mc *meshpb.MeshConfig) {
	t := mc.GetDefaultConfig().GetTracing()
	if s := t.GetSampling(); s != 0 {
		m.Sampling = s
	}
	m.MaxTag = t.GetMaxPathTagLength()
	m.NoIstioTags = t.GetEnableIstioTags() != nil && !t.GetEnableIstioTags().GetValue()
	m.TraceTags = spanTags(d, "defaultConfig.tracing", t)
	p := ownTracer(d, "defaultConfig.tracing", t)
	if p != nil && !mc.GetEnableTracing() {
		d.Warn(document.CodeIgnored, "defaultConfig.tracing", "set enableTracing: true", "has no effect")
		return
	}
	m.Tracing = p
}

// ownTracer is where settings of tracing send spans without a provider by name; nil: nowhere.
func ownTracer(d *document.Document, at string, t *meshpb.Tracing) *model.Provider {
	p := &model.Provider{Name: "zipkin", Kind: model.ProviderZipkin, Path: zipkinPath}
	address := t.GetZipkin().GetAddress()
	if a := t.GetDatadog().GetAddress(); a != "" {
		p, address = &model.Provider{Name: "datadog", Kind: model.ProviderDatadog}, a
	}
	if address == "" {
		return nil
	}
	p.Field = at + "." + p.Name + ".address"
	p.Service, p.Port = hostPort(d, p.Field, address)
	p.Service = meshHost(p.Service)
	return p
}

// spanTags are the tags that tracing settings ask for, by name.
func spanTags(d *document.Document, at string, t *meshpb.Tracing) (out []model.SpanTag) {
	for name, tag := range t.GetCustomTags() {
		s := model.SpanTag{Name: name}
		switch v := tag.GetType().(type) {
		case *meshpb.Tracing_CustomTag_Literal:
			s.Value = v.Literal.GetValue()
		case *meshpb.Tracing_CustomTag_Environment:
			s.Kind, s.Value, s.Default = model.TagEnvironment, v.Environment.GetName(), v.Environment.GetDefaultValue()
		case *meshpb.Tracing_CustomTag_Header:
			s.Kind, s.Value, s.Default = model.TagHeader, v.Header.GetName(), v.Header.GetDefaultValue()
		}
		if s.Value == "" {
			d.Error(document.CodeMissing, document.Join(at+".customTags", name), "add literal, environment or header", "has no value")
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b model.SpanTag) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// zipkinPath is where Zipkin takes spans.
const zipkinPath = "/api/v2/spans"

// meshHost completes "zipkin.istio-system", the form that mesh configurations use.
func meshHost(host string) string {
	switch strings.Count(host, ".") {
	case 1:
		if !strings.HasSuffix(host, ".local") && !strings.HasSuffix(host, ".com") {
			return host + ".svc." + Domain
		}
	case 2:
		if strings.HasSuffix(host, ".svc") {
			return host + "." + Domain
		}
	}
	return host
}

// service reads the service of a provider, with Istio's optional "namespace/".
func service(d *document.Document, at, name string, port uint32) (string, uint16) {
	if _, after, ok := strings.Cut(name, "/"); ok {
		name = after
	}
	if name == "" {
		d.Error(document.CodeMissing, at+".service", "name the service", "is missing")
	}
	if port < 1 || port > 65535 {
		d.Invalid(at+".port", "", "must be an integer from 1 to 65535, got %d", port)
	}
	return meshHost(name), uint16(port)
}

// provider reads one extension provider that telemetry goes to.
func provider(d *document.Document, at string, p *meshpb.MeshConfig_ExtensionProvider) *model.Provider {
	out := &model.Provider{Name: p.GetName(), Field: at}
	serve := func(kind model.ProviderKind, name string, s interface {
		GetService() string
		GetPort() uint32
	},
	) {
		out.Kind = kind
		out.Field = at + "." + name
		out.Service, out.Port = service(d, out.Field, s.GetService(), s.GetPort())
	}
	switch v := p.GetProvider().(type) {
	case *meshpb.MeshConfig_ExtensionProvider_Prometheus:
		out.Kind = model.ProviderPrometheus
	case *meshpb.MeshConfig_ExtensionProvider_Opentelemetry:
		serve(model.ProviderOpenTelemetry, "opentelemetry", v.Opentelemetry)
		openTelemetry(d, out, v.Opentelemetry)
	case *meshpb.MeshConfig_ExtensionProvider_Sds:
		serve(model.ProviderSDS, "sds", v.Sds)
	case *meshpb.MeshConfig_ExtensionProvider_Zipkin:
		z := v.Zipkin
		serve(model.ProviderZipkin, "zipkin", z)
		out.Path, out.MaxTag, out.Short = z.GetPath(), z.GetMaxTagLength(), z.GetEnable_64BitTraceId()
		if out.Path == "" {
			out.Path = zipkinPath
		}
		out.W3C = z.GetTraceContextOption() == meshpb.MeshConfig_ExtensionProvider_ZipkinTracingProvider_USE_B3_WITH_W3C_PROPAGATION
		out.Timeout = duration(d, out.Field+".timeout", z.GetTimeout())
		out.Headers = providerHeaders(d, out.Field+".headers", z.GetHeaders())
	case *meshpb.MeshConfig_ExtensionProvider_Datadog:
		serve(model.ProviderDatadog, "datadog", v.Datadog)
		out.MaxTag = v.Datadog.GetMaxTagLength()
	case *meshpb.MeshConfig_ExtensionProvider_Skywalking:
		serve(model.ProviderSkyWalking, "skywalking", v.Skywalking)
		out.Token = v.Skywalking.GetAccessToken()
	case *meshpb.MeshConfig_ExtensionProvider_EnvoyFileAccessLog:
		out.Kind, out.Path, out.OmitEmpty = model.ProviderFileLog, v.EnvoyFileAccessLog.GetPath(), v.EnvoyFileAccessLog.GetOmitEmptyValues()
		if out.Path == "" {
			out.Path = "/dev/stdout"
		}
		logFormat(out, v.EnvoyFileAccessLog.GetLogFormat().GetText(), v.EnvoyFileAccessLog.GetLogFormat().GetLabels())
	case *meshpb.MeshConfig_ExtensionProvider_EnvoyHttpAls:
		l := v.EnvoyHttpAls
		serve(model.ProviderHTTPLog, "envoyHttpAls", l)
		out.LogName, out.Objects = named(l.GetLogName(), "http_envoy_accesslog"), l.GetFilterStateObjectsToLog()
		out.RequestHeaders, out.ResponseHeaders = l.GetAdditionalRequestHeadersToLog(), l.GetAdditionalResponseHeadersToLog()
		out.Trailers = l.GetAdditionalResponseTrailersToLog()
	case *meshpb.MeshConfig_ExtensionProvider_EnvoyTcpAls:
		serve(model.ProviderTCPLog, "envoyTcpAls", v.EnvoyTcpAls)
		out.LogName, out.Objects = named(v.EnvoyTcpAls.GetLogName(), "tcp_envoy_accesslog"), v.EnvoyTcpAls.GetFilterStateObjectsToLog()
	case *meshpb.MeshConfig_ExtensionProvider_EnvoyOtelAls:
		serve(model.ProviderOTelLog, "envoyOtelAls", v.EnvoyOtelAls)
		out.LogName = named(v.EnvoyOtelAls.GetLogName(), "otel_envoy_accesslog")
		f := v.EnvoyOtelAls.GetLogFormat()
		logFormat(out, f.GetText(), f.GetLabels())
	}
	return out
}

func named(name, def string) string {
	if name == "" {
		return def
	}
	return name
}

func openTelemetry(d *document.Document, out *model.Provider, p *meshpb.MeshConfig_ExtensionProvider_OpenTelemetryTracingProvider) {
	out.MaxTag = p.GetMaxTagLength()
	if h := p.GetHttp(); h != nil {
		out.HTTP, out.Path = true, h.GetPath()
		if !strings.HasPrefix(out.Path, "/") {
			d.Invalid(out.Field+".http.path", "write e.g. /v1/traces", "must begin with \"/\", got %q", out.Path)
		}
		out.Timeout = duration(d, out.Field+".http.timeout", h.GetTimeout())
		out.Headers = providerHeaders(d, out.Field+".http.headers", h.GetHeaders())
	}
	if g := p.GetGrpc(); g != nil {
		if out.HTTP {
			d.Invalid(out.Field+".grpc", "keep one", "excludes http")
		}
		out.Timeout = duration(d, out.Field+".grpc.timeout", g.GetTimeout())
		out.Headers = providerHeaders(d, out.Field+".grpc.initialMetadata", g.GetInitialMetadata())
	}
	out.FromEnvironment = p.GetResourceDetectors().GetEnvironment() != nil
	if p.GetResourceDetectors().GetDynatrace() != nil || p.GetDynatraceSampler() != nil {
		d.Warn(document.CodeIgnored, out.Field, "", "Dynatrace's resource detector and sampler have no effect here")
	}
	if p.GetServiceAttributeEnrichment() != meshpb.MeshConfig_ExtensionProvider_ISTIO_CANONICAL {
		d.Warn(document.CodeIgnored, out.Field+".serviceAttributeEnrichment", "", "has no effect here")
	}
}

// providerHeaders reads what goes with each export; variables are the control plane's own.
func providerHeaders(d *document.Document, at string, list []*meshpb.MeshConfig_ExtensionProvider_HttpHeader) []model.ProviderHeader {
	var out []model.ProviderHeader
	for i, h := range list {
		field := document.At(at, i)
		checkHeaderName(d, field+".name", h.GetName())
		v := h.GetValue()
		if e := h.GetEnvName(); e != "" {
			var ok bool
			if v, ok = os.LookupEnv(e); !ok {
				d.Warn(document.CodeIgnored, field+".envName", "set it for the control plane", "there is no variable %s: the header is not sent", e)
				continue
			}
		}
		out = append(out, model.ProviderHeader{Name: h.GetName(), Value: v})
	}
	return out
}

func logFormat(out *model.Provider, text string, labels *structpb.Struct) {
	out.Text = text
	if labels != nil {
		out.JSON = jsonFormat(labels)
	}
}

func jsonFormat(s *structpb.Struct) string {
	raw, err := json.Marshal(s.AsMap()) // protojson's spacing is random on purpose
	if err != nil {
		panic("BUG: access log format: " + err.Error())
	}
	return string(raw)
}
