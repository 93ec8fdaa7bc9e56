package cluster

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/weftmesh/weft/proxy/cluster/health"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/transport"
)

// Type says where the endpoints of a cluster come from.
type Type uint8

// Cluster types.
const (
	// Static endpoints are in the Spec.
	Static Type = iota
	// StrictDNS resolves the names in the Spec; every address is an endpoint.
	StrictDNS
	// LogicalDNS has one endpoint, whose address is the name's newest first one.
	LogicalDNS
	// EDS endpoints come by Manager.SetEndpoints.
	EDS
	// OriginalDst sends to the address that the client asked for (Pick.Dst).
	OriginalDst
	// Aggregate sends to the clusters in Clusters: to the next one as far as those
	// before it have not enough healthy hosts.
	Aggregate
	// DynamicForward sends to the host that the request names (Pick.Authority).
	DynamicForward
	// Discovered hosts come by Spec.Discovery, which begins with the endpoints in the Spec; who sends chooses among them.
	Discovered
)

// Provides tells whether clusters of the type choose hosts by themselves (Provided).
func (t Type) Provides() bool {
	return t == OriginalDst || t == Aggregate || t == DynamicForward || t == Discovered
}

// Spec describes a cluster.
type Spec struct {
	Name string
	// Version identifies the content: an Update with the same non-empty version is none.
	Version string
	// AltStatName replaces Name in statistics.
	AltStatName string
	Type        Type
	// Static: it came with the bootstrap.
	Static bool
	// ServiceName is the EDS name, empty: Name.
	ServiceName string
	// Endpoints of Static, StrictDNS and LogicalDNS clusters.
	Endpoints *Endpoints
	// ConnectTimeout 0: 5 s.
	ConnectTimeout time.Duration
	LB             LB
	// BufferLimit is how many bytes are buffered towards a host before who sends them
	// is paused; 0: stream.HighWater.
	BufferLimit int
	// ReportMetrics names what of the hosts' load goes into load reports (orca.Each).
	ReportMetrics []string
	// Outlier nil: no detection.
	Outlier *Outlier
	// Health nil: no active health checks.
	Health *health.Spec
	// IgnoreNewHosts leaves hosts out of all reckoning before their first check.
	IgnoreNewHosts bool
	// MergeWindow gathers what health checks find for that long.
	MergeWindow time.Duration
	// IgnoreHealthOnRemoval removes endpoints at once, not when their checks fail.
	IgnoreHealthOnRemoval bool
	// CloseOnChange makes new connections to all hosts when any of them changes.
	CloseOnChange bool
	// CloseOnFailure ends TCP connections to a host that is found to be unhealthy.
	CloseOnFailure bool
	// Breakers by Priority.
	Breakers [2]Breakers
	Protocol Protocol
	HTTP     HTTPOptions
	// TLS nil: plain text, unless one of Transports matches.
	TLS TLS
	// Inner says what connections to internal listeners bring along; nil: nothing.
	Inner *InnerTransport
	// Transports are tried in order against the endpoint's TransportLabels.
	Transports []Transport
	// Bind is the source address of connections, Bind6 the one for the other
	// family; zero values leave it to the system.
	Bind, Bind6 netip.Addr
	// BindFree: they need not exist (IP_FREEBIND).
	BindFree  bool
	Keepalive transport.KeepAlive
	DNS       DNS
	// Clusters of an Aggregate, in the order of preference.
	Clusters []string
	// Cache of the names of a DynamicForward.
	Cache *DNSCacheSpec
	// Discovery of a Discovered cluster.
	Discovery Discovery
	// Redis is how servers of Redis are logged in to; nil: they want no password.
	Redis *RedisLogin
	// Original applies to OriginalDst.
	Original Original
	// Service names the destination in metrics.
	Service filter.ServiceRef
	// Greeter, when set, exchanges what proxies say first, on connections whose TLS
	// has agreed on that.
	Greeter Greeter
	// ProxyProtocol sends a PROXY header of version 1 or 2; 0: none.
	ProxyProtocol int
	// TLVs of version 2; nil: none.
	TLVs *ProxyTLVs
	// Track is what is counted beside the usual.
	Track Track
	// Metadata by filter name, opaque here.
	Metadata map[string]any
}

// RedisLogin is who the proxy is to servers of Redis. User "": only the password is sent.
type RedisLogin struct{ User, Password string }

// TLS makes a client's side of TLS on a connected socket; *transport.ClientTLS does.
type TLS interface {
	// Handshake takes nc over, also when it fails.
	Handshake(ctx context.Context, nc net.Conn, h transport.ClientHello) (net.Conn, error)
}

// Greeter exchanges what two proxies tell each other before a connection's bytes.
type Greeter interface {
	// Greets tells whether a connection with that protocol (ALPN) begins so.
	Greets(protocol string) bool
	// Greet blocks, until the deadline at most; after an error the connection is of no use.
	Greet(nc net.Conn, deadline time.Time) (*filter.Peer, error)
}

// HandshakeOptions are what a request adds to a TLS context.
type HandshakeOptions struct {
	// ServerName replaces the context's SNI, when not empty.
	ServerName string
	// ALPN replaces the context's protocols, when not nil.
	ALPN []string
	// VerifyName is a DNS name that the certificate must be for (auto_san_validation),
	// or a list with commas of which it must have one; URIs too.
	VerifyName string
}

// Transport is chosen for endpoints that have all Labels.
type Transport struct {
	Name   string
	Labels map[string]string
	// TLS nil: plain text.
	TLS   TLS
	Inner *InnerTransport
}

// InnerTransport is what connections to internal listeners bring along: objects of
// filter state that are shared, and parts of metadata.
type InnerTransport struct{ Passed []PassedMetadata }

// Protocol spoken upstream.
type Protocol uint8

// Protocols.
const (
	HTTP1 Protocol = iota
	HTTP2
	// UseDownstream speaks what the client spoke.
	UseDownstream
	// AutoALPN lets the TLS handshake decide.
	AutoALPN
)

// HTTPOptions bound pooled HTTP connections. 0: no bound.
type HTTPOptions struct {
	// IdleTimeout of a connection without requests, nil: one hour (Envoy's), 0: none.
	IdleTimeout              *time.Duration
	MaxConnectionDuration    time.Duration
	MaxStreamDuration        time.Duration
	MaxRequestsPerConnection uint32
	MaxConcurrentStreams     uint32
	MaxHeadersCount          uint32
	// InitialStreamWindow and InitialConnectionWindow of HTTP/2; 0: the codec's default.
	InitialStreamWindow, InitialConnectionWindow uint32
	// PingInterval and PingTimeout of HTTP/2 keepalive.
	PingInterval, PingTimeout time.Duration
	// Trailers passes trailers on over HTTP/1, in both directions (enable_trailers).
	Trailers bool
	// Spelling is how HTTP/1 names fields.
	Spelling filter.Spelling
	// PreconnectPerHost and PreconnectAhead are how many connections there are to be for
	// each request that a host, or the cluster with those that follow, has; up to 1: none ahead.
	PreconnectPerHost, PreconnectAhead float64
	// OwnPool gives each downstream connection connections of its own.
	OwnPool bool
	// AutoSNI takes the SNI, AutoSAN the name to verify, from the request's authority.
	AutoSNI, AutoSAN bool
	// IsError tells which responses are errors for outlier detection; nil: those of 500
	// and above, and gRPC's like them.
	IsError func(*filter.Headers) bool
}

// Policy is a load-balancing algorithm.
type Policy uint8

// Policies.
const (
	RoundRobin Policy = iota
	LeastRequest
	Random
	RingHash
	Maglev
	// Provided is the only one that fits OriginalDst.
	Provided
)

// LB describes load balancing.
type LB struct {
	Policy Policy
	// Choices of least request; 0: 2. FullScan looks at all of them.
	Choices  uint32
	FullScan bool
	// Bias of least request is how much active requests count against weights; nil: 1.
	Bias *float64
	// BalanceFactor in percent bounds how much more than its share a host gets by hashing; 0: no bound.
	BalanceFactor uint32
	// Murmur places hosts on the ring by MurmurHash2 instead of xxHash.
	Murmur bool
	// MinRing and MaxRing of ring hash; 0: 1024 and 8 Mi. TableSize of Maglev, a prime; 0: 65537.
	MinRing, MaxRing, TableSize uint64
	// HashHostname hashes host names instead of addresses.
	HashHostname bool
	// LocalityWeighted chooses the locality by weight first.
	LocalityWeighted bool
	// PanicPercent: below that share of available endpoints all are used. (Envoy's default is 50.)
	PanicPercent float64
	// FailOnPanic answers with no endpoint instead.
	FailOnPanic bool
	// Zone is how requests are kept in the proxy's own zone; nil: Envoy's defaults.
	// It has an effect with Options.LocalCluster, for RoundRobin, LeastRequest and
	// Random without LocalityWeighted.
	Zone *Zone
	// SlowStart nil: none. Only for RoundRobin and LeastRequest.
	SlowStart *SlowStart
	// Load, with RoundRobin, takes weights from the load that endpoints report; nil:
	// from their configuration.
	Load    *LoadWeights
	Subsets *Subsets
	// Hash is what requests, or connections (with an empty head), are hashed by, instead of
	// what their routes say; nil: as those say.
	Hash func(h *filter.Headers, conn *filter.ConnInfo) (hash uint64, ok bool)
	// Override are where requests may name the hosts that they want, looked at in order;
	// nil: nowhere. The policy chooses where none of them is there.
	Override []OverrideSource
	// OverrideKey is where dynamic metadata gets the host that was wanted and taken: a
	// namespace and the keys inside; nil: nowhere.
	OverrideKey []string
}

// OverrideSource has addresses of hosts, separated by commas. Either field is set.
type OverrideSource struct {
	Header   string   // lower case
	Metadata []string // a namespace of dynamic metadata, and the keys inside
}

// LoadWeights says how reported load becomes weights.
type LoadWeights struct {
	// Blackout is how long a host must have reported before that counts, Expiration
	// how long a report does. Update is how often weights are reckoned.
	Blackout, Expiration, Update time.Duration
	// Penalty is how much of the utilization an error per request counts as.
	Penalty float64
	// Metrics are the names of those that are the utilization (orca.Weight).
	Metrics []string
	// OutOfBand nil: reports come with responses.
	OutOfBand *OutOfBand
}

// OutOfBand asks hosts for their load over connections of their own.
type OutOfBand struct {
	Interval time.Duration
	// Port 0: the endpoint's. Authority "": the endpoint's host name, or its address.
	Port      uint16
	Authority string
	// TransportLabels choose the transport socket instead of the endpoint's; nil: they do not.
	TransportLabels map[string]string
}

// Zone describes zone-aware routing.
type Zone struct {
	// Percent of the requests that are considered for it.
	Percent uint32
	// MinHosts is how many healthy hosts the cluster must have.
	MinHosts uint64
	// ForceMin sends everything to the own zone if it has that many healthy hosts; 0: never.
	ForceMin uint32
	// ByWeight reckons with the weights of hosts instead of their number.
	ByWeight bool
}

// defaultZone is what holds without any configuration, as in Envoy.
var defaultZone = Zone{Percent: 100, MinHosts: 6}

// SlowStart raises the weight of a new endpoint over a window.
type SlowStart struct {
	Window time.Duration
	// Aggression 0: 1. MinPercent 0: 10.
	Aggression, MinPercent float64
}

// Fallback says what to do when no subset fits.
type Fallback uint8

// Fallbacks. KeysSubset, of selectors only, looks again with fewer labels.
const (
	NoFallback Fallback = iota
	AnyEndpoint
	DefaultSubset
	KeysSubset
)

// Subsets describes subsets of endpoints by their labels.
type Subsets struct {
	// Selectors are the sets of label names of which combinations make subsets.
	Selectors []Selector
	Fallback  Fallback
	Default   map[string]string
	// PanicAny uses any endpoint when even the fallback has none.
	PanicAny bool
	// ListAsAny lets an endpoint whose label is a list be in the subset of each item.
	ListAsAny bool
	// LocalityAware uses locality weights inside of subsets; ScaleLocality lessens
	// them by the share of the locality's endpoints that are in the subset.
	LocalityAware, ScaleLocality bool
}

// Selector makes subsets by the values of label names.
type Selector struct {
	Names []string
	// Single lets only one host into each subset.
	Single bool
	// Fallback, when not nil, replaces that of Subsets for requests with these
	// labels; with KeysSubset only the labels Keep are looked for.
	Fallback *Fallback
	Keep     []string
}

// Priority of a request, in circuit breakers.
type Priority uint8

// Priorities.
const (
	Default Priority = iota
	High
)

// Breakers are the limits of one priority. Envoy's defaults are 1024, 1024,
// 1024 and 3; the Spec must hold them (DefaultBreakers).
type Breakers struct {
	Connections, Pending, Requests, Retries uint32
	// PerHost bounds the connections to one host; 0: no bound.
	PerHost uint32
	// ShowRemaining shows how much is left in statistics.
	ShowRemaining bool
	// Budget, when set, replaces Retries.
	Budget *RetryBudget
}

// RetryBudget bounds retries by the requests that are active.
type RetryBudget struct {
	// Percent of active requests, and how many retries there may be in any case.
	Percent        float64
	MinConcurrency uint32
	// Interval, when not 0, is how long a request counts from its beginning, active or not.
	Interval time.Duration
}

// DefaultBudget is Envoy's for what a budget does not say.
var DefaultBudget = RetryBudget{Percent: 20, MinConcurrency: 3}

// DefaultBreakers are Envoy's.
var DefaultBreakers = Breakers{Connections: 1024, Pending: 1024, Requests: 1024, Retries: 3}

// Outlier describes passive health detection. The Enforce fields are percents
// with which a detected host is ejected; 0 detects and counts only.
type Outlier struct {
	// Consecutive5xx, ConsecutiveGateway and ConsecutiveLocal; 0: never.
	Consecutive5xx, ConsecutiveGateway, ConsecutiveLocal uint32
	Enforce5xx, EnforceGateway, EnforceLocal             uint32
	// SplitLocal counts failures of the proxy's own making (connect failure,
	// timeout) apart; otherwise they count as 5xx and gateway errors.
	SplitLocal bool
	// Interval of sweeps, 0: 10 s. BaseEjection 0: 30 s. MaxEjection 0: 300 s, at least BaseEjection.
	Interval, BaseEjection, MaxEjection, Jitter time.Duration
	// MaxEjectionPercent of the hosts may be ejected at a time.
	MaxEjectionPercent uint32
	// AlwaysEjectOne lifts that for the first.
	AlwaysEjectOne bool
	// KeepOnHealthy: an active health check that passes does not end an ejection.
	KeepOnHealthy bool
	// SuccessRate and FailurePercentage nil: off.
	SuccessRate       *SuccessRate
	FailurePercentage *FailurePercentage
}

// SuccessRate ejects hosts whose success rate is StdevFactor standard deviations below the mean.
type SuccessRate struct {
	Enforce, EnforceLocal  uint32
	MinHosts, MinVolume    uint32
	StdevFactorPerThousand uint32
}

// FailurePercentage ejects hosts that fail at least Threshold percent.
type FailurePercentage struct {
	Enforce, EnforceLocal uint32
	MinHosts, MinVolume   uint32
	Threshold             uint32
}

// Family restricts which addresses of a name are used.
type Family uint8

// Families.
const (
	// FamilyAuto prefers IPv6 (Envoy's AUTO).
	FamilyAuto Family = iota
	FamilyV4
	FamilyV6
	FamilyV4Preferred
	FamilyAll
)

// FamilyOf returns the Family that Envoy's API gives a name, FamilyAuto for any other name.
func FamilyOf(name string) Family {
	return map[string]Family{"V4_ONLY": FamilyV4, "V6_ONLY": FamilyV6, "V4_PREFERRED": FamilyV4Preferred, "ALL": FamilyAll}[name]
}

// DNS says how names are resolved.
type DNS struct {
	// Refresh 0: 5 s.
	Refresh time.Duration
	// FailureBase and FailureMax bound the exponential wait after failures; 0: Refresh.
	FailureBase, FailureMax time.Duration
	// Jitter is the greatest random time added to the wait.
	Jitter time.Duration
	// RespectTTL refreshes when the records expire.
	RespectTTL bool
	Family     Family
}

// Original describes an OriginalDst cluster.
type Original struct {
	// Header names a request header that holds the address to use instead.
	Header string
	// Metadata is where dynamic metadata has it: a namespace, and the keys inside; nil: nowhere.
	Metadata []string
	// Port replaces the port, when not 0.
	Port uint16
	// Cleanup removes endpoints that were not used for that long; 0: 5 s.
	Cleanup time.Duration
}
