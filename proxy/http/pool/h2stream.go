package pool

import (
	"sync"
	"sync/atomic"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
)

// h2Stream is one stream of an HTTP/2 connection: the border between the lane
// of an exchange and the lane of the connection.
type h2Stream struct {
	// Set at construction.
	c    *h2Conn
	lane *Lane // of x

	// belong to that lane
	x          *Exchange // nil: over, it may be somebody else's already
	asked, got bool      // the request's, the response's end has passed
	posted     bool      // a message was posted to the connection, it may know the stream still
	paused     bool      // the user has been told to pause

	// Why the user is to pause; toLook says that one of them has changed. filled: enough waits
	// for the peer. crowded: enough was posted and has not arrived, passing bytes.
	filled, crowded atomic.Bool
	passing         atomic.Int64

	// belong to the connection's lane
	id             uint32
	pending        codec.Backlog // not taken by the peer's window
	pendingEnd     bool
	trailer        *filter.Headers // after pending
	head           *filter.Headers // in the backlog
	headEnd        bool
	sent, received bool
	over           bool
	told           bool // a message was posted to the user
}

// kind of a call across lanes.
type kind uint8

const (
	// To the connection.
	sendHeaders kind = iota
	sendData
	sendTrailers
	sendReset
	sendConsumed
	// To the user.
	toHeaders
	toInterim
	toUpgraded
	toData
	toTrailers
	toReset
	toLook
)

// crossing is a call that could not be made directly.
type crossing struct {
	k      kind
	s      *h2Stream
	h      *filter.Headers
	b      []byte
	n      int
	end    bool
	posted bool
	code   codec.ResetCode
}

var messages = sync.Pool{New: func() any { return new(crossing) }}

// maxKept bounds the buffers that pooled messages keep.
const maxKept = 64 << 10

// Run implements serial.Task.
func (m *crossing) Run() {
	if m.k < toHeaders {
		l := &m.s.c.lane
		l.Begin()
		m.s.send(m)
		l.End()
	} else {
		l := m.s.lane
		l.Begin()
		m.s.deliver(m)
		l.End()
	}
	b := m.b[:0]
	if cap(b) > maxKept {
		b = nil
	}
	*m = crossing{b: b}
	messages.Put(m)
}

// copyOf makes a message of m that outlives the call.
func copyOf(m *crossing) *crossing {
	c := messages.Get().(*crossing)
	b := append(c.b[:0], m.b...)
	*c = *m
	c.b, c.posted = b, true
	return c
}

// cross brings m to the connection: directly when its lane is free. h is
// copied when it has to wait, for it stays the caller's.
func (s *h2Stream) cross(m crossing) {
	if s.lane.Reach(&s.c.lane) {
		s.send(&m)
		return
	}
	s.posted = true
	c := copyOf(&m)
	if s.passing.Add(int64(len(m.b))) > sendBuffer {
		// Its goroutine may be kept from running for long, while the client's data goes on.
		s.crowded.Store(true)
	}
	if m.h != nil {
		c.h = GetHeaders()
		c.h.CopyFrom(m.h)
		c.n = 1 // ours to give back
	}
	s.c.lane.Ex.Post(c)
}

// headers implements backend.
func (s *h2Stream) headers(h *filter.Headers, end bool) {
	s.cross(crossing{k: sendHeaders, s: s, h: h, end: end})
	s.ended(end)
}

// data implements backend.
func (s *h2Stream) data(b []byte, end bool) {
	s.cross(crossing{k: sendData, s: s, b: b, end: end})
	s.look()
	s.ended(end)
}

// trailers implements backend.
func (s *h2Stream) trailers(h *filter.Headers) {
	s.cross(crossing{k: sendTrailers, s: s, h: h})
	s.ended(true)
}

// ended notes the request's end.
func (s *h2Stream) ended(end bool) {
	if end {
		s.asked = true
		if s.got && s.x != nil {
			s.letGo()
		}
	}
}

// letGo ends the exchange, from its side.
func (s *h2Stream) letGo() {
	x := s.x
	s.x = nil
	x.over()
}

// reset implements backend.
func (s *h2Stream) reset(code codec.ResetCode) {
	s.x = nil
	s.cross(crossing{k: sendReset, s: s, code: code})
}

// consumed implements backend.
func (s *h2Stream) consumed(n int) { s.cross(crossing{k: sendConsumed, s: s, n: n}) }

// reading implements backend: the window does it.
func (s *h2Stream) reading(bool) {}

// send does what the user wants, inside the connection's lane.
func (s *h2Stream) send(m *crossing) {
	switch m.k {
	case sendHeaders:
		s.start(m.h, m.end)
		if m.n == 1 {
			PutHeaders(m.h)
		}
	case sendData:
		s.write(m.b, m.end)
		if m.posted && s.passing.Add(-int64(len(m.b))) <= sendBuffer/2 && s.crowded.CompareAndSwap(true, false) {
			s.tell(toLook, nil, nil, false)
		}
	case sendTrailers:
		s.writeTrailers(m.h)
		if m.n == 1 {
			PutHeaders(m.h)
		}
	case sendReset:
		if !s.over {
			if s.id != 0 {
				s.c.cd.Reset(s.id, m.code)
				s.c.touch()
			}
			s.c.leaveUnanswered() // before its room is somebody else's
			s.c.finish(s)
		}
	case sendConsumed:
		if s.id != 0 {
			s.c.cd.Consumed(s.id, m.n)
			s.c.touch()
		}
	}
}

// start begins the stream, or waits until the peer takes another one.
func (s *h2Stream) start(h *filter.Headers, end bool) {
	c := s.c
	if s.over {
		return
	}
	if c.closing {
		s.refuse()
		return
	}
	if len(c.backlog) == 0 {
		if id, ok := c.cd.NewStream(); ok {
			s.open(id, h, end)
			return
		}
	}
	p := c.pool
	p.mu.Lock()
	gone := c.withdrawn && !p.closed
	if n := c.cd.Streams(); n > 0 {
		c.limit = min(c.limit, n)
	}
	p.mu.Unlock()
	if gone || c.cd.Streams() == 0 {
		s.refuse() // going away: nothing would ever free room
		return
	}
	s.head, s.headEnd = GetHeaders(), end
	s.head.CopyFrom(h)
	c.backlog = append(c.backlog, s)
}

func (s *h2Stream) open(id uint32, h *filter.Headers, end bool) {
	c := s.c
	s.id = id
	c.streams.Put(id, s)
	c.cd.Headers(id, h, end)
	s.sent = end
	c.touch()
	if !end {
		s.push()
	}
}

// refuse tells the user that nothing was sent.
func (s *h2Stream) refuse() {
	if s.over {
		return
	}
	s.c.finish(s)
	s.told = true
	m := copyOf(&crossing{k: toReset, s: s, code: codec.ResetRefused})
	s.lane.Ex.Post(m) // not directly: the user may be inside of Headers
}

// write sends a piece of the body, or keeps what cannot be sent.
func (s *h2Stream) write(b []byte, end bool) {
	if s.over {
		return
	}
	if s.id != 0 && s.pending.Len() == 0 && !s.c.blocked {
		b = b[s.c.cd.Data(s.id, b, end):]
		s.c.touch()
		if len(b) == 0 {
			s.finishedSending(end)
			return
		}
	}
	s.pending.Append(b)
	s.pendingEnd = end
	if !s.filled.Load() && s.pending.Len() > sendBuffer {
		s.filled.Store(true)
		s.c.pool.cluster.Stats().UpstreamFlowControlPaused.Add(1)
		s.tell(toLook, nil, nil, false)
	}
}

func (s *h2Stream) writeTrailers(h *filter.Headers) {
	if s.over {
		return
	}
	if s.id == 0 || s.pending.Len() > 0 {
		s.trailer = GetHeaders()
		s.trailer.CopyFrom(h)
		return
	}
	s.c.cd.Trailers(s.id, h)
	s.c.touch()
	s.finishedSending(true)
}

// push sends what is pending, as far as the window goes.
func (s *h2Stream) push() {
	if s.over || s.c.blocked || s.id == 0 {
		return
	}
	if s.pending.Len() > 0 || s.pendingEnd {
		s.pending.Drop(s.c.cd.Data(s.id, s.pending.Bytes(), s.pendingEnd))
		s.c.touch()
	}
	if s.filled.Load() && s.pending.Len() <= sendBuffer/2 {
		s.filled.Store(false)
		s.c.pool.cluster.Stats().UpstreamFlowControlResumed.Add(1)
		s.tell(toLook, nil, nil, false)
	}
	if s.pending.Len() > 0 {
		return
	}
	if s.pendingEnd {
		s.pendingEnd = false
		s.finishedSending(true)
	} else if t := s.trailer; t != nil {
		s.trailer = nil
		s.c.cd.Trailers(s.id, t)
		PutHeaders(t)
		s.finishedSending(true)
	}
}

func (s *h2Stream) finishedSending(end bool) {
	if end && !s.sent {
		s.sent = true
		if s.received {
			s.c.finish(s)
		}
	}
}

// tell brings an event to the user: directly when its lane is free. h passes over.
func (s *h2Stream) tell(k kind, h *filter.Headers, b []byte, end bool) {
	s.toUser(crossing{k: k, s: s, h: h, b: b, end: end})
}

func (s *h2Stream) tellReset(code codec.ResetCode) {
	s.toUser(crossing{k: toReset, s: s, code: code})
}

func (s *h2Stream) toUser(m crossing) {
	if s.c.lane.Reach(s.lane) {
		x := s.x
		s.deliver(&m)
		if m.end && s.over && s.x == nil && x != nil && !s.posted && !s.told {
			s.reuse(x)
		}
		return
	}
	s.told = true
	s.lane.Ex.Post(copyOf(&m))
}

// reuse leaves the stream to the exchange, for the next time. It is over on both sides, nobody
// else knows it, and the caller is inside of both lanes.
func (s *h2Stream) reuse(x *Exchange) {
	pending := s.pending
	pending.Reset()
	*s = h2Stream{pending: pending}
	x.spare.s = s
}

// deliver tells the user, inside its lane.
func (s *h2Stream) deliver(m *crossing) {
	x := s.x
	if x == nil {
		PutHeaders(m.h) // given up meanwhile
		return
	}
	u := x.User
	if m.k == toHeaders {
		x.good = m.h.Status < 500
	}
	if m.end {
		s.got = true
		if s.asked {
			s.letGo()
		}
	}
	switch m.k {
	case toHeaders:
		u.OnHeaders(m.h, m.end)
	case toInterim:
		u.OnInterim(m.h)
	case toUpgraded:
		u.OnUpgraded()
	case toData:
		u.OnData(m.b, m.end)
	case toTrailers:
		u.OnTrailers(m.h)
	case toReset:
		s.letGo()
		u.OnReset(m.code)
	case toLook:
		s.look()
	}
}

// look tells the user to pause or to go on, by what is the case now: the messages that say so
// may be late.
func (s *h2Stream) look() {
	if on := s.filled.Load() || s.crowded.Load(); on != s.paused && s.x != nil {
		s.paused = on
		s.x.User.OnBlocked(on)
	}
}
