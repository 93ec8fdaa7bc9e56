package tunnel

import (
	"crypto/tls"
	"net/netip"

	"github.com/weftmesh/weft/base/serial"
	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
	"github.com/weftmesh/weft/proxy/http/pool"
)

// conn is a tunnel as a stream.Conn.
type conn struct {
	cfg  *Config
	info *filter.ConnInfo
	host *cluster.Host
	req  filter.Headers

	// The lane's.
	lane    pool.Lane
	x       pool.Exchange
	done    func(stream.Conn, error) // nil: it has been called, or nobody waits
	h       stream.Handler           // nil: not bound
	granted bool
	early   []byte // came while nobody read; goes before all that comes later
	owed    int    // window to give back
	paused  bool
	blocked bool // the pool has enough
	sent    bool // our half is closed
	got     bool // the peer's half is closed
	gotTold bool // and the handler knows
	broken  bool // the exchange was reset
	closed  bool // by the owner
	over    bool // OnClose has been called or is due
	event   bool // Write has begun an event that Flush ends
}

var _ stream.Conn = (*conn)(nil)

// Executor is the only one that the tunnel can be bound to.
func (k *conn) Executor() *serial.Executor { return &k.lane.Ex }

// Bind implements stream.Conn. ex must be Executor's.
func (k *conn) Bind(ex *serial.Executor, h stream.Handler) {
	if ex != &k.lane.Ex {
		panic("BUG: a tunnel is bound to an executor that is not its own")
	}
	first := k.h == nil
	k.h = h
	if first {
		k.lane.Do(k.begin)
	}
}

// begin delivers what came before.
func (k *conn) begin() {
	k.x.Reading(!k.paused)
	k.deliver()
	if k.broken {
		k.end(errReset)
	}
}

// deliver hands over what was kept, if somebody reads.
func (k *conn) deliver() {
	if k.h == nil || k.paused || k.closed {
		return
	}
	if b := k.early; len(b) > 0 {
		k.early = nil
		k.h.OnData(b)
		k.giveBack()
	}
	if k.got && !k.gotTold && len(k.early) == 0 && !k.closed {
		k.gotTold = true
		k.h.OnEnd()
	}
}

// giveBack lets the peer send more, unless nobody reads.
func (k *conn) giveBack() {
	if k.paused || k.owed == 0 {
		return
	}
	n := k.owed
	k.owed = 0
	k.x.Consumed(n)
}

// peerEnded notes the end of the peer's half.
func (k *conn) peerEnded() {
	k.got = true
	k.deliver()
}

// end makes OnClose come, after the present call. Without a handler it waits for one.
func (k *conn) end(err error) {
	if k.over || k.h == nil {
		return
	}
	k.over = true
	if k.closed {
		err = nil
	}
	k.lane.Do(func() { k.h.OnClose(err) })
}

// begun brackets output: an event of the lane lasts from the first Write to Flush.
func (k *conn) begun() {
	if !k.event {
		k.event = true
		k.lane.Begin()
	}
}

// Write implements stream.Conn.
func (k *conn) Write(p []byte) {
	if len(p) == 0 || k.sent || k.closed {
		return
	}
	k.begun()
	k.x.Data(p, false)
}

// Send implements stream.Conn.
func (k *conn) Send(p, q []byte) {
	k.Write(p)
	k.Write(q)
	k.Flush()
}

// Flush implements stream.Conn.
func (k *conn) Flush() {
	if k.event {
		k.event = false
		k.lane.End()
	}
}

// FlushSoon implements stream.Conn.
func (k *conn) FlushSoon() { k.Flush() }

// Buffered implements stream.Conn: more than enough, or little.
func (k *conn) Buffered() int {
	if k.blocked {
		return stream.HighWater + 1
	}
	return 0
}

// SetReading implements stream.Conn.
func (k *conn) SetReading(on bool) {
	if k.paused != on {
		return
	}
	k.paused = !on
	if !on {
		k.lane.Begin()
		k.x.Reading(false)
		k.lane.End()
		return
	}
	k.lane.Do(func() { // not within this call: the caller need not expect data
		if k.paused || k.closed {
			return
		}
		k.x.Reading(true)
		k.giveBack()
		k.deliver()
	})
}

// CloseWrite implements stream.Conn.
func (k *conn) CloseWrite() {
	if k.sent || k.closed {
		return
	}
	k.sent = true
	k.begun()
	k.x.Data(nil, true)
	k.Flush()
}

// Close implements stream.Conn.
func (k *conn) Close() { k.shut() }

// Abort implements stream.Conn.
func (k *conn) Abort() { k.shut() }

// shut ends the exchange, unless both halves have ended.
func (k *conn) shut() {
	k.Flush()
	if k.closed {
		return
	}
	k.closed = true
	k.lane.Begin()
	k.x.Reset(codec.ResetCancel)
	k.lane.End()
	k.end(nil)
}

// LocalAddr implements stream.Conn.
func (k *conn) LocalAddr() netip.AddrPort { return k.x.Local }

// RemoteAddr implements stream.Conn.
func (k *conn) RemoteAddr() netip.AddrPort { return k.host.Addr() }

// TLS implements stream.Conn: that of the connection to the proxy.
func (k *conn) TLS() *tls.ConnectionState { return k.x.TLS }
