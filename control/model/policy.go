package model

import "time"

// TrafficPolicySet is what a DestinationRule says about a host.
type TrafficPolicySet struct {
	Meta `json:"meta"`
	// Host is fully qualified, wildcards allowed.
	Host    string
	Exports Visibility
	// Selector restricts the client workloads; nil: all.
	Selector map[string]string
	Policy   TrafficPolicy
	Subsets  []Subset
}

// Subset is a named part of a service's endpoints.
type Subset struct {
	Name   string
	Labels map[string]string
	// Policy overrides the set's, field by field.
	Policy TrafficPolicy
}

// TrafficPolicy says how to talk to a destination. Nil parts are not set.
type TrafficPolicy struct {
	LB      *LoadBalancer
	Pool    *ConnectionPool
	Outlier *Outlier
	TLS     *ClientTLS
	// Ports override the rest for one port, whole part by whole part.
	Ports map[uint16]TrafficPolicy
	// PortOrder is the order in which Ports were written, for Findings.
	PortOrder []uint16
	// ProxyProtocol is 0 (none), 1 or 2.
	ProxyProtocol int
	// RetryBudget bounds retries by the requests under way.
	RetryBudget *RetryBudget
	// Tunnel carries TCP through an HTTP proxy: the destination.
	Tunnel *Tunnel
}

// RetryBudget allows retries as a share of the requests under way, and a number
// of them always. Nil and 0: the proxy's defaults.
type RetryBudget struct {
	Percent        *float64
	MinConcurrency uint32
	Interval       time.Duration
}

// Tunnel says where a proxy is asked to connect to, by CONNECT or by POST.
type Tunnel struct {
	Host string
	Port uint16
	Post bool
}

// LBAlgorithm is a simple balancer.
type LBAlgorithm uint8

// Balancers. The default is LeastRequest.
const (
	LeastRequest LBAlgorithm = iota
	RoundRobin
	Random
	LBPassthrough
	ConsistentHash
)

// LoadBalancer chooses endpoints.
type LoadBalancer struct {
	Algorithm LBAlgorithm
	Hash      *Hash
	Locality  *LocalityLB
	// Zone goes before Locality.
	Zone   *ZoneLB
	Warmup time.Duration
	// WarmupPercent is the least share that a new endpoint begins with,
	// WarmupAggression the curve's exponent; nil: 10 and 1.
	WarmupPercent, WarmupAggression *float64
}

// LocalityLB is localityLbSetting.
type LocalityLB struct {
	Enabled    bool
	Distribute []LocalityShare
	Failover   []LocalityFailover
	Priority   []string
}

// ZoneLB is zoneAwareLbSetting: the proxy keeps traffic in its zone as far as the
// instances there, compared with the clients there, allow it.
type ZoneLB struct {
	Enabled  bool
	Failover []LocalityFailover
	Priority []string
	// MinSize is the least number of instances for it; 0: the proxy's default.
	MinSize uint32
}

// LocalityShare distributes traffic from one locality pattern over others, in percent.
type LocalityShare struct {
	From string
	To   map[string]uint32
}

// LocalityFailover names the region to use when another fails.
type LocalityFailover struct{ From, To string }

// Hash says what consistent hashing looks at; exactly one of the first four.
type Hash struct {
	Header   string
	Cookie   *HashCookie
	SourceIP bool
	Query    string
	Maglev   bool
	// MinRing is the minimum ring size, or the Maglev table size; 0: default.
	MinRing uint64
}

// HashCookie names a cookie that is made when absent.
type HashCookie struct {
	Name, Path string
	// TTL nil: only hash on it, never make it. 0: a session cookie.
	TTL *time.Duration
	// Attributes of a cookie that is made: name and value.
	Attributes [][2]string
}

// ConnectionPool bounds what one proxy opens to a destination. 0: not set.
type ConnectionPool struct {
	MaxConnections           uint32
	ConnectTimeout           time.Duration
	MaxConnectionDuration    time.Duration
	TCPIdleTimeout           time.Duration
	Keepalive                *Keepalive
	HTTP1MaxPending          uint32
	HTTP2MaxRequests         uint32
	MaxRequestsPerConnection uint32
	MaxRetries               uint32
	IdleTimeout              time.Duration
	// H2Upgrade: 0 default, 1 upgrade, 2 do not.
	H2Upgrade            int
	UseClientProtocol    bool
	MaxConcurrentStreams uint32
	// PingInterval and PingTimeout are HTTP/2's keepalive; 0: none, and the default.
	PingInterval, PingTimeout time.Duration
}

// Keepalive is TCP keepalive; 0: the system's.
type Keepalive struct {
	Probes         uint32
	Time, Interval time.Duration
}

// Outlier ejects endpoints that fail. Nil pointers: not set.
type Outlier struct {
	SplitExternalLocal     bool
	ConsecutiveLocal       *uint32
	ConsecutiveGateway     *uint32
	Consecutive5xx         *uint32
	Interval, BaseEjection time.Duration
	MaxEjectionPercent     uint32
	MinHealthPercent       uint32
	// HTTPCodes are the statuses that count as errors; nil: all of 500 and above.
	HTTPCodes []uint32
}

// ClientTLSMode as in DestinationRule.
type ClientTLSMode uint8

// Modes of a client.
const (
	ClientTLSDisable ClientTLSMode = iota
	ClientTLSSimple
	ClientTLSMutual
	ClientTLSIstioMutual
)

// String returns Istio's word for the mode.
func (m ClientTLSMode) String() string {
	return [...]string{"DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"}[m]
}

// ClientTLS is how to talk TLS to a destination.
type ClientTLS struct {
	Mode                               ClientTLSMode
	Credential                         string // Secret "namespace/name"
	CertFile, KeyFile, CAFile, CRLFile string
	SubjectAltNames                    []string
	SNI                                string
	Insecure                           bool
}

// MTLSMode of a PeerAuthentication.
type MTLSMode uint8

// mTLS modes. Unset inherits.
const (
	MTLSUnset MTLSMode = iota
	MTLSDisable
	MTLSPermissive
	MTLSStrict
)

// String returns Istio's word for the mode.
func (m MTLSMode) String() string { return [...]string{"UNSET", "DISABLE", "PERMISSIVE", "STRICT"}[m] }

// PeerAuth is a PeerAuthentication: what mTLS the servers of a scope demand.
type PeerAuth struct {
	Meta `json:"meta"`
	// Selector nil: the whole namespace, or the mesh in the root namespace.
	Selector map[string]string
	Mode     MTLSMode
	// Ports by workload port.
	Ports map[uint16]MTLSMode
}

// AuthzAction of an AuthorizationPolicy.
type AuthzAction uint8

// Actions.
const (
	Allow AuthzAction = iota
	Deny
	Audit
	Custom
)

// Authz is an AuthorizationPolicy, or a DubboAuthorizationPolicy.
type Authz struct {
	Meta `json:"meta"`
	// Protocol is the codec of the protocol of messages that it is for alone; "": it is for all traffic.
	Protocol string
	Selector map[string]string
	Targets  []TargetRef
	Action   AuthzAction
	// Provider names the mesh's ExtAuthz that Custom asks.
	Provider string
	// DryRun: the outcome is noted and not enforced.
	DryRun bool
	// Rules: any that matches matches. None: never matches (with Allow: denies all).
	Rules []AuthzRule
}

// AuthzRule matches when one of From, one of To and all of When match; empty lists match.
type AuthzRule struct {
	From []AuthzSource
	To   []AuthzOperation
	When []AuthzCondition
}

// AuthzSource: all non-empty lists must match. Values may have a leading or trailing "*".
type AuthzSource struct {
	Principals, NotPrincipals               []string
	RequestPrincipals, NotRequestPrincipals []string
	Namespaces, NotNamespaces               []string
	TrustDomains, NotTrustDomains           []string
	ServiceAccounts, NotServiceAccounts     []string
	IPBlocks, NotIPBlocks                   []string
	RemoteIPBlocks, NotRemoteIPBlocks       []string
}

// AuthzOperation: all non-empty lists must match.
type AuthzOperation struct {
	Hosts, NotHosts     []string
	Ports, NotPorts     []string
	Methods, NotMethods []string
	Paths, NotPaths     []string
	// Interfaces are services of Dubbo's.
	Interfaces, NotInterfaces []string
}

// AuthzCondition is a "when" clause, e.g. request.headers[x-token].
type AuthzCondition struct {
	Key               string
	Values, NotValues []string
}

// Mesh is the mesh-wide configuration (Istio's MeshConfig): the keys that are carried out.
type Mesh struct {
	Meta          `json:"meta"`
	TrustDomain   string
	TrustAliases  []string
	RootNamespace string
	ClusterDomain string
	Outbound      OutboundPolicy
	// OutboundTLS is for hosts that AllowAnyDynamic looks up; nil: plain text.
	OutboundTLS     *ClientTLS
	AutoMTLS        bool
	AccessLogFile   string // empty: no access log
	AccessLogFormat string // empty: Istio's default
	AccessLogJSON   bool
	ConnectTimeout  time.Duration
	// DetectTimeout bounds protocol sniffing; 0: no bound.
	DetectTimeout time.Duration
	DNSRefresh    time.Duration
	Authorizers   []ExtAuthz
	JWKS          JWKS
	DefaultRetry  *Retry
	Keepalive     *Keepalive
	// Proxy is how proxies are run, where nothing else says it.
	Proxy                                       ProxySettings
	ServiceExports, RouteExports, PolicyExports *Visibility
	// Discovery picks the namespaces whose objects count; none: all.
	Discovery []*LabelSelector
	// Entries bounds who sees ServiceEntries; nil: their own exportTo alone does.
	Entries *EntryPolicy
	// Authorities vouch for workloads besides the mesh's own.
	Authorities []Authority
	LocalityLB  *LocalityLB
	// ZoneLB goes before LocalityLB.
	ZoneLB *ZoneLB
	// DefaultPool and DefaultOutlier hold for destinations whose rules set none.
	DefaultPool    *ConnectionPool
	DefaultOutlier *Outlier
	// H2Upgrade: HTTP/1.1 between proxies becomes HTTP/2, where no rule says otherwise.
	H2Upgrade bool
	// InboundLocal: programs listen on the loopback address, not on the workload's.
	InboundLocal bool
	// MeshTLS is for servers of mTLS, OtherTLS for all other TLS that proxies end or begin.
	MeshTLS, OtherTLS TLSParams
	// InboundStat and OutboundStat are patterns of clusters' names in statistics, "" for
	// the clusters' own (see StatName).
	InboundStat, OutboundStat string
	// PathNormalization: "NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"; default BASE.
	PathNormalization string
	// CertTTL is the lifetime of workload certificates.
	CertTTL time.Duration
	// Providers are the extension providers; Default… name those that are used
	// where no Telemetry says otherwise, DefaultMetrics nil: Prometheus.
	Providers                                   []*Provider
	DefaultTracing, DefaultLogs, DefaultMetrics []string
	// Tracing is what holds without a Telemetry and a default provider.
	Tracing *Provider
	// Sampling in percent, and tags, where no Telemetry says otherwise.
	Sampling  float64
	TraceTags []SpanTag
	// MaxTag bounds the tag of the path; 0: the proxy's default.
	MaxTag uint32
	// NoIstioTags leaves out the tags that say where a span is from.
	NoIstioTags bool
}

// TLSParams bounds what TLS may be agreed on. Empty: the defaults.
type TLSParams struct {
	MinVersion      string // "TLSV1_2", "TLSV1_3"
	Ciphers, Curves []string
}

// Process is what `weft up` runs: Weft's own resource where Kubernetes has a Deployment.
type Process struct {
	Meta           `json:"meta"`
	Command        []string
	Env            []EnvVar
	WorkingDir     string
	ServiceAccount string
	Replicas       int
	Ports          []ProcessPort
	Readiness      *Probe
	// Engine is "go", "envoy", "none" or empty (the mesh's default).
	Engine string
	// Proxy is what is written at the Process about its proxy; nil: nothing.
	Proxy *ProxySettings
	// Dir is the absolute path of the folder of the file that holds the object.
	Dir string
	// CPU and Memory are what an instance may use, in cores and bytes, by which its use is
	// judged; 0: the machine's. Nothing enforces them.
	CPU, Memory float64
}

// EnvVar is one environment variable.
type EnvVar struct{ Name, Value string }

// ProcessPort names a port that the program listens on.
type ProcessPort struct {
	Name string
	Port uint16
}

// Probe is a readiness probe: exactly one of HTTPPath (with Port), TCP (Port only), GRPC, Exec.
type Probe struct {
	HTTPPath     string
	HTTPHeaders  map[string]string
	TCP, GRPC    bool
	GRPCService  string
	Exec         []string
	Port         uint16
	InitialDelay time.Duration
	Period       time.Duration
	Timeout      time.Duration
	Success      int
	Failure      int
}
