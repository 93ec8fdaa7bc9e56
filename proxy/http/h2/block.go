package h2

import (
	"encoding/binary"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
	"github.com/weftmesh/weft/proxy/http/hpack"
)

// blockKind is what a header block is.
type blockKind uint8

const (
	blockIgnored blockKind = iota // decoded for HPACK's sake only
	blockRequest
	blockResponse
	blockTrailers
)

// block is the header block that is being received, or was the last.
type block struct {
	id   uint32
	open bool // more frames of it are to come
	kind blockKind
	h    *filter.Headers
	end  bool
	code codec.ResetCode // why it is ignored or bad; ResetNone: it is good

	raw, frames  int    // compressed bytes, CONTINUATION frames
	size, fields int    // uncompressed
	tooLarge     string // detail of the limit that was passed
	seen         pseudo
	regular      bool // a field that is no pseudo header has come
	host         string
	hosts        int
	cookies      int
	length       int64 // content-length, -1: none
}

const maxContinuations = 64

// headers takes a HEADERS frame.
func (c *Conn) headers(id uint32, flags byte, b []byte) {
	if flags&flagPadded != 0 {
		if len(b) == 0 || int(b[0]) > len(b)-1 {
			c.fail(codec.ResetProtocol, violation, "padding longer than the frame")
			return
		}
		b = b[1 : len(b)-int(b[0])]
	}
	if flags&flagPriority != 0 {
		if len(b) < 5 {
			c.fail(codec.ResetFrameSize, violation, "HEADERS too short for its priority")
			return
		}
		self := binary.BigEndian.Uint32(b)&maxStreamID == id
		b = b[5:]
		if self {
			c.fail(codec.ResetProtocol, violation, "stream depends on itself")
			return
		}
	}
	c.block = block{id: id, open: true, end: flags&flagEndStream != 0, length: -1}
	if c.client {
		c.beginResponse(id)
	} else {
		c.beginRequest(id)
	}
	if c.err == nil {
		c.fragment(flags, b)
	}
}

func (c *Conn) beginRequest(id uint32) {
	k := &c.block
	switch s := c.stream(id); {
	case id%2 == 0:
		c.fail(codec.ResetProtocol, violation, "request on an even stream")
	case s != nil && s.remoteEnd:
		k.code = codec.ResetStreamClosed
	case s != nil:
		c.beginTrailers(id)
	case id <= c.lastID && !c.late(id):
		c.fail(codec.ResetStreamClosed, violation, "HEADERS on a closed stream")
	case id <= c.lastID:
		k.code = codec.ResetNone // closed; it was on its way: ignore
	default:
		c.lastID = id
		c.flood.begun++
		switch {
		case c.going:
			k.code = codec.ResetRefused
		case c.streams.Len() >= int(c.opt.MaxStreams):
			k.code = codec.ResetRefused
			c.flood.cut(c)
		default:
			k.kind = blockRequest
			if k.h = c.ev.NewHeaders(id); k.h == nil {
				k.kind, k.code = blockIgnored, codec.ResetRefused
			}
		}
	}
}

func (c *Conn) beginResponse(id uint32) {
	k := &c.block
	switch s := c.stream(id); {
	case c.idle(id) || s != nil && !s.sentHead:
		c.fail(codec.ResetProtocol, violation, "response on an idle stream")
	case s == nil: // was on its way when the stream ended
	case s.remoteEnd:
		k.code = codec.ResetStreamClosed
	case s.gotHead:
		c.beginTrailers(id)
	default:
		k.kind = blockResponse
		if k.h = c.ev.NewHeaders(id); k.h == nil {
			k.kind, k.code = blockIgnored, codec.ResetCancel
		}
	}
}

// beginTrailers: trailers that the owner does not want are decoded all the same.
func (c *Conn) beginTrailers(id uint32) {
	c.block.kind = blockTrailers
	c.block.h = c.ev.NewHeaders(id)
}

func (c *Conn) continuation(flags byte, b []byte) {
	c.block.frames++
	switch {
	case c.block.frames > maxContinuations:
		c.fail(codec.ResetEnhanceYourCalm, "http2.too_many_headers", "too many CONTINUATION frames")
	case len(b) == 0 && flags&flagEndHeaders == 0 && c.flood.empty(c):
	default:
		c.fragment(flags, b)
	}
}

// fragment takes a piece of the block, and decodes the block when it is whole.
func (c *Conn) fragment(flags byte, b []byte) {
	k := &c.block
	k.raw += len(b)
	if k.raw > 2*c.opt.MaxHeadBytes {
		c.fail(codec.ResetEnhanceYourCalm, "http2.headers_too_large", "headers over the limit")
		return
	}
	if flags&flagEndHeaders == 0 {
		c.pieces = append(c.pieces, b...)
		return
	}
	if len(c.pieces) > 0 {
		c.pieces = append(c.pieces, b...)
		b = c.pieces
	}
	var f hpack.Field
	for c.dec.Start(b); c.dec.Next(&f); {
		c.emit(&f)
	}
	c.pieces = nil
	if c.dec.Err() != nil {
		c.fail(codec.ResetCompression, violation, "HPACK does not decode")
		return
	}
	c.blockDone()
}

func (c *Conn) blockDone() {
	k := &c.block
	k.open = false
	switch k.kind {
	case blockIgnored:
		if k.code != codec.ResetNone {
			c.streamError(k.id, k.code)
		}
	case blockRequest:
		c.requestDone(k)
	case blockResponse:
		c.responseDone(k)
	case blockTrailers:
		c.trailersDone(k)
	}
	k.h, k.host = nil, ""
}

func (c *Conn) requestDone(k *block) {
	switch {
	case k.seen&hasProtocol != 0 && !c.opt.Upgrades:
		k.bad() // RFC 8441 4: the client was not told that there is such a pseudo header
	case k.code == codec.ResetNone && k.tooLarge == "":
		k.completeRequest()
	case k.tooLarge != "" && k.code == codec.ResetNone:
		c.tooLarge(k.id)
		return
	}
	if k.code != codec.ResetNone {
		c.cutOff(k.id)
		c.out = appendReset(c.out, k.id, k.code)
		c.flood.cut(c)
		return
	}
	s := c.open(k.id)
	s.gotHead = true
	s.connect = k.h.Method == "CONNECT" || k.h.Protocol != ""
	s.expect = k.length
	if k.end {
		if s.expect > 0 {
			c.cutOff(k.id)
			c.out = appendReset(c.out, k.id, codec.ResetProtocol)
			c.forget(s)
			c.flood.cut(c)
			return
		}
		c.endRemote(s)
	}
	c.ev.OnHeaders(k.id, k.h, k.end)
}

// PartialHead is the stream, on a server, of a request whose head has come in part; 0: there is none.
func (c *Conn) PartialHead() uint32 {
	switch {
	case c.client || c.err != nil || c.mute || c.going:
		return 0
	case c.block.open && c.block.kind == blockRequest:
		return c.block.id
	case c.block.open || len(c.tail) < frameHeader || frameType(c.tail[3]) != frameHeaders:
		return 0
	}
	id := binary.BigEndian.Uint32(c.tail[5:]) & maxStreamID
	if id%2 == 0 || id <= c.lastID || c.streams.Len() >= int(c.opt.MaxStreams) {
		return 0
	}
	return id
}

// RefuseHead answers the request of PartialHead, and ends its stream. What is to come
// of the head is decoded for HPACK's sake only. false: there is no such request.
func (c *Conn) RefuseHead(h *filter.Headers, body string) bool {
	id := c.PartialHead()
	if id == 0 {
		return false
	}
	if c.block.open {
		c.block.kind, c.block.h, c.block.code = blockIgnored, nil, codec.ResetNone
	} else {
		c.lastID = id
		c.flood.begun++
	}
	c.open(id).gotHead = true
	c.Headers(id, h, false)
	if c.Data(id, []byte(body), true) < len(body) { // no window
		c.Reset(id, codec.ResetNone)
	}
	return true
}

// tooLarge answers 431; no stream comes of it.
func (c *Conn) tooLarge(id uint32) {
	c.openBlock(id, true)
	c.out = c.enc.Status(c.out, 431)
	c.closeBlock()
	c.cutOff(id)
	c.out = appendReset(c.out, id, codec.ResetNone)
	c.flood.cut(c)
}

func (c *Conn) responseDone(k *block) {
	s := c.stream(k.id)
	if s == nil {
		return // the owner reset it between two frames of the block
	}
	if k.code == codec.ResetNone {
		k.completeResponse()
	}
	status := k.h.Status
	if k.code == codec.ResetNone && status < 200 && k.end || k.tooLarge != "" {
		k.code = codec.ResetProtocol
	}
	if k.code != codec.ResetNone {
		c.streamError(k.id, k.code)
		return
	}
	if status < 200 {
		if s.interim++; s.interim > codec.MaxInterim {
			c.streamError(k.id, codec.ResetProtocol)
			return
		}
		c.ev.OnInterim(k.id, k.h)
		return
	}
	s.gotHead = true
	switched := status/100 == 2 && (s.upgrade != "" || s.connect)
	if switched && s.upgrade != "" {
		k.h.Status, k.h.Protocol = 101, s.upgrade
	}
	if !s.bodiless && status != 304 && !switched {
		s.expect = k.length
	}
	if k.end && s.expect > 0 {
		c.streamError(k.id, codec.ResetProtocol)
		return
	}
	if k.end {
		c.endRemote(s)
	}
	c.ev.OnHeaders(k.id, k.h, k.end)
	if switched && c.stream(k.id) != nil {
		c.ev.OnUpgraded(k.id)
	}
}

func (c *Conn) trailersDone(k *block) {
	s := c.stream(k.id)
	if s == nil {
		return
	}
	if k.code == codec.ResetNone && (!k.end || k.seen != 0 || s.expect > 0 || k.tooLarge != "") {
		k.code = codec.ResetProtocol
	}
	if k.code != codec.ResetNone {
		c.streamError(k.id, k.code)
		return
	}
	c.endRemote(s)
	if k.h == nil {
		c.ev.OnData(k.id, nil, true)
		return
	}
	c.ev.OnTrailers(k.id, k.h)
}
