package istio

import (
	"strings"

	"google.golang.org/protobuf/types/known/wrapperspb"
	meshpb "istio.io/api/mesh/v1alpha1"
	networkingbeta "istio.io/api/networking/v1beta1"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// ProxyAnnotation has a workload's own ProxyConfig of the mesh configuration, in YAML.
const ProxyAnnotation = "proxy.istio.io/config"

func convertProxyConfig(d *document.Document) []model.Object {
	pc := &networkingbeta.ProxyConfig{}
	if !d.Message("spec", d.Spec(), pc) {
		return nil
	}
	out := &model.ProxyConfig{Meta: d.Meta, Selector: selector(d, pc.GetSelector())}
	if v := pc.GetConcurrency(); v != nil {
		out.Settings.Concurrency = concurrency(d, "spec.concurrency", v.GetValue())
	}
	out.Settings.Env = variables(d, "spec.environmentVariables", pc.GetEnvironmentVariables())
	return []model.Object{out}
}

func concurrency(d *document.Document, at string, n int32) *int32 {
	if n < 0 {
		d.Invalid(at, "write 0 for all processors", "must not be negative, got %d", n)
	}
	return &n
}

// variables are those of proxies. Only what becomes metadata has an effect here.
func variables(d *document.Document, at string, env map[string]string) map[string]string {
	for k, v := range env {
		switch {
		case k == "" || strings.ContainsAny(k, "=\x00") || strings.ContainsRune(v, 0):
			d.Invalid(document.Join(at, k), "", "%q is not a valid name of a variable, or its value is not", k)
		case !strings.HasPrefix(k, "ISTIO_META_"):
			d.Info(document.CodeIgnored, document.Join(at, k), "", "is set, but Weft's proxies do not look at it")
		}
	}
	return env
}

// OwnProxy reads the ProxyConfig that is written at a workload; nil: none is.
func OwnProxy(d *document.Document, field, text string) *model.ProxySettings {
	if text == "" {
		return nil
	}
	line := d.Line(field)
	if d.Block(field) {
		line++
	}
	pc := &meshpb.ProxyConfig{}
	lines := d.Lines
	defer func() { d.Lines = lines }() // what follows is about the document again
	if !d.Nested(field, text, line, shapes().proxy, pc) {
		return nil
	}
	out := proxySettings(d, "", pc)
	out.Requests.Spans = spanSettings(d, "tracing", pc.GetTracing()) // the mesh's own are read with its providers
	return &out
}

// Annotated reads the ProxyConfig that is written at the document's object itself.
func Annotated(d *document.Document) *model.ProxySettings {
	return OwnProxy(d, document.Join("metadata.annotations", ProxyAnnotation), d.Annotations[ProxyAnnotation])
}

func proxySettings(d *document.Document, at string, pc *meshpb.ProxyConfig) model.ProxySettings {
	var out model.ProxySettings
	if v := pc.GetConcurrency(); v != nil {
		out.Concurrency = concurrency(d, document.Join(at, "concurrency"), v.GetValue())
	}
	out.Env = pc.GetProxyMetadata()
	if v := pc.GetDrainDuration(); v != nil {
		out.Drain = new(duration(d, document.Join(at, "drainDuration"), v))
	}
	if m := pc.GetProxyStatsMatcher(); m != nil {
		out.Stats = &model.StatsFilter{Prefixes: m.GetInclusionPrefixes(), Suffixes: m.GetInclusionSuffixes(), Regexps: m.GetInclusionRegexps()}
		for i, r := range out.Stats.Regexps {
			d.Regex(document.At(document.Join(at, "proxyStatsMatcher.inclusionRegexps"), i), r)
		}
	}
	out.Runtime = pc.GetRuntimeValues()
	out.Requests = requestSettings(d, at, pc)
	return out
}

// requestSettings reads what listeners, routes and spans are made by.
func requestSettings(d *document.Document, at string, pc *meshpb.ProxyConfig) (out model.RequestSettings) {
	if t := pc.GetGatewayTopology(); t != nil {
		out.Topology = &model.Topology{
			TrustedProxies: t.GetNumTrustedProxies(), ForwardCert: forwardCert(t.GetForwardClientCertDetails()), ProxyProtocol: t.GetProxyProtocol() != nil,
		}
	}
	if h := pc.GetProxyHeaders(); h != nil {
		out.Headers = proxyHeaders(d, document.Join(at, "proxyHeaders"), h)
	}
	if n := pc.GetTracingServiceName(); n != meshpb.ProxyConfig_APP_LABEL_AND_NAMESPACE {
		out.Name = n.String()
	}
	return out
}

// forwardCert is Envoy's word for what becomes of x-forwarded-client-cert.
func forwardCert(f meshpb.ForwardClientCertDetails) string {
	if f == meshpb.ForwardClientCertDetails_UNDEFINED {
		return ""
	}
	return f.String()
}

func proxyHeaders(d *document.Document, at string, h *meshpb.ProxyConfig_ProxyHeaders) *model.ProxyHeaders {
	out := &model.ProxyHeaders{
		ForwardCert: forwardCert(h.GetForwardedClientCert()), Server: h.GetServer().GetValue(), KeepServer: h.GetServer().GetDisabled().GetValue(),
		NoRequestID: h.GetRequestId().GetDisabled().GetValue(), NoAttemptCount: h.GetAttemptCount().GetDisabled().GetValue(),
		NoDebug:       h.GetEnvoyDebugHeaders().GetDisabled().GetValue(),
		ForwardedHost: h.GetXForwardedHost().GetEnabled().GetValue(), ForwardedPort: h.GetXForwardedPort().GetEnabled().GetValue(),
	}
	if out.KeepServer && out.Server != "" {
		d.Warn(document.CodeIgnored, at+".server.value", "remove one of the two", "has no effect beside disabled: true")
	}
	out.KeepCase = h.GetPreserveHttp1HeaderCase().GetValue()
	if c := h.GetSetCurrentClientCertDetails(); c != nil {
		def := func(v *wrapperspb.BoolValue) bool { return v == nil || v.GetValue() }
		out.Cert = &model.CertParts{
			Subject: def(c.GetSubject()), URI: def(c.GetUri()), DNS: def(c.GetDns()), Cert: c.GetCert().GetValue(), Chain: c.GetChain().GetValue(),
		}
	}
	return out
}

// spanSettings reads tracing of a proxy's configuration; nil: nothing is said.
func spanSettings(d *document.Document, at string, t *meshpb.Tracing) *model.SpanSettings {
	if t == nil {
		return nil
	}
	out := &model.SpanSettings{MaxTag: t.GetMaxPathTagLength(), Tags: spanTags(d, at, t)}
	if s := t.GetSampling(); s != 0 {
		out.Sampling = new(s)
		if s < 0 || s > 100 {
			d.Invalid(at+".sampling", "", "must be from 0 to 100, got %v", s)
		}
	}
	if v := t.GetEnableIstioTags(); v != nil {
		out.NoIstioTags = new(!v.GetValue())
	}
	out.Provider = ownTracer(d, at, t)
	return out
}
