// Package filter holds the contract between the data plane and everything that
// looks at traffic on its way: HTTP filters and network filters.
//
// A filter never blocks and never starts a goroutine that touches its stream.
// All calls of one filter instance happen on the connection's own thread of
// execution, one at a time; Stream.Post and Stream.Resume are the only methods
// that other goroutines may call. A filter runs unchanged on any I/O host.
//
// Configuration is parsed when it arrives (HTTPKind.Parse), so that a bad one
// is refused by the field's name and never met by a request. Kinds are
// registered in an explicit list in the wiring page proxy/filters.go.
//
// The package imports no Envoy types and knows no routes and no clusters.
package filter

import (
	"net"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/filter/runtime"
)

// Verdict is what a filter wants to happen next.
type Verdict uint8

// Verdicts.
const (
	// Continue passes the message on to the next filter.
	Continue Verdict = iota
	// Stop ends the way of this piece: the filter has consumed or dropped it.
	// Valid for data, it is how a filter replaces bytes (see Stream.Inject), and for
	// trailers, when the filter has injected the end before.
	Stop
	// Reply: the filter has answered with Stream.Reply; the request goes no further.
	Reply
	// Wait holds the message, and all that follows in this direction, before
	// this filter's successor until Stream.Resume. The host applies
	// back-pressure; it buffers no more than its usual bound.
	Wait
)

// HTTPFilter sees one request and its response. end tells that nothing follows
// in this direction. Data slices are valid during the call only; a filter may
// change the headers in place.
type HTTPFilter interface {
	RequestHeaders(s Stream, h *Headers, end bool) Verdict
	RequestData(s Stream, b []byte, end bool) Verdict
	RequestTrailers(s Stream, h *Headers) Verdict
	ResponseHeaders(s Stream, h *Headers, end bool) Verdict
	ResponseData(s Stream, b []byte, end bool) Verdict
	ResponseTrailers(s Stream, h *Headers) Verdict
	// Done is the last call, exactly once, however the stream ended.
	Done(s Stream)
}

// PassThrough implements HTTPFilter and does nothing: embed it and override
// what you need.
type PassThrough struct{}

// RequestHeaders continues.
func (PassThrough) RequestHeaders(Stream, *Headers, bool) Verdict { return Continue }

// RequestData continues.
func (PassThrough) RequestData(Stream, []byte, bool) Verdict { return Continue }

// RequestTrailers continues.
func (PassThrough) RequestTrailers(Stream, *Headers) Verdict { return Continue }

// ResponseHeaders continues.
func (PassThrough) ResponseHeaders(Stream, *Headers, bool) Verdict { return Continue }

// ResponseData continues.
func (PassThrough) ResponseData(Stream, []byte, bool) Verdict { return Continue }

// ResponseTrailers continues.
func (PassThrough) ResponseTrailers(Stream, *Headers) Verdict { return Continue }

// Done does nothing.
func (PassThrough) Done(Stream) {}

// Direction of a message.
type Direction uint8

// Directions.
const (
	ToUpstream Direction = iota
	ToDownstream
)

// LocalReply is an answer that the proxy itself gives.
type LocalReply struct {
	Status int
	Body   string
	// Header are extra response headers, lower case names.
	Header []Field
	// GRPCStatus, when not negative, is used instead of the mapping from
	// Status for gRPC requests.
	GRPCStatus int
	// Details is %RESPONSE_CODE_DETAILS%, Flags are added to the stream's.
	Details string
	Flags   ResponseFlags
}

// TooLarge answers a body that is larger than a filter can hold, of a request or a response.
func TooLarge(d Direction) LocalReply {
	if d == ToUpstream {
		return LocalReply{Status: 413, GRPCStatus: -1, Body: "Payload Too Large", Details: "request_payload_too_large"}
	}
	return LocalReply{Status: 500, GRPCStatus: -1, Body: "Internal Server Error", Details: "response_payload_too_large"}
}

// Stream is one request and its response, as filters see it. Streams are used
// again: only a filter that has returned Wait, or has called After, may leave
// its Stream to another goroutine.
type Stream interface {
	Request() *Headers
	// Response is nil before there is one.
	Response() *Headers
	// Info is what is known about the stream so far.
	Info() *Info
	// RouteConfig returns the most specific per-route configuration of the
	// filter with that name (route, then virtual host), as its ParseRoute made it; nil when none.
	RouteConfig(name string) any
	// RouteConfigs returns those of all levels, from the least specific (the route
	// configuration's) to the most (the weighted cluster's). Read only.
	RouteConfigs(name string) []any
	// ClearRoute makes the route be chosen again, after a filter changed headers.
	ClearRoute()
	// Missing is what the request would have to wait for, as far as its route is
	// known; the zero value: nothing.
	Missing() Missing
	// Restart is Resume towards the upstream, on the stream's own thread of
	// execution, with those filters behind f that the present route wants. Those
	// before f have had their say.
	Restart(f HTTPFilter)
	// Reply answers and ends the request. Return the verdict Reply after it,
	// or call it from a posted function while waiting.
	Reply(r LocalReply)
	// Inject sends b on behalf of filter f in the given direction, as if it had come
	// in; for filters that Stop data and replace it.
	Inject(f HTTPFilter, d Direction, b []byte, end bool)
	// InjectTrailers ends a message whose data f has stopped with trailers of its own.
	InjectTrailers(f HTTPFilter, d Direction, fields []Field)
	// Buffer lets f, which is about to Wait, hold up to limit bytes in a direction
	// without back-pressure. More are answered with 413, or 500 for a response. Limit 0, later, is
	// for a filter that has seen enough and waits for something else: now back-pressure holds up more.
	Buffer(f HTTPFilter, d Direction, limit int)
	// BufferLimit is how many bytes of a body a filter may hold in a direction: the
	// listener's per_connection_buffer_limit_bytes.
	BufferLimit() int
	// Cluster is the one that the route has chosen, "": none.
	Cluster() string
	// Resume goes on after Wait, with the next filter in that direction. Any goroutine.
	Resume(f HTTPFilter, d Direction)
	// Post runs f on the stream's thread of execution, unless the stream has ended. Any goroutine.
	Post(f func())
	// After is Post after a delay; stop forgets it.
	After(d time.Duration, f func()) (stop func())
}

// HTTPFactory makes one filter instance per stream; it holds the parsed configuration.
type HTTPFactory interface {
	New(s Stream) HTTPFilter
}

// HTTPKind is a kind of HTTP filter.
type HTTPKind struct {
	// Name is Envoy's well-known name, e.g. "envoy.filters.http.fault".
	Name string
	// TypeURLs of the configuration messages that Parse accepts. For a
	// TypedStruct the inner type URL is listed.
	TypeURLs []string
	// Parse checks and compiles a configuration. Errors name the field.
	Parse func(ctx *ParseContext, cfg *anypb.Any) (HTTPFactory, error)
	// ParseRoute does so for typed_per_filter_config; nil: there is none.
	ParseRoute func(ctx *ParseContext, cfg *anypb.Any) (any, error)
}

// ParseContext is what a parser may know of its surroundings.
type ParseContext struct {
	// FilterName is the instance's name in the chain.
	FilterName string
	// StatPrefix of the connection manager.
	StatPrefix string
	// Outbound: the listener's traffic direction is OUTBOUND.
	Outbound bool
	// Stats are those of the whole proxy; nil: nobody reads them.
	Stats *Stats
	// ServiceCluster is the cluster that this proxy is of (node.cluster).
	ServiceCluster string
	// Calls makes calls of the proxy's own.
	Calls Caller
	// Runtime has the values that override those of configurations; nil: nothing does.
	Runtime *runtime.Store
	// Local is the cluster that this proxy is an endpoint of; nil: there is no such cluster.
	Local Members
}

// Members counts the endpoints of a cluster.
type Members interface {
	// LocalMembers is how many there are now.
	LocalMembers() int
}

// Counter is the counter "http.PREFIX.stat" of the connection manager at hand.
func (c *ParseContext) Counter(stat string) *Counter {
	return c.Stats.Counter("http", c.StatPrefix, stat)
}

// Gauge is the gauge "http.PREFIX.stat" of the connection manager at hand.
func (c *ParseContext) Gauge(stat string) *Gauge { return c.Stats.Gauge("http", c.StatPrefix, stat) }

// NetworkFilter decides about a connection before its terminal filter takes
// it. It is asked once, when the connection is ready (TLS done).
type NetworkFilter interface {
	// Open may look at Info and the connection. Continue or Reply (close).
	Open(c stream.Conn, info *ConnInfo) Verdict
	// Closed is the last call.
	Closed(info *ConnInfo)
}

// NetworkFactory makes one filter instance per connection; it holds the parsed configuration.
type NetworkFactory interface {
	// New returns nil where the configuration has not come yet: the connection is closed.
	New() NetworkFilter
}

// SNIReader is a NetworkFactory whose filters read ConnInfo.SNI of connections
// that pass through with their TLS: the inspector is not to be left out.
type SNIReader interface{ ReadsSNI() }

// Greeter is a NetworkFactory whose filters exchange something with the client's
// proxy before a connection's bytes begin.
type Greeter interface {
	// Greets tells whether a connection with that protocol (ALPN) begins so.
	Greets(protocol string) bool
	// Greet blocks, until the deadline at most, and fills info; after an error the
	// connection is of no use. nc is the TLS connection.
	Greet(nc net.Conn, deadline time.Time, info *ConnInfo) error
}

// NetworkKind is a kind of network filter that is not a Terminal.
type NetworkKind struct {
	// Name is Envoy's well-known name, e.g. "envoy.filters.network.rbac".
	Name string
	// TypeURLs of the configuration messages that Parse accepts. For a
	// TypedStruct the inner type URL is listed.
	TypeURLs []string
	// Parse checks and compiles a configuration. Errors name the field.
	Parse func(ctx *ParseContext, cfg *anypb.Any) (NetworkFactory, error)
}

// Terminal takes a connection over: the HTTP connection manager, tcp_proxy. It
// binds the connection and must, in the end, close it and call done once.
type Terminal interface {
	// Serve takes a connection; one that is Leaving as if Drain came right after.
	Serve(c stream.Conn, info *ConnInfo, done func())
	// Drain asks the connections that it serves to end at their next border
	// (Connection: close, GOAWAY). Connections accepted later are not affected.
	Drain()
}
