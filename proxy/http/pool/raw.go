package pool

import (
	"errors"

	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
)

// rawConn carries the payload of a terminated CONNECT on a connection of its
// own. Head and trailers have no place on it: OnReady is the answer.
type rawConn struct {
	common
	host    *cluster.Host
	x       *Exchange // nil: over
	lane    *Lane
	sent    bool
	got     bool
	dirty   bool
	halved  bool
	blocked bool
}

var _ stream.Handler = (*rawConn)(nil)

var errConnections = errors.New("circuit breaker open: too many connections; check connectionPool of the DestinationRule")

// dialRaw makes a connection for x alone.
func dialRaw(x *Exchange) {
	if !x.Limits.AcquireConnection(x.Host) {
		x.fail(Failure{FailOverflow, errConnections})
		return
	}
	w, host := newWaiter(x), x.Host
	x.Cluster.Dial(host, x.Dial, func(c stream.Conn, err error) {
		w.lane.Do(func() {
			x, limits := w.take(), w.limits
			r := &rawConn{common: common{limits: limits}, host: host, x: x, lane: w.lane}
			switch {
			case x == nil:
				if err == nil {
					c.Close()
					host.Disconnected(true, false)
				}
				limits.Release(cluster.Connections)
			case err != nil:
				limits.Release(cluster.Connections)
				x.fail(failureOf(err))
			default:
				r.connected(c)
				r.begin()
			}
		})
	})
}

func (r *rawConn) begin() {
	x := r.x
	r.conn.Bind(&r.lane.Ex, r)
	if !x.Limits.Acquire(cluster.Requests) {
		r.x = nil
		r.conn.Close()
		x.fail(Failure{FailOverflow, errRequests})
		return
	}
	if len(x.Prefix) > 0 {
		r.data(x.Prefix, false)
	}
	x.describe("", &r.common)
	x.ready(r)
	x.good = true
}

func (r *rawConn) headers(*filter.Headers, bool) {}

func (r *rawConn) data(b []byte, end bool) {
	if len(b) > 0 {
		r.conn.Write(b)
		r.host.Cluster().Stats().UpstreamCxTxBytesTotal.Add(uint64(len(b)))
	}
	r.sent = r.sent || end
	if r.sent && r.got && r.x != nil { // the exchange is over: its user's Reset must not drop what is to be flushed
		r.x.over()
		r.x = nil
	}
	if !r.dirty {
		r.dirty = true
		r.lane.Dirty(r)
	}
}

func (r *rawConn) trailers(*filter.Headers) { r.data(nil, true) }

func (r *rawConn) consumed(int) {}

func (r *rawConn) reading(on bool) { r.conn.SetReading(on) }

func (r *rawConn) reset(codec.ResetCode) {
	r.x = nil
	r.conn.Abort()
}

// FlushLane implements Flusher.
func (r *rawConn) FlushLane() {
	r.dirty = false
	r.conn.Flush()
	if r.sent && !r.halved {
		r.halved = true
		r.conn.CloseWrite()
	}
	r.finish()
	if r.x != nil && !r.blocked && r.conn.Buffered() > highOf(r.host.Cluster()) {
		r.blocked = true
		r.x.User.OnBlocked(true)
	}
}

// finish closes when both directions have ended.
func (r *rawConn) finish() {
	if r.sent && r.got {
		if r.x != nil {
			r.x.over()
			r.x = nil
		}
		r.conn.Close()
	}
}

// OnData implements stream.Handler.
func (r *rawConn) OnData(b []byte) {
	if r.x == nil {
		return
	}
	r.lane.Begin()
	r.host.Cluster().Stats().UpstreamCxRxBytesTotal.Add(uint64(len(b)))
	r.x.User.OnData(b, false)
	r.lane.End()
}

// OnEnd implements stream.Handler.
func (r *rawConn) OnEnd() {
	if r.x == nil {
		return
	}
	r.lane.Begin()
	r.got = true
	u := r.x.User
	r.finish()
	u.OnData(nil, true)
	r.lane.End()
}

// OnDrain implements stream.Handler.
func (r *rawConn) OnDrain() {
	r.lane.Begin()
	if r.blocked && r.x != nil {
		r.blocked = false
		r.x.User.OnBlocked(false)
	}
	r.lane.End()
}

// OnClose implements stream.Handler.
func (r *rawConn) OnClose(err error) {
	r.lane.Begin()
	// Our own Close brings no error.
	r.host.Disconnected(err == nil, r.x != nil)
	if r.dirty {
		r.dirty = false
		r.lane.clean(r)
	}
	if x := r.x; x != nil {
		r.x = nil
		x.over()
		x.User.OnReset(codec.ResetConnection)
	}
	r.lane.End()
	r.limits.Release(cluster.Connections)
}
