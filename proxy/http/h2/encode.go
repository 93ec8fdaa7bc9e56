package h2

import (
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/hpack"
)

func (c *Conn) field(name, value string) { c.out = c.enc.Field(c.out, name, value) }

// openBlock begins a header block; the fields follow, then closeBlock.
func (c *Conn) openBlock(id uint32, end bool) {
	var flags byte = flagEndHeaders
	if end {
		flags |= flagEndStream
	}
	if !c.client { // requests are bounded by who sends them
		c.flood.frames.All++
	}
	c.blockAt = len(c.out)
	c.out = c.enc.Begin(appendFrame(c.out, 0, frameHeaders, flags, id))
}

// closeBlock sets the frame's length, and cuts a block that is too long for one frame.
func (c *Conn) closeBlock() {
	at := c.blockAt
	length := len(c.out) - at - frameHeader
	if length <= c.peerMaxFrame {
		c.out[at], c.out[at+1], c.out[at+2] = byte(length>>16), byte(length>>8), byte(length)
		return
	}
	payload := append([]byte(nil), c.out[at+frameHeader:]...)
	flags := c.out[at+4] &^ flagEndHeaders
	id := uint32(c.out[at+5])<<24 | uint32(c.out[at+6])<<16 | uint32(c.out[at+7])<<8 | uint32(c.out[at+8])
	c.out = c.out[:at]
	for t := frameHeaders; len(payload) > 0; t, flags = frameContinuation, 0 {
		n := min(len(payload), c.peerMaxFrame)
		if n == len(payload) {
			flags |= flagEndHeaders
		}
		c.out = appendFrame(c.out, n, t, flags, id)
		c.out = append(c.out, payload[:n]...)
		payload = payload[n:]
	}
}

// Headers implements codec.Codec.
func (c *Conn) Headers(id uint32, h *filter.Headers, end bool) {
	s := c.stream(id)
	if s == nil || s.sentHead || c.err != nil || c.mute {
		return
	}
	s.sentHead = true
	c.openBlock(id, end)
	if c.client {
		c.request(s, h)
	} else {
		status := h.Status
		if status == 101 {
			status = 200
		}
		c.out = c.enc.Status(c.out, status)
		s.tunnel = s.connect && status/100 == 2
	}
	c.fields(h)
	c.closeBlock()
	if end {
		c.endLocal(s)
	}
}

func (c *Conn) request(s *stream, h *filter.Headers) {
	method, path, scheme := h.Method, h.Path, h.Scheme
	s.bodiless, s.connect = method == "HEAD", method == "CONNECT" && h.Protocol == ""
	if h.Protocol != "" {
		method, s.upgrade = "CONNECT", strings.Clone(h.Protocol)
	}
	c.field(":method", method)
	if h.Authority != "" {
		c.field(":authority", h.Authority)
	}
	if s.connect {
		return
	}
	c.field(":scheme", or(scheme, "http"))
	c.field(":path", or(path, "/"))
	if h.Protocol != "" {
		c.field(":protocol", h.Protocol)
	}
}

// fields appends all that HTTP/2 has.
func (c *Conn) fields(h *filter.Headers) {
	for i := range h.Len() {
		f := h.At(i)
		switch f.Name {
		case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "http2-settings", "host":
			continue
		case "te":
			if f.Value != "trailers" {
				continue
			}
		}
		if !hpack.ValueOK(f.Value) { // the net under configuration and filters
			continue
		}
		c.field(f.Name, f.Value)
	}
}

// Interim implements codec.Codec.
func (c *Conn) Interim(id uint32, h *filter.Headers) {
	s := c.stream(id)
	if s == nil || c.client || s.sentHead || c.err != nil {
		return
	}
	c.openBlock(id, false)
	c.out = c.enc.Status(c.out, h.Status)
	c.fields(h)
	c.closeBlock()
}

// Trailers implements codec.Codec.
func (c *Conn) Trailers(id uint32, h *filter.Headers) {
	s := c.stream(id)
	if s == nil || s.localEnd || !s.sentHead || c.err != nil || c.mute {
		return
	}
	if h.Len() == 0 {
		c.Data(id, nil, true)
		return
	}
	c.openBlock(id, true)
	c.fields(h)
	c.closeBlock()
	c.endLocal(s)
}

// CanSend implements codec.Codec.
func (c *Conn) CanSend(id uint32) int {
	s := c.stream(id)
	if s == nil {
		return maxWindow
	}
	return int(max(0, min(s.sendWin, c.sendWin)))
}

// Data implements codec.Codec.
func (c *Conn) Data(id uint32, b []byte, end bool) int {
	s := c.stream(id)
	if s == nil || s.localEnd || c.err != nil || c.mute {
		return len(b)
	}
	if !s.sentHead {
		panic("BUG: h2: Data before Headers")
	}
	whole := len(b)
	if n := c.CanSend(id); n < whole {
		b, end = b[:n], false
		c.wait(s)
	}
	sent := len(b)
	for len(b) > 0 {
		n := min(len(b), c.peerMaxFrame)
		c.dataFrame(id, b[:n], end && n == len(b))
		b = b[n:]
	}
	if sent == 0 && end {
		c.dataFrame(id, nil, true)
	}
	s.sendWin -= int64(sent)
	c.sendWin -= int64(sent)
	if end {
		c.endLocal(s)
	}
	return sent
}

// directMin is the size from which a piece of a body does not go through the output.
const directMin = 2 << 10

func (c *Conn) dataFrame(id uint32, b []byte, end bool) {
	var flags byte
	if end {
		flags = flagEndStream
	}
	c.out = appendFrame(c.out, len(b), frameData, flags, id)
	if len(b) < directMin || c.opt.Direct == nil {
		c.out = append(c.out, b...)
	} else {
		c.opt.Direct(c.out, b)
		c.ClearOutput()
	}
	c.flood.sentData += 1 + len(b)/ourMaxFrame
}
