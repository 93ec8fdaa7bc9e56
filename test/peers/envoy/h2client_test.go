package envoy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

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
		f, head, err := c.next()
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
				c.stream(id).keep(f, head)
			}
		})
		if err != nil {
			return
		}
	}
}

func (c *h2Client) play(t *testing.T) string {
	c.h2Conn = newH2(c.r, c.nc)
	if c.s.opt["preface"] != "no" {
		_, _ = io.WriteString(c.nc, http2.ClientPreface)
		c.begin(c.s.opt)
	}
	if c.s.opt["deaf"] == "" {
		c.r.wg.Go(c.read)
	}
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
		case "flood":
			c.flood()
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

// flood writes PINGs until the proxy ends the connection. The client is to be deaf.
func (c *h2Client) flood() {
	const most = 512 << 20 // far above what fills all buffers with answers
	var b bytes.Buffer
	fr := http2.NewFramer(&b, nil)
	for range 500 {
		_ = fr.WritePing(false, [8]byte{1})
	}
	for n := 0; n < most; {
		m, err := c.nc.Write(b.Bytes())
		if n += m; err != nil {
			c.r.change(func() { c.end = endOf(err) })
			return
		}
	}
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
