package h2

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
)

// begin opens n streams that are still sending.
func begin(t testing.TB, c *Conn, n int, h *filter.Headers) {
	t.Helper()
	for range n {
		id, ok := c.NewStream()
		if !ok {
			t.Fatal("no stream")
		}
		c.Headers(id, h, false)
	}
}

func asked(method, protocol string, fields ...string) *filter.Headers {
	h := &filter.Headers{Method: method, Scheme: "http", Authority: "h", Path: "/p", Protocol: protocol}
	for i := 0; i < len(fields); i += 2 {
		h.Add(fields[i], fields[i+1])
	}
	return h
}

func TestRequestsOut(t *testing.T) {
	for _, tt := range []struct {
		name string
		h    *filter.Headers
		want string
	}{
		{"get", asked("GET", "", "x", "y", "user-agent", "u"), `HEADERS 1 :method=GET :authority=h :scheme=http :path=/p x=y user-agent=u end=false`},
		{"defaults", &filter.Headers{Method: "GET", Authority: "h"}, `HEADERS 1 :method=GET :authority=h :scheme=http :path=/ end=false`},
		{"hop by hop", asked("GET", "", "connection", "x", "te", "gzip", "host", "i", "transfer-encoding", "chunked"), `HEADERS 1 :method=GET :authority=h :scheme=http :path=/p end=false`},
		{"te", asked("POST", "", "te", "trailers"), `HEADERS 1 :method=POST :authority=h :scheme=http :path=/p te=trailers end=false`},
		{"connect", asked("CONNECT", ""), `HEADERS 1 :method=CONNECT :authority=h end=false`},
		{"upgrade", asked("GET", "websocket"), `HEADERS 1 :method=CONNECT :authority=h :scheme=http :path=/p :protocol=websocket end=false`},
	} {
		_, c := newClient(Options{})
		begin(t, c, 1, tt.h)
		if d := cmp.Diff([]string{tt.want}, frames(t, c.Output())); d != "" {
			t.Errorf("%s: %s", tt.name, d)
		}
	}
}

// interims is a server that says no more than it will come to it.
func interims(n int) *wire {
	w := serverWire()
	for range n {
		w.headers(1, false, ":status", "103")
	}
	return w
}

func TestResponsesIn(t *testing.T) {
	for _, tt := range []struct {
		name string
		h    *filter.Headers
		in   *wire
		want []string
	}{
		{"head only", asked("GET", ""), serverWire().headers(1, true, ":status", "204", "x", "y"), []string{`head 1 204 x="y" end=true`}},
		{"body and trailers", asked("GET", ""), serverWire().headers(1, false, ":status", "200").data(1, "abc", false).headers(1, true, "t", "u"), []string{`head 1 200 end=false`, `data 1 "abc"`, `trailers 1 t="u"`}},
		{"interim", asked("GET", ""), serverWire().headers(1, false, ":status", "100").headers(1, true, ":status", "200"), []string{`interim 1 100`, `head 1 200 end=true`}},
		{"interim without end", asked("GET", ""), interims(codec.MaxInterim+1).headers(1, true, ":status", "200"),
			append(slices.Repeat([]string{`interim 1 103`}, codec.MaxInterim), `reset 1 PROTOCOL_ERROR`)},
		{"length of a head request", asked("HEAD", ""), serverWire().headers(1, true, ":status", "200", "content-length", "5"), []string{`head 1 200 content-length="5" end=true`}},
		{"length of 304", asked("GET", ""), serverWire().headers(1, true, ":status", "304", "content-length", "5"), []string{`head 1 304 content-length="5" end=true`}},
		{"length", asked("GET", ""), serverWire().headers(1, false, ":status", "200", "content-length", "3").data(1, "abc", true), []string{`head 1 200 content-length="3" end=false`, `data 1 "abc"`, `end 1`}},
		{"upgraded", asked("GET", "websocket"), serverWire().headers(1, false, ":status", "200").data(1, "abc", false), []string{`head 1 101 protocol=websocket end=false`, `upgraded 1`, `data 1 "abc"`}},
		{"upgrade denied", asked("GET", "websocket"), serverWire().headers(1, true, ":status", "403"), []string{`head 1 403 end=true`}},
		{"connected", asked("CONNECT", ""), serverWire().headers(1, false, ":status", "200"), []string{`head 1 200 end=false`, `upgraded 1`}},
		{"refused", asked("GET", ""), serverWire().raw(http2.FrameRSTStream, 0, 1, "\x00\x00\x00\x07"), []string{`reset 1 REFUSED_STREAM`}},

		{"no status", asked("GET", ""), serverWire().headers(1, true, "x", "y"), []string{`reset 1 PROTOCOL_ERROR`}},
		{"status 101", asked("GET", "websocket"), serverWire().headers(1, false, ":status", "101"), []string{`reset 1 PROTOCOL_ERROR`}},
		{"status of four digits", asked("GET", ""), serverWire().headers(1, true, ":status", "2000"), []string{`reset 1 PROTOCOL_ERROR`}},
		{"status of letters", asked("GET", ""), serverWire().headers(1, true, ":status", "2x0"), []string{`reset 1 PROTOCOL_ERROR`}},
		{"path in a response", asked("GET", ""), serverWire().headers(1, true, ":status", "200", ":path", "/"), []string{`reset 1 PROTOCOL_ERROR`}},
		{"interim that ends", asked("GET", ""), serverWire().headers(1, true, ":status", "100"), []string{`reset 1 PROTOCOL_ERROR`}},
		{"data before the head", asked("GET", ""), serverWire().data(1, "x", false), []string{`reset 1 PROTOCOL_ERROR`}},
		{"too short", asked("GET", ""), serverWire().headers(1, false, ":status", "200", "content-length", "3").data(1, "ab", true), []string{`head 1 200 content-length="3" end=false`, `reset 1 PROTOCOL_ERROR`}},
		{"no body at all", asked("GET", ""), serverWire().headers(1, true, ":status", "200", "content-length", "3"), []string{`reset 1 PROTOCOL_ERROR`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, step := range []int{tt.in.Len(), 1} {
				r, c := newClient(Options{})
				begin(t, c, 1, tt.h)
				if err := feed(c, tt.in.Bytes(), step); err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(tt.want, r.events()); d != "" {
					t.Errorf("in steps of %d (-want +got):\n%s", step, d)
				}
			}
		})
	}
}

func TestClientConnectionErrors(t *testing.T) {
	for name, in := range map[string]*wire{
		"push":                      serverWire().raw(http2.FramePushPromise, 4, 1, "\x00\x00\x00\x02"),
		"head of an idle stream":    serverWire().headers(3, true, ":status", "200"),
		"head of an even stream":    serverWire().headers(2, true, ":status", "200"),
		"push switched on":          serverWire(http2.Setting{ID: 2, Val: 1}),
		"HTTP/1":                    func() *wire { w := newWire(); w.WriteString("HTTP/1.1 400 Bad Request\r\n\r\n"); return w }(),
		"goaway before anything":    func() *wire { return newWire().raw(http2.FrameGoAway, 0, 0, "12345678") }(),
		"data of the connection":    serverWire().data(0, "x", false),
		"window update of its size": serverWire().raw(http2.FrameWindowUpdate, 0, 0, "123"),
	} {
		r, c := newClient(Options{})
		begin(t, c, 1, asked("GET", ""))
		var e *codec.Error
		if err := feed(c, in.Bytes(), 1<<20); !errors.As(err, &e) || e.Status != 502 {
			t.Errorf("%s: %v", name, err)
		}
		if got := r.events(); len(got) != 1 || c.Streams() != 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestClientGoAway(t *testing.T) {
	r, c := newClient(Options{})
	begin(t, c, 3, asked("GET", ""))
	in := serverWire().raw(http2.FrameGoAway, 0, 0, "\x7f\xff\xff\xff\x00\x00\x00\x00").raw(http2.FrameGoAway, 0, 0, "\x00\x00\x00\x03\x00\x00\x00\x00").
		headers(1, true, ":status", "200")
	if err := feed(c, in.Bytes(), 1<<20); err != nil {
		t.Fatal(err)
	}
	want := []string{"goaway 2147483647 true", "goaway 3 false", "reset 5 REFUSED_STREAM", "head 1 200 end=true"}
	if d := cmp.Diff(want, r.events()); d != "" {
		t.Error(d)
	}
	if _, ok := c.NewStream(); ok || c.KeepAlive() {
		t.Error("a new stream after GOAWAY")
	}
}

func TestPeerSettings(t *testing.T) {
	r, c := newClient(Options{})
	if c.CanUpgrade() || c.Settled() {
		t.Error("settled before SETTINGS")
	}
	if err := feed(c, serverWire(http2.Setting{ID: 3, Val: 2}, http2.Setting{ID: 8, Val: 1}, http2.Setting{ID: 0x99, Val: 7}).Bytes(), 1<<20); err != nil {
		t.Fatal(err)
	}
	if !c.CanUpgrade() || !c.Settled() {
		t.Error("SETTINGS were not taken")
	}
	begin(t, c, 2, asked("GET", ""))
	if _, ok := c.NewStream(); ok {
		t.Error("a stream over the peer's limit")
	}
	if got := r.events(); len(got) != 0 {
		t.Error(got)
	}
	c.Reset(1, codec.ResetCancel)
	if _, ok := c.NewStream(); !ok {
		t.Error("no stream after another has ended")
	}
}

// TestRejectedEarly: the response has ended, the server wants no more of the request.
func TestRejectedEarly(t *testing.T) {
	r, c := newClient(Options{})
	begin(t, c, 1, asked("POST", ""))
	if err := feed(c, serverWire().headers(1, true, ":status", "413").raw(http2.FrameRSTStream, 0, 1, "\x00\x00\x00\x00").Bytes(), 1<<20); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{`head 1 413 end=true`, `reset 1 NO_ERROR`}, r.events()); d != "" {
		t.Error(d)
	}
	if n := c.Data(1, []byte("xyz"), true); n != 3 || c.Streams() != 0 {
		t.Errorf("data of a stream that is over: took %d, %d streams", n, c.Streams())
	}
}
