package websocket

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// window is what each side may send without being told more: more than any case has.
const window = 1<<30 - 1

// h2conn is an HTTP/2 connection, of either side, whose streams are WebSockets.
type h2conn struct {
	nc     net.Conn
	opened func(s *h2stream) // server: a stream has come

	wmu  sync.Mutex // of fr's and enc's writing
	fr   *http2.Framer
	enc  *hpack.Encoder
	head bytes.Buffer

	mu      sync.Mutex
	cond    sync.Cond
	streams map[uint32]*h2stream
	room    int64 // for all streams
	initial int64 // for each
	extend  bool  // the peer takes extended CONNECT
	err     error
}

// h2stream is one stream as a link.
type h2stream struct {
	c      *h2conn
	id     uint32
	fields map[string]string
	in     bytes.Buffer
	end    error // what comes after in
	room   int64
	ended  bool
}

func newH2(nc net.Conn, server bool) (*h2conn, error) {
	c := &h2conn{nc: nc, fr: http2.NewFramer(nc, nc), streams: map[uint32]*h2stream{}, room: 65535, initial: 65535}
	c.cond.L = &c.mu
	c.enc = hpack.NewEncoder(&c.head)
	c.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	settings := []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: window}}
	if server {
		var hello [len(http2.ClientPreface)]byte
		if _, err := io.ReadFull(nc, hello[:]); err != nil {
			return nil, err
		}
		settings = append(settings, http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 1})
	} else if _, err := io.WriteString(nc, http2.ClientPreface); err != nil {
		return nil, err
	}
	return c, errors.Join(c.fr.WriteSettings(settings...), c.fr.WriteWindowUpdate(0, window-65535))
}

// run reads until the end.
func (c *h2conn) run() {
	for {
		f, err := c.fr.ReadFrame()
		if err != nil {
			c.change(func() {
				c.err = err
				for _, s := range c.streams {
					if s.end == nil {
						s.end = err
					}
				}
			})
			return
		}
		c.handle(f)
	}
}

func (c *h2conn) change(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	c.cond.Broadcast()
}

func (c *h2conn) write(f func(fr *http2.Framer) error) error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	return f(c.fr)
}

func (c *h2conn) handle(f http2.Frame) {
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if f.IsAck() {
			return
		}
		c.change(func() { _ = f.ForeachSetting(c.setting) })
		_ = c.write((*http2.Framer).WriteSettingsAck)
	case *http2.PingFrame:
		if !f.IsAck() {
			_ = c.write(func(fr *http2.Framer) error { return fr.WritePing(true, f.Data) })
		}
	case *http2.WindowUpdateFrame:
		c.change(func() {
			if s := c.streams[f.StreamID]; s != nil {
				s.room += int64(f.Increment)
			} else if f.StreamID == 0 {
				c.room += int64(f.Increment)
			}
		})
	case *http2.MetaHeadersFrame:
		c.headers(f)
	case *http2.DataFrame:
		c.change(func() {
			if s := c.streams[f.StreamID]; s != nil {
				s.in.Write(f.Data())
				if f.StreamEnded() && s.end == nil {
					s.end = io.EOF
				}
			}
		})
	case *http2.RSTStreamFrame:
		c.change(func() {
			if s := c.streams[f.StreamID]; s != nil && s.end == nil {
				s.end = errors.New(f.ErrCode.String())
			}
		})
	}
}

func (c *h2conn) setting(s http2.Setting) error {
	switch s.ID {
	case http2.SettingEnableConnectProtocol:
		c.extend = s.Val == 1
	case http2.SettingInitialWindowSize:
		for _, st := range c.streams {
			st.room += int64(s.Val) - c.initial
		}
		c.initial = int64(s.Val)
	}
	return nil
}

func (c *h2conn) headers(f *http2.MetaHeadersFrame) {
	var fresh *h2stream
	c.change(func() {
		s := c.streams[f.StreamID]
		if s == nil {
			s = &h2stream{c: c, id: f.StreamID, room: c.initial}
			c.streams[s.id], fresh = s, s
		}
		s.fields = map[string]string{}
		for _, h := range f.Fields {
			s.fields[h.Name] = h.Value
		}
		if f.StreamEnded() {
			s.end = io.EOF
		}
	})
	if fresh != nil && c.opened != nil {
		c.opened(fresh)
	}
}

// say sends a head.
func (s *h2stream) say(fields ...string) error {
	return s.c.write(func(fr *http2.Framer) error {
		s.c.head.Reset()
		for i := 0; i < len(fields); i += 2 {
			_ = s.c.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
		}
		return fr.WriteHeaders(http2.HeadersFrameParam{StreamID: s.id, BlockFragment: s.c.head.Bytes(), EndHeaders: true})
	})
}

// Read implements link.
func (s *h2stream) Read(p []byte) (int, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	for s.in.Len() == 0 && s.end == nil {
		s.c.cond.Wait()
	}
	if s.in.Len() > 0 {
		return s.in.Read(p)
	}
	return 0, s.end
}

// Write implements link.
func (s *h2stream) Write(p []byte) (n int, err error) {
	for n < len(p) {
		var part int
		s.c.change(func() {
			for min(s.room, s.c.room) <= 0 && s.c.err == nil && (s.end == nil || s.end == io.EOF) {
				s.c.cond.Wait()
			}
			if err = s.c.err; err == nil && s.end != nil && s.end != io.EOF {
				err = s.end
			}
			part = int(min(s.room, s.c.room, int64(len(p)-n), 16<<10))
			s.room -= int64(part)
			s.c.room -= int64(part)
		})
		if err == nil {
			err = s.c.write(func(fr *http2.Framer) error { return fr.WriteData(s.id, false, p[n:n+part]) })
		}
		if err != nil {
			return n, err
		}
		n += part
	}
	return n, nil
}

// End implements link.
func (s *h2stream) End() {
	if !s.ended {
		s.ended = true
		_ = s.c.write(func(fr *http2.Framer) error { return fr.WriteData(s.id, true, nil) })
	}
}

// Reset implements link.
func (s *h2stream) Reset() {
	s.ended = true
	_ = s.c.write(func(fr *http2.Framer) error { return fr.WriteRSTStream(s.id, http2.ErrCodeCancel) })
}
