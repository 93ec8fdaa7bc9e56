package http

import (
	"bytes"
	"errors"
	"strings"
	"time"

	"github.com/weftmesh/weft/base/overload"
	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
	"github.com/weftmesh/weft/proxy/http/h1"
	"github.com/weftmesh/weft/proxy/http/h2"
	"github.com/weftmesh/weft/proxy/http/pool"
)

// preface is what an HTTP/2 client sends first.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// maxRetained is how much of pipelined requests may wait in the codec.
const maxRetained = 64 << 10

// conn is a downstream connection. Everything happens on its lane.
type conn struct {
	// Set at construction.
	m    *Manager
	c    stream.Conn
	info *filter.ConnInfo
	done func()

	lane  pool.Lane
	cd    codec.Codec // nil until the version is known
	two   bool        // many requests at a time: HTTP/2, messages
	flows bool        // each of them has a window: HTTP/2
	sniff []byte

	head        *filter.Headers // lent to the codec
	first, last *call           // in the order of arrival
	byID        h2.Table[call]  // where there are many
	active      int
	dead        []*call // over, to be put back at the end of the event
	requests    int

	pausers   int  // calls that want reading to stop (no windows)
	paused    bool // reading is off
	unflushed bool // HTTP/2: the event has written frames already
	blocked   bool // the client is slow: all responses pause
	unread    pool.Unread
	again     bool // HTTP/1: a response has ended, take the next request
	draining  bool
	patient   bool // HTTP/1: to be drained, but not to be closed while idle
	refusing  bool // the second GOAWAY has been sent
	moved     bool // another process has it
	closing   bool
	closed    bool

	opened    time.Time
	idleSince time.Time // no request since
	partSince time.Time // part of a head is there since
	partOf    uint32    // and of which stream, HTTP/2
	drainedAt time.Time
	timer     *time.Timer
	timerAt   time.Time // zero: not armed
	keeper    *keepalive

	xfcc     string // this hop's element, made once
	xfccMade bool

	begun bool // something has been read
}

var _ stream.Handler = (*conn)(nil)

func newConn(m *Manager, c stream.Conn, info *filter.ConnInfo, done func()) *conn {
	d := &conn{m: m, c: c, info: info, done: done}
	d.lane.AtEnd = d.atEnd
	return d
}

// open binds the connection.
func (c *conn) open() {
	c.opened = c.lane.Now()
	c.idleSince = c.opened
	if r := c.info.Resumed; r != nil {
		c.opened, c.idleSince, c.requests = c.info.Start, r.Idle, r.Requests
	}
	switch {
	case c.m.cfg.Messages != nil:
		c.speakMessages(c.m.cfg.Messages)
	case c.resumes():
		c.speak(false)
	case c.m.cfg.Codec == CodecHTTP1, c.m.cfg.Codec == CodecAuto && strings.HasPrefix(c.info.ALPN, "http/1"):
		c.speak(false)
	case c.m.cfg.Codec == CodecHTTP2, c.m.cfg.Codec == CodecAuto && c.info.ALPN == "h2":
		c.speak(true)
	}
	if l, ok := c.c.(interface{ SetLinger(time.Duration) }); ok {
		l.SetLinger(max(c.m.cfg.DelayedCloseTimeout, 0))
	}
	c.c.Bind(&c.lane.Ex, c)
	c.armIdle()
	c.armOthers()
	if c.info.Leaving {
		c.leave()
	}
}

// speak chooses the codec.
func (c *conn) speak(two bool) {
	cfg := &c.m.cfg
	c.two, c.flows = two, two
	if two {
		c.cd = h2.NewServer((*events)(c), h2.Options{
			MaxHeadBytes: cfg.MaxHeadersKiB << 10, MaxFields: cfg.MaxHeaders,
			MaxStreams:   cfg.HTTP2.MaxConcurrentStreams,
			StreamWindow: cfg.HTTP2.StreamWindow, ConnWindow: cfg.HTTP2.ConnWindow,
			Direct:   c.directFrame,
			Upgrades: cfg.HTTP2.AllowConnect, Underscores: h2.Underscores(underscores(cfg.Underscores)),
		})
		c.m.stats.CxHTTP2Total.Add(1)
		c.m.stats.CxHTTP2Active.Add(1)
		c.sayGoing()
		c.startKeepalive()
		return
	}
	c.cd = h1.NewServer((*events)(c), h1.Options{
		MaxHeadBytes: cfg.MaxHeadersKiB << 10, MaxFields: cfg.MaxHeaders,
		HTTP10: cfg.HTTP1.AcceptHTTP10, DefaultHost: cfg.HTTP1.DefaultHost,
		Trailers: cfg.HTTP1.Trailers, Underscores: h1.Underscores(underscores(cfg.Underscores)),
		Spelling:  cfg.HTTP1.Spelling,
		Direct:    c.direct,
		ErrorHead: c.errorHead,
	})
	if !c.resumes() {
		c.m.stats.CxHTTP1Total.Add(1)
	}
	c.m.stats.CxHTTP1Active.Add(1)
	c.sayGoing()
}

// sayGoing makes up for a drain that came before the version was known.
func (c *conn) sayGoing() {
	if c.draining {
		c.cd.GoAway(true)
	}
}

// errorHead appends what an error reply of the codec has in common with others.
func (c *conn) errorHead(out []byte) []byte {
	out = append(out, "date: "...)
	out = append(out, dateText(c.lane.Now())...)
	out = append(out, "\r\n"...)
	if cfg := &c.m.cfg; cfg.ServerHeader != ServerPassThrough {
		out = append(out, "server: "...)
		out = append(out, cfg.ServerName...)
		out = append(out, "\r\n"...)
	}
	return out
}

// underscores maps to the order of the codecs' constants.
func underscores(u Underscores) uint8 {
	switch u {
	case UnderscoreDrop:
		return uint8(h1.UnderscoresDrop)
	case UnderscoreReject:
		return uint8(h1.UnderscoresReject)
	}
	return uint8(h1.UnderscoresAllow)
}

// OnData implements stream.Handler.
func (c *conn) OnData(b []byte) {
	c.lane.Begin()
	c.m.stats.CxRxBytesTotal.Add(uint64(len(b)))
	if !c.begun {
		c.begun = true
		if c.m.cfg.Overload.Shed(overload.AtCodec) {
			c.m.stats.RqOverloadClose.Add(1)
			c.close()
		}
	}
	if c.cd == nil && !c.closing {
		b = c.detect(b)
	}
	if c.cd != nil && !c.closing && !c.unheard() {
		c.feed(b)
	}
	c.lane.End()
}

// unheard ends the connection of an HTTP/2 client that makes us answer without end and
// reads nothing: answers know no window. It is read from all the same until then, for what
// makes room, or an end, may come next. Envoy does not call it a protocol error.
func (c *conn) unheard() bool {
	if !c.flows || !c.unread.TooMany(c.cd.(*h2.Conn), c.c) {
		return false
	}
	c.cd.(*h2.Conn).Unread()
	c.close()
	return true
}

// detect decides by the first bytes whether HTTP/2 is spoken. It returns what
// the codec, once there is one, is to be fed with.
func (c *conn) detect(b []byte) []byte {
	if len(c.sniff) > 0 {
		c.sniff = append(c.sniff, b...)
		b = c.sniff
	}
	n := min(len(b), len(preface))
	switch {
	case !bytes.Equal(b[:n], []byte(preface[:n])):
		c.speak(false)
	case n == len(preface):
		c.speak(true)
	default:
		c.sniff = append(c.sniff[:0], b...)
		c.watchPart(0, true, false)
		return nil
	}
	c.sniff = nil
	return b
}

func (c *conn) feed(b []byte) {
	before := c.requests
	if err := c.cd.Feed(b); err != nil {
		c.m.stats.CxProtocolError.Add(1)
		c.refused(err, before)
		c.close()
		return
	}
	switch cd := c.cd.(type) {
	case *h1.Conn:
		c.watchPart(0, cd.Partial(), c.requests != before || c.active > 0)
	case *h2.Conn:
		id := cd.PartialHead()
		c.watchPart(id, id != 0, id != c.partOf)
	}
}

// refused tells the access log of a request that was no request: the codec has
// answered it.
func (c *conn) refused(err error, before int) {
	var ce *codec.Error
	if c.two || c.requests != before || c.active > 0 || !errors.As(err, &ce) || ce.Status == 0 {
		return
	}
	c.logRefused(&filter.Info{
		Status: ce.Status, Details: ce.Detail, Flags: filter.FlagDownstreamProtocolError, Sent: uint64(len(h1.ErrorText(ce.Status))),
	})
}

func (c *conn) logRefused(info *filter.Info) {
	info.Conn, info.Start, info.Duration, info.ResponseStart = c.info, c.lane.Now(), 1, 1
	info.Protocol, info.Remote, info.Request, info.Event = c.cd.Protocol(), c.info.Remote, pool.GetHeaders(), filter.EventEnd
	for _, l := range c.m.cfg.AccessLogs {
		l.Log(info)
	}
	pool.PutHeaders(info.Request)
	c.m.stats.RqTotal.Add(1)
	c.m.stats.countResponse(info.Status)
}

// OnEnd implements stream.Handler. A client that closes its half has gone, as
// Envoy sees it; only tunnels know half-closed connections, and requests that have no answer.
func (c *conn) OnEnd() {
	c.lane.Begin()
	stays := !c.two && c.first != nil && c.first.tunnel
	if c.cd != nil {
		_ = c.cd.End()
		// Messages that nobody answers are under way all the same; the last one closes.
		stays = stays || c.m.cfg.Messages != nil && c.cd.Streams() > 0
	}
	if !stays {
		c.shut()
	}
	c.lane.End()
}

// shut ends the connection because the client has gone.
func (c *conn) shut() {
	if c.cd != nil {
		c.cd.Broken()
	}
	c.close()
}

// OnDrain implements stream.Handler.
func (c *conn) OnDrain() {
	c.lane.Begin()
	if c.blocked {
		c.blocked = false
		c.again = true // pipelined requests have waited
		for s := c.first; s != nil; s = s.next {
			s.pauseResponse(pauseConn, false)
		}
	}
	c.lane.End()
}

// OnClose implements stream.Handler.
func (c *conn) OnClose(error) {
	c.lane.Begin()
	st := c.m.stats
	if c.active > 0 {
		st.CxDestroyActiveRq.Add(1)
	}
	c.closing, c.closed = true, true
	if c.cd != nil {
		c.cd.Broken()
		c.cd.Stop()
		switch {
		case c.flows:
			st.CxHTTP2Active.Add(-1)
		case !c.two:
			st.CxHTTP1Active.Add(-1)
		}
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	if c.keeper != nil {
		c.keeper.timer.Stop()
	}
	if !c.moved {
		st.CxDestroy.Add(1)
	}
	st.CxActive.Add(-1)
	c.lane.End()
	c.m.remove(c)
	c.done()
}

// close sends what is there and closes.
func (c *conn) close() {
	if c.closing {
		return
	}
	c.closing = true
	c.write()
	c.c.Close()
}

func (c *conn) write() {
	if c.cd == nil {
		return
	}
	out := c.cd.Output()
	if len(out) == 0 && !c.unflushed {
		return
	}
	c.m.stats.CxTxBytesTotal.Add(uint64(len(out)))
	switch {
	case !c.two:
		c.c.Send(out, nil)
	default:
		c.unread.Wrote(len(out))
		c.c.Write(out)
		pool.Flush(c.c)
	}
	c.unflushed = false
	c.cd.ClearOutput()
}

// direct sends a large piece of a body, and what is to go before it.
func (c *conn) direct(head, b []byte) {
	c.m.stats.CxTxBytesTotal.Add(uint64(len(head) + len(b)))
	c.c.Send(head, b)
}

// directFrame takes a large frame of a body, and what is to go before it.
func (c *conn) directFrame(head, b []byte) {
	c.m.stats.CxTxBytesTotal.Add(uint64(len(head) + len(b)))
	c.unread.Wrote(len(head) + len(b))
	pool.WriteFrame(c.c, head, b)
	c.unflushed = true
}

// atEnd is the end of every event on the lane.
func (c *conn) atEnd() {
	for c.again && !c.closing && !c.blocked {
		c.again = false
		c.feed(nil)
		if c.cd != nil && len(c.cd.Output()) > stream.LowWater {
			c.write()
			c.noteSlow()
		}
	}
	c.write()
	if !c.closing {
		c.afterWrite()
	}
	for i, s := range c.dead {
		c.dead[i] = nil
		s.recycle()
	}
	c.dead = c.dead[:0]
}

// noteSlow pauses all responses while the client does not take what there is.
func (c *conn) noteSlow() {
	if c.blocked || c.closing || c.c.Buffered() <= stream.HighWater {
		return
	}
	c.blocked = true
	for s := c.first; s != nil; s = s.next {
		s.pauseResponse(pauseConn, true)
	}
}

func (c *conn) afterWrite() {
	c.noteSlow()
	if c.deaf() {
		return
	}
	if c.cd != nil && c.active == 0 && !c.cd.KeepAlive() && c.cd.Streams() == 0 {
		c.close()
		return
	}
	if c.patient && c.move() {
		return
	}
	c.setReading()
}

// setReading turns reading on or off. An HTTP/1 client that does not take its answers may
// not ask for more, for heads know no window. Only the directions of a tunnel have nothing
// to do with each other. Of HTTP/2 clients, see unheard.
func (c *conn) setReading() {
	pause := !c.flows && (c.blocked && (c.first == nil || !c.first.tunnel) ||
		c.pausers > 0 || c.cd != nil && c.cd.Retained() > maxRetained)
	if pause != c.paused {
		c.paused = pause
		c.c.SetReading(!pause)
	}
}

// find returns the call with that id, nil when it is over.
func (c *conn) find(id uint32) *call {
	if c.two {
		return c.byID.Get(id)
	}
	return c.first
}

// events is the connection as the receiver of codec events.
type events conn

// NewHeaders implements codec.Events.
func (e *events) NewHeaders(uint32) *filter.Headers {
	if e.closing {
		return nil
	}
	if e.head == nil {
		e.head = pool.GetHeaders()
	} else {
		e.head.Reset()
	}
	return e.head
}

// OnHeaders implements codec.Events.
func (e *events) OnHeaders(id uint32, h *filter.Headers, end bool) {
	c := (*conn)(e)
	c.head = nil
	s := c.m.calls.Get().(*call)
	s.begin(c, id, h, end)
}

// OnInterim implements codec.Events: never, on a server.
func (e *events) OnInterim(uint32, *filter.Headers) {}

// OnData implements codec.Events.
func (e *events) OnData(id uint32, b []byte, end bool) {
	c := (*conn)(e)
	if s := c.find(id); s != nil {
		s.onData(b, end)
		return
	}
	c.cd.Consumed(id, len(b))
}

// OnTrailers implements codec.Events.
func (e *events) OnTrailers(id uint32, h *filter.Headers) {
	c := (*conn)(e)
	c.head = nil
	if s := c.find(id); s != nil {
		s.onTrailers(h)
		return
	}
	pool.PutHeaders(h)
}

// OnReset implements codec.Events.
func (e *events) OnReset(id uint32, code codec.ResetCode) {
	if s := (*conn)(e).find(id); s != nil {
		s.onReset(code)
	}
}

// OnUpgraded implements codec.Events.
func (e *events) OnUpgraded(uint32) {}

// OnGoAway implements codec.Events: the client opens the streams.
func (e *events) OnGoAway(uint32, bool) {}

// OnWindow implements codec.Events.
func (e *events) OnWindow(id uint32) {
	if s := (*conn)(e).find(id); s != nil {
		s.push()
	}
}
