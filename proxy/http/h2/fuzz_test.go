package h2

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"
)

// FuzzServer checks that events and output do not depend on how the bytes were cut, and
// that what a server writes parses as HTTP/2.
func FuzzServer(f *testing.F) {
	for _, w := range []*wire{
		clientWire().get(1).get(3),
		clientWire().post(1, "content-length", "3").data(1, "abc", true),
		clientWire(http2.Setting{ID: 1, Val: 0}, http2.Setting{ID: 4, Val: 5}).post(1).data(1, "abc", false).headers(1, true, "x", "y"),
		clientWire().raw(http2.FrameHeaders, 1, 1, "\x82\x84").raw(http2.FrameContinuation, 4, 1, "\x86\x41\x01h"),
		clientWire().post(1).raw(http2.FrameData, 8, 1, "\x02abc\x00\x00").raw(http2.FrameRSTStream, 0, 1, "\x00\x00\x00\x08"),
		clientWire().raw(http2.FrameWindowUpdate, 0, 0, "\x00\x00\x00\x01").raw(http2.FramePing, 0, 0, "12345678").raw(http2.FrameGoAway, 0, 0, "12345678"),
		clientWire().headers(1, false, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "h", ":path", "/w"),
	} {
		f.Add(w.Bytes(), uint8(1))
	}
	f.Fuzz(func(t *testing.T, in []byte, step uint8) {
		run := func(step int) (events, out []string) {
			r, c := newServer(Options{MaxHeadBytes: 512, MaxFields: 8, MaxStreams: 4, StreamWindow: 64, ConnWindow: 1 << 16, Upgrades: true})
			r.onEnd = func(id uint32) {
				c.Headers(id, response(200, "content-type", "x"), false)
				c.Data(id, []byte("hello"), true)
			}
			r.onWin = func(id uint32) { c.Data(id, []byte("o"), true) }
			err := feed(c, in, step)
			if err == nil {
				err = c.End()
			}
			events = r.events()
			if err != nil {
				events = append(events, err.Error())
			}
			if c.Streams() != 0 && err != nil {
				t.Errorf("%d streams after the end", c.Streams())
			}
			return events, frames(t, c.Output())
		}
		whole, out := run(len(in) + 1)
		pieces, out2 := run(int(step%16) + 1)
		if d := cmp.Diff(whole, pieces); d != "" {
			t.Errorf("events (-whole +pieces):\n%s", d)
		}
		if d := cmp.Diff(out, out2); d != "" {
			t.Errorf("output (-whole +pieces):\n%s", d)
		}
	})
}

// FuzzClient does the same for responses.
func FuzzClient(f *testing.F) {
	for _, w := range []*wire{
		serverWire().headers(1, true, ":status", "200").headers(3, false, ":status", "200").data(3, "abc", true),
		serverWire().headers(1, false, ":status", "100").headers(1, false, ":status", "200", "content-length", "3").data(1, "abc", false).headers(1, true, "t", "u"),
		serverWire().raw(http2.FrameGoAway, 0, 0, "\x00\x00\x00\x01\x00\x00\x00\x00").headers(1, true, ":status", "304"),
		serverWire(http2.Setting{ID: 3, Val: 1}).raw(http2.FrameRSTStream, 0, 3, "\x00\x00\x00\x07"),
	} {
		f.Add(w.Bytes(), uint8(1))
	}
	f.Fuzz(func(t *testing.T, in []byte, step uint8) {
		run := func(step int) []string {
			r, c := newClient(Options{MaxHeadBytes: 512, MaxFields: 8, StreamWindow: 64, ConnWindow: 1 << 16})
			begin(t, c, 1, asked("GET", ""))
			begin(t, c, 1, asked("GET", "websocket"))
			begin(t, c, 1, asked("HEAD", ""))
			c.Data(1, nil, true)
			err := feed(c, in, step)
			if err == nil {
				err = c.End()
			}
			if err != nil {
				r.add("%v", err)
			}
			return append(r.events(), frames(t, c.Output())...)
		}
		if d := cmp.Diff(run(len(in)+1), run(int(step%16)+1)); d != "" {
			t.Errorf("(-whole +pieces):\n%s", d)
		}
	})
}
