package filter

import (
	"crypto/tls"
	"maps"
	"net/netip"
	"time"

	"github.com/weftmesh/weft/base/stream"
)

// ResponseFlags are Envoy's response flags; their short names appear in the
// access log.
type ResponseFlags uint32

// Flags, with Envoy's short names.
const (
	FlagNoHealthyUpstream               ResponseFlags = 1 << iota // UH
	FlagUpstreamConnectionFailure                                 // UF
	FlagUpstreamOverflow                                          // UO
	FlagNoRoute                                                   // NR
	FlagUpstreamRetryLimitExceeded                                // URX
	FlagNoCluster                                                 // NC
	FlagDurationTimeout                                           // DT
	FlagDownstreamConnectionTermination                           // DC
	FlagLocalReset                                                // LR
	FlagUpstreamRequestTimeout                                    // UT
	FlagUpstreamRemoteReset                                       // UR
	FlagUpstreamConnectionTermination                             // UC
	FlagDelayInjected                                             // DI
	FlagFaultInjected                                             // FI
	FlagRateLimited                                               // RL
	FlagUnauthorizedExternal                                      // UAEX
	FlagStreamIdleTimeout                                         // SI
	FlagDownstreamProtocolError                                   // DPE
	FlagUpstreamProtocolError                                     // UPE
	FlagOverload                                                  // OM
	FlagUpstreamMaxStreamDuration                                 // UMSDR
	FlagNoFilterConfig                                            // NFCF
	FlagFailedLocalHealthCheck                                    // LH
	FlagRateLimitServiceError                                     // RLSE
	FlagDNSResolutionFailed                                       // DF
	FlagDropOverload                                              // DO
	FlagUnconditionalDropOverload                                 // UDO
	FlagDownstreamRemoteReset                                     // DR
)

var flagNames = [...]string{
	"UH", "UF", "UO", "NR", "URX", "NC", "DT", "DC", "LR", "UT", "UR", "UC",
	"DI", "FI", "RL", "UAEX", "SI", "DPE", "UPE", "OM", "UMSDR", "NFCF", "LH", "RLSE", "DF", "DO", "UDO", "DR",
}

// String returns the short names, comma separated, or "-".
func (f ResponseFlags) String() string { return f.list(flagNames[:]) }

func (f ResponseFlags) list(names []string) string {
	if f == 0 {
		return "-"
	}
	out := ""
	for i, n := range names {
		if f&(1<<i) != 0 {
			if out != "" {
				out += ","
			}
			out += n
		}
	}
	return out
}

var longFlagNames = [len(flagNames)]string{
	"NoHealthyUpstream", "UpstreamConnectionFailure", "UpstreamOverflow", "NoRouteFound", "UpstreamRetryLimitExceeded", "NoClusterFound",
	"DurationTimeout", "DownstreamConnectionTermination", "LocalReset", "UpstreamRequestTimeout", "UpstreamRemoteReset",
	"UpstreamConnectionTermination", "DelayInjected", "FaultInjected", "RateLimited", "UnauthorizedExternalService", "StreamIdleTimeout",
	"DownstreamProtocolError", "UpstreamProtocolError", "OverloadManagerTerminated", "UpstreamMaxStreamDurationReached",
	"NoFilterConfigFound", "FailedLocalHealthCheck", "RateLimitServiceError", "DnsResolutionFailed", "DropOverload",
	"UnconditionalDropOverload", "DownstreamRemoteReset",
}

// Long returns the long names, comma separated, or "-".
func (f ResponseFlags) Long() string { return f.list(longFlagNames[:]) }

// Event says why an access log is written.
type Event uint8

// Events, Envoy's access log types.
const (
	EventNone Event = iota
	EventTCPConnected
	EventTCPPeriodic
	EventTCPEnd
	EventStart
	EventPeriodic
	EventEnd
	EventTunnel
	EventUDPEnd
	EventUDPPeriodic
)

// String returns Envoy's name.
func (e Event) String() string {
	return [...]string{
		"NotSet", "TcpUpstreamConnected", "TcpPeriodic", "TcpConnectionEnd", "DownstreamStart", "DownstreamPeriodic", "DownstreamEnd",
		"DownstreamTunnelSuccessfullyEstablished", "UdpSessionEnd", "UdpPeriodic",
	}[e]
}

// Bytes are numbers of bytes in both directions.
type Bytes struct{ Received, Sent uint64 }

// ConnInfo is what is known about a downstream connection. It is filled by the
// listener before any filter sees it.
type ConnInfo struct {
	ID     uint64
	Start  time.Time
	Local  netip.AddrPort // the address the client asked for (original destination)
	Remote netip.AddrPort
	// Internal is the address of an internal listener that the connection came to
	// ("envoy://listener/id"); "": it came from outside.
	Internal string
	// Direct is the peer of the socket, where a PROXY header says that it speaks
	// for Remote.
	Direct netip.AddrPort
	// ProxyTLVs are those of its PROXY header. Read only.
	ProxyTLVs []TLV
	// Listener and FilterChain are their names in the configuration.
	Listener, FilterChain string
	Outbound              bool
	SNI, ALPN             string
	TLS                   *tls.ConnectionState
	// PeerURI and LocalURI are the first URI SANs of the certificates
	// ("spiffe://…"), empty without mTLS.
	PeerURI, LocalURI string
	// Verified: the peer's certificate has been checked.
	Verified bool
	// Gone tells whether the client has closed the connection, as far as filters that
	// are asked about it have to care; nil: that cannot be known.
	Gone func() bool
	// Forward is the host and port that the connection names, to be looked up; "": none.
	Forward string
	// Counted: the chain has the filter istio.stats; CountedAs is how that is set,
	// which only it knows.
	Counted   bool
	CountedAs any
	// State is what filters keep for as long as the connection lasts, by keys of
	// their own; for the connection's own thread of execution.
	State map[string]any
	// Objects are the connection's filter state, by Envoy's names: a string, or what
	// the one that asks for it knows. Shared are those that go on. See SetObject.
	Objects map[string]any
	Shared  []Shared
	// Metadata is dynamic metadata of the connection: namespace → values. Read only.
	Metadata map[string]any
	// Peer is who the client says it is; nil: it has not said.
	Peer *Peer
	// TCPCluster, when not empty, is where tcp_proxy sends the connection,
	// whatever its configuration says.
	TCPCluster string
	// Received and Sent count bytes of the connection, kept by tcp_proxy.
	Received, Sent uint64
	// Reported are those of them that metrics had before the end.
	Reported Bytes
	// Mover can give the connection to the process that has taken over; nil: it stays.
	Mover Mover
	// Resumed: a process before this one began the connection; nil: it is new.
	Resumed *Resumed
	// Leaving: its chain is being drained already, so that it is to end at its first
	// border: Terminal.Drain need not be called for it.
	Leaving bool
	// Duration of the connection, set when it has ended.
	Duration time.Duration
	// Termination is %CONNECTION_TERMINATION_DETAILS%.
	Termination string
	// Origin is as whom connections upstream are made.
	Origin Origin
	// Upstream side of a TCP proxy connection.
	Upstream Upstream
	Flags    ResponseFlags
}

// Origin is an address, not of this machine, from which connections upstream are
// made, so that servers see the client's (original_src); the zero value: none.
type Origin struct {
	Addr netip.Addr
	Mark int // SO_MARK of such connections, by which answers find back; 0: the proxy's own
}

// Mover gives connections away, at a border between messages.
type Mover interface {
	// Move takes c from its owner, who has nothing of it in hand; its handler sees
	// OnClose after that. false: it stays, and nothing has changed. Inside c's executor.
	Move(c stream.Conn, r Resumed) bool
}

// Resumed is what a terminal filter knew of a connection that it gave away.
type Resumed struct {
	// Requests that were answered; Protocol is what is spoken, "" when nothing was
	// said yet.
	Requests int    `json:"requests,omitempty"`
	Protocol string `json:"protocol,omitempty"`
	// Idle is since when.
	Idle time.Time `json:"idle"`
}

// TLV is a piece of a PROXY header of version 2.
type TLV struct {
	Type  byte
	Value []byte
}

// Upstream is what is known about where a stream or connection went.
type Upstream struct {
	Cluster string
	// Service is the destination's name for metrics, from the cluster's
	// metadata ("istio" → services): host, name, namespace.
	Service ServiceRef
	// Host is the endpoint's address; Workload its identity from the endpoint metadata.
	Host, Local netip.AddrPort
	// Path is the host where that is no IP address: a unix socket, "envoy://listener/id".
	Path     string
	HostName string
	Workload WorkloadRef
	// Peer is who the server says it is; nil: it has not said.
	Peer    *Peer
	PeerURI string
	TLS     bool
	// State is that of the TLS connection, nil: there is none.
	State *tls.ConnectionState
	// Failure is %UPSTREAM_TRANSPORT_FAILURE_REASON%.
	Failure string
}

// ServiceRef names a destination service in metrics.
type ServiceRef struct{ Host, Name, Namespace string }

// WorkloadRef names a workload in metrics. The zero value is "unknown".
type WorkloadRef struct {
	Name, Namespace, App, Version, Service, Revision, Cluster string
	// Account is the service account, known of the local workload only.
	Account string
}

// Info is what is known about one request and its response, for access logs,
// metrics and filters. It is valid until the stream's Done.
type Info struct {
	Conn *ConnInfo
	// Start is the arrival of the first byte; the others are relative to it, 0: not happened.
	Start                                        time.Time
	RequestEnd, UpstreamStart, UpstreamFirstByte time.Duration
	ResponseStart, Duration                      time.Duration
	// Remote is the client: what a trusted x-forwarded-for says, else Conn.Remote.
	Remote netip.AddrPort
	// Protocol is "HTTP/1.1", "HTTP/2" …
	Protocol string
	Request  *Headers
	Response *Headers
	Trailers *Headers
	// OriginalPath is the path before a rewrite, empty when there was none.
	OriginalPath string
	RouteName    string
	// RouteMetadata is the route's metadata by filter name.
	RouteMetadata map[string]any
	// Operation names the span (the route's decorator); empty: the authority does.
	Operation   string
	VirtualHost string
	Upstream    Upstream
	Status      int
	Flags       ResponseFlags
	Details     string
	// LocalBody is the body of the proxy's own answer.
	LocalBody string
	// Event is set while an access log is written.
	Event Event
	// HealthCheck: a filter has found that the request only asks for health.
	HealthCheck      bool
	Received, Sent   uint64 // bytes of bodies
	RequestMessages  uint64 // gRPC messages, counted by istio.stats
	ResponseMessages uint64
	Attempts         int
	GRPC             bool
	RequestID        string
	Trace            Trace
	// UpstreamALPN, when not nil, is what the TLS connection to the upstream host
	// offers for this request, instead of its cluster's protocols.
	UpstreamALPN []string
	// Messages, when not nil, is the protocol that a filter has made the request a message of: a
	// *codec.Protocol, which this package does not know.
	Messages any
	// Forward: the host that the request names may be looked up.
	Forward bool
	// ForwardTo replaces the authority there; "": it does not.
	ForwardTo string
	// Metadata is dynamic metadata: namespace → value of the filter's choice.
	Metadata map[string]any
	// Peer is who the client says it is, with this request or at the connection's
	// beginning; nil: it has not said.
	Peer *Peer
	// Origin, when it has an address, replaces the connection's.
	Origin Origin
	// Override asks for a host instead of the load balancer's choice.
	Override Override
	// FilterState are objects that filters leave for others, by Envoy's names: a
	// string, or what the one that asks for it knows.
	FilterState map[string]any
	// Shared are those that go on to connections of internal listeners.
	Shared []Shared
}

// Override is a host that a filter asks for; the zero value is none. Strict: no
// other may serve, the request is answered with Status (0: 503).
type Override struct {
	Host   netip.AddrPort
	Strict bool
	Status int
}

// Trace is the trace context of a request.
type Trace struct {
	TraceID [16]byte
	SpanID  [8]byte
	Parent  [8]byte
	Sampled bool
	// Valid: there is one.
	Valid bool
	// Shared: the span is the caller's too.
	Shared bool
	// AttemptID and AttemptStart are the span of the present attempt upstream;
	// zero: there is none.
	AttemptID    [8]byte
	AttemptStart time.Time
}

// SetMetadata lays v over the dynamic metadata of a namespace. v is read only
// from then on: requests may share it.
func (i *Info) SetMetadata(namespace string, v map[string]any) {
	if i.Metadata == nil {
		i.Metadata = map[string]any{}
	}
	i.Metadata[namespace] = layered(i.Metadata[namespace], v)
}

// SetMetadata is as Info's, for filters of connections. What was there is copied:
// others may read it.
func (c *ConnInfo) SetMetadata(namespace string, v map[string]any) {
	m := make(map[string]any, len(c.Metadata)+1)
	maps.Copy(m, c.Metadata)
	m[namespace] = layered(m[namespace], v)
	c.Metadata = m
}

// layered is v over old, where that is a map.
func layered(old any, v map[string]any) map[string]any {
	m, ok := old.(map[string]any)
	if !ok {
		return v
	}
	both := make(map[string]any, len(m)+len(v))
	maps.Copy(both, m)
	maps.Copy(both, v)
	return both
}
