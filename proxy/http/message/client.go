package message

import (
	"math"

	"github.com/weftmesh/weft/proxy/codec"
	"github.com/weftmesh/weft/proxy/filter"
	httpcodec "github.com/weftmesh/weft/proxy/http/codec"
	"github.com/weftmesh/weft/proxy/http/h2"
)

// Client is the codec of a connection to an upstream.
type Client struct {
	side
	turns  []*stream // without ids: in the order in which answers come
	silent []uint32  // one-way requests that have been sent: their answer is made up
	owing  int       // how many in turns were given up
	asked  bool      // a ping is out
	gone   bool      // the connection has ended
}

var _ httpcodec.Codec = (*Client)(nil)

// NewClient makes the codec of a connection to an upstream.
func NewClient(ev httpcodec.Events, p *codec.Protocol) *Client {
	return &Client{side: newSide(ev, p, codec.Server)}
}

// Due tells whether there are events that only wait for a Feed, which may be one of nothing.
func (c *Client) Due() bool { return len(c.silent) > 0 }

// Feed implements httpcodec.Codec.
func (c *Client) Feed(b []byte) error {
	if len(b) > 0 {
		c.asked = false
	}
	if !c.feeding {
		c.tellSilent()
	}
	return c.feed(b, c.take)
}

// tellSilent says that requests which nobody answers have been sent.
func (c *Client) tellSilent() {
	for len(c.silent) > 0 && !c.mute {
		id := c.silent[0]
		c.silent = c.silent[:copy(c.silent, c.silent[1:])]
		st := c.streams.Get(id)
		if st == nil {
			continue
		}
		c.streams.Delete(id)
		c.release(st)
		if h := c.ev.NewHeaders(id); h != nil {
			h.Status, h.Protocol = 200, c.p.Name
			c.ev.OnHeaders(id, h, true)
		}
	}
}

// take is given a whole message of the upstream.
func (c *Client) take(raw []byte) {
	m := &c.m
	switch m.Kind {
	case codec.Heartbeat:
		c.out = c.cd.Answer(c.out, m, codec.Answer{Status: 200})
		return
	case codec.GoAway:
		c.ev.OnGoAway(c.last, true)
		return
	case codec.HeartbeatReply, codec.Request, codec.OneWay, codec.StreamOpen:
		return // what upstreams ask of clients is not carried
	}
	st := c.answered()
	if st == nil {
		return // given up meanwhile
	}
	if m.Kind == codec.StreamReset {
		c.streams.Delete(st.id)
		c.ev.OnReset(st.id, httpcodec.ResetCancel)
		return
	}
	c.deliver(st, raw, m.Kind == codec.Response || m.Kind == codec.StreamEnd)
}

// answered finds whose message it is.
func (c *Client) answered() *stream {
	if c.p.Order == codec.ByID {
		if c.m.ID > math.MaxUint32 {
			return nil
		}
		return c.streams.Get(uint32(c.m.ID))
	}
	if len(c.turns) == 0 {
		c.fail("an answer to nothing")
		return nil
	}
	st := c.turns[0]
	c.turns = c.turns[:copy(c.turns, c.turns[1:])]
	if st.dead {
		c.owing--
		c.release(st)
		return nil
	}
	return st
}

// deliver gives a message to the user.
func (c *Client) deliver(st *stream, raw []byte, end bool) {
	id := st.id
	st.unread += len(raw)
	if st.unread > maxUnread && !end {
		c.streams.Delete(id)
		c.giveUp(st)
		c.ev.OnReset(id, httpcodec.ResetEnhanceYourCalm)
		return
	}
	first := !st.started
	st.started = true
	if end {
		st.got = true
		if st.sent {
			c.streams.Delete(id)
			c.release(st)
		}
	}
	if first {
		h := c.m.Head
		c.head = nil // it is the user's now
		h.Protocol = c.p.Name
		if h.Status == 0 {
			h.Status = 200
		}
		c.ev.OnHeaders(id, h, false)
	}
	c.ev.OnData(id, raw, end)
}

// End implements httpcodec.Codec.
func (c *Client) End() error {
	c.Broken()
	return nil
}

// Broken implements httpcodec.Codec.
func (c *Client) Broken() {
	c.turns, c.silent, c.owing, c.gone = nil, nil, 0, true
	c.cutOff(true)
}

// NewStream implements httpcodec.Codec.
func (c *Client) NewStream() (uint32, bool) {
	if c.gone || c.mute || c.err != nil || c.streams.Len() >= c.PeerStreams() {
		return 0, false
	}
	st := c.newStream()
	st.wire = uint64(st.id)
	return st.id, true
}

// PeerStreams is how many requests the connection may carry at a time.
func (c *Client) PeerStreams() int {
	if c.p.Order == codec.OneByOne {
		return 1
	}
	return maxOpen
}

// Headers implements httpcodec.Codec: the message itself is in the body.
func (c *Client) Headers(id uint32, h *filter.Headers, _ bool) {
	if st := c.streams.Get(id); st != nil && c.p.MutableRequests {
		c.keep(st, h)
	}
}

// Data implements httpcodec.Codec.
func (c *Client) Data(id uint32, b []byte, end bool) int {
	st := c.streams.Get(id)
	if st == nil {
		return len(b)
	}
	if len(st.body) == 0 {
		n := c.passWhole(st, b)
		st.body = append(st.body, b[n:]...)
	} else {
		st.body = append(st.body, b...)
		n := c.passWhole(st, st.body)
		st.body = st.body[:copy(st.body, st.body[n:])]
	}
	if end {
		st.sent = true
		if st.got {
			c.streams.Delete(id)
			c.release(st)
		}
	}
	return len(b)
}

// passWhole sends the messages that are whole in b, and returns how much that was.
func (c *Client) passWhole(st *stream, b []byte) (used int) {
	for used < len(b) {
		m := &c.look
		*m = codec.Message{}
		if err := c.cd.Decode(b[used:], codec.Client, m); err != nil || m.Size == 0 || m.Size > len(b)-used {
			break
		}
		first, size, kind := !st.asked, m.Size, m.Kind
		c.out = c.encode(c.room(), b[used:used+size], st, c.p.MutableRequests && first)
		used += size
		if first {
			st.asked, st.kind = true, kind
			c.queue(st)
		}
	}
	return used
}

// queue notes who waits for an answer.
func (c *Client) queue(st *stream) {
	switch {
	case st.kind == codec.OneWay:
		c.silent = append(c.silent, st.id)
	case c.p.Order != codec.ByID:
		c.turns = append(c.turns, st)
	}
}

// Trailers implements httpcodec.Codec.
func (c *Client) Trailers(id uint32, _ *filter.Headers) { c.Data(id, nil, true) }

// Reset implements httpcodec.Codec. An answer that comes all the same is dropped.
func (c *Client) Reset(id uint32, _ httpcodec.ResetCode) {
	if st := c.streams.Get(id); st != nil {
		c.streams.Delete(id)
		c.giveUp(st)
		if st.asked && !st.got && st.kind != codec.OneWay && c.p.Order != codec.ByID {
			st.dead = true // its turn is to come
			c.owing++
			return
		}
		c.release(st)
	}
}

// giveUp tells the upstream that nobody listens to a stream of messages any more.
func (c *Client) giveUp(st *stream) {
	if r, ok := c.cd.(codec.Resetter); ok && st.asked && st.kind == codec.StreamOpen {
		c.out = r.Reset(c.out, st.wire)
	}
}

// Consumed implements httpcodec.Codec.
func (c *Client) Consumed(id uint32, n int) {
	if st := c.streams.Get(id); st != nil {
		st.unread -= n
	}
}

// GoAway implements httpcodec.Codec.
func (c *Client) GoAway(bool) {}

// KeepAlive implements httpcodec.Codec. Where answers have no number, nothing more is to be begun behind a
// request that was given up: its answer may never come.
func (c *Client) KeepAlive() bool { return c.err == nil && c.owing == 0 }

// Ping asks the upstream for a sign of life, where the protocol knows one.
func (c *Client) Ping() {
	if p, ok := c.cd.(codec.Pinger); ok {
		c.out = p.Ping(c.out)
		c.asked = true
	}
}

// Pinged tells whether it still owes one.
func (c *Client) Pinged() bool { return c.asked }

// TakeFrames is part of what pools ask of connections that many share: nothing here makes us
// answer without end.
func (c *Client) TakeFrames() h2.Frames { return h2.Frames{} }
