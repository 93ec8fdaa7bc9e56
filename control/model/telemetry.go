package model

import "time"

// Telemetry is what a Telemetry resource says about metrics, spans and access
// logs of the workloads that it selects.
type Telemetry struct {
	Meta `json:"meta"`
	// Selector nil: the whole namespace, or the mesh in the root namespace.
	Selector map[string]string
	// Gateways are those of the Gateway API whose proxies are meant (targetRefs);
	// nil: Selector decides.
	Gateways []string
	Tracing  []TracingRule
	Metrics  []MetricsRule
	Logs     []LogRule
}

// Mode says which side of a request a rule is for.
type Mode uint8

// Sides. A gateway is a client.
const (
	BothSides Mode = iota
	ClientSide
	ServerSide
)

// Covers tells whether the rule is for a side (ClientSide or ServerSide).
func (m Mode) Covers(side Mode) bool { return m == BothSides || m == side }

// TracingRule changes how spans are made. Nil parts are not set.
type TracingRule struct {
	Mode      Mode
	Providers []string
	// Sampling in percent.
	Sampling     *float64
	Disabled     *bool
	Tags         []SpanTag
	UseRequestID *bool
	IstioTags    *bool
	// NoPropagation leaves trace headers as they are.
	NoPropagation *bool
}

// SpanTag is a custom tag of spans.
type SpanTag struct {
	Name string
	Kind SpanTagKind
	// Value is the literal, the name of a variable or header, or the format.
	Value   string
	Default string
}

// SpanTagKind says where a tag's value comes from.
type SpanTagKind uint8

// Kinds of tags.
const (
	TagLiteral SpanTagKind = iota
	TagEnvironment
	TagHeader
	TagFormat
)

// MetricsRule changes metrics.
type MetricsRule struct {
	Providers []string
	Overrides []MetricOverride
	// Every is how often connections that last are reported; nil: not set.
	Every *time.Duration
}

// MetricOverride changes one metric, or all of them.
type MetricOverride struct {
	// Metric is the metric's name without "istio_"; empty: all.
	Metric   string
	Mode     Mode
	Disabled *bool
	Tags     []MetricTag
}

// MetricTag sets a label to an expression's value, or removes it.
type MetricTag struct {
	Name   string
	Value  string
	Remove bool
}

// LogRule says which access logs are written.
type LogRule struct {
	Mode      Mode
	Providers []string
	Disabled  bool
	// Filter is a CEL expression; empty: everything is logged.
	Filter string
}

// ProviderKind is what an extension provider of the mesh configuration is.
type ProviderKind uint8

// Kinds of providers.
const (
	// ProviderOther is one that no telemetry goes to.
	ProviderOther ProviderKind = iota
	ProviderPrometheus
	ProviderFileLog
	ProviderHTTPLog
	ProviderTCPLog
	ProviderOTelLog
	ProviderOpenTelemetry
	ProviderZipkin
	ProviderDatadog
	ProviderSkyWalking
	// ProviderSDS has secrets for gateways.
	ProviderSDS
)

// Traces tells whether spans can go there.
func (k ProviderKind) Traces() bool { return k >= ProviderOpenTelemetry && k <= ProviderSkyWalking }

// Logs tells whether access logs can go there.
func (k ProviderKind) Logs() bool { return k >= ProviderFileLog && k <= ProviderOTelLog }

// Provider is an extension provider of the mesh configuration that telemetry
// goes to.
type Provider struct {
	Name string
	Kind ProviderKind
	// Field is where it stands in the mesh configuration.
	Field string
	// Service is the fully qualified host of what listens on Port.
	Service string
	Port    uint16
	// HTTP: OpenTelemetry over HTTP at Path. Path is also a file's, and Zipkin's.
	HTTP    bool
	Path    string
	Timeout time.Duration
	Headers []ProviderHeader
	// LogName is the log's name, Text or JSON its format (JSON: an object of formats).
	LogName, Text, JSON string
	OmitEmpty           bool
	// Objects of filter state, and headers, that go with an entry.
	Objects, RequestHeaders, ResponseHeaders, Trailers []string
	// MaxTag bounds the tag of the path; 0: the proxy's default.
	MaxTag uint32
	// Short: 64-bit trace ids. W3C: trace headers of that form beside B3's.
	Short, W3C bool
	// Token is what SkyWalking asks for.
	Token string
	// FromEnvironment takes resource attributes from the proxy's environment.
	FromEnvironment bool
}

// ProviderHeader goes with what is sent to a provider.
type ProviderHeader struct{ Name, Value string }

// BuiltinLog is the access log that there is without being named: a file's, in
// the mesh's format.
const BuiltinLog = "envoy"

// builtin providers are there unless others take their names.
var builtin = map[string]*Provider{
	BuiltinLog:   {Name: BuiltinLog, Kind: ProviderFileLog, Path: "/dev/stdout"},
	"prometheus": {Name: "prometheus", Kind: ProviderPrometheus},
}

// Provider returns the extension provider of that name, or nil.
func (m *Mesh) Provider(name string) *Provider {
	for _, p := range m.Providers {
		if p.Name == name {
			return p
		}
	}
	return builtin[name]
}

// ExternalSecret before the rest of a credential means that an SDS server has it, the
// provider of the mesh configuration for that: Istio's "sds://NAME".
const ExternalSecret = "sds://"

// SecretServer is the provider that has secrets for gateways: the first one; nil: there
// is none.
func (m *Mesh) SecretServer() *Provider {
	for _, p := range m.Providers {
		if p.Kind == ProviderSDS {
			return p
		}
	}
	return nil
}
