package h1

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
)

func request(method, path string, fields ...string) *filter.Headers {
	h := &filter.Headers{Method: method, Path: path, Authority: "h"}
	for i := 0; i < len(fields); i += 2 {
		h.Set(fields[i], fields[i+1])
	}
	return h
}

func upgradeRequest() *filter.Headers {
	h := request("GET", "/ws")
	h.Protocol = "websocket"
	return h
}

// newClient returns a client that has sent h and ended.
func newClient(h *filter.Headers, end bool, opt Options) (*recorder, *Conn) {
	r := &recorder{}
	c := NewClient(r, opt)
	r.c = c
	id, _ := c.NewStream()
	c.Headers(id, h, end)
	return r, c
}

func TestRequestsOut(t *testing.T) {
	for _, tt := range []struct {
		name string
		h    *filter.Headers
		body []string
		opt  Options
		want string
	}{
		{name: "get", h: request("GET", "/a", "x", "y"), want: "GET /a HTTP/1.1\r\nhost: h\r\nx: y\r\n\r\n"},
		{name: "no path", h: request("GET", ""), want: "GET / HTTP/1.1\r\nhost: h\r\n\r\n"},
		{name: "post without body", h: request("POST", "/"), want: "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n"},
		{name: "post length", h: request("POST", "/", "content-length", "3"), body: []string{"abc"}, want: "POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\nabc"},
		{name: "get with body", h: request("GET", "/"), body: []string{"abc"}, want: "GET / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
		{name: "hop by hop", h: request("GET", "/", "host", "evil", "connection", "x", "transfer-encoding", "y"), want: "GET / HTTP/1.1\r\nhost: h\r\n\r\n"},
		{name: "upgrade", h: upgradeRequest(), want: "GET /ws HTTP/1.1\r\nhost: h\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"},
		{name: "connect", h: request("CONNECT", ""), want: "CONNECT h HTTP/1.1\r\nhost: h\r\n\r\n"},
		{name: "line ends in the path", h: request("GET", "/ HTTP/1.1\r\nx: y"), want: "GET / HTTP/1.1x: y HTTP/1.1\r\nhost: h\r\n\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, c := newClient(tt.h, tt.body == nil && tt.h.Protocol == "" && tt.h.Method != "CONNECT", tt.opt)
			for i, b := range tt.body {
				c.Data(1, []byte(b), i == len(tt.body)-1)
			}
			if d := cmp.Diff(tt.want, string(c.Output())); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestResponsesIn(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		h        *filter.Headers
		opt      Options
		eof      bool
		want     []string
		close    bool
	}{
		{name: "length", in: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: y\r\n\r\nabc", want: []string{`head 1 200 content-length="3" x="y" end=false`, `data "abc"`, `end 1`}},
		{name: "no reason", in: "HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", want: []string{`head 1 404 content-length="0" end=true`}},
		{name: "chunked with trailers", opt: Options{Trailers: true}, in: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: u\r\n\r\n", want: []string{`head 1 200 end=false`, `data "abc"`, `trailers 1 t="u"`}},
		{name: "until close", eof: true, in: "HTTP/1.1 200 OK\r\n\r\nabc", want: []string{`head 1 200 end=false`, `data "abc"`, `end 1`}, close: true},
		{name: "connection close", in: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", want: []string{`head 1 200 content-length="0" end=true`}, close: true},
		{name: "1.0", in: "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", want: []string{`head 1 200 content-length="0" end=true`}, close: true},
		{name: "1.0 keep-alive", in: "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n", want: []string{`head 1 200 content-length="0" end=true`}},
		{name: "head", h: request("HEAD", "/"), in: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", want: []string{`head 1 200 content-length="3" end=true`}},
		{name: "204", in: "HTTP/1.1 204 No Content\r\n\r\n", want: []string{`head 1 204 end=true`}},
		{name: "304", in: "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", want: []string{`head 1 304 content-length="7" end=true`}},
		{name: "interim", in: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", want: []string{`interim 1 100`, `interim 1 103 link="x"`, `head 1 200 content-length="0" end=true`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, step := range []int{1 << 20, 1} {
				h := tt.h
				if h == nil {
					h = request("GET", "/")
				}
				r, c := newClient(h, true, tt.opt)
				if err := feed(c, tt.in, step); err != nil {
					t.Fatal(err)
				}
				if tt.eof {
					if err := c.End(); err != nil {
						t.Fatal(err)
					}
				}
				if d := cmp.Diff(tt.want, r.events()); d != "" {
					t.Error(d)
				}
				if c.KeepAlive() == tt.close || c.Streams() != 0 {
					t.Errorf("keep alive %v, streams %d", c.KeepAlive(), c.Streams())
				}
				if _, ok := c.NewStream(); ok == tt.close {
					t.Errorf("new stream %v", ok)
				}
			}
		})
	}
}

func TestResponsesRefused(t *testing.T) {
	for name, in := range map[string]string{
		"CL and TE":            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
		"two lengths":          "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
		"TE gzip":              "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
		"TE in 1.0":            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"204 with length":      "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\nabc",
		"204 chunked":          "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"100 with length":      "HTTP/1.1 100 Continue\r\nContent-Length: 3\r\n\r\nabc",
		"switch unasked":       "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
		"status two digits":    "HTTP/1.1 20 OK\r\n\r\n",
		"status four digits":   "HTTP/1.1 2000 OK\r\n\r\n",
		"status 099":           "HTTP/1.1 099 OK\r\n\r\n",
		"version":              "HTTP/2.0 200 OK\r\n\r\n",
		"bare LF":              "HTTP/1.1 200 OK\n\n",
		"folded":               "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
		"NUL in reason":        "HTTP/1.1 200 O\x00K\r\n\r\n",
		"blank line":           "\r\nHTTP/1.1 200 OK\r\n\r\n",
		"bytes after the end":  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
		"bytes after no body":  "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\nabc",
		"not HTTP":             "220 mail.example.com ESMTP\r\n",
		"malformed chunk size": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			for _, step := range []int{1 << 20, 1} {
				_, c := newClient(request("GET", "/"), true, Options{})
				c.ClearOutput()
				var e *codec.Error
				if err := feed(c, in, step); !errors.As(err, &e) {
					t.Fatalf("accepted in steps of %d", step)
				}
				if len(c.Output()) > 0 || c.KeepAlive() || c.Streams() != 0 {
					t.Errorf("output %q, keep alive %v, streams %d", c.Output(), c.KeepAlive(), c.Streams())
				}
			}
		})
	}
}

func TestResponseWithoutRequest(t *testing.T) {
	c := NewClient(&recorder{}, Options{})
	if err := c.Feed([]byte("HTTP/1.1 200 OK\r\n\r\n")); err == nil {
		t.Error("accepted")
	}
}

func TestClientEndInsideOfMessage(t *testing.T) {
	for in, want := range map[string]string{
		"":             "CONNECTION_TERMINATION",
		"HTTP/1.1 200": "PROTOCOL_ERROR",
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab":                   "PROTOCOL_ERROR",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n": "PROTOCOL_ERROR",
	} {
		r, c := newClient(request("GET", "/"), true, Options{})
		if err := feed(c, in, 1<<20); err != nil {
			t.Fatal(err)
		}
		if err := c.End(); err == nil {
			t.Errorf("%q: no error", in)
		}
		got := r.events()
		if last := got[len(got)-1]; last != "reset 1 "+want {
			t.Errorf("%q: last event %q, want %s", in, last, want)
		}
	}
}

func TestClientReuse(t *testing.T) {
	r := &recorder{}
	c := NewClient(r, Options{})
	r.c = c
	for range 3 {
		id, ok := c.NewStream()
		if !ok {
			t.Fatal("no stream")
		}
		if _, again := c.NewStream(); again {
			t.Fatal("two streams at a time")
		}
		c.Headers(id, request("GET", "/"), true)
		if err := feed(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", 3); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Count(strings.Join(r.events(), "\n"), "end 3"); got != 1 {
		t.Error(r.lines)
	}
}

// TestResponseBeforeRequestEnd: the stream stays until both have ended.
func TestResponseBeforeRequestEnd(t *testing.T) {
	_, c := newClient(request("POST", "/"), false, Options{})
	if err := feed(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 1<<20); err != nil {
		t.Fatal(err)
	}
	if c.Streams() != 1 {
		t.Fatal("stream is over before the request has ended")
	}
	c.Data(1, []byte("x"), true)
	if c.Streams() != 0 || !c.KeepAlive() {
		t.Errorf("streams %d, keep alive %v", c.Streams(), c.KeepAlive())
	}
}

func TestUpgradeThrough(t *testing.T) {
	for _, step := range []int{1 << 20, 1} {
		server := &recorder{}
		s := NewServer(server, Options{})
		in := "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\nearly"
		if err := feed(s, in, step); err != nil {
			t.Fatal(err)
		}
		client, c := newClient(upgradeRequest(), false, Options{})
		if n := c.Data(1, []byte("early"), false); n != 0 {
			t.Errorf("client took %d bytes before the upgrade", n)
		}
		if err := feed(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nfrom upstream", step); err != nil {
			t.Fatal(err)
		}
		want := []string{`head 1 101 protocol=websocket end=false`, `upgraded 1`, `window 1`, `data "from upstream"`}
		if d := cmp.Diff(want, client.events()); d != "" {
			t.Error(d)
		}
		h := response(101)
		h.Protocol = "websocket"
		s.Headers(1, h, false)
		s.Data(1, []byte("\x81\x00"), false)
		if d := cmp.Diff("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n\x81\x00", string(s.Output())); d != "" {
			t.Error(d)
		}
		if err := s.Feed(nil); err != nil {
			t.Fatal(err)
		}
		if err := s.End(); err != nil {
			t.Fatal(err)
		}
		if s.Streams() != 1 {
			t.Error("half-closed stream is over")
		}
		s.Data(1, nil, true)
		if s.Streams() != 0 || s.KeepAlive() {
			t.Error("stream goes on after both ends")
		}
		want = []string{`head 1 GET /ws host=h protocol=websocket end=false`, `data "early"`, `end 1`}
		if d := cmp.Diff(want, server.events()); d != "" {
			t.Error(d)
		}
	}
}

func TestUpgradeDenied(t *testing.T) {
	r, c := newClient(upgradeRequest(), false, Options{})
	if err := feed(c, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 1); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{`head 1 403 content-length="2" end=false`, `data "no"`, `end 1`}, r.events()); d != "" {
		t.Error(d)
	}
	if c.Streams() != 0 || !c.KeepAlive() {
		t.Errorf("client: streams %d, keep alive %v", c.Streams(), c.KeepAlive())
	}

	sr := &recorder{}
	s := NewServer(sr, Options{})
	if err := feed(s, "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n", 1<<20); err != nil {
		t.Fatal(err)
	}
	s.Headers(1, response(403), true)
	if err := s.Feed(nil); err != nil {
		t.Fatal(err)
	}
	if got := sr.events(); len(got) != 2 || got[1] != "head 2 GET /2 host=h end=true" {
		t.Error(got)
	}
}

func TestConnect(t *testing.T) {
	r := &recorder{}
	s := NewServer(r, Options{})
	if err := feed(s, "CONNECT a.b:443 HTTP/1.1\r\nHost: a.b:443\r\n\r\nbytes", 1<<20); err != nil {
		t.Fatal(err)
	}
	s.Headers(1, response(200), false)
	if err := s.Feed([]byte(" more")); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{`head 1 CONNECT  host=a.b:443 end=false`, `data "bytes more"`}, r.events()); d != "" {
		t.Error(d)
	}
	if got := string(s.Output()); got != "HTTP/1.1 200 OK\r\n\r\n" {
		t.Errorf("output %q", got)
	}

	client, c := newClient(request("CONNECT", ""), false, Options{})
	if err := feed(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nxyz", 1); err != nil {
		t.Fatal(err)
	}
	want := []string{`head 1 200 content-length="5" end=false`, `upgraded 1`, `window 1`, `data "xyz"`}
	if d := cmp.Diff(want, client.events()); d != "" {
		t.Error(d)
	}
}

func TestServerEnd(t *testing.T) {
	for _, tt := range []struct {
		in   string
		err  bool
		last string
	}{
		{"", false, ""},
		{"GET / HTTP/1.1\r\nHost", true, ""},
		{"GET / HTTP/1.1\r\nHost: h\r\n\r\n", false, "reset 1 CONNECTION_TERMINATION"},
		{"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n", true, "reset 1 CONNECTION_TERMINATION"},
	} {
		r := &recorder{}
		c := NewServer(r, Options{})
		if err := feed(c, tt.in, 1<<20); err != nil {
			t.Fatal(err)
		}
		if err := c.End(); (err != nil) != tt.err {
			t.Errorf("%q: %v", tt.in, err)
		}
		last := ""
		if got := r.events(); len(got) > 0 {
			last = got[len(got)-1]
		}
		if last != tt.last && tt.last != "" {
			t.Errorf("%q: last event %q", tt.in, last)
		}
		if c.KeepAlive() || c.Streams() != 0 {
			t.Errorf("%q: goes on", tt.in)
		}
	}
}

func TestResetStopBroken(t *testing.T) {
	for name, end := range map[string]func(c *Conn){
		"reset":  func(c *Conn) { c.Reset(1, codec.ResetCancel) },
		"stop":   func(c *Conn) { c.Stop() },
		"broken": func(c *Conn) { c.Broken() },
	} {
		r := &recorder{}
		c := NewServer(r, Options{})
		if err := feed(c, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n", 1<<20); err != nil {
			t.Fatal(err)
		}
		end(c)
		if err := c.Feed([]byte("abcGET / HTTP/1.1\r\nHost: h\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		want := 1
		if name == "broken" {
			want = 2
		}
		if got := r.events(); len(got) != want || c.Streams() != 0 || c.KeepAlive() {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestGoAwayAndInterim(t *testing.T) {
	r := &recorder{}
	c := NewServer(r, Options{})
	c.GoAway(true)
	if !c.KeepAlive() {
		t.Error("an idle connection must wait for its next response")
	}
	if err := feed(c, "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", 1<<20); err != nil {
		t.Fatal(err)
	}
	c.Interim(1, response(100))
	if err := feed(c, "x", 1); err != nil {
		t.Fatal(err)
	}
	c.Headers(1, response(200), true)
	if want := "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"; string(c.Output()) != want {
		t.Errorf("output %q", c.Output())
	}
	if c.KeepAlive() {
		t.Error("kept alive")
	}
}

func TestRefuseStream(t *testing.T) {
	r := &recorder{refuse: true}
	c := NewServer(r, Options{})
	if err := feed(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", 1<<20); err == nil {
		t.Fatal("accepted")
	}
	if !strings.HasPrefix(string(c.Output()), "HTTP/1.1 503 ") {
		t.Errorf("output %q", c.Output())
	}
}
