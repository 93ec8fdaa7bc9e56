package h1

import (
	"bytes"
	"cmp"
	"math"
	"strconv"

	"github.com/weftmesh/weft/proxy/filter"
)

// Headers implements codec.Codec.
func (c *Conn) Headers(id uint32, h *filter.Headers, end bool) {
	if id != c.id || !c.open || c.send != sendHead {
		return
	}
	start := len(c.out)
	c.writeHead(h, end)
	if !c.intact(start) {
		c.out, c.dirty = c.out[:start], true
		c.writeHead(h, end)
		c.dirty = false
	}
	if c.send != sendOpaque {
		c.waiting = false // no upgrade: the request ends with its body
	}
	if end && c.send != sendOpaque && c.send != sendWait {
		c.sent()
	}
}

func (c *Conn) writeHead(h *filter.Headers, end bool) {
	c.lines = 0
	c.spell(h)
	if c.client {
		c.request(h, end)
	} else {
		c.response(h, end)
	}
	c.eol()
	c.unspell()
}

// intact tells whether the lines appended since start are those that were
// meant. A CR or LF in a value would make another field, or another message, of
// it. Codecs let none in, so this is the net under configuration and filters.
func (c *Conn) intact(start int) bool {
	head := c.out[start:]
	return bytes.Count(head, cr) == c.lines && bytes.Count(head, lf) == c.lines
}

var cr, lf = []byte{'\r'}, []byte{'\n'}

// put appends s; in the second attempt after intact has failed without the bytes that broke it.
func (c *Conn) put(s string) {
	if !c.dirty {
		c.out = append(c.out, s...)
		return
	}
	for i := range len(s) {
		if s[i] != '\r' && s[i] != '\n' {
			c.out = append(c.out, s[i])
		}
	}
}

func (c *Conn) eol() {
	c.lines++
	c.out = append(c.out, '\r', '\n')
}

func (c *Conn) fieldOut(name, value string) {
	c.name(name)
	c.out = append(c.out, ':', ' ')
	c.put(value)
	c.eol()
}

// spell takes over how names are written in what is about to be sent.
func (c *Conn) spell(h *filter.Headers) {
	c.spelled, c.spelling = h, h.Spelling()
	if c.spelling == filter.Lower && c.opt.Spelling == filter.Proper {
		c.spelling = filter.Proper
	}
}

// unspell forgets the head that has been sent.
func (c *Conn) unspell() { c.spelled, c.spelling = nil, filter.Lower }

// name appends the name of a field.
func (c *Conn) name(name string) {
	if c.spelling == filter.Lower {
		c.put(name)
		return
	}
	if c.spelling != filter.Proper {
		if s, ok := c.spelled.Spelled(name); ok || c.spelling == filter.AsWritten {
			c.put(cmp.Or(s, name))
			return
		}
	}
	start := len(c.out)
	c.put(name)
	for i, word := start, true; i < len(c.out); i++ {
		b := c.out[i]
		letter := 'a' <= b && b <= 'z'
		if word && letter {
			c.out[i] = b - ('a' - 'A')
		}
		word = !letter && (b < '0' || b > '9')
	}
}

func (c *Conn) request(h *filter.Headers, end bool) {
	c.connect, c.head = h.Method == "CONNECT", h.Method == "HEAD"
	c.upgrade = h.Protocol != "" && !c.connect
	c.minor = 1
	target := h.Path
	switch {
	case c.connect:
		target = h.Authority
	case target == "":
		target = "/"
	}
	c.put(h.Method)
	c.out = append(c.out, ' ')
	c.put(target)
	c.out = append(c.out, " HTTP/1.1"...)
	c.eol()
	c.fieldOut("host", h.Authority)
	length := c.fields(h)
	switch {
	case c.connect:
		c.send = sendWait
	case length > 0 && !end:
		c.length(length)
	case c.upgrade:
		c.send = sendWait
	case end && length < 0 && !mayHaveBody(h.Method):
		c.send = sendNone
	case end, length == 0:
		c.length(0)
	default:
		c.chunks()
	}
	switch {
	case c.upgrade:
		c.fieldOut("connection", "Upgrade")
		c.fieldOut("upgrade", h.Protocol)
	case c.going:
		c.close = true
		c.fieldOut("connection", "close")
	}
}

// mayHaveBody tells whether the absence of a body has to be said.
func mayHaveBody(method string) bool {
	switch method {
	case "GET", "HEAD", "DELETE", "TRACE":
		return false
	}
	return true
}

func (c *Conn) response(h *filter.Headers, end bool) {
	c.status(h.Status)
	length := c.fields(h)
	if h.Status == 101 || c.connect && h.Status/100 == 2 {
		c.switched(h)
		return
	}
	switch {
	case h.Status == 204:
		c.send = sendNone
	case c.head || h.Status == 304:
		if length >= 0 {
			c.length(length)
		}
		c.send = sendNone
	case end:
		c.length(0)
	case length >= 0:
		c.length(length)
	case c.minor == 1:
		c.chunks()
	default:
		c.send, c.close = sendClose, true
	}
	if c.going || c.connect || c.early() { // as Envoy: a client that is told may not send its next request here
		c.close = true
	}
	switch {
	case c.close:
		c.fieldOut("connection", "close")
	case c.minor == 0:
		c.fieldOut("connection", "keep-alive")
	}
}

// switched: both directions are opaque from here on. The request's body, if
// it has one that is still coming, ends first.
func (c *Conn) switched(h *filter.Headers) {
	c.send, c.close = sendOpaque, true
	if c.recv == held {
		c.recv = opaque
	}
	if h.Status == 101 {
		c.fieldOut("connection", "Upgrade")
		c.fieldOut("upgrade", h.Protocol)
	}
}

// early tells whether the request is incomplete and its rest not worth reading.
func (c *Conn) early() bool {
	return c.recv != held && !(c.recv == inBody && c.left <= maxDiscard)
}

func (c *Conn) length(n int64) {
	c.send, c.toSend = sendLength, n
	c.name("content-length")
	c.out = append(c.out, ':', ' ')
	c.out = strconv.AppendInt(c.out, n, 10)
	c.eol()
}

func (c *Conn) chunks() {
	c.send = sendChunks
	c.fieldOut("transfer-encoding", "chunked")
}

// fields appends all that are not the connection's and returns content-length,
// which is left to the framing, or -1.
func (c *Conn) fields(h *filter.Headers) (length int64) {
	length = -1
	for i := range h.Len() {
		f := h.At(i)
		switch len(f.Name) {
		case 4, 7, 10, 14, 16, 17:
			if f.Name == "content-length" {
				if n, err := strconv.ParseInt(f.Value, 10, 64); err == nil && n >= 0 && length < 0 {
					length = n
				}
				continue
			}
			if ours(f.Name) {
				continue
			}
		}
		c.fieldOut(f.Name, f.Value)
	}
	return length
}

// ours names the fields that the codec itself writes, or nobody may.
func ours(name string) bool {
	switch name {
	case "host", "upgrade", "connection", "keep-alive", "http2-settings", "proxy-connection", "transfer-encoding":
		return true
	}
	return false
}

// Interim implements codec.Codec.
func (c *Conn) Interim(id uint32, h *filter.Headers) {
	if c.client || id != c.id || !c.open || c.send != sendHead || c.minor == 0 {
		return
	}
	start := len(c.out)
	c.lines = 0
	c.spell(h)
	c.status(h.Status)
	c.fields(h)
	c.unspell()
	c.eol()
	if !c.intact(start) {
		c.out = c.out[:start] // it is only information
	}
}

// CanSend implements codec.Codec.
func (c *Conn) CanSend(id uint32) int {
	if id == c.id && c.open && (c.send == sendHead || c.send == sendWait) {
		return 0
	}
	return math.MaxInt32
}

// Data implements codec.Codec.
func (c *Conn) Data(id uint32, b []byte, end bool) int {
	if id != c.id || !c.open {
		return len(b)
	}
	switch c.send {
	case sendHead:
		panic("BUG: h1: Data before Headers")
	case sendWait:
		return 0
	case sendLength:
		n := min(int64(len(b)), c.toSend)
		if n < int64(len(b)) {
			c.close = true // more than was announced: not to be sent, not to be continued
		}
		c.toSend -= n
		c.payload(b[:n])
		if c.toSend == 0 && c.upgrade {
			c.send = sendWait
		}
	case sendChunks:
		if len(b) > 0 {
			c.out = strconv.AppendUint(c.out, uint64(len(b)), 16)
			c.out = append(c.out, '\r', '\n')
			c.payload(b)
			c.out = append(c.out, '\r', '\n')
		}
	case sendClose, sendOpaque:
		c.payload(b)
	}
	if end {
		c.endBody(nil)
	}
	return len(b)
}

// directMin is the size from which a piece of a body is not copied.
const directMin = 4 << 10

// payload sends b, or appends it to the output.
func (c *Conn) payload(b []byte) {
	if len(b) < directMin || c.opt.Direct == nil {
		c.out = append(c.out, b...)
		return
	}
	c.opt.Direct(c.out, b)
	c.ClearOutput()
}

// Trailers implements codec.Codec.
func (c *Conn) Trailers(id uint32, h *filter.Headers) {
	if id == c.id && c.open && c.send != sendHead && c.send != sendWait {
		c.endBody(h)
	}
}

// endBody ends our message; h, which may be nil, are its trailers.
func (c *Conn) endBody(h *filter.Headers) {
	switch c.send {
	case sendChunks:
		c.out = append(c.out, '0')
		c.eol()
		if h != nil && c.opt.Trailers {
			start := len(c.out)
			c.lines = 0
			c.spell(h)
			c.fields(h)
			c.unspell()
			if !c.intact(start) {
				c.out = c.out[:start]
			}
		}
		c.eol()
	case sendLength:
		if c.toSend > 0 {
			c.close = true // the peer notices by the end of the connection
		}
	case sendEnded:
		return
	}
	c.sent()
}

// sent notes that our message is complete.
func (c *Conn) sent() {
	wasOpaque := c.send == sendOpaque
	c.send = sendEnded
	switch {
	case c.client || wasOpaque:
		if c.recv == held || c.recv == ended {
			c.over()
			if c.close {
				c.recv = ended
			}
		}
		return
	case c.recv != held:
		c.close = c.close || c.early()
		c.drop = !c.close
	}
	complete := c.recv == held
	c.over()
	switch {
	case c.close:
		c.recv = ended
	case complete:
		c.recv = atStart
	}
}
