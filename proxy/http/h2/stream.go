package h2

import (
	"slices"

	"github.com/weftmesh/weft/proxy/http/codec"
)

// stream is the state of one stream. It is reused: nobody holds one across an event.
type stream struct {
	id         uint32
	sendWin    int64
	recvWin    int64
	recvOwed   int64  // consumed, not given back yet
	unconsumed int64  // given to the owner, or on its way to it
	expect     int64  // of content-length still to come, -1: unknown
	remoteEnd  bool   // the peer has ended
	localEnd   bool   // we have ended
	gotHead    bool   // the peer's head has come
	sentHead   bool   // ours has gone
	blocked    bool   // is in Conn.blocked
	bodiless   bool   // HEAD: content-length of the response says nothing
	upgrade    string // client: the protocol of an extended CONNECT
	connect    bool   // a CONNECT: a client's that is not extended, a server's of any kind
	tunnel     bool   // server: it was granted
	interim    int    // client: 1xx responses that have come
}

func (c *Conn) stream(id uint32) *stream {
	if c.last != nil && c.last.id == id {
		return c.last
	}
	s := c.streams.Get(id)
	if s != nil {
		c.last = s
	}
	return s
}

func (c *Conn) open(id uint32) *stream {
	var s *stream
	if n := len(c.free); n > 0 {
		s, c.free = c.free[n-1], c.free[:n-1]
	} else {
		s = new(stream)
	}
	*s = stream{id: id, sendWin: c.peerWindow, recvWin: int64(c.opt.StreamWindow), expect: -1}
	c.streams.Put(id, s)
	c.last = s
	return s
}

// forget ends a stream; what the owner had not consumed counts as consumed.
func (c *Conn) forget(s *stream) {
	c.streams.Delete(s.id)
	if c.last == s {
		c.last = nil
	}
	if s.blocked {
		c.shifted = true
		c.blocked = slices.DeleteFunc(c.blocked, func(o *stream) bool { return o == s })
	}
	c.giveBack(s.unconsumed)
	if len(c.free) < 64 {
		c.free = append(c.free, s)
	}
}

// endRemote notes that the peer has ended; it comes before the event that says so.
func (c *Conn) endRemote(s *stream) {
	s.remoteEnd = true
	if s.localEnd {
		c.forget(s)
	}
}

// endLocal notes that we have ended. A server's response ends the stream, unless it is a
// tunnel, whose directions have nothing to do with each other.
func (c *Conn) endLocal(s *stream) {
	s.localEnd = true
	if !c.client && !s.remoteEnd && !s.tunnel {
		c.out = appendReset(c.out, s.id, codec.ResetNone)
		c.cutOff(s.id)
		s.remoteEnd = true
	}
	if s.remoteEnd {
		c.flood.finished()
		c.forget(s)
	}
}

// streamError resets one stream, on both sides.
func (c *Conn) streamError(id uint32, code codec.ResetCode) {
	if c.client {
		c.flood.replied()
	}
	c.out = appendReset(c.out, id, code)
	c.cutOff(id)
	if s := c.stream(id); s != nil {
		c.forget(s)
		c.ev.OnReset(id, code|codec.ResetLocal)
	}
}

// resetAll ends the streams above an id, in order.
func (c *Conn) resetAll(above uint32, code codec.ResetCode) {
	for id, s := range c.streams.All() { // an event may end others
		if id > above {
			c.forget(s)
			c.ev.OnReset(id, code)
		}
	}
}

// idle tells whether a stream has never been begun.
func (c *Conn) idle(id uint32) bool {
	ours := id%2 == 1 // the only streams there are: begun by the client
	return !ours || id > c.lastID
}

// NewStream implements codec.Codec.
func (c *Conn) NewStream() (uint32, bool) {
	if !c.client || !c.KeepAlive() || c.streams.Len() >= int(c.peerStreams) {
		return 0, false
	}
	if c.lastID == 0 {
		c.lastID = 1
	} else {
		c.lastID += 2
	}
	c.flood.begun++
	c.open(c.lastID)
	return c.lastID, true
}

// Reset implements codec.Codec.
func (c *Conn) Reset(id uint32, code codec.ResetCode) {
	s := c.stream(id)
	if s == nil || c.err != nil || c.mute {
		return
	}
	if code > codec.ResetHTTP11Required || c.client && code == codec.ResetNone {
		code = codec.ResetCancel // RFC 9113 8.1 has NO_ERROR for servers only
	}
	if !c.client || s.sentHead {
		c.out = appendReset(c.out, id, code)
		c.cutOff(id)
	}
	c.forget(s)
}

// cutOff notes that we have ended a stream before the peer has.
func (c *Conn) cutOff(id uint32) {
	if !c.client {
		c.flood.replied() // as Envoy counts every reset
	}
	c.cut[c.cuts%len(c.cut)] = id
	c.cuts++
}

// late tells whether frames of a stream that is over may have been on their way
// when we ended it. Once the ring is full, what is older than all of it may be.
func (c *Conn) late(id uint32) bool {
	return c.client || slices.Contains(c.cut[:], id) || c.cuts >= len(c.cut) && id < slices.Min(c.cut[:])
}
