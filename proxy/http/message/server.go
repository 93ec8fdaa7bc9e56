package message

import (
	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/filter"
	httpcodec "github.com/weftmesh/weft/proxy/http/codec"
)

// maxText bounds the text of the proxy's own answers.
const maxText = 1 << 10

// Server is the codec of a client's connection.
type Server struct {
	side
	turns []*stream // without ids: in the order in which they are to be answered
	held  int       // bytes of answers that wait for their turn
	tells int       // one-way requests that are under way
	going bool      // the client was asked to leave
	ended bool      // the client says nothing more
}

var _ httpcodec.Codec = (*Server)(nil)

// NewServer makes the codec of an accepted connection.
func NewServer(ev httpcodec.Events, p *codec.Protocol) *Server {
	return &Server{side: newSide(ev, p, codec.Client)}
}

// Feed implements httpcodec.Codec.
func (c *Server) Feed(b []byte) error { return c.feed(b, c.take) }

// take is given a whole message of the client.
func (c *Server) take(raw []byte) {
	switch m := &c.m; m.Kind {
	case codec.Heartbeat:
		c.out = c.cd.Answer(c.out, m, codec.Answer{Status: 200})
	case codec.Request, codec.OneWay, codec.StreamOpen:
		c.begin(raw)
	case codec.StreamData, codec.StreamEnd, codec.StreamReset:
		c.more(raw)
	}
}

// begin takes a request.
func (c *Server) begin(raw []byte) {
	m := &c.m
	status, text := 0, ""
	switch {
	case m.Fault != nil:
		status, text = 400, m.Fault.Error()
	case m.Head == nil || c.streams.Len() >= maxOpen:
		status, text = 503, "too many requests are under way on this connection"
	}
	if status != 0 && m.Kind == codec.OneWay {
		return
	}
	st := c.newStream()
	st.kind, st.wire, st.tag, st.note = m.Kind, m.ID, m.Tag, append(st.note[:0], m.Note...)
	switch {
	case m.Kind == codec.OneWay:
		c.tells++
	case c.p.Order != codec.ByID:
		c.turns = append(c.turns, st)
	}
	if status != 0 { // this answer waits for its turn too
		st.status, st.body = status, append(st.body[:0], text...)
		c.finish(st)
		return
	}
	id, open := st.id, m.Kind == codec.StreamOpen
	c.ev.OnHeaders(id, m.Head, false)
	if st = c.streams.Get(id); st == nil {
		return
	}
	st.got = !open
	c.ev.OnData(id, raw, !open)
}

// more takes a further message of a stream.
func (c *Server) more(raw []byte) {
	st := c.byWire(c.m.ID)
	switch {
	case st == nil:
		return
	case c.m.Kind == codec.StreamReset: // it may come behind the end, too
		id := st.id
		st.sent = true
		c.streams.Delete(id)
		c.leave(st)
		c.ev.OnReset(id, httpcodec.ResetCancel)
		return
	case st.got:
		return
	}
	st.got = c.m.Kind == codec.StreamEnd
	c.ev.OnData(st.id, raw, st.got)
}

// byWire finds an open stream by the client's id. Only streams of messages are looked for so.
func (c *Server) byWire(id uint64) *stream {
	for _, st := range c.streams.All() {
		if st.wire == id && st.kind == codec.StreamOpen {
			return st
		}
	}
	return nil
}

// End implements httpcodec.Codec. Nobody waits for the answers any more; requests without one go their way.
func (c *Server) End() error {
	c.ended, c.turns, c.held = true, nil, 0
	c.cutOff(false)
	return nil
}

// Broken implements httpcodec.Codec.
func (c *Server) Broken() {
	c.turns, c.held, c.tells = nil, 0, 0
	c.cutOff(true)
}

// NewStream implements httpcodec.Codec: clients begin them.
func (c *Server) NewStream() (uint32, bool) { return 0, false }

// Headers implements httpcodec.Codec: the head of an answer.
func (c *Server) Headers(id uint32, h *filter.Headers, end bool) {
	st := c.streams.Get(id)
	if st == nil {
		return
	}
	st.native, st.status = h.Protocol == c.p.Name, h.Status
	if st.native && c.p.MutableResponses {
		c.keep(st, h)
	}
	if end {
		c.finish(st)
	}
}

// Data implements httpcodec.Codec.
func (c *Server) Data(id uint32, b []byte, end bool) int {
	st := c.streams.Get(id)
	if st == nil {
		return len(b)
	}
	switch {
	case !st.native:
		st.body = append(st.body, b[:min(len(b), maxText-min(maxText, len(st.body)))]...)
	case end && len(st.body) == 0 && st.kind != codec.StreamOpen:
		c.pass(st, b)
	default:
		st.body = append(st.body, b...)
		if st.kind == codec.StreamOpen || end {
			c.passWhole(st)
		}
	}
	if end {
		c.finish(st)
	}
	return len(b)
}

// passWhole passes on the messages that have been gathered whole.
func (c *Server) passWhole(st *stream) {
	rest := st.body
	for len(rest) > 0 {
		m := &c.look
		*m = codec.Message{}
		if err := c.cd.Decode(rest, codec.Server, m); err != nil || m.Size == 0 || m.Size > len(rest) {
			break
		}
		size := m.Size
		c.pass(st, rest[:size])
		rest = rest[size:]
	}
	st.body = st.body[:copy(st.body, rest)]
}

// pass writes a message of the upstream to the client, now or when it is its turn.
func (c *Server) pass(st *stream, raw []byte) {
	if len(raw) == 0 || st.kind == codec.OneWay {
		return
	}
	mutable := c.p.MutableResponses && st.kind == codec.Request
	if c.waits(st) {
		before := len(st.ready)
		st.ready = c.encode(st.ready, raw, st, mutable)
		c.held += len(st.ready) - before
		return
	}
	c.out = c.encode(c.room(), raw, st, mutable)
}

// waits tells whether others are to be answered before.
func (c *Server) waits(st *stream) bool {
	return c.p.Order != codec.ByID && len(c.turns) > 0 && c.turns[0] != st
}

// Trailers implements httpcodec.Codec.
func (c *Server) Trailers(id uint32, _ *filter.Headers) {
	if st := c.streams.Get(id); st != nil {
		c.finish(st)
	}
}

// Reset implements httpcodec.Codec: these protocols know no more than an error.
func (c *Server) Reset(id uint32, _ httpcodec.ResetCode) {
	if st := c.streams.Get(id); st != nil {
		st.native, st.status, st.body = false, 503, append(st.body[:0], "the connection to the upstream broke off"...)
		c.finish(st)
	}
}

// finish ends a stream: the answer has been given whole.
func (c *Server) finish(st *stream) {
	if !st.native && st.kind != codec.OneWay {
		m := &c.look
		*m = codec.Message{Kind: st.kind, ID: st.wire, Tag: st.tag, Note: st.note}
		a := codec.Answer{Status: st.status, Text: string(st.body)}
		if c.waits(st) {
			before := len(st.ready)
			st.ready = c.cd.Answer(st.ready, m, a)
			c.held += len(st.ready) - before
		} else {
			c.out = c.cd.Answer(c.out, m, a)
		}
	}
	if st.kind == codec.OneWay {
		c.tells--
	}
	st.sent = true
	c.streams.Delete(st.id)
	c.leave(st)
}

// leave forgets a stream that is over, once it has had its turn.
func (c *Server) leave(st *stream) {
	if c.p.Order == codec.ByID || st.kind == codec.OneWay {
		c.release(st)
		return
	}
	c.takeTurns()
}

// takeTurns writes what has waited for those before it.
func (c *Server) takeTurns() {
	n := 0
	for ; n < len(c.turns); n++ {
		st := c.turns[n]
		c.out = append(c.room(), st.ready...)
		c.held -= len(st.ready)
		st.ready = st.ready[:0]
		if !st.sent {
			break
		}
		c.release(st)
	}
	c.turns = c.turns[:copy(c.turns, c.turns[n:])]
}

// Consumed implements httpcodec.Codec.
func (c *Server) Consumed(uint32, int) {}

// GoAway implements httpcodec.Codec.
func (c *Server) GoAway(bool) {
	if d, ok := c.cd.(codec.Drainer); ok && !c.going {
		c.out = d.Drain(c.out)
	}
	c.going = true
}

// KeepAlive implements httpcodec.Codec. A connection whose client was asked to leave is closed by the drain timeout,
// and not at once: what the client sends meanwhile would be lost.
func (c *Server) KeepAlive() bool { return c.err == nil && !c.ended }

// turnCost is what a request that waits for its turn, or for room to be told, is reckoned as, in bytes.
const turnCost = 256

// Retained implements httpcodec.Codec: answers that wait for others, and what is told quicker than it can be passed on, keep
// more from being read.
func (c *Server) Retained() int { return c.held + turnCost*(len(c.turns)+c.tells) }

// Fresh tells whether nothing of a message is there, so that another process can go on with the connection. One whose
// client was told to leave ends here: it would be of no use there, and nobody would close it.
func (c *Server) Fresh() bool {
	if _, told := c.cd.(codec.Drainer); told && c.going {
		return false
	}
	return c.err == nil && c.streams.Len() == 0 && len(c.tail) == 0 && len(c.out) == 0
}
