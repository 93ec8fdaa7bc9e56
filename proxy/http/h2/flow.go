package h2

import (
	"encoding/binary"

	"github.com/weftmesh/weft/proxy/http/codec"
)

// dataFrame is the DATA frame whose payload is passing.
type dataFrame struct {
	id        uint32
	left, pad int
	end       bool
}

// dataHeader begins a DATA frame. b is its payload as far as it is here; padding
// needs its length byte. It returns how much of b it took, not ok: more is needed.
func (c *Conn) dataHeader(id uint32, flags byte, length int, b []byte) (used int, ok bool) {
	pad, body := 0, length
	if flags&flagPadded != 0 {
		if length == 0 {
			c.fail(codec.ResetFrameSize, violation, "padded DATA without a length")
			return 0, true
		}
		if len(b) == 0 {
			return 0, false
		}
		pad, body, used = int(b[0]), length-1-int(b[0]), 1
		if body < 0 {
			c.fail(codec.ResetProtocol, violation, "padding longer than the frame")
			return 0, true
		}
	}
	end := flags&flagEndStream != 0
	if !c.dataAllowed(id, int64(length), int64(body), end) {
		return used, true
	}
	c.data = dataFrame{id: id, left: body, pad: pad, end: end}
	if body == 0 && end {
		c.deliver(nil)
	}
	return used, true
}

// dataAllowed checks and accounts a whole frame before any of it is passed on.
func (c *Conn) dataAllowed(id uint32, length, body int64, end bool) bool {
	if c.idle(id) {
		c.fail(codec.ResetProtocol, violation, "DATA on an idle stream")
		return false
	}
	if length > c.recvWin {
		c.fail(codec.ResetFlowControl, "http2.flow_control_error", "DATA over the connection's window")
		return false
	}
	if length == 0 && !end && c.flood.empty(c) {
		return false
	}
	if length > 0 {
		c.flood.emptyFrames = 0
	}
	c.recvWin -= length
	s := c.stream(id)
	if s == nil && !c.late(id) {
		c.fail(codec.ResetStreamClosed, violation, "DATA on a closed stream")
		return false
	}
	if s == nil {
		c.giveBack(length) // was on its way when the stream ended
		return true
	}
	code := codec.ResetNone
	switch {
	case s.remoteEnd:
		code = codec.ResetStreamClosed
	case !s.gotHead:
		code = codec.ResetProtocol
	case length > s.recvWin:
		code = codec.ResetFlowControl
	case s.expect >= 0 && (body > s.expect || end && body < s.expect):
		code = codec.ResetProtocol // not what content-length says
	}
	s.recvWin -= length
	s.unconsumed += length
	if code != codec.ResetNone {
		c.streamError(id, code)
		return true
	}
	if s.expect >= 0 {
		s.expect -= body
	}
	if padding := length - body; padding > 0 {
		c.Consumed(id, int(padding))
	}
	return true
}

// dataBytes passes on what is here of the frame's payload.
func (c *Conn) dataBytes(b []byte) int {
	n := min(c.data.left, len(b))
	c.data.left -= n
	c.deliver(b[:n])
	return n
}

func (c *Conn) deliver(b []byte) {
	s := c.stream(c.data.id)
	if s == nil {
		return
	}
	end := c.data.end && c.data.left == 0
	if end {
		c.endRemote(s)
	}
	c.ev.OnData(c.data.id, b, end)
}

// giveBack returns connection window.
func (c *Conn) giveBack(n int64) {
	c.recvOwed += n
	if c.recvOwed > 0 && c.recvOwed >= int64(c.opt.ConnWindow)/4 && c.err == nil {
		c.flood.frames.All++
		c.out = appendWindowUpdate(c.out, 0, uint32(c.recvOwed))
		c.recvWin += c.recvOwed
		c.recvOwed = 0
	}
}

// Consumed implements codec.Codec.
func (c *Conn) Consumed(id uint32, n int) {
	s := c.stream(id)
	if s == nil {
		return
	}
	back := min(int64(n), s.unconsumed)
	s.unconsumed -= back
	c.giveBack(back)
	s.recvOwed += back
	if !s.remoteEnd && s.recvOwed > 0 && s.recvOwed >= int64(c.opt.StreamWindow)/4 {
		c.flood.frames.All++
		c.out = appendWindowUpdate(c.out, id, uint32(s.recvOwed))
		s.recvWin += s.recvOwed
		s.recvOwed = 0
	}
}

func (c *Conn) windowUpdate(id uint32, b []byte) {
	if len(b) != 4 {
		c.fail(codec.ResetFrameSize, violation, "WINDOW_UPDATE of a wrong size")
		return
	}
	if c.flood.window(c) {
		return
	}
	n := int64(binary.BigEndian.Uint32(b) & maxWindow)
	if id == 0 {
		if n == 0 || c.sendWin+n > maxWindow {
			c.fail(overflow(n), violation, "WINDOW_UPDATE of nothing or too much")
			return
		}
		c.sendWin += n
		c.unblock()
		return
	}
	s := c.stream(id)
	switch {
	case s == nil:
		if c.idle(id) {
			c.fail(codec.ResetProtocol, violation, "WINDOW_UPDATE on an idle stream")
		}
	case n == 0 || s.sendWin+n > maxWindow:
		c.streamError(id, overflow(n))
	default:
		s.sendWin += n
		c.unblock()
	}
}

func overflow(n int64) codec.ResetCode {
	if n == 0 {
		return codec.ResetProtocol
	}
	return codec.ResetFlowControl
}

// block notes that a stream waits for window.
func (c *Conn) wait(s *stream) {
	if !s.blocked {
		s.blocked = true
		c.blocked = append(c.blocked, s)
	}
}

// unblock tells the waiting streams that can go on, the longest waiting first.
func (c *Conn) unblock() {
	for i := 0; i < len(c.blocked) && c.sendWin > 0; {
		s := c.blocked[i]
		if s.sendWin <= 0 {
			i++
			continue
		}
		c.blocked = append(c.blocked[:i], c.blocked[i+1:]...)
		s.blocked = false
		c.shifted = false
		c.ev.OnWindow(s.id)
		if c.shifted {
			i = 0 // the event ended others: begin again, those in front wait still
		}
	}
}
