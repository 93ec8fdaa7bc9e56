package h1

import (
	"fmt"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
)

// recorder writes down events, one a line; neighbouring data is joined so that the
// record does not depend on how the bytes were cut.
type recorder struct {
	c      *Conn
	lines  []string
	data   strings.Builder
	refuse bool
	onHead func(id uint32, h *filter.Headers, end bool)
	onEnd  func(id uint32)
	onUpgr func(id uint32)
	heads  []*filter.Headers
	ends   []bool
}

func (r *recorder) flush() {
	if r.data.Len() > 0 {
		r.lines = append(r.lines, fmt.Sprintf("data %q", r.data.String()))
		r.data.Reset()
	}
}

func (r *recorder) add(format string, args ...any) {
	r.flush()
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

func (r *recorder) NewHeaders(uint32) *filter.Headers {
	if r.refuse {
		return nil
	}
	h := new(filter.Headers)
	return h
}

func head(h *filter.Headers) string {
	var b strings.Builder
	if h.Status != 0 {
		fmt.Fprintf(&b, "%d", h.Status)
	} else {
		fmt.Fprintf(&b, "%s %s host=%s", h.Method, h.Path, h.Authority)
	}
	if h.Scheme != "" {
		fmt.Fprintf(&b, " scheme=%s", h.Scheme)
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
	r.heads, r.ends = append(r.heads, h), append(r.ends, end)
	r.add("head %d %s end=%v", id, head(h), end)
	if r.onHead != nil {
		r.onHead(id, h, end)
	}
	if end && r.onEnd != nil {
		r.onEnd(id)
	}
}

func (r *recorder) OnInterim(id uint32, h *filter.Headers) { r.add("interim %d %s", id, head(h)) }

func (r *recorder) OnData(id uint32, b []byte, end bool) {
	r.data.Write(b)
	if end {
		r.add("end %d", id)
		if r.onEnd != nil {
			r.onEnd(id)
		}
	}
}

func (r *recorder) OnTrailers(id uint32, h *filter.Headers) {
	r.add("trailers %d %s", id, strings.TrimPrefix(head(h), "  host= "))
	if r.onEnd != nil {
		r.onEnd(id)
	}
}

func (r *recorder) OnReset(id uint32, code codec.ResetCode) { r.add("reset %d %v", id, code) }
func (r *recorder) OnUpgraded(id uint32) {
	r.add("upgraded %d", id)
	if r.onUpgr != nil {
		r.onUpgr(id)
	}
}
func (r *recorder) OnGoAway(last uint32, graceful bool) { r.add("goaway %d %v", last, graceful) }
func (r *recorder) OnWindow(id uint32)                  { r.add("window %d", id) }

func (r *recorder) events() []string {
	r.flush()
	return r.lines
}

// answering returns a server whose requests are answered 200 as they end.
func answering(opt Options) (*recorder, *Conn) {
	r := &recorder{}
	r.c = NewServer(r, opt)
	r.onEnd = func(id uint32) { r.c.Headers(id, &filter.Headers{Status: 200}, true) }
	return r, r.c
}
