package envoy

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"

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

	// Of the reader alone: the header block that is coming.
	dec   *hpack.Decoder
	block *headBlock
}

// headBlock is a HEADERS frame with its CONTINUATIONs.
type headBlock struct {
	id     uint32
	raw    []byte
	ended  bool
	fields []field
}

// h2Stream is what came on a stream.
type h2Stream struct {
	id     uint32
	blocks [][]field // header blocks in order: interim ones, headers, trailers
	body   []byte
	ended  bool
	reset  string
	shut   bool // reset by us
	conn   *h2Conn
}

func newH2(r *run, nc net.Conn) *h2Conn {
	c := &h2Conn{r: r, nc: nc, fr: http2.NewFramer(nc, nc)}
	// Illegal frames are to be seen too. The Framer does not join header blocks then: next does.
	c.fr.AllowIllegalReads, c.fr.AllowIllegalWrites = true, true
	c.fr.SetMaxReadFrameSize(1 << 16) // as far as scripts allow peers to go; text read as a header is beyond it
	c.enc = hpack.NewEncoder(&c.buf)
	c.dec = hpack.NewDecoder(4096, nil)
	c.dec.SetAllowedMaxDynamicTableSize(1 << 20) // whatever a script's SETTINGS allow
	return c
}

// next is the next frame. head is set with the frame that completes a header block.
// What cannot be read is a fault of the harness or of the proxy, and fails the case.
func (c *h2Conn) next() (f http2.Frame, head *headBlock, err error) {
	if f, err = c.fr.ReadFrame(); err == nil {
		if head, err = c.join(f); err == nil {
			return f, head, nil
		}
	}
	if !connectionEnd(err) {
		c.r.change(func() { c.r.broken = append(c.r.broken, fmt.Sprintf("HTTP/2 of %s: %v", c.nc.RemoteAddr(), err)) })
		c.nc.Close() // nothing that follows could be told
	}
	return nil, nil, err
}

// join collects header blocks.
func (c *h2Conn) join(f http2.Frame) (*headBlock, error) {
	id := f.Header().StreamID
	switch h := f.(type) {
	case *http2.HeadersFrame:
		if c.block != nil {
			return nil, fmt.Errorf("HEADERS inside of a header block")
		}
		c.block = &headBlock{id: id, raw: slices.Clone(h.HeaderBlockFragment()), ended: h.StreamEnded()}
		if !h.HeadersEnded() {
			return nil, nil
		}
	case *http2.ContinuationFrame:
		if c.block == nil || c.block.id != id {
			return nil, fmt.Errorf("CONTINUATION of nothing")
		}
		c.block.raw = append(c.block.raw, h.HeaderBlockFragment()...)
		if !h.HeadersEnded() {
			return nil, nil
		}
	default:
		if c.block != nil {
			return nil, fmt.Errorf("%s inside of a header block", f.Header().Type)
		}
		return nil, nil
	}
	b := c.block
	c.block = nil
	list, err := c.dec.DecodeFull(b.raw)
	if err != nil {
		return nil, err
	}
	for _, h := range list {
		b.fields = append(b.fields, field{h.Name, h.Value})
	}
	return b, nil
}

// connectionEnd tells whether a read failed because the connection is over: all else
// is bytes that make no sense, or a harness that cannot see.
func connectionEnd(err error) bool {
	var op *net.OpError
	var alert tls.AlertError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || errors.As(err, &op) || errors.As(err, &alert)
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
		c.write(func() error { return c.fr.WriteSettings(settings(st.args)...) })
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

// settings are of the form ID=VALUE.
func settings(args []string) (list []http2.Setting) {
	for _, a := range args {
		k, v, _ := strings.Cut(a, "=")
		id, _ := strconv.Atoi(k)
		val, _ := strconv.ParseUint(v, 10, 32)
		list = append(list, http2.Setting{ID: http2.SettingID(id), Val: uint32(val)})
	}
	return list
}

// begin sends the first SETTINGS, as the script's options say.
func (c *h2Conn) begin(opt map[string]string) {
	c.noFlow = opt["noflow"] != ""
	list := settings(strings.FieldsFunc(opt["settings"], func(r rune) bool { return r == ',' }))
	if w := opt["window"]; w != "" {
		list = append(list, settings([]string{"4=" + w})...)
	}
	c.write(func() error { return c.fr.WriteSettings(list...) })
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
func (s *h2Stream) keep(f http2.Frame, head *headBlock) {
	if head != nil {
		s.blocks, s.ended = append(s.blocks, head.fields), s.ended || head.ended
	}
	switch f := f.(type) {
	case *http2.DataFrame:
		s.body, s.ended = append(s.body, f.Data()...), s.ended || f.StreamEnded()
	case *http2.RSTStreamFrame:
		s.reset = f.ErrCode.String()
	}
}

// unfinished: the proxy has to end it still, or to reset it.
func (s *h2Stream) unfinished() bool { return !s.ended && !s.shut && s.reset == "" }

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
