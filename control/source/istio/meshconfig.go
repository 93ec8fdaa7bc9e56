package istio

import (
	"strings"
	"time"

	meshpb "istio.io/api/mesh/v1alpha1"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/document"
)

// none says why a key of MeshConfig has no effect.
var none = document.Rule{Ignore: "Weft does not carry it out"}

// quiet keys are about Istio's own installation.
var quiet = document.Rule{Quiet: true}

// meshRules name what is not carried out: what is not listed is.
var meshRules = document.Rules{
	"MeshConfig.proxyListenPort": none, "MeshConfig.proxyInboundListenPort": none, "MeshConfig.proxyHttpPort": none,
	"MeshConfig.hboneIdleTimeout": none, "MeshConfig.ingressClass": quiet, "MeshConfig.ingressService": quiet,
	"MeshConfig.ingressControllerMode": quiet, "MeshConfig.ingressSelector": quiet,
	"MeshConfig.enableEnvoyAccessLogService": none, "MeshConfig.disableEnvoyListenerLog": quiet, // there is none
	"MeshConfig.configSources":       quiet,
	"MeshConfig.certificates":        none,
	"MeshConfig.serviceScopeConfigs": none, "MeshConfig.enablePrometheusMerge": quiet,
	"MeshConfig.verifyCertificateAtClient": quiet, // always
	"MeshConfig.ca":                        none,

	"ProxyConfig.configPath": quiet, "ProxyConfig.binaryPath": quiet, "ProxyConfig.serviceCluster": quiet,
	"ProxyConfig.discoveryAddress": quiet, "ProxyConfig.statsdUdpAddress": none, "ProxyConfig.proxyAdminPort": none,
	"ProxyConfig.controlPlaneAuthPolicy": quiet, "ProxyConfig.customConfigFile": none, "ProxyConfig.statNameLength": quiet,
	"ProxyConfig.proxyBootstrapTemplatePath": none, "ProxyConfig.interceptionMode": none,
	"ProxyConfig.statusPort": none, "ProxyConfig.extraStatTags": quiet, // every tag is shown
	"ProxyConfig.terminationDrainDuration": quiet, "ProxyConfig.meshId": quiet, "ProxyConfig.readinessProbe": none,
	"ProxyConfig.holdApplicationUntilProxyStarts": quiet,
	"ProxyConfig.caCertificatesPem":               none, "ProxyConfig.image": quiet, "ProxyConfig.privateKeyProvider": none,
	"ProxyConfig.ProxyHeaders.metadataExchangeHeaders": quiet, // there are none
	"ProxyConfig.envoyAccessLogService":                none, "ProxyConfig.envoyMetricsService": none,
	"ProxyConfig.zipkinAddress":    none,
	"ProxyConfig.availabilityZone": quiet, "ProxyConfig.fileFlushInterval": none, "ProxyConfig.fileFlushMinSizeKb": none,
	"ProxyConfig.statsCompression": none,

	"Tracing.lightstep": none, "Tracing.stackdriver": none, "Tracing.openCensusAgent": none,
	"Tracing.tlsSettings": none,
}

// Convert reads a MeshConfig that stands as text in a field of a document: the
// value of a ConfigMap's key "mesh".
func Convert(d *document.Document, field, text string) []model.Object {
	line := d.Line(field)
	if d.Block(field) {
		line++
	}
	mc := &meshpb.MeshConfig{}
	if !d.Nested(field, text, line, shapes().mesh, mc) {
		return nil
	}
	return meshOf(d, mc)
}

// FileFrontEnd reads a MeshConfig that is a document of its own, without
// apiVersion and kind: the file that istiod takes.
func FileFrontEnd() *document.FrontEnd {
	shape := document.Resource(document.Field{Name: "spec", Shape: shapes().mesh})
	return &document.FrontEnd{
		Kind: string(model.KindMeshConfig), Group: "mesh.istio.io", Versions: []string{"v1alpha1"}, Cluster: true, Shape: shape,
		Convert: func(d *document.Document) []model.Object {
			mc := &meshpb.MeshConfig{}
			if !d.Message("spec", d.Spec(), mc) {
				return nil
			}
			return meshOf(d, mc)
		},
	}
}

// secretTTL is the variable by which Istio's proxies ask for a lifetime.
const secretTTL = "SECRET_TTL"

func meshOf(d *document.Document, mc *meshpb.MeshConfig) []model.Object {
	m := model.DefaultMesh()
	m.Meta = d.Meta
	set := func(into *string, v string) {
		if v != "" {
			*into = v
		}
	}
	set(&m.TrustDomain, mc.GetTrustDomain())
	set(&m.RootNamespace, mc.GetRootNamespace())
	m.TrustAliases = mc.GetTrustDomainAliases()
	m.AccessLogFile, m.AccessLogFormat = mc.GetAccessLogFile(), mc.GetAccessLogFormat()
	m.AccessLogJSON = mc.GetAccessLogEncoding() == meshpb.MeshConfig_JSON
	if v := mc.GetEnableAutoMtls(); v != nil {
		m.AutoMTLS = v.GetValue()
	}
	if p := mc.GetOutboundTrafficPolicy(); p != nil {
		switch p.GetMode() {
		case meshpb.MeshConfig_OutboundTrafficPolicy_REGISTRY_ONLY:
			m.Outbound = model.RegistryOnly
		case meshpb.MeshConfig_OutboundTrafficPolicy_ALLOW_ANY_DYNAMIC_DNS:
			m.Outbound = model.AllowAnyDynamic
		}
		m.OutboundTLS = clientTLS(d, "outboundTrafficPolicy.tls", p.GetTls())
		if m.OutboundTLS != nil && m.Outbound != model.AllowAnyDynamic {
			d.Warn(document.CodeIgnored, "outboundTrafficPolicy.tls", "write mode: ALLOW_ANY_DYNAMIC_DNS, or remove it", "has no effect with mode %s", p.GetMode())
		}
	}
	for _, t := range []struct {
		name string
		into *time.Duration
		from time.Duration
	}{
		{"connectTimeout", &m.ConnectTimeout, mc.GetConnectTimeout().AsDuration()},
		{"protocolDetectionTimeout", &m.DetectTimeout, mc.GetProtocolDetectionTimeout().AsDuration()},
		{"dnsRefreshRate", &m.DNSRefresh, mc.GetDnsRefreshRate().AsDuration()},
	} {
		if t.from < 0 {
			d.Invalid(t.name, "", "must not be negative, got %v", t.from)
		}
		if t.from > 0 {
			*t.into = t.from
		}
	}
	m.Keepalive = Keepalive(d, "tcpKeepalive", mc.GetTcpKeepalive())
	m.DefaultRetry = Retry(d, "defaultHttpRetryPolicy", mc.GetDefaultHttpRetryPolicy())
	if l := mc.GetLocalityLbSetting(); l != nil {
		m.LocalityLB = LocalityLB(d, "localityLbSetting", l)
	}
	m.ZoneLB = zoneLB(d, "zoneAwareLbSetting", mc.GetZoneAwareLbSetting())
	traffic(d, m, mc)
	namespaces(d, m, mc)
	m.Authorities = authorities(d, mc)
	m.ServiceExports = exports(d, "defaultServiceExportTo", mc.GetDefaultServiceExportTo())
	m.RouteExports = exports(d, "defaultVirtualServiceExportTo", mc.GetDefaultVirtualServiceExportTo())
	m.PolicyExports = exports(d, "defaultDestinationRuleExportTo", mc.GetDefaultDestinationRuleExportTo())
	if n := mc.GetPathNormalization().GetNormalization(); n != meshpb.MeshConfig_ProxyPathNormalization_DEFAULT {
		m.PathNormalization = n.String()
	}
	m.Proxy = proxySettings(d, "defaultConfig", mc.GetDefaultConfig())
	metadata(d, m, mc.GetDefaultConfig().GetProxyMetadata())
	providers(d, m, mc)
	return []model.Object{m}
}

// metadata reads the settings that Istio has as environment variables.
func metadata(d *document.Document, m *model.Mesh, env map[string]string) {
	for k, v := range env {
		field := "defaultConfig.proxyMetadata." + k
		if strings.HasPrefix(k, "ISTIO_META_") || jwksSetting(d, m, field, k, v) {
			continue
		}
		if k != secretTTL {
			d.Warn(document.CodeIgnored, field, "", "has no effect here")
			continue
		}
		ttl, err := time.ParseDuration(v)
		if err != nil || ttl < time.Second {
			d.Invalid(field, `write e.g. "24h"`, "must be a duration of 1s or more, got %q", v)
			continue
		}
		m.CertTTL = ttl
	}
}

// exports reads a default exportTo list. "." stays: it is the namespace of the
// object that the default is applied to.
func exports(d *document.Document, at string, list []string) *model.Visibility {
	if len(list) == 0 {
		return nil
	}
	v := &model.Visibility{}
	for i, ns := range list {
		switch {
		case ns == "*":
			v.Public = true
		case ns == ".":
			v.Namespaces = append(v.Namespaces, ns)
		case ns == "~":
		case !document.IsLabel(ns):
			d.Invalid(document.At(at, i), `write a namespace, ".", "*" or "~"`, "%q is not a namespace", ns)
		default:
			v.Namespaces = append(v.Namespaces, ns)
		}
	}
	return v
}

// hostPort splits "zipkin.istio-system:9411".
func hostPort(d *document.Document, at, address string) (host string, port uint16) {
	host, number, ok := strings.Cut(address, ":")
	n := 0
	for _, r := range number {
		if r < '0' || r > '9' || n > 65535 {
			ok = false
			break
		}
		n = n*10 + int(r-'0')
	}
	if !ok || host == "" || n < 1 || n > 65535 {
		d.Invalid(at, "write host:port", "%q is not an address with a port", address)
	}
	return host, uint16(n)
}
