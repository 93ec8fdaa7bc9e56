package pool

import (
	"crypto/tls"
	"errors"
	"net/netip"
	"runtime"
	"time"

	"github.com/weftmesh/weft/base/serial"
	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
	"github.com/weftmesh/weft/proxy/http/h1"
)

// common is what all connections of a pool have.
type common struct {
	pool *Pool
	conn stream.Conn
	key  key
	// limits is where the connection was counted, nil: nowhere.
	limits *cluster.Limits

	local   netip.AddrPort
	tls     *tls.ConnectionState
	peerURI string
}

// connected notes what is known of a connection once it is there.
func (cc *common) connected(c stream.Conn) {
	cc.conn, cc.local, cc.tls = c, c.LocalAddr(), c.TLS()
	if cc.tls != nil && len(cc.tls.PeerCertificates) > 0 {
		if uris := cc.tls.PeerCertificates[0].URIs; len(uris) > 0 {
			cc.peerURI = uris[0].String()
		}
	}
}

// received counts.
func (cc *common) received(b []byte) {
	cc.pool.cluster.Stats().UpstreamCxRxBytesTotal.Add(uint64(len(b)))
}

// h1Conn is an HTTP/1 connection to a host. While idle it is bound to an own
// executor, while lent to the lane of its exchange; the fields below belong to
// whoever is inside the present one.
type h1Conn struct {
	common
	ex       serial.Executor // while idle
	cd       codec.Codec
	x        *Exchange // nil: idle
	lane     *Lane     // of x
	id       uint32
	requests int
	born     time.Time // when the cluster bounds its life
	tick     int       // guarded by the pool's mu: when it became idle
	sent     bool      // the request is out
	answered bool      // the response is in
	closing  bool
	dead     bool
	dirty    bool
	blocked  bool
	paused   bool
	upgraded bool
	halved   bool // upgraded: our end has been told
}

var _ stream.Handler = (*h1Conn)(nil)

func newH1Conn(cc common) *h1Conn {
	c := &h1Conn{common: cc}
	opt := &cc.pool.cluster.Spec().HTTP
	c.cd = h1.NewClient((*h1Events)(c), h1.Options{MaxFields: int(opt.MaxHeadersCount), Trailers: opt.Trailers, Spelling: opt.Spelling, Direct: c.direct})
	if opt.MaxConnectionDuration > 0 {
		c.born = time.Now()
	}
	return c
}

// park makes the connection idle.
func (c *h1Conn) park() {
	c.x, c.lane = nil, nil
	c.conn.Bind(&c.ex, c)
}

// retire closes an idle connection.
func (c *h1Conn) retire() {
	c.ex.Post(serial.Func(func() { c.close() }))
}

func (c *h1Conn) close() {
	if !c.closing {
		c.closing = true
		c.conn.Close()
	}
}

// lend takes the connection out of its idle executor and gives it to x, in whose lane the
// caller is. false: it is dying, or somebody is inside of the executor; then it is
// offered again when that one leaves.
func (c *h1Conn) lend(x *Exchange) bool {
	if !c.enter() {
		c.ex.Post(serial.Func(func() {
			if !c.dead && !c.closing {
				c.pool.offer(c)
			}
		}))
		return false
	}
	ok := c.claim(x.Lane)
	c.ex.Leave()
	if ok {
		c.serve(x)
	}
	return ok
}

// claim moves the connection to l, inside of its idle executor. false: it is dying.
func (c *h1Conn) claim(l *Lane) bool {
	if c.dead || c.closing {
		return false
	}
	c.lane = l
	c.conn.Bind(&l.Ex, c)
	return true
}

// serve gives x the connection, which its lane has claimed.
func (c *h1Conn) serve(x *Exchange) {
	if !x.Limits.Acquire(cluster.Requests) {
		c.park()
		c.pool.offer(c)
		x.fail(Failure{FailOverflow, errRequests})
		return
	}
	c.x = x
	x.Reused = c.requests > 0
	c.requests++
	c.sent, c.answered, c.blocked = false, false, false
	c.id, _ = c.cd.NewStream()
	x.describe(c.cd.Protocol(), &c.common)
	x.ready(c)
}

// enter goes into the idle executor. An event loop may be inside for a moment, with news
// of no weight: that the socket takes output, say. It may be for long, when its thread
// does not run just then: false.
func (c *h1Conn) enter() bool {
	const patience = 64
	for range patience {
		if c.ex.TryEnter() {
			return true
		}
		runtime.Gosched()
	}
	return false
}

var errRequests = errors.New("circuit breaker open: too many active requests; check connectionPool of the DestinationRule")

// release ends the loan after a whole exchange.
func (c *h1Conn) release() {
	c.settle()
	if c.paused {
		c.reading(true)
	}
	if !c.reusable() {
		c.close()
		return
	}
	c.park()
	c.pool.offer(c)
}

func (c *h1Conn) reusable() bool {
	opt := &c.pool.cluster.Spec().HTTP
	switch {
	case c.closing || !c.cd.KeepAlive() || c.cd.Streams() != 0:
		return false
	case opt.MaxRequestsPerConnection > 0 && c.requests >= int(opt.MaxRequestsPerConnection):
		c.pool.cluster.Stats().UpstreamCxMaxRequests.Add(1)
		return false
	case !c.born.IsZero() && time.Since(c.born) >= opt.MaxConnectionDuration:
		c.pool.cluster.Stats().UpstreamCxMaxDurationReached.Add(1)
		return false
	}
	return true
}

// OnData implements stream.Handler.
func (c *h1Conn) OnData(b []byte) {
	l := c.lane
	if l == nil {
		c.close() // nobody asked for anything
		return
	}
	l.Begin()
	c.received(b)
	if err := c.cd.Feed(b); err != nil {
		c.pool.cluster.Stats().UpstreamCxProtocolError.Add(1)
		c.close()
	} else {
		c.after()
	}
	l.End()
}

// after looks whether the exchange is over, outside of the codec's events.
// true: the connection has been given back and may be somebody else's already.
func (c *h1Conn) after() (released bool) {
	if c.x == nil && c.lane != nil && c.sent && c.answered && !c.closing {
		c.release()
		return true
	}
	return false
}

// settle takes the connection off the lane's list of what to flush.
func (c *h1Conn) settle() {
	if c.dirty {
		c.dirty = false
		c.lane.clean(c)
		c.write()
	}
}

// OnEnd implements stream.Handler.
func (c *h1Conn) OnEnd() {
	l := c.lane
	if l == nil {
		c.close()
		return
	}
	l.Begin()
	_ = c.cd.End() // what it cuts off has been told to the user
	if c.x == nil || !c.upgraded {
		c.close()
	}
	l.End()
}

// OnDrain implements stream.Handler.
func (c *h1Conn) OnDrain() {
	if c.lane == nil {
		return
	}
	c.lane.Begin()
	if c.blocked && c.x != nil {
		c.blocked = false
		c.x.User.OnBlocked(false)
	}
	c.lane.End()
}

// OnClose implements stream.Handler.
func (c *h1Conn) OnClose(error) {
	local, busy := c.closing, c.x != nil
	c.dead = true
	if l := c.lane; l != nil {
		l.Begin()
		c.cd.Broken()
		c.settle()
		l.End()
	} else {
		c.pool.forget(c)
	}
	c.cd.Stop()
	c.pool.ended(&c.common, local, busy)
}

// FlushLane implements Flusher.
func (c *h1Conn) FlushLane() {
	c.dirty = false
	c.write()
	if c.upgraded && c.sent && !c.halved {
		c.halved = true
		c.conn.CloseWrite()
	}
	if c.after() {
		return
	}
	if c.x != nil && !c.blocked && c.conn.Buffered() > c.pool.high {
		c.blocked = true
		c.x.User.OnBlocked(true)
	}
}

func (c *h1Conn) write() {
	if out := c.cd.Output(); len(out) > 0 {
		c.direct(out, nil)
		c.cd.ClearOutput()
	}
}

// direct sends a piece of a body, and what is to go before it.
func (c *h1Conn) direct(head, b []byte) {
	c.pool.cluster.Stats().UpstreamCxTxBytesTotal.Add(uint64(len(head) + len(b)))
	c.conn.Send(head, b)
}

func (c *h1Conn) touch() {
	if !c.dirty {
		c.dirty = true
		c.lane.Dirty(c)
	}
}

// headers implements backend.
func (c *h1Conn) headers(h *filter.Headers, end bool) {
	c.cd.Headers(c.id, h, end)
	c.ended(end)
}

// data implements backend.
func (c *h1Conn) data(b []byte, end bool) {
	c.cd.Data(c.id, b, end)
	c.ended(end)
}

// trailers implements backend.
func (c *h1Conn) trailers(h *filter.Headers) {
	c.cd.Trailers(c.id, h)
	c.ended(true)
}

// ended notes the end of the request; it may be the end of the exchange.
func (c *h1Conn) ended(end bool) {
	c.touch()
	if end {
		c.sent = true
		if c.answered && c.x != nil {
			c.done()
		}
	}
}

// consumed implements backend.
func (c *h1Conn) consumed(int) {}

// reading implements backend.
func (c *h1Conn) reading(on bool) {
	c.paused = !on
	c.conn.SetReading(on)
}

// reset implements backend.
func (c *h1Conn) reset(code codec.ResetCode) {
	c.x = nil
	c.cd.Reset(c.id, code)
	c.cd.Stop()
	c.close()
}

// done takes the exchange off; the connection goes back to the pool when the
// codec is done with the bytes at hand.
func (c *h1Conn) done() {
	c.x.over()
	c.x = nil
}

// h1Events is the connection as the receiver of codec events.
type h1Events h1Conn

// NewHeaders implements codec.Events.
func (e *h1Events) NewHeaders(uint32) *filter.Headers { return GetHeaders() }

// OnHeaders implements codec.Events.
func (e *h1Events) OnHeaders(_ uint32, h *filter.Headers, end bool) {
	if e.x != nil {
		e.x.good = h.Status < 500
	}
	if u := e.user(end); u != nil {
		u.OnHeaders(h, end)
		return
	}
	PutHeaders(h)
}

// OnInterim implements codec.Events.
func (e *h1Events) OnInterim(_ uint32, h *filter.Headers) {
	if e.x != nil {
		e.x.User.OnInterim(h)
		return
	}
	PutHeaders(h)
}

// OnData implements codec.Events.
func (e *h1Events) OnData(_ uint32, b []byte, end bool) {
	if u := e.user(end); u != nil {
		u.OnData(b, end)
	}
}

// OnTrailers implements codec.Events.
func (e *h1Events) OnTrailers(_ uint32, h *filter.Headers) {
	if u := e.user(true); u != nil {
		u.OnTrailers(h)
		return
	}
	PutHeaders(h)
}

// user is who is told. At the end of an exchange it is taken off first, so that the user
// may begin another one with the same Exchange.
func (e *h1Events) user(end bool) User {
	c := (*h1Conn)(e)
	if c.x == nil {
		return nil
	}
	u := c.x.User
	if end {
		c.answered = true
		if c.sent {
			c.done()
		}
	}
	return u
}

// OnReset implements codec.Events.
func (e *h1Events) OnReset(_ uint32, code codec.ResetCode) {
	x := e.x
	if x == nil {
		return
	}
	e.x = nil
	x.over()
	x.User.OnReset(code)
}

// OnUpgraded implements codec.Events.
func (e *h1Events) OnUpgraded(uint32) {
	e.upgraded = true
	if e.x != nil {
		e.x.User.OnUpgraded()
	}
}

// OnGoAway implements codec.Events.
func (e *h1Events) OnGoAway(uint32, bool) {}

// OnWindow implements codec.Events.
func (e *h1Events) OnWindow(uint32) {}
