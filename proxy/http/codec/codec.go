// Package codec holds the interface that every version of HTTP is spoken
// through: a Codec turns bytes into events and messages into bytes. It knows no
// sockets, no goroutines, no clocks; proxy/http/h1 and proxy/http/h2 implement it.
//
// # Threads
//
// A Codec belongs to one thread of execution (the Executor of its connection).
// Events come synchronously out of Feed, End and Broken, and out of no other
// method. Inside an event every method of the Codec may be called but End and
// Broken; Feed(nil) is a no-op there, since the running Feed goes on by itself.
//
// # Streams
//
// A stream is one request and its response. Its id is never used again on a
// connection; calls with the id of a stream that is over do nothing. A stream
// is over when both directions have ended, or after one OnReset or Reset; on a
// server codec already when the response has ended: what is left of the request is
// dropped (HTTP/2: after RST_STREAM NO_ERROR; HTTP/1: a long rest costs the connection).
// HTTP/1 has at most one stream at a time.
//
// # What the codec does to headers
//
// Headers are the same for all versions. Decoding takes out what belongs to
// the connection: connection and the fields that it names, keep-alive,
// proxy-connection, transfer-encoding, upgrade, http2-settings, and te unless
// it is "trailers". Encoding ignores them and writes what the framing needs.
// Host is Headers.Authority. An upgrade is a GET with Headers.Protocol, answered by
// 101 with the same Protocol; HTTP/2 makes an extended CONNECT and its 200 of that.
// Content-length stays a field: it is checked on the way in, it chooses the
// framing on the way out. Expect stays a field; the owner answers with Interim.
package codec

import "github.com/weftmesh/weft/proxy/filter"

// Events is told what the peer sent. Byte slices are valid only during the call.
type Events interface {
	// NewHeaders is asked where to decode a head or trailers into. It must be
	// empty (Reset). On a server codec the first call for an id is a new
	// stream; nil refuses it (HTTP/2: REFUSED_STREAM; HTTP/1: 503).
	//
	// At most one Headers is out at a time. When the message turns out to be
	// malformed nothing more is heard of it, and the next NewHeaders (same or
	// other id) voids it: the receiver must not count a stream before OnHeaders.
	NewHeaders(id uint32) *filter.Headers
	// OnHeaders brings the head of a request (server) or of the final response
	// (client), in what NewHeaders returned. end: no body and no trailers follow.
	//
	// A request for an upgrade or CONNECT has end=false, and nothing
	// follows until it is answered.
	OnHeaders(id uint32, h *filter.Headers, end bool)
	// OnInterim brings a 1xx response other than 101 (client).
	OnInterim(id uint32, h *filter.Headers)
	// OnData brings a piece of the body, without framing. b may be empty when
	// end is set. HTTP/2: len(b) bytes of the window are taken until Consumed.
	OnData(id uint32, b []byte, end bool)
	// OnTrailers ends the direction.
	OnTrailers(id uint32, h *filter.Headers)
	// OnReset: the stream is over, what was in flight is lost. Exactly once per
	// stream, after OnHeaders (server) or NewStream (client), and not after
	// Reset, nor after both directions have ended.
	OnReset(id uint32, code ResetCode)
	// OnUpgraded follows OnHeaders of a 101 response, or of a 2xx to CONNECT
	// (client). From now on OnData and Data carry opaque bytes. A server
	// codec switches by itself when such a response is sent with Headers.
	OnUpgraded(id uint32)
	// OnGoAway: the peer takes no stream above lastID; streams above it get
	// OnReset(ResetRefused) right after. graceful: only a notice, none is lost.
	// HTTP/1: never, see Codec.KeepAlive.
	OnGoAway(lastID uint32, graceful bool)
	// OnWindow: a stream whose Data was not taken whole can send again.
	OnWindow(id uint32)
}

// Codec is one connection's protocol state, server or client side.
type Codec interface {
	// Feed takes all of b; an incomplete tail is copied and kept. An error is
	// a connection error and always an *Error: open streams got OnReset, what the
	// peer should be told (error response, GOAWAY) is in Output already; write
	// it and close. Feed after an error does nothing and returns it again.
	//
	// An HTTP/1 server takes the next request only after the response to
	// the present one has ended and keeps what has come meanwhile: call
	// Feed(nil) when a response ended outside of an event, and stop reading
	// while Retained is large. The same holds after a 101 or CONNECT was answered.
	Feed(b []byte) error
	// End: the peer has sent its last byte. It ends a body that is delimited by
	// that, and resets streams whose message is cut short.
	End() error
	// Broken: the transport is gone. Open streams get
	// OnReset(ResetConnection); no event after it.
	Broken()
	// Stop makes the codec mute: no event any more, Feed drops its bytes.
	Stop()
	// Retained is the number of received bytes kept inside.
	Retained() int

	// NewStream begins an exchange on a client codec; not ok: none may be begun
	// now (busy, limit of the peer, going away). Headers (or Reset) must follow
	// before the next NewStream.
	NewStream() (id uint32, ok bool)
	// Headers sends a head: the request (client) or the final response (server). h is
	// not changed and not kept. Content-length, Method, Status, Protocol choose
	// the framing.
	Headers(id uint32, h *filter.Headers, end bool)
	// Interim sends a 1xx response other than 101. HTTP/1.0 clients get none.
	Interim(id uint32, h *filter.Headers)
	// Data sends a piece of the body and returns how much of b was taken: what the
	// windows allow in HTTP/2; all in HTTP/1, but nothing of an upgraded
	// stream's bytes before the upstream has agreed. end counts only when all
	// was taken; otherwise OnWindow tells when to go on with the rest.
	Data(id uint32, b []byte, end bool) int
	// Trailers ends the direction. HTTP/1 drops the fields where the framing or the
	// configuration has no place for them.
	Trailers(id uint32, h *filter.Headers)
	// Reset abandons the stream; no event for it any more. In HTTP/1 the
	// connection cannot go on: KeepAlive is false and it must be closed.
	Reset(id uint32, code ResetCode)
	// CanSend is how much Data would take now.
	CanSend(id uint32) int
	// Consumed gives back n bytes of receive window after OnData's bytes have been
	// forwarded or dropped. Streams that are over count as consumed.
	Consumed(id uint32, n int)

	// Output is what has to be written to the connection, valid until the next
	// call of any method. ClearOutput must follow when it has been written.
	Output() []byte
	ClearOutput()

	// GoAway asks the peer to begin nothing new. HTTP/2: graceful sends
	// the notice with the highest id, so that what is on its way is
	// still served; GoAway(false) then names the last one accepted and refuses the rest.
	// HTTP/1: the current or next response closes the connection.
	GoAway(graceful bool)
	// Streams is the number of open streams; 0 is idle.
	Streams() int
	// KeepAlive tells whether another stream may be carried. When it is false and
	// Streams is 0 the owner closes the connection, after writing Output.
	KeepAlive() bool
	// Protocol is "HTTP/1.0", "HTTP/1.1" or "HTTP/2", as the present stream speaks it.
	Protocol() string
}

// MaxInterim is how many interim responses an upstream may send before the final one. Envoy
// knows no such bound.
const MaxInterim = 100

// ResetCode says why a stream was cut off: HTTP/2's error codes and, above
// them, what never is on the wire.
type ResetCode uint32

// Reset codes.
const (
	ResetNone               ResetCode = 0x0
	ResetProtocol           ResetCode = 0x1
	ResetInternal           ResetCode = 0x2
	ResetFlowControl        ResetCode = 0x3
	ResetSettingsTimeout    ResetCode = 0x4
	ResetStreamClosed       ResetCode = 0x5
	ResetFrameSize          ResetCode = 0x6
	ResetRefused            ResetCode = 0x7 // nothing was done: safe to retry
	ResetCancel             ResetCode = 0x8
	ResetCompression        ResetCode = 0x9
	ResetConnect            ResetCode = 0xa
	ResetEnhanceYourCalm    ResetCode = 0xb
	ResetInadequateSecurity ResetCode = 0xc
	ResetHTTP11Required     ResetCode = 0xd

	// ResetConnection: the connection ended under the stream.
	ResetConnection ResetCode = 0x100
	// ResetLocal is set beside a code in OnReset when this side's codec has found the
	// fault and says so to the peer; without it the code is what the peer said.
	ResetLocal ResetCode = 0x1000
)

var resetNames = [...]string{
	"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT",
	"STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR",
	"CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

// String is the name of RFC 9113.
func (c ResetCode) String() string {
	c &^= ResetLocal
	switch {
	case int(c) < len(resetNames):
		return resetNames[c]
	case c == ResetConnection:
		return "CONNECTION_TERMINATION"
	}
	return "UNKNOWN_ERROR"
}

// Error is a connection error: the peer broke the protocol or a limit.
type Error struct {
	// Status is what an HTTP/1 server answered (400, 431, 501, 503 …); for
	// other codecs the status to log.
	Status int
	// Code is HTTP/2's GOAWAY code.
	Code ResetCode
	// Detail is Envoy's %RESPONSE_CODE_DETAILS%, e.g. "http1.codec_error".
	Detail string
	// Reason is for people: which rule was broken. It holds no bytes of the peer.
	Reason string
}

// Error returns detail and reason.
func (e *Error) Error() string { return e.Detail + ": " + e.Reason }
