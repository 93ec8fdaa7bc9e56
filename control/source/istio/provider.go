package istio

import (
	"encoding/json"
	"slices"
	"strings"

	meshpb "istio.io/api/mesh/v1alpha1"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// providers reads extensionProviders as far as defaultProviders names them, and
// the older tracing settings of the proxy configuration.
func providers(d *document.Document, m *model.Mesh, mc *meshpb.MeshConfig) {
	byName := map[string]int{}
	var names []string
	for i, p := range mc.GetExtensionProviders() {
		byName[p.GetName()] = i
		names = append(names, p.GetName())
	}
	used := map[string]bool{}
	find := func(field, name string) (*meshpb.MeshConfig_ExtensionProvider, string) {
		i, ok := byName[name]
		if !ok {
			d.Invalid(field, document.Suggest(name, names), "extensionProviders has none named %q", name)
			return nil, ""
		}
		used[name] = true
		return mc.GetExtensionProviders()[i], document.At("extensionProviders", i)
	}
	legacyTracing(d, m, mc)
	for i, name := range mc.GetDefaultProviders().GetTracing() {
		field := document.At("defaultProviders.tracing", i)
		if i > 0 {
			d.Warn(document.CodeIgnored, field, "keep one", "only the first is used")
			continue
		}
		if p, at := find(field, name); p != nil {
			m.Tracing = tracing(d, at, p)
			if m.Tracing != nil {
				m.Tracing.Sampling = sampling(mc)
			}
		}
	}
	for i, name := range mc.GetDefaultProviders().GetAccessLogging() {
		field := document.At("defaultProviders.accessLogging", i)
		if i > 0 {
			d.Warn(document.CodeIgnored, field, "keep one", "only the first is used")
			continue
		}
		if name == "envoy" && !slices.Contains(names, name) { // Istio has it built in
			m.AccessLogFile = "/dev/stdout"
			continue
		}
		if p, at := find(field, name); p != nil {
			fileAccessLog(d, at, p, m)
		}
	}
	for i, p := range mc.GetExtensionProviders() {
		if !used[p.GetName()] {
			d.Info(document.CodeIgnored, document.At("extensionProviders", i), "name it in defaultProviders", "%q is used by nothing", p.GetName())
		}
	}
}

func sampling(mc *meshpb.MeshConfig) float64 {
	if s := mc.GetDefaultConfig().GetTracing().GetSampling(); s != 0 {
		return s
	}
	return 1 // percent, Istio's default
}

func legacyTracing(d *document.Document, m *model.Mesh, mc *meshpb.MeshConfig) {
	z := mc.GetDefaultConfig().GetTracing().GetZipkin()
	if z == nil || z.GetAddress() == "" {
		return
	}
	if !mc.GetEnableTracing() {
		d.Warn(document.CodeIgnored, "defaultConfig.tracing", "set enableTracing: true", "has no effect")
		return
	}
	host, port := hostPort(d, "defaultConfig.tracing.zipkin.address", z.GetAddress())
	m.Tracing = &model.Tracing{Provider: "zipkin", Service: meshHost(host), Port: port, Sampling: sampling(mc)}
}

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

func tracing(d *document.Document, at string, p *meshpb.MeshConfig_ExtensionProvider) *model.Tracing {
	t := &model.Tracing{}
	switch v := p.GetProvider().(type) {
	case *meshpb.MeshConfig_ExtensionProvider_Opentelemetry:
		t.Provider = "opentelemetry"
		t.Service, t.Port = service(d, at+".opentelemetry", v.Opentelemetry.GetService(), v.Opentelemetry.GetPort())
		t.HTTPPath = v.Opentelemetry.GetHttp().GetPath()
		if v.Opentelemetry.GetResourceDetectors() != nil || v.Opentelemetry.GetDynatraceSampler() != nil {
			d.Warn(document.CodeIgnored, at+".opentelemetry", "", "resourceDetectors and samplers have no effect here")
		}
	case *meshpb.MeshConfig_ExtensionProvider_Zipkin:
		t.Provider = "zipkin"
		t.Service, t.Port = service(d, at+".zipkin", v.Zipkin.GetService(), v.Zipkin.GetPort())
	default:
		d.Warn(document.CodeIgnored, at, "use opentelemetry or zipkin", "is not carried out by Weft: no spans are sent")
		return nil
	}
	return t
}

func fileAccessLog(d *document.Document, at string, p *meshpb.MeshConfig_ExtensionProvider, m *model.Mesh) {
	f := p.GetEnvoyFileAccessLog()
	if f == nil {
		d.Warn(document.CodeIgnored, at, "use envoyFileAccessLog", "is not carried out by Weft: no access log is written")
		return
	}
	m.AccessLogFile = f.GetPath()
	if m.AccessLogFile == "" {
		m.AccessLogFile = "/dev/stdout"
	}
	m.AccessLogFormat = f.GetLogFormat().GetText()
	if l := f.GetLogFormat().GetLabels(); l != nil {
		m.AccessLogJSON, m.AccessLogFormat = true, jsonFormat(l)
	}
}

func jsonFormat(s *structpb.Struct) string {
	raw, err := json.Marshal(s.AsMap()) // protojson's spacing is random on purpose
	if err != nil {
		panic("BUG: access log format: " + err.Error())
	}
	return string(raw)
}
