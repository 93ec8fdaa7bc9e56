package route

import (
	"net/netip"
	"time"

	"github.com/weftmesh/weft/proxy/filter/runtime"
)

// Spec is a route configuration as it was written.
type Spec struct {
	Name         string
	VirtualHosts []VirtualHost
	// RequestHeaders and ResponseHeaders are the least specific operations.
	RequestHeaders, ResponseHeaders HeaderOps
	// MostSpecificWins applies header operations from the least to the most
	// specific level, so that the latter overrides; the default is the reverse.
	MostSpecificWins bool
	// IgnorePort strips the port of the authority before virtual hosts are matched.
	IgnorePort bool
	// FilterConfig holds per-filter configuration by filter name. FilterOff switches
	// filters off (true) or on (false), whatever their default is.
	FilterConfig map[string]any
	FilterOff    map[string]bool
	// Mirrors apply where neither virtual host nor route has some.
	Mirrors []Mirror
	// Demand: more virtual hosts come when they are asked for.
	Demand bool
}

// TLSRequirement of a virtual host: which requests are redirected to https.
type TLSRequirement uint8

// TLS requirements.
const (
	TLSNone TLSRequirement = iota
	TLSExternalOnly
	TLSAll
)

// VirtualHost holds the routes of some domains.
type VirtualHost struct {
	Name string
	// Domains are exact, "*.suffix", "*-suffix", "prefix.*", "prefix-*" or "*".
	Domains []string
	Routes  []Route
	// Matcher chooses among routes of its own, instead of Routes.
	Matcher *Choice
	// VirtualClusters have statistics of their own.
	VirtualClusters                 []VirtualCluster
	RequireTLS                      TLSRequirement
	RequestHeaders, ResponseHeaders HeaderOps
	FilterConfig                    map[string]any
	FilterOff                       map[string]bool
	// Retry and Mirrors are used by routes that have none.
	Retry   *RetryPolicy
	Mirrors []Mirror
	// AttemptCount sends x-envoy-attempt-count upstream, ResponseAttemptCount
	// downstream.
	AttemptCount, ResponseAttemptCount bool
	// TimeoutRetryHeader sends x-envoy-is-timeout-retry with retries.
	TimeoutRetryHeader bool
	// Hedge is used by routes that have none.
	Hedge *Hedge
}

// Hedge lets an attempt whose time is over go on beside the next one.
type Hedge struct{ OnTryTimeout bool }

// Route is one rule. Exactly one of Forward, Redirect and Direct is set.
type Route struct {
	Name                            string
	Match                           Match
	Forward                         *Forward
	Redirect                        *Redirect
	Direct                          *Direct
	RequestHeaders, ResponseHeaders HeaderOps
	FilterConfig                    map[string]any
	FilterOff                       map[string]bool
	// Stats count the route's responses; nil: they have no prefix.
	Stats *Stats
	// Decorator is the operation name for tracing spans.
	Decorator string
	// Metadata is the route's metadata by filter name, opaque here.
	Metadata map[string]any
}

// PathKind says how Match.Path is compared.
type PathKind uint8

// Path kinds. All but Connect look at the path without query and fragment.
const (
	PathPrefix PathKind = iota
	PathExact
	// PathRegex must match the whole path.
	PathRegex
	// PathSeparatedPrefix matches the path itself and what follows it after a "/".
	PathSeparatedPrefix
	// Connect matches CONNECT requests, whatever their path.
	Connect
	// PathTemplate matches a URI template ("/users/{id}/**").
	PathTemplate
)

// Match is true when all its parts are.
type Match struct {
	PathKind   PathKind
	Path       string
	IgnoreCase bool
	Headers    []HeaderMatch
	Query      []QueryMatch
	Cookies    []CookieMatch
	// Metadata are tests of dynamic metadata, State of filter state.
	Metadata []MetadataMatch
	State    []StateMatch
	// Fraction, when set, lets only a share of the requests match.
	Fraction *Fraction
	// GRPC lets only gRPC requests match.
	GRPC bool
	// ClientCert: nil no matter; else whether the client must (not) have presented a certificate.
	ClientCert *bool
	// ClientCertValid likewise for a validated one.
	ClientCertValid *bool
}

// Fraction of requests: Numerator of Denominator (100, 10,000 or 1,000,000),
// unless the runtime has a value for Key.
type Fraction struct {
	Numerator, Denominator uint32
	Key                    *runtime.Key
}

// StringKind says how a string is compared.
type StringKind uint8

// String kinds.
const (
	StringExact StringKind = iota
	StringPrefix
	StringSuffix
	StringContains
	// StringRegex must match the whole value.
	StringRegex
)

// StringMatch compares a string.
type StringMatch struct {
	Kind       StringKind
	Value      string
	IgnoreCase bool // not for StringRegex
}

// HeaderMatch tests one header; several fields of that name are seen joined by ",".
type HeaderMatch struct {
	Name string
	// Value compares; nil (and Range nil): only presence matters.
	Value *StringMatch
	// Range tests that the value is an integer within it.
	Range *Range
	// Absent (without Value and Range) demands absence.
	Absent bool
	Invert bool
	// MissingAsEmpty treats an absent header as an empty one; otherwise an absent
	// header fails a Value or Range test, inverted or not.
	MissingAsEmpty bool
}

// Range is a half-open interval.
type Range struct{ Start, End int64 }

// QueryMatch tests the first query parameter of that name, as written (not decoded).
type QueryMatch struct {
	Name string
	// Value nil: must be there, or with Absent must not.
	Value  *StringMatch
	Absent bool
}

// CookieMatch tests a cookie; one that is not there does not match.
type CookieMatch struct {
	Name   string
	Value  StringMatch
	Invert bool
}

// MetadataMatch tests a value of dynamic metadata: that of Filter's namespace
// under Path. A missing value is nil.
type MetadataMatch struct {
	Filter string
	Path   []string
	Value  ValueMatch
	Invert bool
}

// StateMatch tests an object of filter state, the request's or the connection's.
// One that is not there fails.
type StateMatch struct {
	Key string
	// Value nil: the object is an address, and one of Ranges has it, or with
	// Outside none.
	Value   *StringMatch
	Ranges  []netip.Prefix
	Outside bool
}

// ValueMatch tests a value; exactly one part is set. The zero value matches nothing.
type ValueMatch struct {
	// Null: it is nil or missing.
	Null   bool
	String *StringMatch
	Bool   *bool
	// Number is exact, Numbers a half-open interval.
	Number  *float64
	Numbers *[2]float64
	// Present: true, there is one; false, never matches (as in Envoy).
	Present bool
	// OneOf tests a list: some element passes.
	OneOf *ValueMatch
	// AnyOf: one of these passes.
	AnyOf []ValueMatch
}

// Forward sends the request to a cluster. Exactly one of Cluster,
// ClusterHeader and Weighted is set.
type Forward struct {
	Cluster       string
	ClusterHeader string
	Weighted      []WeightedCluster
	// WeightHeader names a request header whose number chooses of Weighted
	// instead of chance; HashWeights: the hash does.
	WeightHeader string
	HashWeights  bool
	// MissingStatus answers when there is no such cluster; 0: 503.
	MissingStatus int
	// Subset labels that endpoints must have.
	Subset map[string]string

	// PrefixRewrite replaces the matched prefix, or the whole path of other kinds.
	PrefixRewrite string
	// RegexRewrite changes the path without query.
	RegexRewrite *RegexRewrite
	// TemplateRewrite makes the path of the captures of a PathTemplate ("/v2/{id}").
	TemplateRewrite string
	Host            HostRewrite

	// Timeout of the whole request, 0: none. (Envoy's default of 15 s is the
	// business of whoever makes the Spec.)
	Timeout time.Duration
	// IdleTimeout nil: the connection manager's.
	IdleTimeout *time.Duration
	// MaxStreamDuration nil: the connection manager's.
	MaxStreamDuration *time.Duration
	// GRPCStreamMax, when set, makes the request's grpc-timeout header the bound of
	// the stream instead of MaxStreamDuration, bounded by this unless it is 0;
	// GRPCStreamOffset is taken off.
	GRPCStreamMax    *time.Duration
	GRPCStreamOffset time.Duration
	// GRPCTimeoutMax and GRPCTimeoutOffset do so for Timeout, of gRPC requests.
	GRPCTimeoutMax    *time.Duration
	GRPCTimeoutOffset time.Duration

	// Retry nil: the virtual host's.
	Retry *RetryPolicy
	Hedge *Hedge // nil: the virtual host's
	Hash  []HashPolicy
	// Mirrors nil: the virtual host's.
	Mirrors []Mirror
	// Internal nil: redirects of the upstream are the client's business.
	Internal *InternalRedirect
	// HighPriority uses the circuit breakers of the high priority.
	HighPriority bool
	Upgrades     []Upgrade
}

// WeightedCluster is one choice of several.
type WeightedCluster struct {
	// Cluster, or ClusterHeader, which names the request header that names it.
	Cluster, ClusterHeader string
	Weight                 uint32
	// Live overrides Weight while the runtime has a value.
	Live *runtime.Key
	// Subset is merged over the route's.
	Subset                          map[string]string
	RequestHeaders, ResponseHeaders HeaderOps
	FilterConfig                    map[string]any
	FilterOff                       map[string]bool
	HostRewrite                     string
}

// RegexRewrite replaces all matches of Pattern by Substitution, which may hold \0 to \9.
type RegexRewrite struct{ Pattern, Substitution string }

// HostRewrite changes the authority; at most one of Literal, Auto, Header, PathRegex.
type HostRewrite struct {
	Literal string
	// Auto uses the chosen endpoint's host name (see Entry.AutoHost).
	Auto bool
	// Header names the request header that holds the new authority.
	Header string
	// PathRegex makes the authority out of the path without query.
	PathRegex *RegexRewrite
	// AppendForwardedHost keeps the old one in x-forwarded-host.
	AppendForwardedHost bool
}

// Upgrade permits or forbids an upgrade on a route.
type Upgrade struct {
	// Type is the token, e.g. "websocket" or "CONNECT"; case does not matter.
	Type    string
	Enabled bool
	// Terminate, for CONNECT: open a TCP connection and forward the payload. AllowPost
	// does so with the body of a POST too.
	Terminate, AllowPost bool
	// ProxyProtocol sends a PROXY header of version 1 or 2 before the payload; 0: none.
	ProxyProtocol int
}

// Mirror sends a copy of a share of the requests elsewhere.
type Mirror struct {
	Cluster string
	// ClusterHeader is used when Cluster is empty.
	ClusterHeader string
	// Fraction nil: all.
	Fraction *Fraction
	// KeepHost leaves the authority as it is; the default appends "-shadow".
	KeepHost bool
	// Host is the authority of the copy, "-shadow" not appended; "": the request's.
	Host string
	// NotSampled keeps the copy out of traces, Sampled puts it in; neither: as the request.
	Sampled, NotSampled bool
}

// HashPolicy computes a part of the hash that consistent load balancing uses.
// Exactly one of Header, Cookie, SourceIP and Query is set.
type HashPolicy struct {
	Header   string
	Rewrite  *RegexRewrite // of the header's value
	Cookie   *HashCookie
	SourceIP bool
	Query    string
	// Terminal stops when a hash has been made up to and with this policy.
	Terminal bool
}

// HashCookie names a cookie; TTL nil: never made, 0: a session cookie.
type HashCookie struct {
	Name, Path string
	TTL        *time.Duration
	// Attributes are appended to a cookie that is made: "SameSite=Lax".
	Attributes []string
}

// HeaderOps changes headers: removals first, then Set, then Add.
type HeaderOps struct {
	Remove []string
	Set    []HeaderValue // replaces or adds
	Add    []HeaderValue // appends
	// SetIfPresent replaces only, AddIfAbsent adds only when there is none.
	SetIfPresent, AddIfAbsent []HeaderValue
}

// HeaderValue is a header with a value in Envoy's format language ("%REQ(x)%";
// "%%" is a percent sign). A value that comes out empty is left out unless KeepEmpty.
type HeaderValue struct {
	Name, Value string
	KeepEmpty   bool
}

// Redirect answers with a location. Empty parts stay as they are.
type Redirect struct {
	HTTPS  bool
	Scheme string
	Host   string
	Port   uint16
	// At most one of Path, Prefix and Regex.
	Path          string
	PrefixRewrite string
	RegexRewrite  *RegexRewrite
	StripQuery    bool
	// Status is 301 (also when 0), 302, 303, 307 or 308.
	Status int
}

// Direct answers without a cluster.
type Direct struct {
	Status int
	Body   string
}
