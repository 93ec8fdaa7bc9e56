package model

import (
	"maps"
	"strings"
	"time"
)

// ProxyConfig says how the proxies of the workloads that it selects are run.
type ProxyConfig struct {
	Meta
	// Selector nil: the whole namespace, or the mesh in the root namespace.
	Selector map[string]string
	Settings ProxySettings
}

// ProxySettings are how a proxy is run. What is nil is not said.
type ProxySettings struct {
	// Concurrency is how many processors the proxy uses; 0: all.
	Concurrency *int32
	// Env are environment variables of the proxy.
	Env map[string]string
	// Drain is how long connections may go on that are to end.
	Drain *time.Duration `json:",omitempty"`
	// Stats are statistics of the engine's to keep beside those that Weft reads.
	Stats *StatsFilter `json:",omitempty"`
	// Runtime are values of the engine's runtime.
	Runtime map[string]string `json:",omitempty"`
	// Requests is what is done to requests.
	Requests RequestSettings
}

// StatsFilter picks statistics by their names.
type StatsFilter struct{ Prefixes, Suffixes, Regexps []string }

// RequestSettings are those of ProxySettings that listeners, routes and spans are made
// by, and so of the control plane's proxies. What is nil or empty is not said.
type RequestSettings struct {
	Topology *Topology     `json:",omitempty"`
	Headers  *ProxyHeaders `json:",omitempty"`
	// Spans say how spans are made, where no Telemetry says it.
	Spans *SpanSettings `json:",omitempty"`
	// Name is how the proxy's spans are named, by Istio's word
	// ("CANONICAL_NAME_ONLY"); empty: by app and namespace.
	Name string `json:",omitempty"`
}

// Empty tells whether nothing is said.
func (r *RequestSettings) Empty() bool { return *r == RequestSettings{} }

// Topology is what stands before a gateway.
type Topology struct {
	TrustedProxies uint32
	// ForwardCert is what becomes of the header with the client's certificate, by
	// Envoy's word; empty: SANITIZE_SET.
	ForwardCert string
	// ProxyProtocol: connections begin with a PROXY header.
	ProxyProtocol bool
}

// ProxyHeaders says which headers a proxy adds. The zero value is the default.
type ProxyHeaders struct {
	// ForwardCert is as in Topology, for sidecars; empty: APPEND_FORWARD.
	ForwardCert string
	// Cert are the parts of the client's certificate that are told; nil: subject, URI
	// and DNS names.
	Cert *CertParts `json:",omitempty"`
	// Server is the header of that name, KeepServer leaves it to the program.
	Server                               string
	KeepServer                           bool
	NoRequestID, NoAttemptCount, NoDebug bool
	ForwardedHost, ForwardedPort         bool
	// KeepCase: names of HTTP/1's headers go on as they were written.
	KeepCase bool
}

// CertParts are parts of a certificate.
type CertParts struct{ Subject, Cert, Chain, DNS, URI bool }

// SpanSettings are tracing in a proxy's configuration.
type SpanSettings struct {
	// Provider nil: the mesh's.
	Provider *Provider `json:",omitempty"`
	Sampling *float64  `json:",omitempty"`
	Tags     []SpanTag
	MaxTag   uint32 `json:",omitempty"`
	// NoIstioTags is as in Mesh.
	NoIstioTags *bool `json:",omitempty"`
}

// metadataPrefix begins the names of variables that become the node's metadata.
const metadataPrefix = "ISTIO_META_"

// Metadata are the entries of the node's metadata that the variables make.
func (p ProxySettings) Metadata() map[string]string {
	var out map[string]string
	for k, v := range p.Env {
		if name, ok := strings.CutPrefix(k, metadataPrefix); ok {
			if out == nil {
				out = map[string]string{}
			}
			out[name] = v
		}
	}
	return out
}

// over is what holds when p has the first word, and base the second.
func (p ProxySettings) over(base ProxySettings) ProxySettings {
	if p.Concurrency != nil {
		base.Concurrency = p.Concurrency
	}
	if len(p.Env) > 0 {
		env := maps.Clone(p.Env)
		for k, v := range base.Env {
			if _, set := env[k]; !set {
				env[k] = v
			}
		}
		base.Env = env
	}
	if len(p.Runtime) > 0 {
		values := maps.Clone(base.Runtime)
		if values == nil {
			values = map[string]string{}
		}
		maps.Copy(values, p.Runtime)
		base.Runtime = values
	}
	later(&base.Drain, p.Drain)
	later(&base.Stats, p.Stats)
	later(&base.Requests.Topology, p.Requests.Topology)
	later(&base.Requests.Headers, p.Requests.Headers)
	later(&base.Requests.Spans, p.Requests.Spans)
	if p.Requests.Name != "" {
		base.Requests.Name = p.Requests.Name
	}
	return base
}

// later replaces a setting where the later word has one.
func later[T any](base **T, word *T) {
	if word != nil {
		*base = word
	}
}

// ProxySettingsOf is what holds for the proxy of a workload, by Istio's order: the mesh
// configuration, the ProxyConfigs of the root namespace, of the workload's, what is
// written at the workload itself (own; nil: nothing), and those that select it. The
// later beats the earlier, variable by variable; of several of one kind the oldest counts.
func ProxySettingsOf(m *Mesh, all []*ProxyConfig, namespace string, labels map[string]string, own *ProxySettings) ProxySettings {
	out := m.Proxy
	first := func(namespace string, selected bool) *ProxySettings {
		for _, c := range all {
			if c.Key.Namespace == namespace && (c.Selector != nil) == selected && Matches(c.Selector, labels) {
				return &c.Settings
			}
		}
		return nil
	}
	steps := []*ProxySettings{first(m.RootNamespace, false)}
	if namespace != m.RootNamespace {
		steps = append(steps, first(namespace, false))
	}
	for _, s := range append(steps, own, first(namespace, true)) {
		if s != nil {
			out = s.over(out)
		}
	}
	return out
}
