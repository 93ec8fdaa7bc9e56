package pool

import (
	"crypto/tls"
	"net/netip"
	"sync"

	"github.com/weftmesh/weft/proxy/cluster"
	l7 "github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
)

// Want says what an exchange needs to be carried by.
type Want uint8

// Wants.
const (
	WantHTTP1 Want = iota
	WantHTTP2
	// WantALPN: HTTP/2 when the TLS handshake chooses it, else HTTP/1.
	WantALPN
	// WantRaw: a connection of its own, bytes as they are (terminated CONNECT).
	WantRaw
	// WantMessages: the protocol that Exchange.Messages names.
	WantMessages
)

// User is told what happens to an Exchange. Bytes are valid during the call;
// headers pass into the User's possession, who gives them back with PutHeaders.
type User interface {
	// OnReady: a connection has been found, Headers may follow. It can come
	// out of Start.
	OnReady()
	// OnFail instead of OnReady: the exchange is over. It can come out of Start.
	OnFail(f Failure)
	OnInterim(h *filter.Headers)
	OnHeaders(h *filter.Headers, end bool)
	// OnUpgraded follows OnHeaders when the peer granted an upgrade or CONNECT:
	// only now Data carries bytes of the tunnel.
	OnUpgraded()
	// OnData: HTTP/2 stops after a window's worth that was not Consumed.
	OnData(b []byte, end bool)
	OnTrailers(h *filter.Headers)
	// OnReset: the exchange is over, and was cut off.
	OnReset(code codec.ResetCode)
	// OnBlocked(true): enough is buffered towards the peer, pause; false: go on.
	OnBlocked(on bool)
}

// FailureKind says why there was no connection.
type FailureKind uint8

// Failure kinds.
const (
	// FailConnect: it could not be made. FailTimeout: not in time.
	FailConnect FailureKind = iota
	FailTimeout
	// FailOverflow: a circuit breaker refused.
	FailOverflow
	// FailLocal: given up by this side, because the host has gone.
	FailLocal
)

// Failure is why an Exchange could not begin.
type Failure struct {
	Kind FailureKind
	Err  error
}

// backend carries an exchange: an HTTP/1 connection, an HTTP/2 stream, a raw connection.
type backend interface {
	headers(h *filter.Headers, end bool)
	data(b []byte, end bool)
	trailers(h *filter.Headers)
	reset(code codec.ResetCode)
	consumed(n int)
	reading(on bool)
}

type exchangeState uint8

const (
	exIdle exchangeState = iota
	exWaiting
	exReady
)

// Exchange is one request to one host and its response. It may be used again
// for another after it is over; it is over when both directions have ended or
// after OnFail, OnReset or Reset. All methods are called inside Lane.
type Exchange struct {
	// Set by the owner before Start.

	Lane    *Lane
	User    User
	Cluster *cluster.Cluster
	Host    *cluster.Host
	Limits  *cluster.Limits
	Dial    cluster.DialOptions
	// Prefix goes before all else on a raw connection.
	Prefix []byte
	// Messages is the protocol of WantMessages.
	Messages *l7.Protocol
	// Fresh takes no connection that has carried a request before.
	Fresh bool

	// Known from OnReady on.

	// Reused: the connection has carried requests before.
	Reused   bool
	Protocol string
	Local    netip.AddrPort
	TLS      *tls.ConnectionState
	// PeerURI is the first URI of the peer's certificate.
	PeerURI string

	state exchangeState
	b     backend
	good  bool // what the host's statistics count it as
	pool  *Pool
	w     *waiter // while waiting in a queue or for a raw connection
	spare Spare
}

// Spare is memory of an Exchange that is over, for another one.
type Spare struct{ s *h2Stream }

// Spare takes out what may be used again.
func (x *Exchange) Spare() Spare { return x.spare }

// UseSpare gives it to an Exchange that has not begun.
func (x *Exchange) UseSpare(s Spare) { x.spare = s }

// Start looks for a connection.
func (x *Exchange) Start(want Want) {
	x.state, x.pool = exWaiting, nil
	x.Reused, x.Protocol, x.TLS = false, "", nil
	if want == WantRaw {
		dialRaw(x)
		return
	}
	p := of(x, x.Host, want)
	x.pool = p
	if ratio := x.Cluster.Spec().HTTP.PreconnectAhead; ratio > 1 {
		predict(x, want, ratio)
	}
	p.start(x)
}

// Headers sends the request's head. h is not kept.
func (x *Exchange) Headers(h *filter.Headers, end bool) {
	if x.b != nil {
		x.b.headers(h, end)
	}
}

// Data sends a piece of the body; what the peer's window does not take is
// buffered, and OnBlocked is told.
func (x *Exchange) Data(b []byte, end bool) {
	if x.b != nil {
		x.b.data(b, end)
	}
}

// Trailers ends the request.
func (x *Exchange) Trailers(h *filter.Headers) {
	if x.b != nil {
		x.b.trailers(h)
	}
}

// Consumed gives window back after OnData.
func (x *Exchange) Consumed(n int) {
	if x.b != nil && n > 0 {
		x.b.consumed(n)
	}
}

// Reading stops or resumes the response (HTTP/1; HTTP/2 goes by Consumed).
func (x *Exchange) Reading(on bool) {
	if x.b != nil {
		x.b.reading(on)
	}
}

// Active tells whether the exchange is under way.
func (x *Exchange) Active() bool { return x.state != exIdle }

// Reset gives the exchange up. The User hears nothing more of it.
func (x *Exchange) Reset(code codec.ResetCode) {
	switch x.state {
	case exIdle:
		return
	case exWaiting:
		w := x.w
		x.over()
		if w != nil {
			w.take()
			if x.pool != nil {
				x.pool.cancel(w)
			}
		}
	case exReady:
		b := x.b
		x.over()
		b.reset(code)
	}
}

// over ends the present use.
func (x *Exchange) over() {
	if x.state == exReady {
		x.Limits.Release(cluster.Requests)
		x.Host.End(x.good)
	}
	x.state, x.b = exIdle, nil
}

// fail tells the user that there is no connection.
func (x *Exchange) fail(f Failure) {
	x.over()
	x.User.OnFail(f)
}

// describe notes what carries the exchange.
func (x *Exchange) describe(protocol string, cc *common) {
	x.Protocol, x.Local, x.TLS, x.PeerURI = protocol, cc.local, cc.tls, cc.peerURI
}

// ready tells the user that b carries the exchange. Requests has been acquired.
func (x *Exchange) ready(b backend) {
	x.b, x.state, x.good = b, exReady, false
	x.Host.Begin()
	x.User.OnReady()
}

var headersPool = sync.Pool{New: func() any { return new(filter.Headers) }}

// GetHeaders returns empty headers from a store that keeps their memory.
func GetHeaders() *filter.Headers { return headersPool.Get().(*filter.Headers) }

// PutHeaders gives headers back; nil does nothing.
func PutHeaders(h *filter.Headers) {
	if h != nil {
		h.Reset()
		headersPool.Put(h)
	}
}
