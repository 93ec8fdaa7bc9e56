package h1

import (
	"bytes"

	"github.com/weftmesh/weft/proxy/filter"
)

// deliver passes a piece of a body on, unless nobody wants it any more.
func (c *Conn) deliver(b []byte) {
	if !c.drop {
		c.ev.OnData(c.id, b, false)
	}
}

// bodyEnd passes the last piece on.
func (c *Conn) bodyEnd(b []byte) {
	id, drop, end := c.id, c.drop, !c.waiting
	c.received()
	if !drop && (end || len(b) > 0) {
		c.ev.OnData(id, b, end)
	}
}

// counted takes bytes whose number is known: of a body or of a chunk.
func (c *Conn) counted(b []byte) int {
	n := int(min(int64(len(b)), c.left))
	c.left -= int64(n)
	switch {
	case c.left > 0:
		c.deliver(b[:n])
	case c.recv == inChunk:
		c.recv = inChunkEnd
		c.deliver(b[:n])
	default:
		c.bodyEnd(b[:n])
	}
	return n
}

// chunkEnd takes the CRLF behind a chunk's data.
func (c *Conn) chunkEnd(b []byte) int {
	if b[0] != '\r' || len(b) > 1 && b[1] != '\n' {
		c.fail(400, badRequest, "no CRLF after a chunk")
		return 0
	}
	if len(b) == 1 {
		return 0
	}
	c.recv = inChunkSize
	return 2
}

// chunkSize takes the line before a chunk. Extensions are dropped.
func (c *Conn) chunkSize(line []byte) {
	size := line
	if i := bytes.IndexByte(line, ';'); i >= 0 {
		size = line[:i]
		if !all(valueChar, line[i:]) {
			c.fail(400, badRequest, "forbidden byte in a chunk extension")
			return
		}
	}
	n, ok := parseHex(size)
	switch {
	case !ok:
		c.fail(400, badRequest, "malformed chunk size")
	case n > 0:
		c.left, c.recv = n, inChunk
	default:
		c.m.reset()
		c.recv = inTrailers
	}
}

func (c *Conn) trailerLine(line []byte) {
	if len(line) == 0 {
		c.trailersDone()
		return
	}
	name, value, ok := c.field(line)
	if !ok || c.underscored(name) || !c.opt.Trailers || c.drop || c.waiting || notInTrailers(name) {
		return
	}
	if c.m.h == nil {
		if c.m.h = c.ev.NewHeaders(c.id); c.m.h == nil {
			return
		}
	}
	if c.opt.Spelling >= filter.AsWritten {
		c.m.h.KeepSpelling(c.opt.Spelling)
		c.m.h.Spell(name)
	}
	c.m.h.AddBytes(name, value)
}

func (c *Conn) trailersDone() {
	h := c.m.h
	if h == nil {
		c.bodyEnd(nil)
		return
	}
	id := c.id
	c.received()
	c.ev.OnTrailers(id, h)
}

// notInTrailers names fields that frame or route and so come too late (RFC 9110 6.5.1).
func notInTrailers(name []byte) bool {
	switch len(name) {
	case 2:
		return foldEq(name, "te")
	case 4:
		return foldEq(name, "host")
	case 7:
		return foldEq(name, "trailer") || foldEq(name, "upgrade")
	case 10:
		return foldEq(name, "connection") || foldEq(name, "keep-alive")
	case 13:
		return foldEq(name, "authorization")
	case 14:
		return foldEq(name, "content-length")
	case 16:
		return foldEq(name, "proxy-connection") || foldEq(name, "content-encoding")
	case 17:
		return foldEq(name, "transfer-encoding")
	}
	return false
}
