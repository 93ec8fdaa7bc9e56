package model

import (
	"net/netip"
	"time"
)

// Layer says which kind of traffic a route is for.
type Layer uint8

// Layers.
const (
	LayerHTTP Layer = iota
	LayerTLS        // decided by SNI, not decrypted
	LayerTCP
)

// Attr names something of a request that a Condition looks at. HTTP has the
// first ones; other protocols add theirs.
type Attr uint8

// Attributes.
const (
	AttrPath Attr = iota
	AttrMethod
	AttrScheme
	AttrAuthority
	AttrHeader // Name is the header's name, lower case
	AttrQuery  // Name is the parameter's name
	AttrPort   // the port the client asked for
	AttrSNI
	AttrDestinationIP // Value is a prefix in CIDR form
	AttrClaim         // of the request's token; Name leads to it: "[group][id]"
	AttrSourceIP      // the client's; Value is a prefix in CIDR form
)

// Op is how a Condition compares.
type Op uint8

// Operators. Regex is RE2 and matches the whole value.
const (
	Exact Op = iota
	Prefix
	Regex
	Present
	// Wildcard is Exact, or a suffix when Value begins with "*." (SNI).
	Wildcard
	// PathPrefix is a prefix of whole path elements: "/a" is one of "/a" and "/a/b", not of "/ab".
	PathPrefix
)

// Condition is one test of one attribute.
type Condition struct {
	Attr  Attr
	Name  string
	Op    Op
	Value string
	// IgnoreCase applies to AttrPath.
	IgnoreCase bool
	// Not inverts the outcome.
	Not bool
}

// Match is true when all of its conditions are, for clients that all of its
// client restrictions admit.
type Match struct {
	Name       string
	Conditions []Condition
	// Gateways, when set, replaces the RouteSet's ("mesh", or "namespace/name").
	Gateways []string
	// SourceLabels and SourceNamespace restrict which workloads get the route.
	SourceLabels    map[string]string
	SourceNamespace string
	StatPrefix      string
}

// RouteSet is everything that one VirtualService (or HTTPRoute …) says about its hosts.
type RouteSet struct {
	Meta `json:"meta"`
	// Hosts are fully qualified (short names are resolved in the object's namespace), wildcards allowed.
	Hosts []string
	// Gateways are "mesh" or "namespace/name"; never empty.
	Gateways []string
	Exports  Visibility
	// HTTP, TLS and TCP are tried in order; the first whose match is true decides.
	HTTP []Route
	TLS  []Route
	TCP  []Route
	// Limits are carried out where the hosts' services are; nil: there are none.
	Limits *RateLimits
	// Delegate: the set has no hosts and is only used by other sets' Route.Delegate.
	Delegate bool
}

// Route is one rule: when any of Matches is true (none: always), do what the rest says.
type Route struct {
	Name    string
	Matches []Match
	// Delegate refers to another RouteSet whose routes are put here, their
	// conditions added to this route's; zero when none.
	Delegate     Key
	Destinations []Destination
	Redirect     *Redirect
	Direct       *DirectResponse
	Rewrite      *Rewrite
	// Timeout for the whole request; 0: none given, negative: disabled.
	Timeout time.Duration
	Retry   *Retry
	Fault   *Fault
	Mirrors []Mirror
	CORS    *CORS
	Headers HeaderOps
	// Place is where the rule is written, once delegates are in their places; nil:
	// where it stands in its RouteSet.
	Place *RulePlace
}

// RulePlace is where a rule is written: rule Index of Object; of the zero Key: of the
// RouteSet itself. Via is the rule of the RouteSet that delegates to it. Of a RouteSet
// that was made of other objects, Object is the one, and Field where the rule, or the
// match, stands in it.
type RulePlace struct {
	Object     Key
	Index, Via int
	Field      string
}

// Destination is where a share of the traffic goes.
type Destination struct {
	// Host is fully qualified.
	Host   string
	Subset string
	// Port is the service port; 0: the one the client asked for, or the service's only one.
	Port uint16
	// Weight relative to the others; a single destination may have 0, which means all.
	Weight  uint32
	Headers HeaderOps
	// Invalid: the reference leads nowhere; its share of requests gets 500, its
	// connections are closed.
	Invalid bool
}

// HeaderOps changes headers on the way to and from the destination.
type HeaderOps struct {
	Request, Response HeaderOp
}

// HeaderOp is one direction's changes. Maps are applied in the order of their sorted names.
type HeaderOp struct {
	Set    map[string]string
	Add    map[string]string
	Remove []string
}

// Empty tells whether the operation does nothing.
func (h HeaderOp) Empty() bool { return len(h.Set) == 0 && len(h.Add) == 0 && len(h.Remove) == 0 }

// Redirect answers with a redirection (VirtualService http.redirect).
type Redirect struct {
	URI           string
	PrefixRewrite string // replaces the matched prefix; URI is empty then
	// RegexMatch is replaced by RegexReplace in the path; both others are empty then.
	RegexMatch   string
	RegexReplace string
	Authority    string
	Scheme       string
	Port         uint16
	// PortFromProtocol / PortFromRequest are derivePort's two modes.
	PortFromProtocol, PortFromRequest bool
	Code                              int
}

// DirectResponse answers without a destination.
type DirectResponse struct {
	Status int
	Body   string
	// Binary: Body came from bytes.
	Binary bool
}

// Rewrite changes the request before it goes on.
type Rewrite struct {
	URI           string // replaces the matched prefix or the exact path
	Authority     string
	RegexMatch    string
	RegexReplace  string // RE2 rewrite with \1
	AutoAuthority bool
}

// Retry says what to try again. A nil *Retry means the mesh's default (2
// attempts on connect failure, refused stream, unavailable, cancelled, 503).
type Retry struct {
	Attempts      int
	PerTryTimeout time.Duration
	// On is Envoy's retry_on list, comma separated; status codes allowed.
	On                  string
	RemoteLocalities    *bool
	IgnorePreviousHosts *bool
	Backoff             time.Duration
}

// Fault delays or aborts a share of the requests.
type Fault struct {
	Delay        time.Duration
	DelayPercent float64
	// AbortHTTP is an HTTP status; AbortGRPC a gRPC status name ("UNAVAILABLE").
	AbortHTTP    int
	AbortGRPC    string
	AbortPercent float64
}

// Mirror copies a share of the requests to a further destination; answers are thrown away.
type Mirror struct {
	Destination Destination
	Percent     float64
}

// CORS policy.
type CORS struct {
	AllowOrigins     []Condition // Op and Value only
	AllowMethods     []string
	AllowHeaders     []string
	ExposeHeaders    []string
	MaxAge           time.Duration
	AllowCredentials *bool
	// ForwardUnmatchedPreflights: preflights of other origins go on (the default) or are answered without CORS headers.
	ForwardUnmatchedPreflights *bool
}

// Gateway is a set of servers on the workloads that its selector matches.
type Gateway struct {
	Meta     `json:"meta"`
	Selector map[string]string
	// Namespace of the workloads that Selector picks; empty: any.
	Namespace string
	Servers   []Server
}

// Server is one port of a Gateway.
type Server struct {
	Name     string
	Port     uint16
	PortName string
	Protocol Protocol
	// App is the protocol of messages that the port is for where one of that name is declared; "": it cannot be one.
	App string
	// Asked: it is for nothing else.
	Asked bool
	Bind  string
	// Hosts as written: "dnsName" or "namespace/dnsName"; "." is replaced by the gateway's namespace.
	Hosts []string
	TLS   *ServerTLS
	// DefaultEndpoint is where goes what no route takes, "127.0.0.1:8080" or
	// "unix:///path"; empty: nowhere.
	DefaultEndpoint string
}

// ServerTLSMode as in Istio's Gateway.
type ServerTLSMode uint8

// Modes of a Server.
const (
	TLSPassthrough ServerTLSMode = iota
	TLSSimple
	TLSMutual
	TLSOptionalMutual
	TLSIstioMutual
	TLSAutoPassthrough
)

// ServerTLS is how a Server ends TLS.
type ServerTLS struct {
	HTTPSRedirect bool
	Mode          ServerTLSMode
	// Credentials are Secrets ("namespace/name"), or empty when files are used.
	Credentials []string
	// CACredential is a Secret with the client CA, when apart.
	CACredential              string
	CertFile, KeyFile, CAFile string
	// MoreFiles are further certificates and their keys, for clients of another
	// kind (RSA beside ECDSA). CRLFile goes with CAFile.
	MoreFiles []CertFiles
	CRLFile   string
	// Insecure: client certificates that do not verify are taken all the same.
	Insecure               bool
	SubjectAltNames        []string
	MinVersion, MaxVersion string // "TLSV1_2"
	CipherSuites           []string
	VerifySPKI, VerifyHash []string
}

// CertFiles are the paths of a certificate and its key.
type CertFiles struct{ Cert, Key string }

// Sidecar narrows what workloads see and how they listen.
type Sidecar struct {
	Meta `json:"meta"`
	// Selector nil: the default of the namespace (or of the mesh, in the root namespace).
	Selector map[string]string
	Egress   []SidecarEgress
	Ingress  []SidecarIngress
	// OutboundPolicy overrides the mesh's, nil: not set.
	OutboundPolicy *OutboundPolicy
	// EgressProxy takes what the mesh does not know, where that may go out; nil: it
	// goes where the program meant.
	EgressProxy *Destination
	// InboundPool bounds what the program is handed, in place of what DestinationRules
	// say; nil: not set.
	InboundPool *ConnectionPool
}

// SidecarEgress admits hosts ("namespace/host", namespace may be ".", "*", "~").
type SidecarEgress struct {
	Port     uint16
	PortName string
	Protocol Protocol
	Bind     string
	// Bound: the listener has the port itself, at Bind (none: the loopback address),
	// instead of what is redirected.
	Bound bool
	Hosts []string
}

// SidecarIngress is an inbound listener of its own.
type SidecarIngress struct {
	Port            uint16
	PortName        string
	Protocol        Protocol
	Bind            string
	DefaultEndpoint string
	// Bound is as for SidecarEgress; without Bind it is at all addresses.
	Bound bool
	TLS   *ServerTLS
	// Pool goes before Sidecar.InboundPool.
	Pool *ConnectionPool
}

// OutboundPolicy says what happens to destinations that the mesh does not know.
type OutboundPolicy uint8

// Outbound policies.
const (
	AllowAny OutboundPolicy = iota
	RegistryOnly
	// AllowAnyDynamic looks the host of a request up; all else goes where it was meant.
	AllowAnyDynamic
)

// Prefixes is a list of CIDRs.
type Prefixes []netip.Prefix
