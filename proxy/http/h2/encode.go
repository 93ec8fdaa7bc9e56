package h2

import (
	"hash/maphash"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"

	"github.com/weftmesh/weft/proxy/filter"
)

// encoded lets the HPACK encoder append to the output.
type encoded struct{ c *Conn }

func (e encoded) Write(p []byte) (int, error) {
	e.c.out = append(e.c.out, p...)
	return len(p), nil
}

// internTable holds copies of fields that went into HPACK's dynamic table. The
// encoder keeps the strings that it is given, and ours may lie in the arena of
// a Headers that is about to be reused. It is a small cache, not a complete set:
// when it is full it begins anew. Fields never take each other's place, else two
// that come with every message would be copied with every message.
type internTable struct {
	seed  maphash.Seed
	slots *[internSlots]hpack.HeaderField
	used  int
}

const (
	internSlots = 64
	// internMost leaves room, so that the way to a field is short.
	internMost = internSlots * 3 / 4
)

func (t *internTable) intern(name, value string) hpack.HeaderField {
	if t.slots == nil {
		t.seed, t.slots = maphash.MakeSeed(), new([internSlots]hpack.HeaderField)
	}
	for i := maphash.String(t.seed, value) + uint64(len(name)); ; i++ {
		slot := &t.slots[i%internSlots]
		if slot.Name == "" {
			if t.used == internMost { // the encoder keeps what it took of the former
				t.slots, t.used = new([internSlots]hpack.HeaderField), 0
				slot = &t.slots[i%internSlots]
			}
			*slot = hpack.HeaderField{Name: strings.Clone(name), Value: strings.Clone(value)}
			t.used++
			return *slot
		}
		if slot.Name == name && slot.Value == value {
			return *slot
		}
	}
}

// indexed tells whether a field is worth a place in the table: those whose
// value comes again and again on one connection. The others are written
// literally, which costs bytes but no copy and no eviction.
func indexed(name string) bool {
	switch name {
	case ":authority", ":scheme", ":method", ":protocol", "accept", "accept-encoding", "accept-language", "cache-control", "content-encoding",
		"content-type", "grpc-accept-encoding", "grpc-encoding", "grpc-status", "server", "te", "user-agent", "vary", "via",
		"x-envoy-attempt-count", "x-envoy-decorator-operation", "x-envoy-internal", "x-forwarded-client-cert", "x-forwarded-proto":
		return true
	}
	return false
}

func (c *Conn) field(name, value string) {
	if c.resized { // the new size is said at the beginning of a block, by the encoder
		c.resized = false
		_ = c.enc.WriteField(hpack.HeaderField{Name: strings.Clone(name), Value: strings.Clone(value)})
		return
	}
	if indexed(name) && len(value) < 512 {
		_ = c.enc.WriteField(c.names.intern(name, value)) // writing to memory does not fail
		return
	}
	// Literal without indexing, new name, no Huffman coding (RFC 7541 6.2.2).
	switch name {
	case ":path":
		c.out = append(c.out, 4)
	case "content-length":
		c.out = append(c.out, 0x0f, 28-15)
	case "date":
		c.out = append(c.out, 0x0f, 33-15)
	default:
		c.out = append(c.out, 0)
		c.out = appendString(c.out, name)
	}
	c.out = appendString(c.out, value)
}

// appendString appends length and bytes (RFC 7541 5.2).
func appendString(out []byte, s string) []byte {
	n := len(s)
	if n < 127 {
		out = append(out, byte(n))
		return append(out, s...)
	}
	out = append(out, 127)
	for n -= 127; n >= 128; n >>= 7 {
		out = append(out, byte(n)|0x80)
	}
	out = append(out, byte(n))
	return append(out, s...)
}

// openBlock begins a header block; the fields follow, then closeBlock.
func (c *Conn) openBlock(id uint32, end bool) {
	var flags byte = flagEndHeaders
	if end {
		flags |= flagEndStream
	}
	c.blockAt = len(c.out)
	c.out = appendFrame(c.out, 0, frameHeaders, flags, id)
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
		c.appendStatus(status)
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

func (c *Conn) appendStatus(status int) {
	if c.resized {
		c.field(":status", strconv.Itoa(status))
		return
	}
	if status == 200 {
		c.out = append(c.out, 0x80|8) // the static table's entry
		return
	}
	var buf [8]byte
	digits := strconv.AppendInt(buf[:0], int64(status), 10)
	c.out = append(c.out, 8, byte(len(digits))) // literal, name of entry 8
	c.out = append(c.out, digits...)
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
		if !valueOK(f.Value) { // the net under configuration and filters
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
	c.appendStatus(h.Status)
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

func (c *Conn) dataFrame(id uint32, b []byte, end bool) {
	var flags byte
	if end {
		flags = flagEndStream
	}
	c.out = appendFrame(c.out, len(b), frameData, flags, id)
	c.out = append(c.out, b...)
	c.flood.sentData += 1 + len(b)/ourMaxFrame
}
