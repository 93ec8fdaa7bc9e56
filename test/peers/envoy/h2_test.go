package envoy

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2Conn writes frames as scripts say and keeps what comes, for both sides.
type h2Conn struct {
	r  *run
	nc net.Conn

	wmu sync.Mutex
	fr  *http2.Framer
	buf bytes.Buffer
	enc *hpack.Encoder
	// noFlow: received bytes are not given back.
	noFlow bool
}

// h2Stream is what came on a stream.
type h2Stream struct {
	id     uint32
	blocks [][]field // header blocks in order: interim ones, headers, trailers
	body   []byte
	ended  bool
	reset  string
	conn   *h2Conn
}

func newH2(r *run, nc net.Conn) *h2Conn {
	c := &h2Conn{r: r, nc: nc, fr: http2.NewFramer(nc, nc)}
	c.fr.AllowIllegalReads, c.fr.AllowIllegalWrites = true, true
	c.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.enc = hpack.NewEncoder(&c.buf)
	return c
}

func (c *h2Conn) write(f func() error) {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	_ = f() // the other side may be gone: what it said tells
}

// do plays what clients and servers have in common.
func (c *h2Conn) do(st step, id uint32) bool {
	flag := func(name string) bool { return slices.Contains(st.args, name) }
	switch st.verb {
	case "headers":
		c.write(func() error { return c.headers(st, id, flag("end")) })
	case "data":
		text := st.text
		for _, w := range []string{"end", strconv.Itoa(int(id))} {
			if flag(w) {
				text = strings.TrimPrefix(strings.TrimPrefix(text, w), " ")
			}
		}
		if rest, ok := strings.CutPrefix(text, "end"); ok && flag("end") {
			text = strings.TrimPrefix(rest, " ")
		}
		c.write(func() error { return c.data(id, flag("end"), []byte(text)) })
	case "rst":
		code, _ := strconv.Atoi(st.args[len(st.args)-1])
		c.write(func() error { return c.fr.WriteRSTStream(id, http2.ErrCode(code)) })
	case "goaway":
		last, _ := strconv.Atoi(arg(st, 0, "0"))
		code, _ := strconv.Atoi(arg(st, 1, "0"))
		c.write(func() error { return c.fr.WriteGoAway(uint32(last), http2.ErrCode(code), nil) })
	case "settings":
		var list []http2.Setting
		for _, a := range st.args {
			k, v, _ := strings.Cut(a, "=")
			id, _ := strconv.Atoi(k)
			val, _ := strconv.ParseUint(v, 10, 32)
			list = append(list, http2.Setting{ID: http2.SettingID(id), Val: uint32(val)})
		}
		c.write(func() error { return c.fr.WriteSettings(list...) })
	case "window":
		s, _ := strconv.Atoi(st.args[0])
		n, _ := strconv.ParseUint(st.args[1], 10, 32)
		c.write(func() error { return c.fr.WriteWindowUpdate(uint32(s), uint32(n)) })
	case "frame":
		// frame TYPE FLAGS STREAM [hex]
		n := make([]uint64, 3)
		for i := range n {
			n[i], _ = strconv.ParseUint(st.args[i], 0, 32)
		}
		payload, _ := hex.DecodeString(strings.Join(st.args[3:], ""))
		c.write(func() error {
			return c.fr.WriteRawFrame(http2.FrameType(n[0]), http2.Flags(n[1]), uint32(n[2]), payload)
		})
	default:
		return false
	}
	return true
}

// headers writes a block; "split" puts each field into a CONTINUATION of its own.
func (c *h2Conn) headers(st step, id uint32, end bool) error {
	encode := func(fields []string) []byte {
		c.buf.Reset()
		for _, f := range fields {
			i := strings.Index(f[1:], ":") + 1
			name, value := f, ""
			if i > 0 {
				name, value = f[:i], strings.TrimPrefix(f[i+1:], " ")
			}
			_ = c.enc.WriteField(hpack.HeaderField{Name: name, Value: value})
		}
		return slices.Clone(c.buf.Bytes())
	}
	split := slices.Contains(st.args, "split")
	open := slices.Contains(st.args, "open") // END_HEADERS never comes
	if !split {
		return c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: encode(st.fields), EndStream: end, EndHeaders: !open})
	}
	if err := c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: encode(st.fields[:1]), EndStream: end}); err != nil {
		return err
	}
	for i, f := range st.fields[1:] {
		if err := c.fr.WriteContinuation(id, i == len(st.fields)-2, encode([]string{f})); err != nil {
			return err
		}
	}
	return nil
}

// data splits at the size that everybody takes.
func (c *h2Conn) data(id uint32, end bool, b []byte) error {
	for len(b) > 16384 {
		if err := c.fr.WriteData(id, false, b[:16384]); err != nil {
			return err
		}
		b = b[16384:]
	}
	return c.fr.WriteData(id, end, b)
}

// keep notes a frame of a stream; it is called with the run's lock held.
func (s *h2Stream) keep(f http2.Frame) {
	switch f := f.(type) {
	case *http2.MetaHeadersFrame:
		var list []field
		for _, h := range f.Fields {
			list = append(list, field{h.Name, h.Value})
		}
		s.blocks, s.ended = append(s.blocks, list), s.ended || f.StreamEnded()
	case *http2.DataFrame:
		s.body, s.ended = append(s.body, f.Data()...), s.ended || f.StreamEnded()
	case *http2.RSTStreamFrame:
		s.reset = f.ErrCode.String()
	}
}

// answer does what protocol demands of either side.
func (c *h2Conn) answer(f http2.Frame) {
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			c.write(c.fr.WriteSettingsAck)
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			c.write(func() error { return c.fr.WritePing(true, f.Data) })
		}
	case *http2.DataFrame:
		if n := f.Length; n > 0 && !c.noFlow {
			c.write(func() error { return c.fr.WriteWindowUpdate(0, n) })
			if !f.StreamEnded() {
				c.write(func() error { return c.fr.WriteWindowUpdate(f.StreamID, n) })
			}
		}
	}
}

func (s *h2Stream) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "stream %d\n", s.id)
	for i, f := range s.blocks {
		if i > 0 {
			b.WriteString("  then\n")
		}
		b.WriteString(showFields(f))
	}
	switch {
	case s.reset != "":
		fmt.Fprintf(&b, "  reset %s\n", s.reset)
	case !s.ended:
		b.WriteString("  (not ended)\n")
	}
	if len(s.body) > 0 && (s.reset == "" || s.ended) {
		fmt.Fprintf(&b, "  body %s\n", showBytes(s.body))
	}
	return b.String()
}

// h2Client is a client whose script is made of frames.
type h2Client struct {
	r  *run
	s  script
	nc net.Conn
	*h2Conn

	// Guarded by the run's lock.
	streams []*h2Stream
	goaway  string
	pong    bool
	end     string
}

func (c *h2Client) stream(id uint32) *h2Stream {
	for _, s := range c.streams {
		if s.id == id {
			return s
		}
	}
	return nil
}

func (c *h2Client) read() {
	for {
		f, err := c.fr.ReadFrame()
		if err == nil {
			c.answer(f)
		}
		c.r.change(func() {
			if err != nil {
				c.end = endOf(err)
				return
			}
			switch f := f.(type) {
			case *http2.PingFrame:
				c.pong = c.pong || f.IsAck()
			case *http2.GoAwayFrame:
				c.goaway = f.ErrCode.String()
			}
			if id := f.Header().StreamID; id != 0 {
				if c.stream(id) == nil {
					if _, update := f.(*http2.WindowUpdateFrame); update {
						return
					}
					c.streams = append(c.streams, &h2Stream{id: id})
				}
				c.stream(id).keep(f)
			}
		})
		if err != nil {
			if _, ok := err.(http2.StreamError); ok {
				continue
			}
			return
		}
	}
}

func (c *h2Client) play(t *testing.T) string {
	c.h2Conn = newH2(c.r, c.nc)
	c.noFlow = c.s.opt["noflow"] != ""
	if c.s.opt["preface"] != "no" {
		_, _ = io.WriteString(c.nc, http2.ClientPreface)
		var first []http2.Setting
		if w := c.s.opt["window"]; w != "" {
			v, _ := strconv.Atoi(w)
			first = append(first, http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(v)})
		}
		c.write(func() error { return c.fr.WriteSettings(first...) })
	}
	c.r.wg.Go(c.read)
	fate := ""
	for _, st := range c.s.steps {
		id := uint32(1)
		if v, err := strconv.ParseUint(arg(st, 0, ""), 10, 32); err == nil {
			id = uint32(v)
		}
		switch st.verb {
		case "write":
			text := st.text
			c.write(func() error { _, err := io.WriteString(c.nc, text); return err })
		case "request":
			// request STREAM METHOD PATH [end], with fields below it
			st.verb = "headers"
			st.fields = append([]string{":method: " + st.args[1], ":scheme: http", ":authority: a.example", ":path: " + st.args[2]}, st.fields...)
			c.do(st, id)
		case "wait":
			c.waitFor(st, id)
		case "half-close":
			(&client{nc: c.nc}).halfClose()
		case "end":
			fate = st.args[0]
		default:
			if !c.do(st, id) {
				c.r.shared(t, st)
			}
		}
	}
	shown := c.finish(fate)
	c.nc.Close()
	return shown
}

func (c *h2Client) waitFor(st step, id uint32) {
	head := slices.Contains(st.args, "head")
	c.r.until("client: wait "+strings.Join(st.args, " "), func() bool {
		switch st.args[0] {
		case "eof":
			return c.end != ""
		case "goaway":
			return c.goaway != "" || c.end != ""
		}
		s := c.stream(id)
		return c.end != "" || c.goaway != "" && c.goaway != "NO_ERROR" || s != nil && (s.ended || s.reset != "" || head && len(s.blocks) > 0)
	})
}

func (c *h2Client) finish(fate string) string {
	switch fate {
	case "drop":
	case "eof":
		c.r.until("client: end eof", func() bool { return c.end != "" })
	default:
		c.write(func() error { return c.fr.WritePing(false, [8]byte{'p'}) })
		c.r.until("client: ping", func() bool { return c.pong || c.end != "" })
	}
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	var b strings.Builder
	slices.SortFunc(c.streams, func(a, b *h2Stream) int { return int(a.id) - int(b.id) })
	for _, s := range c.streams {
		b.WriteString(s.String())
	}
	if c.goaway != "" {
		fmt.Fprintf(&b, "goaway %s\n", c.goaway)
	}
	switch {
	case fate == "drop":
	case c.end != "":
		b.WriteString("connection: closed\n")
	default:
		b.WriteString("connection: open\n")
	}
	return b.String()
}

// serveH2 is an upstream that speaks HTTP/2 from the first byte.
func (c *upConn) serveH2() {
	h := newH2(c.u.r, c.nc)
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(c.nc, preface); err != nil {
		c.u.r.change(func() { c.ended = true })
		return
	}
	h.write(func() error { return h.fr.WriteSettings() })
	for {
		f, err := h.fr.ReadFrame()
		if err != nil {
			c.u.r.change(func() { c.ended = true })
			return
		}
		h.answer(f)
		var fresh *h2Stream
		c.u.r.change(func() {
			id := f.Header().StreamID
			i := slices.IndexFunc(c.streams, func(s *h2Stream) bool { return s.id == id })
			switch {
			case i >= 0:
				c.streams[i].keep(f)
			case f.Header().Type == http2.FrameHeaders:
				fresh = &h2Stream{id: id, conn: h}
				fresh.keep(f)
				c.streams = append(c.streams, fresh)
			}
		})
		if fresh != nil {
			c.u.r.wg.Go(func() { c.answerH2(fresh) })
		}
	}
}

func (c *upConn) answerH2(s *h2Stream) {
	steps := c.u.take()
	if len(steps) == 0 || steps[0].verb != "early" {
		if !c.arrives(func() bool { return s.ended || s.reset != "" }) {
			return
		}
	}
	if len(steps) == 0 {
		steps = []step{{verb: "headers", fields: []string{":status: 200"}}, {verb: "data", args: []string{"end"}, text: "end ok"}}
	}
	for _, st := range steps {
		if !s.conn.do(st, s.id) && !c.do(st) {
			return
		}
	}
}
