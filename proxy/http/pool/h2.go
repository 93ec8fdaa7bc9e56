package pool

import (
	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
	"github.com/weftmesh/weft/proxy/http/h2"
	"github.com/weftmesh/weft/proxy/http/message"
)

// noLimit stands for "as many streams as the peer takes".
const noLimit = 1 << 30

// sendBuffer is how much of a request body waits per stream for the peer's
// window before the producer is told to pause.
const sendBuffer = 64 << 10

// shared is the codec of a connection that many exchanges use at a time.
type shared interface {
	codec.Codec
	// PeerStreams is how many the peer takes at a time.
	PeerStreams() int
	// Ping asks for a sign of life; Pinged tells whether it is still owed.
	Ping()
	Pinged() bool
	TakeFrames() h2.Frames
}

// h2Conn is a connection to a host that exchanges of many lanes share: one of HTTP/2, or of a
// protocol of messages.
type h2Conn struct {
	common
	maxStreams int // over its life; 0: no bound
	most       int // at a time, by configuration

	// belong to the lane
	lane      Lane
	cd        shared
	messages  *message.Client // cd, where it is one
	keeper    keepalive
	said      int // the peer's limit when it was last looked at
	streams   h2.Table[h2Stream]
	backlog   []*h2Stream // begun, but the peer takes no more at present
	closing   bool
	dirty     bool
	unflushed bool // frames were written already
	blocked   bool // the socket is slow: no data is sent
	unread    Unread

	// guarded by the pool's mu
	active, taken, limit int
	withdrawn            bool
	tick                 int
}

var _ stream.Handler = (*h2Conn)(nil)

func newH2Conn(cc common) *h2Conn {
	opt := &cc.pool.cluster.Spec().HTTP
	c := &h2Conn{
		common: cc, most: noLimit,
		maxStreams: int(opt.MaxRequestsPerConnection),
	}
	if opt.MaxConcurrentStreams > 0 {
		c.most = int(min(opt.MaxConcurrentStreams, noLimit))
	}
	if m := cc.pool.messages; m != nil {
		client := message.NewClient((*h2Events)(c), m)
		c.most = min(c.most, client.PeerStreams())
		c.limit, c.cd, c.messages = c.most, client, client
		return c
	}
	c.limit = c.most
	c.cd = h2.NewClient((*h2Events)(c), h2.Options{
		MaxFields:    int(opt.MaxHeadersCount),
		StreamWindow: opt.InitialStreamWindow,
		ConnWindow:   opt.InitialConnectionWindow,
		Direct:       c.direct,
	})
	return c
}

// open starts the connection and serves those who wait. The goroutine of Dial.
func (c *h2Conn) open() {
	c.lane.Ex.Enter()
	c.lane.Begin()
	c.conn.Bind(&c.lane.Ex, c)
	c.touch()
	c.startKeepalive()
	c.lane.End()
	p := c.pool
	p.mu.Lock()
	p.endDialLocked(c.key) // not before it is there, or who comes then would make another
	closed := p.closed
	if !closed {
		p.h2 = append(p.h2, c)
		c.tick = p.tick
		p.armLocked()
	} else {
		c.withdrawn = true
	}
	p.mu.Unlock()
	c.serve()
	if closed {
		c.maybeClose()
	}
	c.lane.Ex.Leave()
}

// serve gives room to those who wait. Any goroutine.
func (c *h2Conn) serve() {
	p := c.pool
	for {
		p.mu.Lock()
		// A pool that closes still serves who waited for this connection.
		if c.active >= c.limit || c.withdrawn && !p.closed {
			p.mu.Unlock()
			return
		}
		w := p.popLocked(c.key)
		if w != nil {
			p.occupyLocked(c)
		}
		p.mu.Unlock()
		if w == nil {
			return
		}
		w.lane.Do(func() {
			if x := w.take(); x != nil {
				c.begin(x)
			} else {
				c.vacate()
			}
		})
	}
}

// vacate gives a reserved stream back.
func (c *h2Conn) vacate() {
	p := c.pool
	p.mu.Lock()
	c.active--
	c.tick = p.tick
	last := c.active == 0 && c.withdrawn
	waiting := p.queue.first != nil // who comes later finds the room
	p.mu.Unlock()
	switch {
	case last:
		c.retire()
	case waiting:
		c.serve()
	}
}

// retire closes the connection when it has no streams. Any goroutine.
func (c *h2Conn) retire() { c.lane.Do(c.maybeClose) }

func (c *h2Conn) maybeClose() {
	c.pool.mu.Lock()
	busy := c.active > 0
	c.pool.mu.Unlock()
	if !busy && !c.closing {
		c.cd.GoAway(false)
		c.close()
	}
}

// close ends the connection after its output.
func (c *h2Conn) close() {
	c.closing = true
	c.withdraw()
	c.write()
	c.conn.Close()
}

func (c *h2Conn) withdraw() {
	c.pool.mu.Lock()
	c.pool.withdrawLocked(c)
	c.pool.mu.Unlock()
}

// begin gives a reserved stream to x, in whose lane the caller is.
func (c *h2Conn) begin(x *Exchange) {
	if !x.Limits.Acquire(cluster.Requests) {
		c.vacate()
		x.fail(Failure{FailOverflow, errRequests})
		return
	}
	s := x.spare.s
	if s == nil {
		s = &h2Stream{}
	}
	x.spare.s = nil
	s.c, s.x, s.lane = c, x, x.Lane
	x.Reused = false // a dead connection is seen by all its streams: no race as in HTTP/1
	x.describe(c.cd.Protocol(), &c.common)
	x.ready(s)
}

// OnData implements stream.Handler.
func (c *h2Conn) OnData(b []byte) {
	c.lane.Begin()
	c.received(b)
	if c.unheard() {
		c.lane.End()
		return
	}
	if err := c.cd.Feed(b); err != nil && !c.closing {
		c.pool.cluster.Stats().UpstreamCxProtocolError.Add(1)
		c.close()
	}
	c.followLimit()
	c.touch() // acknowledgements, windows
	c.lane.End()
}

// unheard cuts off an upstream that makes us answer without end and reads nothing.
// Reading cannot just pause, for what makes room may come next.
func (c *h2Conn) unheard() bool {
	if c.closing || !c.unread.TooMany(c.cd, c.conn) {
		return false
	}
	c.pool.cluster.Stats().UpstreamCxProtocolError.Add(1)
	c.closing = true
	c.withdraw()
	c.conn.Abort() // streams are told when it has gone
	return true
}

// followLimit gives more streams away, or fewer, when the peer has changed its
// mind. At least one: what the peer then says to it is its own affair.
func (c *h2Conn) followLimit() {
	n := c.cd.PeerStreams()
	if n == c.said || c.closing {
		return
	}
	c.said = n
	c.pool.mu.Lock()
	c.limit = min(c.most, max(n, 1))
	c.pool.mu.Unlock()
	c.unblockBacklog()
	c.serve()
}

// OnEnd implements stream.Handler.
func (c *h2Conn) OnEnd() {
	c.lane.Begin()
	_ = c.cd.End()
	if !c.closing {
		c.close()
	}
	c.lane.End()
}

// OnDrain implements stream.Handler.
func (c *h2Conn) OnDrain() {
	c.lane.Begin()
	c.blocked = false
	for _, s := range c.streams.All() {
		s.push()
	}
	c.lane.End()
}

// OnClose implements stream.Handler.
func (c *h2Conn) OnClose(error) {
	c.lane.Begin()
	local, busy := c.closing, c.cd.Streams() > 0
	c.closing = true
	c.withdraw()
	c.cd.Broken()
	for _, s := range c.backlog {
		s.refuse()
	}
	c.backlog = nil
	c.lane.End()
	c.cd.Stop()
	c.keeper.stop()
	c.pool.ended(&c.common, local, busy)
}

// FlushLane implements Flusher.
func (c *h2Conn) FlushLane() {
	c.dirty = false
	if m := c.messages; m != nil && m.Due() && !c.closing {
		_ = m.Feed(nil) // of nothing nothing can be wrong
	}
	c.write()
	if !c.blocked && c.conn.Buffered() > c.pool.high {
		c.blocked = true
	}
}

func (c *h2Conn) write() {
	out := c.cd.Output()
	if len(out) == 0 && !c.unflushed {
		return
	}
	c.pool.cluster.Stats().UpstreamCxTxBytesTotal.Add(uint64(len(out)))
	c.unread.Wrote(len(out))
	c.conn.Write(out)
	c.cd.ClearOutput()
	c.unflushed = false
	Flush(c.conn)
}

// direct takes a large frame of a body, and what is to go before it.
func (c *h2Conn) direct(head, b []byte) {
	c.pool.cluster.Stats().UpstreamCxTxBytesTotal.Add(uint64(len(head) + len(b)))
	c.unread.Wrote(len(head) + len(b))
	WriteFrame(c.conn, head, b)
	c.unflushed = true
}

// enough is how much output does not wait for what other streams have to say.
const enough = 128 << 10

// WriteFrame writes what has gathered and a large frame's payload. It is copied, once, for a
// system call for each frame would cost more; when there is enough for one, it is made.
func WriteFrame(c stream.Conn, head, b []byte) {
	c.Write(head)
	c.Write(b)
	if c.Buffered() >= enough {
		c.Flush()
	}
}

// Flush sends what was written to an HTTP/2 connection: small frames at the end of the host's
// events, for other streams' may follow.
func Flush(c stream.Conn) {
	if c.Buffered() < enough {
		c.FlushSoon()
	} else {
		c.Flush()
	}
}

// leaveUnanswered gives up a connection of messages without numbers on which a request was given
// up: others would wait behind it. It is closed with the last of those that are under way.
func (c *h2Conn) leaveUnanswered() {
	if c.messages != nil && !c.closing && !c.messages.KeepAlive() {
		c.withdraw()
	}
}

func (c *h2Conn) touch() {
	if !c.dirty {
		c.dirty = true
		c.lane.Dirty(c)
	}
}

// finish takes a stream off.
func (c *h2Conn) finish(s *h2Stream) {
	if s.over {
		return
	}
	s.over, s.head = true, nil
	s.pending.Reset()
	c.streams.Delete(s.id)
	c.vacate()
	c.unblockBacklog()
}

// unblockBacklog begins streams for which the peer had no room.
func (c *h2Conn) unblockBacklog() {
	for len(c.backlog) > 0 {
		s := c.backlog[0]
		if !s.over {
			id, ok := c.cd.NewStream()
			if !ok {
				return
			}
			head := s.head
			s.head = nil
			s.open(id, head, s.headEnd)
			PutHeaders(head)
		}
		c.backlog = c.backlog[1:]
	}
}

// h2Events is the connection as the receiver of codec events.
type h2Events h2Conn

// NewHeaders implements codec.Events.
func (e *h2Events) NewHeaders(uint32) *filter.Headers { return GetHeaders() }

// OnHeaders implements codec.Events.
func (e *h2Events) OnHeaders(id uint32, h *filter.Headers, end bool) {
	e.tell(id, toHeaders, h, nil, end)
}

// OnInterim implements codec.Events.
func (e *h2Events) OnInterim(id uint32, h *filter.Headers) { e.tell(id, toInterim, h, nil, false) }

// OnData implements codec.Events.
func (e *h2Events) OnData(id uint32, b []byte, end bool) { e.tell(id, toData, nil, b, end) }

// OnTrailers implements codec.Events.
func (e *h2Events) OnTrailers(id uint32, h *filter.Headers) { e.tell(id, toTrailers, h, nil, true) }

func (e *h2Events) tell(id uint32, k kind, h *filter.Headers, b []byte, end bool) {
	s := e.streams.Get(id)
	if s == nil {
		PutHeaders(h)
		return
	}
	if end {
		s.received = true
		if s.sent {
			(*h2Conn)(e).finish(s)
		}
	}
	s.tell(k, h, b, end)
}

// OnReset implements codec.Events.
func (e *h2Events) OnReset(id uint32, code codec.ResetCode) {
	if s := e.streams.Get(id); s != nil {
		(*h2Conn)(e).finish(s)
		s.tellReset(code)
	}
}

// OnUpgraded implements codec.Events.
func (e *h2Events) OnUpgraded(id uint32) { e.tell(id, toUpgraded, nil, nil, false) }

// OnGoAway implements codec.Events.
func (e *h2Events) OnGoAway(uint32, bool) {
	c := (*h2Conn)(e)
	c.withdraw()
	c.pool.cluster.Stats().UpstreamCxCloseNotify.Add(1)
	for _, s := range c.backlog {
		s.refuse()
	}
	c.backlog = nil
	c.pool.dialForQueue()
	c.retire()
}

// OnWindow implements codec.Events.
func (e *h2Events) OnWindow(id uint32) {
	if s := e.streams.Get(id); s != nil {
		s.push()
	}
}
