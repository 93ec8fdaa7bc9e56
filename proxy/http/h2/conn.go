package h2

import (
	"github.com/weftmesh/weft/proxy/http/codec"
	"github.com/weftmesh/weft/proxy/http/hpack"
)

// Defaults.
const (
	defaultHeadBytes    = 60 << 10
	defaultFields       = 100
	defaultMaxStreams   = 1024
	defaultStreamWindow = 1 << 20
	defaultConnWindow   = 8 << 20
	// peerStreams is assumed before the peer's SETTINGS.
	peerStreams = 100
	// manyStreams stands for no bound.
	manyStreams = 1 << 20
	keepCap     = 4 << 10
)

// Options of a Conn. The zero value has sound defaults.
type Options struct {
	// MaxHeadBytes bounds a head or trailers, uncompressed (0: 60 KiB),
	// MaxFields the number of their fields (0: 100).
	MaxHeadBytes, MaxFields int
	// MaxStreams is how many streams the peer may have open (0: 1024).
	MaxStreams uint32
	// StreamWindow and ConnWindow are the receive windows (0: 1 MiB and 8 MiB).
	StreamWindow, ConnWindow uint32
	// Upgrades lets clients send extended CONNECT.
	Upgrades bool
	// Underscores says what happens to field names with an underscore.
	Underscores Underscores
	// Direct, when set, takes large pieces of bodies that would have to be copied:
	// first head, which is Output so far, then b. Neither may be kept.
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

// Conn is one side of an HTTP/2 connection. It implements codec.Codec.
type Conn struct {
	ev     codec.Events
	opt    Options
	client bool

	streams Table[stream]
	last    *stream // the one asked for last: frames come in runs
	free    []*stream
	blocked []*stream  // waiting for send window, in the order they began to
	shifted bool       // one of them has ended
	cut     [64]uint32 // streams that we ended first, a ring: more of them may be on its way
	cuts    int
	lastID  uint32 // highest id begun: by the peer (server), by us (client)

	// receiving
	tail     []byte
	magic    int // bytes of the preface still expected
	settled  bool
	block    block
	data     dataFrame
	pieces   []byte // of a block that comes in several frames
	dec      hpack.Decoder
	recvWin  int64 // of the connection
	recvOwed int64 // to be given back

	// sending
	out          []byte
	enc          hpack.Encoder
	blockAt      int // where the header block being written begins
	sendWin      int64
	peerWindow   int64 // of a new stream
	peerMaxFrame int
	peerStreams  uint32
	peerUpgrades bool

	feeding bool
	mute    bool
	pinged  bool // our PING has not been answered
	going   bool // GOAWAY that refuses was sent
	gone    bool // the peer sent GOAWAY
	err     *codec.Error
	flood   flood
}

var _ codec.Codec = (*Conn)(nil)

// NewServer makes the codec of an accepted connection.
func NewServer(ev codec.Events, opt Options) *Conn {
	c := newConn(ev, opt)
	c.magic = len(preface)
	c.begin()
	return c
}

// NewClient makes the codec of a connection to an upstream.
func NewClient(ev codec.Events, opt Options) *Conn {
	c := newConn(ev, opt)
	c.client = true
	c.out = append(c.out, preface...)
	c.begin()
	return c
}

func newConn(ev codec.Events, opt Options) *Conn {
	opt.MaxHeadBytes = or(opt.MaxHeadBytes, defaultHeadBytes)
	opt.MaxFields = or(opt.MaxFields, defaultFields)
	opt.MaxStreams = or(opt.MaxStreams, defaultMaxStreams)
	opt.StreamWindow = min(or(opt.StreamWindow, defaultStreamWindow), maxWindow)
	opt.ConnWindow = min(max(or(opt.ConnWindow, defaultConnWindow), defaultWindow), maxWindow)
	c := &Conn{
		ev: ev, opt: opt,
		recvWin: int64(opt.ConnWindow), sendWin: defaultWindow, peerWindow: defaultWindow,
		peerMaxFrame: ourMaxFrame, peerStreams: peerStreams,
	}
	return c
}

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// begin says our settings.
func (c *Conn) begin() {
	start := len(c.out)
	c.out = appendFrame(c.out, 0, frameSettings, 0, 0)
	if c.client {
		c.out = appendSetting(c.out, settingEnablePush, 0)
	} else {
		c.out = appendSetting(c.out, settingMaxStreams, c.opt.MaxStreams)
		if c.opt.Upgrades {
			c.out = appendSetting(c.out, settingExtendedConnect, 1)
		}
	}
	c.out = appendSetting(c.out, settingInitialWindow, c.opt.StreamWindow)
	c.out = appendSetting(c.out, settingMaxHeaderList, uint32(c.opt.MaxHeadBytes))
	c.out[start+2] = byte(len(c.out) - start - frameHeader)
	if more := c.opt.ConnWindow - defaultWindow; more > 0 {
		c.out = appendWindowUpdate(c.out, 0, more)
	}
}

// Feed implements codec.Codec.
func (c *Conn) Feed(b []byte) error {
	if c.feeding {
		if len(b) > 0 {
			panic("BUG: h2: Feed with bytes inside of an event")
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
	case c.err != nil || c.mute || len(rest) == 0:
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
	for c.err == nil && !c.mute && used < len(b) {
		n := 0
		switch rest := b[used:]; {
		case c.magic > 0:
			n = c.prefaceBytes(rest)
		case c.data.left > 0:
			n = c.dataBytes(rest)
		case c.data.pad > 0:
			n = min(c.data.pad, len(rest))
			c.data.pad -= n
		default:
			n = c.oneFrame(rest)
		}
		if n == 0 {
			break
		}
		used += n
	}
	return used
}

func (c *Conn) prefaceBytes(b []byte) int {
	n := min(c.magic, len(b))
	want := preface[len(preface)-c.magic:]
	if string(b[:n]) != want[:n] {
		c.fail(codec.ResetProtocol, "http2.protocol_error", "no HTTP/2 preface")
		return 0
	}
	c.magic -= n
	return n
}

// fail is a connection error.
func (c *Conn) fail(code codec.ResetCode, detail, reason string) {
	if c.err != nil {
		return
	}
	c.err = &codec.Error{Status: 400, Code: code, Detail: detail, Reason: reason}
	if c.client {
		c.err.Status = 502
	}
	last := c.lastID
	if c.client {
		last = 0
	}
	c.out = appendGoAway(c.out, last, code, reason)
	c.resetAll(0, code|codec.ResetLocal)
}

const violation = "http2.protocol_error"

// End implements codec.Codec.
func (c *Conn) End() error {
	if c.err != nil {
		return c.err
	}
	if c.streams.Len() > 0 && !c.mute {
		c.err = &codec.Error{Status: 400, Code: codec.ResetConnection, Detail: violation, Reason: "connection ended with open streams"}
		if c.client {
			c.err.Status = 502
		}
		c.resetAll(0, codec.ResetConnection)
		return c.err
	}
	c.mute = true
	return nil
}

// Broken implements codec.Codec.
func (c *Conn) Broken() {
	if c.err == nil && !c.mute {
		c.resetAll(0, codec.ResetConnection)
	}
	c.mute = true
}

// Stop implements codec.Codec.
func (c *Conn) Stop() {
	c.mute = true
	c.streams.Clear()
	c.blocked, c.last = nil, nil
}

// Retained implements codec.Codec.
func (c *Conn) Retained() int { return len(c.tail) }

// Streams implements codec.Codec.
func (c *Conn) Streams() int { return c.streams.Len() }

// KeepAlive implements codec.Codec.
func (c *Conn) KeepAlive() bool {
	return c.err == nil && !c.mute && !c.going && !c.gone && c.lastID < maxStreamID-2
}

// CanUpgrade tells whether the server takes extended CONNECT; false before its SETTINGS.
func (c *Conn) CanUpgrade() bool { return c.peerUpgrades }

// Settled tells whether the peer's SETTINGS have come.
func (c *Conn) Settled() bool { return c.settled }

// PeerStreams is how many streams the peer takes at a time.
func (c *Conn) PeerStreams() int { return int(c.peerStreams) }

// Protocol implements codec.Codec.
func (c *Conn) Protocol() string { return "HTTP/2" }

// Output implements codec.Codec.
func (c *Conn) Output() []byte { return c.out }

// ClearOutput implements codec.Codec.
func (c *Conn) ClearOutput() {
	c.out = c.out[:0]
	if cap(c.out) > 16*keepCap {
		c.out = nil
	}
}

// GoAway implements codec.Codec.
func (c *Conn) GoAway(graceful bool) {
	if c.err != nil || c.mute || c.going {
		return
	}
	last := c.lastID
	switch {
	case c.client:
		last = 0
		c.going = true
	case graceful:
		last = maxStreamID
	default:
		c.going = true
	}
	c.out = appendGoAway(c.out, last, codec.ResetNone, "")
}
