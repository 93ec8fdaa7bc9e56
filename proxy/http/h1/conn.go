package h1

import (
	"bytes"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
)

// Defaults and bounds.
const (
	defaultHeadBytes = 60 << 10 // Envoy's max_request_headers_kb
	defaultFields    = 100      // Envoy's max_headers_count
	maxChunkLine     = 4 << 10  // chunk size with extensions
	maxBlankLines    = 4        // tolerated before a request line
	// maxDiscard is how much of a request body is read and dropped to keep a
	// connection whose request was answered early.
	maxDiscard = 64 << 10
	// keepCap is the buffer capacity that an idle connection may hold on to.
	keepCap = 4 << 10
)

// Options of a Conn. The zero value is Envoy's default.
type Options struct {
	// MaxHeadBytes bounds a head or trailers (0: 60 KiB), MaxFields the number of their fields (0: 100).
	MaxHeadBytes, MaxFields int
	// HTTP10 lets a server take HTTP/1.0 requests; otherwise they get 426.
	HTTP10 bool
	// DefaultHost is the authority of HTTP/1.0 requests without a host.
	DefaultHost string
	// Trailers passes trailers on, in both directions; otherwise they are
	// checked and dropped.
	Trailers bool
	// ErrorHead appends the fields that a server's own error replies have
	// besides their framing, each with CRLF; nil: none.
	ErrorHead func(out []byte) []byte
	// Underscores says what happens to field names with an underscore.
	Underscores Underscores
	// Spelling is how field names are written, where a head does not say it itself;
	// AsWritten has received heads say it.
	Spelling filter.Spelling
	// Direct, when set, sends large pieces of bodies that would have to be copied:
	// first head, which is Output so far, then b. Neither is kept.
	Direct func(head, b []byte)
}

// Underscores is Envoy's headers_with_underscores_action.
type Underscores uint8

// Actions.
const (
	UnderscoresAllow Underscores = iota
	UnderscoresDrop
	UnderscoresReject
)

// phase is where the receiving side stands.
type phase uint8

const (
	atStart     phase = iota // before a start line
	inHead                   // among the fields of a head
	inBody                   // content-length body, c.left to come
	inChunkSize              // before a chunk size line
	inChunk                  // in a chunk's data, c.left to come
	inChunkEnd               // before the CRLF after a chunk
	inTrailers               // after the last chunk
	untilClose               // response body that ends with the connection
	opaque                   // upgraded
	held                     // server: waits for the response; client: idle
	ended                    // the peer has closed, or we are mute
)

// sending is where the sending side stands.
type sending uint8

const (
	sendIdle   sending = iota // nothing to send: no stream
	sendHead                  // head not sent yet
	sendLength                // body by content-length, c.toSend to go
	sendChunks                // body in chunks
	sendClose                 // body up to the end of the connection
	sendNone                  // body is swallowed: HEAD, 204, 304
	sendWait                  // client: an upgrade was asked for, bytes wait for the answer
	sendOpaque                // upgraded
	sendEnded
)

// Conn is one side of an HTTP/1 connection. It implements codec.Codec.
type Conn struct {
	ev     codec.Events
	opt    Options
	client bool

	id      uint32
	recv    phase
	send    sending
	open    bool // a stream is open: OnReset is owed
	feeding bool
	close   bool // no other message on this connection
	going   bool // GoAway was called
	err     *codec.Error

	// the message that is being received
	m       message
	left    int64 // of the body or chunk
	blank   int   // empty lines before the start line
	drop    bool  // the stream is over, its body goes nowhere
	waiting bool  // request for an upgrade: it has no end before it is answered

	// the exchange
	minor   byte // of the request's version
	head    bool // HEAD: the response has no body
	connect bool // CONNECT
	upgrade bool // client: the request asked for one
	interim int  // client: 1xx responses that have come
	toSend  int64

	spelled  *filter.Headers // the head being written
	spelling filter.Spelling // and how its names are

	lines int  // line ends appended to the head being written
	dirty bool // it is written again, without the line ends in its values

	tail    []byte
	scanned int // bytes at the start of tail known to have no LF
	out     []byte
}

var _ codec.Codec = (*Conn)(nil)

// NewServer makes the codec of an accepted connection.
func NewServer(ev codec.Events, opt Options) *Conn { return newConn(ev, opt, false) }

// NewClient makes the codec of a connection to an upstream.
func NewClient(ev codec.Events, opt Options) *Conn {
	c := newConn(ev, opt, true)
	c.recv = held
	return c
}

func newConn(ev codec.Events, opt Options, client bool) *Conn {
	if opt.MaxHeadBytes == 0 {
		opt.MaxHeadBytes = defaultHeadBytes
	}
	if opt.MaxFields == 0 {
		opt.MaxFields = defaultFields
	}
	return &Conn{ev: ev, opt: opt, client: client, minor: 1}
}

// Feed implements codec.Codec.
func (c *Conn) Feed(b []byte) error {
	if c.feeding {
		if len(b) > 0 {
			panic("BUG: h1: Feed with bytes inside of an event")
		}
		return nil
	}
	if c.err != nil {
		return c.err
	}
	c.feeding = true
	c.feed(b)
	c.feeding = false
	if c.err != nil {
		return c.err
	}
	return nil
}

func (c *Conn) feed(b []byte) {
	kept := len(c.tail) > 0
	if kept {
		c.tail = append(c.tail, b...)
		b = c.tail
	}
	rest := b[c.process(b):]
	switch {
	case c.err != nil || c.recv == ended || len(rest) == 0:
		c.scanned = 0
		c.tail = c.tail[:0]
		if cap(c.tail) > keepCap {
			c.tail = nil
		}
	case kept:
		c.tail = c.tail[:copy(c.tail, rest)]
	default:
		c.tail = append(c.tail, rest...)
	}
}

// process parses b as far as it goes and returns how much that was.
func (c *Conn) process(b []byte) (used int) {
	for c.err == nil && used < len(b) {
		n := 0
		switch c.recv {
		case atStart, inHead, inChunkSize, inTrailers:
			n = c.oneLine(b[used:])
		case inBody, inChunk:
			n = c.counted(b[used:])
		case inChunkEnd:
			n = c.chunkEnd(b[used:])
		case untilClose, opaque:
			n = len(b) - used
			c.deliver(b[used:])
		case ended:
			n = len(b) - used
		case held:
			if c.client {
				c.fail(502, badRequest, "bytes that no request asked for")
			}
		}
		if n == 0 {
			break
		}
		used += n
	}
	return used
}

// oneLine finds the first line of b and parses it; 0: it is incomplete.
func (c *Conn) oneLine(b []byte) int {
	if c.recv == atStart && !c.client && b[0] != '\r' && !tokenChar[b[0]] {
		c.fail(400, badRequest, "method is not a token") // do not wait for a line's end in what is no HTTP
		return 0
	}
	i := bytes.IndexByte(b[c.scanned:], '\n')
	limit := c.lineLimit()
	if i < 0 {
		c.scanned = len(b)
		if len(b) > limit {
			c.failLong()
		}
		return 0
	}
	i += c.scanned
	c.scanned = 0
	switch {
	case i+1 > limit:
		c.failLong()
		return 0
	case i == 0 || b[i-1] != '\r':
		c.fail(400, badRequest, "line ends in a bare LF")
		return 0
	}
	line := b[:i-1]
	switch c.recv {
	case atStart:
		c.startLine(line)
	case inHead:
		c.fieldLine(line)
	case inChunkSize:
		c.chunkSize(line)
	case inTrailers:
		c.trailerLine(line)
	}
	return i + 1
}

func (c *Conn) lineLimit() int {
	switch c.recv {
	case inChunkSize:
		return maxChunkLine
	case atStart:
		return c.opt.MaxHeadBytes
	}
	return c.opt.MaxHeadBytes - c.m.bytes
}

func (c *Conn) failLong() {
	if c.recv == inChunkSize {
		c.fail(400, badRequest, "chunk extensions too long")
		return
	}
	c.fail(431, "http1.headers_too_large", "headers over the limit")
}

// fail makes err the connection's error, tells the stream, and answers as a server should.
func (c *Conn) fail(status int, detail, reason string) {
	if c.err != nil {
		return
	}
	c.err = &codec.Error{Status: status, Code: codec.ResetProtocol, Detail: detail, Reason: reason}
	c.close = true
	unanswered := c.send == sendHead || c.send == sendIdle && !c.drop
	c.recv = ended
	c.reset(codec.ResetProtocol)
	if !c.client && unanswered {
		c.out = c.appendErrorReply(c.out, status, ErrorText(status))
	}
	c.send = sendEnded
}

// Refuse answers a request whose head is not whole, on a server, and ends the
// connection. false: there is no such request.
func (c *Conn) Refuse(status int, text string) bool {
	if c.client || c.open || c.err != nil || c.recv != atStart && c.recv != inHead || c.send != sendIdle {
		return false
	}
	c.out = c.appendErrorReply(c.out, status, text)
	c.Stop()
	c.send = sendEnded
	return true
}

// Partial tells whether a part of something has come, on a server, that no stream stands
// for: of a head, or of a body whose request has been answered. Blank lines are none.
func (c *Conn) Partial() bool {
	switch c.recv {
	case atStart:
		return !c.open && len(c.tail) > 0 && c.tail[0] != '\r'
	case held, ended, opaque:
		return false
	}
	return !c.open && c.err == nil
}

// reset ends the open stream, if there is one, because of the peer.
func (c *Conn) reset(code codec.ResetCode) {
	if !c.open {
		return
	}
	c.over()
	c.close = true
	c.ev.OnReset(c.id, code)
}

// over forgets the stream.
func (c *Conn) over() {
	c.open, c.waiting, c.upgrade, c.connect, c.head = false, false, false, false, false
	c.send = sendIdle
}

// End implements codec.Codec.
func (c *Conn) End() error {
	if c.err != nil {
		return c.err
	}
	c.close = true
	switch was := c.recv; {
	case was == ended:
		return nil
	case was == untilClose, was == opaque:
		c.recv = ended
		if c.send == sendEnded {
			c.over()
		}
		if !c.drop {
			c.ev.OnData(c.id, nil, true)
		}
		return nil
	case was == held && !c.client, was == held && !c.open, was == atStart && !c.open && len(c.tail) == 0, c.drop:
		// Between messages. A client that has gone does not wait for its answer.
		c.recv = ended
		c.reset(codec.ResetConnection)
		return nil
	}
	c.err = &codec.Error{Status: 400, Code: codec.ResetConnection, Detail: badRequest, Reason: "connection ended inside of a message"}
	if c.client {
		c.err.Status, c.err.Code = 502, c.brokenCode()
	}
	c.recv = ended
	c.reset(c.err.Code)
	return c.err
}

// brokenCode: a response that has begun and does not end breaks the protocol.
func (c *Conn) brokenCode() codec.ResetCode {
	if c.client && (c.recv != atStart && c.recv != held && c.recv != opaque && c.recv != ended || c.recv == atStart && len(c.tail) > 0) {
		return codec.ResetProtocol
	}
	return codec.ResetConnection
}

// Broken implements codec.Codec.
func (c *Conn) Broken() {
	code := c.brokenCode()
	c.recv, c.close = ended, true
	c.reset(code)
}

// Stop implements codec.Codec.
func (c *Conn) Stop() {
	c.recv, c.close = ended, true
	c.over()
}

// Reset implements codec.Codec.
func (c *Conn) Reset(id uint32, _ codec.ResetCode) {
	if id != c.id || !c.open {
		return
	}
	c.Stop()
	c.send = sendEnded
}

// Fresh tells whether a server could go on with a new Conn: nothing is left of the
// last exchange, and nothing is there of the next.
func (c *Conn) Fresh() bool {
	return c.recv == atStart && c.send == sendIdle && !c.open && !c.close && !c.feeding && c.err == nil && len(c.tail)+len(c.out) == 0
}

// Retained implements codec.Codec.
func (c *Conn) Retained() int { return len(c.tail) }

// NewStream implements codec.Codec.
func (c *Conn) NewStream() (uint32, bool) {
	if !c.client || c.open || c.recv != held || !c.KeepAlive() {
		return 0, false
	}
	c.id++
	c.open = true
	c.recv, c.send, c.interim = atStart, sendHead, 0
	return c.id, true
}

// Streams implements codec.Codec.
func (c *Conn) Streams() int {
	if c.open {
		return 1
	}
	return 0
}

// KeepAlive implements codec.Codec.
func (c *Conn) KeepAlive() bool { return c.err == nil && !c.close && !(c.client && c.going) }

// GoAway implements codec.Codec.
func (c *Conn) GoAway(bool) { c.going = true }

// Protocol implements codec.Codec.
func (c *Conn) Protocol() string {
	if c.minor == 0 {
		return "HTTP/1.0"
	}
	return "HTTP/1.1"
}

// Consumed implements codec.Codec: HTTP/1 has no windows.
func (c *Conn) Consumed(uint32, int) {}

// Output implements codec.Codec.
func (c *Conn) Output() []byte { return c.out }

// ClearOutput implements codec.Codec.
func (c *Conn) ClearOutput() {
	c.out = c.out[:0]
	if cap(c.out) > 16*keepCap {
		c.out = nil
	}
}
