package h1

import (
	"bytes"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
)

// message is what is known about the head, or the trailers, being received.
type message struct {
	h             *filter.Headers
	bytes, fields int
	minor         byte
	length        int64 // content-length, -1: none
	host          bool  // there was a host field
	absolute      bool  // the authority came with the request target
	chunked       bool
	closing       bool // connection: close
	keepAlive     bool // connection: keep-alive
	wantUpgrade   bool // connection: upgrade
	nominated     []string
}

func (m *message) reset() {
	clear(m.nominated)
	*m = message{length: -1, nominated: m.nominated[:0]}
}

const badRequest = "http1.codec_error"

func (c *Conn) startLine(line []byte) {
	if len(line) == 0 && !c.client && c.blank < maxBlankLines {
		c.blank++
		return
	}
	c.blank = 0
	c.m.reset()
	c.m.bytes = len(line) + 2
	if c.client {
		c.statusLine(line)
	} else {
		c.requestLine(line)
	}
}

func (c *Conn) requestLine(line []byte) {
	i, j := bytes.IndexByte(line, ' '), bytes.LastIndexByte(line, ' ')
	if i <= 0 || i == j {
		c.fail(400, badRequest, "malformed request line")
		return
	}
	method, target, version := line[:i], line[i+1:j], line[j+1:]
	if !known(method) {
		c.fail(400, detailOf(method), "unknown method")
		return
	}
	switch string(version) {
	case "HTTP/1.1":
		c.m.minor = 1
	case "HTTP/1.0":
		if !c.opt.HTTP10 {
			c.fail(426, "low_version", "HTTP/1.0 is not enabled")
			return
		}
	default:
		c.fail(400, badRequest, "unknown version")
		return
	}
	c.minor = c.m.minor
	if len(target) == 0 || !all(targetChar, target) {
		c.fail(400, detailOf(target), "forbidden byte in the request target")
		return
	}
	c.id++
	c.m.h = c.ev.NewHeaders(c.id)
	if c.m.h == nil {
		c.fail(503, "overload", "stream refused")
		return
	}
	c.m.h.Method = methodName(c.m.h, method)
	c.recv = inHead
	c.target(target)
}

// detailOf is what Envoy calls it when b is not what it should be.
func detailOf(b []byte) string {
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return "http1.invalid_characters"
		}
	}
	return badRequest
}

// known tells whether a method is one that Envoy takes.
func known(b []byte) bool {
	switch string(b) {
	case "GET", "POST", "PUT", "HEAD", "DELETE", "CONNECT", "OPTIONS", "PATCH", "TRACE",
		"ACL", "BIND", "CHECKOUT", "COPY", "LINK", "LOCK", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL", "MOVE", "MSEARCH",
		"NOTIFY", "PROPFIND", "PROPPATCH", "PURGE", "REBIND", "REPORT", "SEARCH", "SOURCE", "SUBSCRIBE",
		"UNBIND", "UNLINK", "UNLOCK", "UNSUBSCRIBE":
		return true
	}
	return false
}

// methodName spares the arena for the usual methods.
func methodName(h *filter.Headers, b []byte) string {
	switch string(b) {
	case "GET":
		return "GET"
	case "POST":
		return "POST"
	case "PUT":
		return "PUT"
	case "HEAD":
		return "HEAD"
	case "DELETE":
		return "DELETE"
	case "CONNECT":
		return "CONNECT"
	case "OPTIONS":
		return "OPTIONS"
	case "PATCH":
		return "PATCH"
	}
	return h.Keep(b)
}

// target takes one of the four forms of a request target.
func (c *Conn) target(t []byte) {
	h := c.m.h
	switch {
	case h.Method == "CONNECT":
		if i := bytes.LastIndexByte(t, ':'); i <= 0 || i == len(t)-1 || !all(digitChar, t[i+1:]) {
			c.fail(400, "http1.invalid_url", "CONNECT to no host and port")
			return
		}
		c.authority(t)
		c.m.absolute = true
	case t[0] == '/':
		h.Path = h.Keep(t)
	case len(t) == 1 && t[0] == '*' && h.Method == "OPTIONS":
		h.Path = "*"
	case len(t) > 7 && foldEq(t[:7], "http://"):
		h.Scheme = "http"
		c.absolute(t[7:])
	case len(t) > 8 && foldEq(t[:8], "https://"):
		h.Scheme = "https"
		c.absolute(t[8:])
	default:
		detail := badRequest
		if len(t) == 1 && t[0] == '*' {
			detail = "http1.invalid_url"
		}
		c.fail(400, detail, "request target is neither a path nor an http URL")
	}
}

func (c *Conn) absolute(t []byte) {
	h := c.m.h
	c.m.absolute = true
	i := bytes.IndexAny(t, "/?")
	switch {
	case i < 0:
		h.Path = "/"
		i = len(t)
	case t[i] == '?':
		var buf [128]byte
		h.Path = h.Keep(append(append(buf[:0], '/'), t[i:]...))
	default:
		h.Path = h.Keep(t[i:])
	}
	// What is before the host names a user, and nobody routes or decides by that.
	c.authority(t[bytes.LastIndexByte(t[:i], '@')+1 : i])
}

func (c *Conn) authority(b []byte) {
	if len(b) == 0 || !all(hostChar, b) {
		c.fail(400, "http1.invalid_authority", "empty or malformed host")
		return
	}
	c.m.h.Authority = c.m.h.Keep(b)
}

func (c *Conn) statusLine(line []byte) {
	const prefix = len("HTTP/1.x ")
	ok := len(line) >= prefix+3 && string(line[:7]) == "HTTP/1." && line[8] == ' ' &&
		(line[7] == '0' || line[7] == '1') && (len(line) == prefix+3 || line[prefix+3] == ' ')
	status := 0
	if ok {
		for _, d := range line[prefix : prefix+3] {
			ok = ok && '0' <= d && d <= '9'
			status = status*10 + int(d-'0')
		}
	}
	switch {
	case !ok || status < 100 || !all(valueChar, line):
		c.fail(502, badRequest, "malformed status line")
		return
	case c.send == sendHead:
		c.fail(502, badRequest, "response before the request")
		return
	}
	h := c.ev.NewHeaders(c.id)
	if h == nil {
		c.fail(502, badRequest, "response refused")
		return
	}
	h.Status = status
	c.m.h, c.m.minor = h, line[7]-'0'
	c.recv = inHead
}

// field splits and checks a field line; not ok: the connection has failed.
func (c *Conn) field(line []byte) (name, value []byte, ok bool) {
	c.m.bytes += len(line) + 2
	if c.m.fields++; c.m.fields > c.opt.MaxFields {
		c.fail(431, "http1.too_many_headers", "too many header fields")
		return nil, nil, false
	}
	i := bytes.IndexByte(line, ':')
	if i <= 0 || !all(tokenChar, line[:i]) {
		c.fail(400, detailOf(line[:max(i, 0)]), "malformed or folded field")
		return nil, nil, false
	}
	name, value = line[:i], trim(line[i+1:])
	if !all(valueChar, value) {
		c.fail(400, "http1.invalid_characters", "forbidden byte in a field value")
		return nil, nil, false
	}
	return name, value, true
}

// underscored tells whether a field is to be dropped for its name.
func (c *Conn) underscored(name []byte) bool {
	if c.opt.Underscores == UnderscoresAllow || bytes.IndexByte(name, '_') < 0 {
		return false
	}
	if c.opt.Underscores == UnderscoresReject {
		c.fail(400, "http1.unexpected_underscore", "field name with an underscore")
	}
	return true
}

func (c *Conn) fieldLine(line []byte) {
	if len(line) == 0 {
		c.headDone()
		return
	}
	name, value, ok := c.field(line)
	if !ok || c.underscored(name) {
		return
	}
	if c.opt.Spelling >= filter.AsWritten {
		c.m.h.KeepSpelling(c.opt.Spelling)
		c.m.h.Spell(name)
	}
	if !c.special(name, value) {
		c.m.h.AddBytes(name, value)
	}
}

// special handles the fields that belong to the framing or to the connection.
// It returns false for a field that is to be kept.
func (c *Conn) special(name, value []byte) bool {
	switch len(name) {
	case 2:
		if foldEq(name, "te") {
			return !foldEq(value, "trailers")
		}
	case 4:
		if foldEq(name, "host") && !c.client {
			c.hostField(value)
			return true
		}
	case 7:
		if foldEq(name, "upgrade") {
			c.upgradeField(value)
			return true
		}
	case 10:
		if foldEq(name, "connection") {
			c.connectionField(value)
			return true
		}
		return foldEq(name, "keep-alive")
	case 14:
		if foldEq(name, "content-length") {
			return c.lengthField(value)
		}
		return foldEq(name, "http2-settings")
	case 16:
		return foldEq(name, "proxy-connection")
	case 17:
		if foldEq(name, "transfer-encoding") {
			c.transferEncoding(value)
			return true
		}
	}
	return false
}

func (c *Conn) hostField(value []byte) {
	if c.m.host {
		c.fail(400, badRequest, "more than one host")
		return
	}
	c.m.host = true
	switch {
	case !all(hostChar, value):
		c.fail(400, "http1.invalid_authority", "malformed host")
	case !c.m.absolute: // RFC 9112 3.2.2: the target wins
		c.m.h.Authority = c.m.h.Keep(value)
	}
}

// lengthField keeps the field, once.
func (c *Conn) lengthField(value []byte) bool {
	n, ok := parseLength(value)
	switch {
	case !ok:
		c.fail(400, badRequest, "malformed content-length")
	case c.m.length >= 0:
		c.fail(400, badRequest, "more than one content-length")
	default:
		c.m.length = n
		return false
	}
	return true
}

func (c *Conn) transferEncoding(value []byte) {
	switch {
	case c.m.chunked:
		c.fail(400, badRequest, "more than one transfer-encoding")
	case !foldEq(value, "chunked"):
		c.fail(501, "http1.invalid_transfer_encoding", "transfer-encoding is not chunked")
	default:
		c.m.chunked = true
	}
}

// upgradeField takes the first protocol. h2c is none: as in Envoy, the
// request is served as HTTP/1.1.
func (c *Conn) upgradeField(value []byte) {
	for len(value) > 0 && c.m.h.Protocol == "" {
		var token []byte
		if token, value = nextToken(value); len(token) > 0 && !foldEq(token, "h2c") {
			c.m.h.Protocol = c.m.h.Keep(token)
		}
	}
}

func (c *Conn) connectionField(value []byte) {
	for len(value) > 0 {
		var token []byte
		token, value = nextToken(value)
		switch {
		case len(token) == 0:
		case foldEq(token, "close"):
			c.m.closing = true
		case foldEq(token, "keep-alive"):
			c.m.keepAlive = true
		case foldEq(token, "upgrade"):
			c.m.wantUpgrade = true
		case foldEq(token, "te"), protected(token):
		default:
			var buf [64]byte
			lower := append(buf[:0], token...)
			for i, b := range lower {
				if 'A' <= b && b <= 'Z' {
					lower[i] = b + 'a' - 'A'
				}
			}
			c.m.nominated = append(c.m.nominated, c.m.h.Keep(lower))
		}
	}
}

// protected names fields that a peer must not make us drop by naming them in
// its connection field: later hops decide by them.
func protected(name []byte) bool {
	switch len(name) {
	case 6:
		return foldEq(name, "cookie")
	case 13:
		return foldEq(name, "authorization")
	case 14:
		return foldEq(name, "content-length")
	}
	return len(name) > 12 && foldEq(name[:12], "x-forwarded-") || len(name) > 8 && foldEq(name[:8], "x-envoy-")
}

// headDone: the empty line has come.
func (c *Conn) headDone() {
	m := &c.m
	for _, name := range m.nominated {
		m.h.Del(name)
	}
	if m.closing || m.minor == 0 && !m.keepAlive {
		c.close = true
	}
	if !m.wantUpgrade || m.minor == 0 {
		m.h.Protocol = ""
	}
	switch {
	case m.chunked && m.length >= 0:
		c.fail(400, "http1.content_length_and_chunked_not_allowed", "both transfer-encoding and content-length")
	case m.chunked && m.minor == 0:
		c.fail(400, "http1.transfer_encoding_not_allowed", "transfer-encoding in HTTP/1.0")
	case c.client:
		c.responseDone()
	default:
		c.requestDone()
	}
}

func (c *Conn) requestDone() {
	m, h := &c.m, c.m.h
	if h.Authority == "" && m.minor == 0 {
		h.Authority = c.opt.DefaultHost
	}
	c.connect, c.head = h.Method == "CONNECT", h.Method == "HEAD"
	switch {
	case c.connect && m.chunked:
		c.fail(501, "http1.invalid_transfer_encoding", "CONNECT with a body")
		return
	case c.connect && m.length > 0:
		c.fail(400, "http1.body_disallowed", "CONNECT with a body")
		return
	case c.connect:
		h.Protocol = ""
	}
	c.waiting = c.connect || h.Protocol != ""
	c.open, c.send = true, sendHead
	body := c.body()
	if !body {
		c.recv = held
	}
	c.ev.OnHeaders(c.id, h, !body && !c.waiting)
}

// body chooses the phase of a body with a known framing; false: there is none.
func (c *Conn) body() bool {
	switch {
	case c.m.chunked:
		c.recv = inChunkSize
	case c.m.length > 0:
		c.recv, c.left = inBody, c.m.length
	default:
		return false
	}
	return true
}

func (c *Conn) responseDone() {
	m, h := &c.m, c.m.h
	id, status := c.id, h.Status
	bodiless := status < 200 || status == 204
	switch {
	case bodiless && m.chunked:
		c.fail(502, "http1.transfer_encoding_not_allowed", "body in a response that has none")
	case bodiless && m.length > 0:
		c.fail(502, "http1.content_length_not_allowed", "body in a response that has none")
	case status == 101 && !c.upgrade:
		c.fail(502, badRequest, "switch of protocols that nobody asked for")
	case status == 101, c.connect && status/100 == 2:
		c.recv, c.send, c.close = opaque, sendOpaque, true
		c.ev.OnHeaders(id, h, false)
		if c.open {
			c.ev.OnUpgraded(id)
		}
		if c.open && c.send == sendOpaque {
			c.ev.OnWindow(id)
		}
	case status < 200:
		if c.interim++; c.interim > codec.MaxInterim {
			c.fail(502, badRequest, "too many interim responses")
			return
		}
		c.recv = atStart
		c.ev.OnInterim(id, h)
	default:
		c.finalResponse(id, h, bodiless || status == 304 || c.head)
	}
}

func (c *Conn) finalResponse(id uint32, h *filter.Headers, bodiless bool) {
	if c.send == sendWait { // no upgrade: what was meant for it goes nowhere
		c.send = sendEnded
	}
	switch {
	case bodiless || c.m.length == 0:
		c.received()
		c.ev.OnHeaders(id, h, true)
	case c.body():
		c.ev.OnHeaders(id, h, false)
	default:
		c.recv, c.close = untilClose, true
		c.ev.OnHeaders(id, h, false)
	}
}

// received notes that the peer's message is complete. It is called before the message's
// last event, so that the owner may begin the next exchange inside of it.
func (c *Conn) received() {
	switch {
	case c.client:
		c.recv = held
		if c.send == sendEnded {
			c.over()
		}
	case c.drop:
		c.drop = false
		c.recv = atStart
	case c.send == sendOpaque:
		c.recv = opaque
	default:
		c.recv = held
	}
	if c.close && c.client || c.recv == atStart && c.close {
		c.recv = ended
	}
}
