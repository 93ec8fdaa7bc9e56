package http

import (
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/weftmesh/weft/base/overload"
	"github.com/weftmesh/weft/proxy/cluster"
	l7 "github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/route"
)

// CodecType says which version of HTTP a listener speaks.
type CodecType uint8

// Codec types.
const (
	// CodecAuto: by ALPN, without it by the HTTP/2 preface.
	CodecAuto CodecType = iota
	CodecHTTP1
	CodecHTTP2
)

// ServerHeaderMode says what becomes of the "server" response header.
type ServerHeaderMode uint8

// Server header modes.
const (
	// ServerOverwrite always writes ServerName.
	ServerOverwrite ServerHeaderMode = iota
	// ServerAppendIfAbsent writes it when the upstream sent none.
	ServerAppendIfAbsent
	// ServerPassThrough leaves the upstream's alone.
	ServerPassThrough
)

// ForwardCertMode says what becomes of x-forwarded-client-cert.
type ForwardCertMode uint8

// Modes of ForwardClientCert.
const (
	// CertSanitize removes it.
	CertSanitize ForwardCertMode = iota
	// CertForwardOnly keeps it when the connection is mTLS, else removes it.
	CertForwardOnly
	// CertAppendForward appends this hop's certificate when the connection is mTLS.
	CertAppendForward
	// CertSanitizeSet replaces it by this hop's certificate when the connection is mTLS.
	CertSanitizeSet
	// CertAlwaysForwardOnly keeps it whatever the connection is.
	CertAlwaysForwardOnly
)

// ClientCertDetails chooses the parts of x-forwarded-client-cert. By, Hash and
// those set here are written.
type ClientCertDetails struct{ Subject, Cert, Chain, DNS, URI bool }

// EscapedSlashes says what is done with %2F and %5C in a path.
type EscapedSlashes uint8

// Actions on escaped slashes.
const (
	EscapedKeep EscapedSlashes = iota
	EscapedReject
	EscapedUnescapeRedirect
	EscapedUnescapeForward
)

// Underscores says what is done with header names that hold an underscore.
type Underscores uint8

// Actions on underscores.
const (
	UnderscoreAllow Underscores = iota
	UnderscoreReject
	UnderscoreDrop
)

// StripPort says whether the port is cut from the authority before routing.
type StripPort uint8

// Modes of StripPort.
const (
	StripNone StripPort = iota
	StripMatching
	StripAny
)

// NamedFilter is one filter of the chain. Name is the key of per-route configuration.
type NamedFilter struct {
	Name    string
	Factory filter.HTTPFactory
	// Disabled: only routes that have configuration for it, or switch it on, use it.
	Disabled bool
}

// Upgrade enables one kind of protocol upgrade: "websocket", "CONNECT".
type Upgrade struct {
	Type    string
	Enabled bool
	// Filters replaces the chain for such requests; nil: the usual one.
	Filters []NamedFilter
}

// AccessLogger is told of every stream at its end. It must not keep i.
type AccessLogger interface{ Log(i *filter.Info) }

// Tracer makes spans. Start is called before the filters: it reads the trace
// context from the request headers, fills i.Trace and writes the context for
// the upstream into the headers. Finish is called at the stream's end.
type Tracer interface {
	Start(i *filter.Info, h *filter.Headers)
	Finish(i *filter.Info)
	// Attempt is called before the request goes to a host, when
	// ManagerConfig.TraceAttempts is set.
	Attempt(i *filter.Info, h *filter.Headers, now time.Time)
}

// ManagerConfig describes an HTTP connection manager. Durations: 0 is
// Envoy's default, negative is "off". It is read only after New.
type ManagerConfig struct {
	StatPrefix string
	Codec      CodecType
	// Messages, when set, is the protocol that clients speak instead of HTTP. Upstreams
	// are spoken to in the same.
	Messages *l7.Protocol
	// Routes returns the present route table, nil while there is none; it is
	// asked once per request.
	Routes func() *route.Table
	// Scoped, when set, is asked instead: for the table of a request's scope, or
	// for the name of the one that is to be fetched on demand.
	Scoped   func(h *filter.Headers) (t *route.Table, onDemand string)
	Clusters *cluster.Manager
	// Overload tells when to shed requests; nil: never.
	Overload *overload.State
	// Failing tells whether the proxy was told to fail health checks: clients are to
	// go, as their responses come; nil: never.
	Failing func() bool
	// Filters in order, without the router, which is always the last.
	Filters    []NamedFilter
	AccessLogs []AccessLogger
	// LogEvery writes access logs of requests that last; LogStart when they begin,
	// LogTunnel when an upgrade was granted.
	LogEvery            time.Duration
	LogStart, LogTunnel bool
	Tracer              Tracer
	// TraceAttempts tells the Tracer of every attempt.
	TraceAttempts bool
	// Added, when set, is told of one request in 16 how long the proxy itself held
	// up the request and the response, from the arrival of bytes to the sending on.
	Added func(time.Duration)
	// Stats outlives the managers, so that counters survive an update. nil: an own one.
	Stats    *Stats
	Outbound bool

	// LocalReplies nil: they look as Envoy's do.
	LocalReplies *LocalReplies
	// Scheme, when not empty, replaces the scheme of requests.
	Scheme       string
	ServerName   string // "envoy"
	ServerHeader ServerHeaderMode
	Via          string

	UseRemoteAddress bool
	XFFTrustedHops   int
	SkipXFFAppend    bool
	// Detect finds the client's address where UseRemoteAddress does not.
	Detect []Detector
	// AppendPort sets x-forwarded-port.
	AppendPort        bool
	InternalCIDRs     []netip.Prefix // RFC 1918 and friends when nil
	ForwardClientCert ForwardCertMode
	ClientCertDetails ClientCertDetails

	// KeepRequestID keeps an x-request-id that comes from outside
	// (preserve_external_request_id); NoRequestID generates none.
	KeepRequestID        bool
	NoRequestID          bool
	RequestIDInResponse  bool
	Proxy100Continue     bool
	NormalizePath        bool
	MergeSlashes         bool
	EscapedSlashes       EscapedSlashes
	Underscores          Underscores
	StripPort            StripPort
	StripTrailingHostDot bool
	Upgrades             []Upgrade

	IdleTimeout           time.Duration // of the connection; 1 h
	MaxConnDuration       time.Duration // off
	MaxStreamDuration     time.Duration // off
	StreamIdleTimeout     time.Duration // 5 min
	RequestTimeout        time.Duration // whole request received; off
	RequestHeadersTimeout time.Duration // off
	DrainTimeout          time.Duration // 5 s
	// DelayedCloseTimeout is how long a closed connection still takes what the
	// client is sending, so that no reset destroys the response. 1 s.
	DelayedCloseTimeout time.Duration

	MaxRequestsPerConn int // no limit
	MaxHeadersKiB      int // 60
	MaxHeaders         int // 100
	// BufferLimit bounds what is held per stream and direction: bodies kept for
	// retries, data while a filter waits. 1 MiB.
	BufferLimit int

	HTTP1 HTTP1Options
	HTTP2 HTTP2Options

	// Router's own.
	SuppressEnvoyHeaders bool
	// RespectExpectedTimeout takes x-envoy-expected-rq-timeout-ms from the caller.
	RespectExpectedTimeout bool

	Logger *slog.Logger
}

// HTTP1Options are the downstream HTTP/1 options.
type HTTP1Options struct {
	AcceptHTTP10 bool
	// DefaultHost is for HTTP/1.0 requests without a Host.
	DefaultHost string
	// Trailers passes trailers on, in both directions.
	Trailers bool
	// Spelling is how the names of fields are written, and whether requests keep theirs.
	Spelling filter.Spelling
	// Absolute URLs are always accepted.
}

// HTTP2Options are the downstream HTTP/2 options. 0: defaults.
type HTTP2Options struct {
	MaxConcurrentStreams uint32 // 2147483647 as Envoy's; 100 here would surprise
	StreamWindow         uint32
	ConnWindow           uint32
	AllowConnect         bool // extended CONNECT
	// PingInterval between questions for a sign of life, which have PingTimeout to be
	// answered; 0: none are asked.
	PingInterval, PingTimeout time.Duration
}

// Defaults that New fills in.
const (
	defaultIdleTimeout       = time.Hour
	defaultStreamIdleTimeout = 5 * time.Minute
	defaultDrainTimeout      = 5 * time.Second
	defaultDelayedClose      = time.Second
	defaultBufferLimit       = 1 << 20
	defaultMaxHeadersKiB     = 60
	defaultMaxHeaders        = 100
)

// complete fills defaults in and checks what New cannot do without.
func (c *ManagerConfig) complete() error {
	if c.Routes == nil && c.Scoped == nil {
		return errors.New("http connection manager " + c.StatPrefix + ": no route table function; set Routes")
	}
	if c.Clusters == nil {
		return errors.New("http connection manager " + c.StatPrefix + ": no cluster manager; set Clusters")
	}
	or(&c.IdleTimeout, defaultIdleTimeout)
	or(&c.StreamIdleTimeout, defaultStreamIdleTimeout)
	or(&c.DrainTimeout, defaultDrainTimeout)
	or(&c.DelayedCloseTimeout, defaultDelayedClose)
	or(&c.BufferLimit, defaultBufferLimit)
	or(&c.MaxHeadersKiB, defaultMaxHeadersKiB)
	or(&c.MaxHeaders, defaultMaxHeaders)
	or(&c.ServerName, "envoy")
	if c.Stats == nil {
		c.Stats = NewStats()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// or sets *p to def when it is the zero value.
func or[T comparable](p *T, def T) {
	var zero T
	if *p == zero {
		*p = def
	}
}
