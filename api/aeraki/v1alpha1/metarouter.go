// Package v1alpha1 is what Weft accepts of Aeraki's group metaprotocol.aeraki.io, version v1alpha1.
//
// The types say what there is and what it means; they convert nothing. Fields that are not
// listed here are refused where documents are read.
package v1alpha1

import "github.com/weftmesh/weft/wire/protocol"

// Group and Version of the API.
const (
	Group   = "metaprotocol.aeraki.io"
	Version = "v1alpha1"
)

// ApplicationProtocolSpec names a protocol and what speaks it; or says how its messages are made.
type ApplicationProtocolSpec struct {
	// Protocol is the name that ports have: "tcp-metaprotocol-NAME".
	Protocol string `json:"protocol"`
	// Codec is one of Aeraki's ("aeraki.meta_protocol.codec.dubbo", …thrift, …brpc, …trpc), or "binary" for one of that
	// name that the data plane's binary was built with. Without it the rest of the spec declares the protocol.
	Codec string `json:"codec,omitempty"`

	// Module is the codec as a WebAssembly module, in place of Codec and a declaration.
	Module *ProtocolModule `json:"module,omitempty"`

	protocol.Declaration `json:",inline"`
}

// ProtocolModule says where a module is.
type ProtocolModule struct {
	// URL is oci:// (the default), https://, http:// or file:// on the control plane's machine.
	URL string `json:"url"`
	// SHA256 is the module's, or that of an image's manifest, in hexadecimal; without it, any will do.
	SHA256 string `json:"sha256,omitempty"`
	// ImagePullSecret is "namespace/name" of a Secret with .dockerconfigjson.
	ImagePullSecret string `json:"imagePullSecret,omitempty"`
	// ImagePullPolicy is IfNotPresent (the default) or Always: the module is looked for now and then.
	ImagePullPolicy string `json:"imagePullPolicy,omitempty"`
}

// MetaRouterSpec says where requests of a protocol that is not HTTP go.
type MetaRouterSpec struct {
	// Hosts are the services; Aeraki itself takes exactly one.
	Hosts []string `json:"hosts"`
	// Gateways are names or "namespace/name"; none: all sidecars.
	Gateways []string `json:"gateways,omitempty"`
	// ExportTo are namespaces, "." or "*"; default: all.
	ExportTo []string `json:"exportTo,omitempty"`
	Routes   []Route  `json:"routes,omitempty"`
	// LocalRateLimit and GlobalRateLimit are not carried out yet.
	LocalRateLimit  *LocalRateLimit  `json:"localRateLimit,omitempty"`
	GlobalRateLimit *GlobalRateLimit `json:"globalRateLimit,omitempty"`
}

// Route is one rule; the first whose match is true decides.
type Route struct {
	Name  string        `json:"name,omitempty"`
	Match *Match        `json:"match,omitempty"`
	Route []Destination `json:"route,omitempty"`
	// Mirror gets a copy of MirrorPercentage of the requests (default: all).
	Mirror           *Target  `json:"mirror,omitempty"`
	MirrorPercentage *Percent `json:"mirrorPercentage,omitempty"`
	// RequestMutation and ResponseMutation set fields.
	RequestMutation  []KeyValue `json:"requestMutation,omitempty"`
	ResponseMutation []KeyValue `json:"responseMutation,omitempty"`
}

// Match is true when all attributes match; one without exact, prefix and regex has to be there.
type Match struct {
	Attributes map[string]StringMatch `json:"attributes,omitempty"`
}

// StringMatch compares a string; one of the three. Regex is RE2, "*" is any value.
type StringMatch struct {
	Exact  string `json:"exact,omitempty"`
	Prefix string `json:"prefix,omitempty"`
	Regex  string `json:"regex,omitempty"`
}

// Destination is where a share of the requests goes.
type Destination struct {
	Destination Target `json:"destination"`
	Weight      uint32 `json:"weight,omitempty"`
}

// Target is a service, or a subset of it.
type Target struct {
	Host   string `json:"host"`
	Subset string `json:"subset,omitempty"`
	Port   *Port  `json:"port,omitempty"`
}

// Port is a port of a service.
type Port struct {
	Number uint32 `json:"number"`
}

// Percent is a share of 100.
type Percent struct {
	Value float64 `json:"value"`
}

// KeyValue is a field.
type KeyValue struct {
	Key   string `json:"key"`
	Value string `json:"value,omitempty"`
}

// LocalRateLimit bounds the requests of each instance.
type LocalRateLimit struct {
	TokenBucket *TokenBucket `json:"tokenBucket,omitempty"`
	Conditions  []Condition  `json:"conditions,omitempty"`
}

// Condition has a bucket for what it matches.
type Condition struct {
	Match       *Match       `json:"match,omitempty"`
	TokenBucket *TokenBucket `json:"tokenBucket,omitempty"`
}

// TokenBucket allows so many requests in an interval.
type TokenBucket struct {
	MaxTokens     uint32  `json:"maxTokens,omitempty"`
	TokensPerFill *uint32 `json:"tokensPerFill,omitempty"`
	FillInterval  string  `json:"fillInterval,omitempty"`
}

// GlobalRateLimit asks a service of Envoy's rate limit protocol.
type GlobalRateLimit struct {
	Domain           string       `json:"domain,omitempty"`
	Match            *Match       `json:"match,omitempty"`
	RequestTimeout   string       `json:"requestTimeout,omitempty"`
	DenyOnFail       bool         `json:"denyOnFail,omitempty"`
	RateLimitService string       `json:"rateLimitService,omitempty"`
	Descriptors      []Descriptor `json:"descriptors,omitempty"`
}

// Descriptor sends a field's value under a key.
type Descriptor struct {
	Property      string `json:"property"`
	DescriptorKey string `json:"descriptorKey"`
}
