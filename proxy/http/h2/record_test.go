package h2

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
)

// recorder writes down events, one a line; neighbouring data of a stream is joined.
type recorder struct {
	lines  []string
	data   map[uint32]*strings.Builder
	order  []uint32
	refuse bool
	onHead func(id uint32)
	onEnd  func(id uint32)
	onData func(id uint32, n int)
	onWin  func(id uint32)
}

func (r *recorder) flush() {
	for _, id := range r.order {
		r.lines = append(r.lines, fmt.Sprintf("data %d %q", id, r.data[id].String()))
	}
	r.data, r.order = nil, nil
}

func (r *recorder) add(format string, args ...any) {
	r.flush()
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

func (r *recorder) events() []string {
	r.flush()
	return r.lines
}

func (r *recorder) NewHeaders(uint32) *filter.Headers {
	if r.refuse {
		return nil
	}
	return &filter.Headers{}
}

func head(h *filter.Headers) string {
	var b strings.Builder
	if h.Method != "" {
		fmt.Fprintf(&b, " %s %s://%s%s", h.Method, h.Scheme, h.Authority, h.Path)
	}
	if h.Status != 0 {
		fmt.Fprintf(&b, " %d", h.Status)
	}
	if h.Protocol != "" {
		fmt.Fprintf(&b, " protocol=%s", h.Protocol)
	}
	for i := range h.Len() {
		fmt.Fprintf(&b, " %s=%q", h.At(i).Name, h.At(i).Value)
	}
	return b.String()
}

func (r *recorder) OnHeaders(id uint32, h *filter.Headers, end bool) {
	r.add("head %d%s end=%v", id, head(h), end)
	if r.onHead != nil {
		r.onHead(id)
	}
	if end && r.onEnd != nil {
		r.onEnd(id)
	}
}

func (r *recorder) OnInterim(id uint32, h *filter.Headers) { r.add("interim %d%s", id, head(h)) }

func (r *recorder) OnData(id uint32, b []byte, end bool) {
	if len(b) > 0 {
		if r.data[id] == nil {
			if r.data == nil {
				r.data = map[uint32]*strings.Builder{}
			}
			r.data[id] = &strings.Builder{}
			r.order = append(r.order, id)
		}
		r.data[id].Write(b)
	}
	if r.onData != nil {
		r.onData(id, len(b))
	}
	if end {
		r.add("end %d", id)
		if r.onEnd != nil {
			r.onEnd(id)
		}
	}
}

func (r *recorder) OnTrailers(id uint32, h *filter.Headers) {
	r.add("trailers %d%s", id, head(h))
	if r.onEnd != nil {
		r.onEnd(id)
	}
}
func (r *recorder) OnReset(id uint32, code codec.ResetCode) { r.add("reset %d %v", id, code) }
func (r *recorder) OnUpgraded(id uint32)                    { r.add("upgraded %d", id) }
func (r *recorder) OnGoAway(last uint32, graceful bool)     { r.add("goaway %d %v", last, graceful) }
func (r *recorder) OnWindow(id uint32) {
	r.add("window %d", id)
	if r.onWin != nil {
		r.onWin(id)
	}
}

// wire makes the bytes of a peer, frame by frame.
type wire struct {
	bytes.Buffer
	fr  *http2.Framer
	enc *hpack.Encoder
	hb  bytes.Buffer
}

func newWire() *wire {
	w := &wire{}
	w.fr = http2.NewFramer(&w.Buffer, nil)
	w.fr.AllowIllegalWrites = true
	w.enc = hpack.NewEncoder(&w.hb)
	return w
}

// clientWire has preface and SETTINGS, serverWire SETTINGS.
func clientWire(settings ...http2.Setting) *wire {
	w := newWire()
	w.WriteString(preface)
	_ = w.fr.WriteSettings(settings...)
	return w
}

func serverWire(settings ...http2.Setting) *wire {
	w := newWire()
	_ = w.fr.WriteSettings(settings...)
	return w
}

func (w *wire) block(fields ...string) []byte {
	w.hb.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = w.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return bytes.Clone(w.hb.Bytes())
}

func (w *wire) headers(id uint32, end bool, fields ...string) *wire {
	_ = w.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: w.block(fields...), EndStream: end, EndHeaders: true})
	return w
}

func (w *wire) get(id uint32) *wire { return w.headers(id, true, request()...) }

func (w *wire) post(id uint32, fields ...string) *wire {
	return w.headers(id, false, append([]string{":method", "POST", ":scheme", "http", ":authority", "h", ":path", "/"}, fields...)...)
}

func (w *wire) data(id uint32, s string, end bool) *wire {
	_ = w.fr.WriteData(id, end, []byte(s))
	return w
}

func (w *wire) raw(t http2.FrameType, flags http2.Flags, id uint32, payload string) *wire {
	_ = w.fr.WriteRawFrame(t, flags, id, []byte(payload))
	return w
}

func request(fields ...string) []string {
	return append([]string{":method", "GET", ":scheme", "http", ":authority", "h", ":path", "/"}, fields...)
}

// feed gives in to c in pieces.
func feed(c *Conn, in []byte, step int) error {
	for i := 0; i < len(in); i += step {
		if err := c.Feed(in[i:min(i+step, len(in))]); err != nil {
			return err
		}
	}
	return nil
}

// frames describes an output, one frame a line, without SETTINGS.
func frames(t testing.TB, out []byte) []string {
	t.Helper()
	out = bytes.TrimPrefix(out, []byte(preface))
	fr := http2.NewFramer(nil, bytes.NewReader(out))
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	var lines []string
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			if err.Error() != "EOF" {
				t.Errorf("output does not parse: %v", err)
			}
			return lines
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			continue
		case *http2.MetaHeadersFrame:
			var b strings.Builder
			for _, h := range f.Fields {
				fmt.Fprintf(&b, " %s=%s", h.Name, h.Value)
			}
			lines = append(lines, fmt.Sprintf("HEADERS %d%s end=%v", f.StreamID, b.String(), f.StreamEnded()))
		case *http2.DataFrame:
			lines = append(lines, fmt.Sprintf("DATA %d %q end=%v", f.StreamID, f.Data(), f.StreamEnded()))
		case *http2.RSTStreamFrame:
			lines = append(lines, fmt.Sprintf("RST %d %v", f.StreamID, f.ErrCode))
		case *http2.GoAwayFrame:
			lines = append(lines, fmt.Sprintf("GOAWAY %d %v", f.LastStreamID, f.ErrCode))
		case *http2.WindowUpdateFrame:
			lines = append(lines, fmt.Sprintf("WINDOW %d %d", f.StreamID, f.Increment))
		case *http2.PingFrame:
			lines = append(lines, fmt.Sprintf("PING %q ack=%v", f.Data[:], f.IsAck()))
		default:
			lines = append(lines, f.Header().String())
		}
	}
}

// newServer returns a server without its greeting.
func newServer(opt Options) (*recorder, *Conn) {
	r := &recorder{}
	c := NewServer(r, opt)
	c.ClearOutput()
	return r, c
}

func newClient(opt Options) (*recorder, *Conn) {
	r := &recorder{}
	c := NewClient(r, opt)
	c.ClearOutput()
	return r, c
}
