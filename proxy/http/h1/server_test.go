package h1

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
)

const okReply = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"

func TestRequests(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		opt      Options
		want     []string
		out      string
		close    bool
	}{
		{
			name: "get", in: "GET /a?b=c HTTP/1.1\r\nHost: h:80\r\nX-A:  v \t\r\nX-a:\r\n\r\n",
			want: []string{`head 1 GET /a?b=c host=h:80 x-a="v" x-a="" end=true`}, out: okReply,
		},
		{
			name: "blank line first", in: "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
			want: []string{`head 1 GET / host=h end=true`}, out: okReply,
		},
		{
			name: "pipelined", in: "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET /3 HTTP/1.1\r\nHost: h\r\n\r\n",
			want: []string{
				`head 1 GET /1 host=h end=true`,
				`head 2 POST /2 host=h content-length="3" end=false`, `data "abc"`, `end 2`,
				`head 3 GET /3 host=h end=true`,
			},
			out: okReply + okReply + okReply,
		},
		{
			name: "chunked", in: "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n00A;x=\"y\"\r\n, world!!!\r\n0\r\nX-T: 1\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
			want: []string{
				`head 1 POST / host=h end=false`, `data "hello, world!!!"`, `end 1`,
				`head 2 GET / host=h end=true`,
			},
			out: okReply + okReply,
		},
		{
			name: "trailers", opt: Options{Trailers: true},
			in:   "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-T: 1\r\nContent-Length: 9\r\nHost: evil\r\n\r\n",
			want: []string{`head 1 POST / host=h end=false`, `data "a"`, `trailers 1 x-t="1"`}, out: okReply,
		},
		{
			name: "absolute target", in: "GET HTTP://a.b:8?q HTTP/1.1\r\nHost: other\r\n\r\n",
			want: []string{`head 1 GET /?q host=a.b:8 scheme=http end=true`}, out: okReply,
		},
		{
			name: "user in the target", in: "GET http://u:p@x@a.b/ HTTP/1.1\r\nHost: other\r\n\r\n",
			want: []string{`head 1 GET / host=a.b scheme=http end=true`}, out: okReply,
		},
		{
			name: "options asterisk", in: "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
			want: []string{`head 1 OPTIONS * host=h end=true`}, out: okReply,
		},
		{
			name: "connection fields", in: "GET / HTTP/1.1\r\nHost: h\r\nConnection: X-Hop, keep-alive, X-Forwarded-For, TE\r\nX-Hop: 1\r\nX-Forwarded-For: 1.2.3.4\r\nKeep-Alive: 5\r\nProxy-Connection: a\r\nTE: trailers\r\n\r\n",
			want: []string{`head 1 GET / host=h x-forwarded-for="1.2.3.4" te="trailers" end=true`}, out: okReply,
		},
		{
			name: "h2c is no upgrade", in: "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n\r\n",
			want: []string{`head 1 GET / host=h end=true`}, out: okReply,
		},
		{
			name: "upgrade that connection does not name", in: "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n",
			want: []string{`head 1 GET / host=h end=true`}, out: okReply,
		},
		{
			name: "close", in: "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
			want: []string{`head 1 GET / host=h end=true`}, close: true,
			out: "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
		},
		{
			name: "HTTP/1.0", opt: Options{HTTP10: true, DefaultHost: "d"}, in: "GET / HTTP/1.0\r\n\r\n",
			want: []string{`head 1 GET / host=d end=true`}, close: true,
			out: "HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
		},
		{
			name: "HTTP/1.0 keep-alive", opt: Options{HTTP10: true}, in: "GET / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n",
			want: []string{`head 1 GET / host=h end=true`},
			out:  "HTTP/1.0 200 OK\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n",
		},
		{
			name: "underscores dropped", opt: Options{Underscores: UnderscoresDrop}, in: "GET / HTTP/1.1\r\nHost: h\r\nA_b: 1\r\n\r\n",
			want: []string{`head 1 GET / host=h end=true`}, out: okReply,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, step := range []int{len(tt.in), 1, 7} {
				r, c := answering(tt.opt)
				for i := 0; i < len(tt.in); i += step {
					if err := c.Feed([]byte(tt.in[i:min(i+step, len(tt.in))])); err != nil {
						t.Fatal(err)
					}
				}
				if d := cmp.Diff(tt.want, r.events()); d != "" {
					t.Errorf("events in steps of %d (-want +got):\n%s", step, d)
				}
				if d := cmp.Diff(tt.out, string(c.Output())); d != "" {
					t.Errorf("output in steps of %d (-want +got):\n%s", step, d)
				}
				if c.KeepAlive() == tt.close || c.Streams() != 0 || c.Retained() != 0 {
					t.Errorf("keep alive %v, streams %d, retained %d", c.KeepAlive(), c.Streams(), c.Retained())
				}
			}
		})
	}
}

// TestRefused is the corpus of malformed and smuggling requests: each must end the connection
// with that status, and no request may be seen behind the bad one.
func TestRefused(t *testing.T) {
	const smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
	post := func(fields string) string { return "POST / HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n" }
	for _, tt := range []struct {
		name, in string
		status   int
		detail   string
		opt      Options
	}{
		{"CL.TE", post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\nG", 400, "http1.content_length_and_chunked_not_allowed", Options{}},
		{"TE.CL", post("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n") + "8\r\nSMUGGLED\r\n0\r\n\r\n", 400, "http1.content_length_and_chunked_not_allowed", Options{}},
		{"two lengths", post("Content-Length: 3\r\nContent-Length: 4\r\n") + "abcd", 400, badRequest, Options{}},
		{"two equal lengths", post("Content-Length: 3\r\nContent-Length: 3\r\n") + "abc", 400, badRequest, Options{}},
		{"length list", post("Content-Length: 3, 3\r\n") + "abc", 400, badRequest, Options{}},
		{"length sign", post("Content-Length: +3\r\n") + "abc", 400, badRequest, Options{}},
		{"length minus", post("Content-Length: -1\r\n"), 400, badRequest, Options{}},
		{"length hex", post("Content-Length: 0x3\r\n") + "abc", 400, badRequest, Options{}},
		{"length empty", post("Content-Length:\r\n"), 400, badRequest, Options{}},
		{"length overflow", post("Content-Length: 18446744073709551617\r\n") + "a", 400, badRequest, Options{}},
		{"length inner space", post("Content-Length: 1 1\r\n") + "a", 400, badRequest, Options{}},
		{"TE twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n", 400, badRequest, Options{}},
		{"TE identity", post("Transfer-Encoding: identity\r\n"), 501, "http1.invalid_transfer_encoding", Options{}},
		{"TE list", post("Transfer-Encoding: gzip, chunked\r\n") + "0\r\n\r\n", 501, "http1.invalid_transfer_encoding", Options{}},
		{"TE chunked twice in list", post("Transfer-Encoding: chunked, chunked\r\n") + "0\r\n\r\n", 501, "http1.invalid_transfer_encoding", Options{}},
		{"TE xchunked", post("Transfer-Encoding: xchunked\r\n"), 501, "http1.invalid_transfer_encoding", Options{}},
		{"TE quoted", post("Transfer-Encoding: \"chunked\"\r\n"), 501, "http1.invalid_transfer_encoding", Options{}},
		{"TE vertical tab", post("Transfer-Encoding: \x0bchunked\r\n"), 400, "http1.invalid_characters", Options{}},
		{"TE space before colon", post("Transfer-Encoding : chunked\r\n") + "0\r\n\r\n", 400, badRequest, Options{}},
		{"TE tab before colon", post("Transfer-Encoding\t: chunked\r\n") + "0\r\n\r\n", 400, badRequest, Options{}},
		{"TE folded", post("Transfer-Encoding:\r\n chunked\r\n") + "0\r\n\r\n", 501, "http1.invalid_transfer_encoding", Options{}},
		{"folded", post("X: a\r\n b\r\n"), 400, badRequest, Options{}},
		{"folded with tab", post("X: a\r\n\tb\r\n"), 400, badRequest, Options{}},
		{"fold as first line", "GET / HTTP/1.1\r\n Host: h\r\n\r\n", 400, badRequest, Options{}},
		{"TE in 1.0", "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "http1.transfer_encoding_not_allowed", Options{HTTP10: true}},
		{"bare LF after request line", "GET / HTTP/1.1\nHost: h\r\n\r\n", 400, badRequest, Options{}},
		{"bare LF after field", "GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n", 400, badRequest, Options{}},
		{"bare LF at the end", "GET / HTTP/1.1\r\nHost: h\r\n\n", 400, badRequest, Options{}},
		{"bare CR in a value", "GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", 400, "http1.invalid_characters", Options{}},
		{"bare CR in a name", "GET / HTTP/1.1\r\nHost: h\r\nX\rY: a\r\n\r\n", 400, "http1.invalid_characters", Options{}},
		{"CR before the empty line", "GET / HTTP/1.1\r\nHost: h\r\n\r\r\n", 400, badRequest, Options{}},
		{"NUL in a value", "GET / HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\n\r\n", 400, "http1.invalid_characters", Options{}},
		{"DEL in a value", "GET / HTTP/1.1\r\nHost: h\r\nX: \x7f\r\n\r\n", 400, "http1.invalid_characters", Options{}},
		{"no colon", "GET / HTTP/1.1\r\nHost: h\r\nXY\r\n\r\n", 400, badRequest, Options{}},
		{"empty name", "GET / HTTP/1.1\r\nHost: h\r\n: y\r\n\r\n", 400, badRequest, Options{}},
		{"pseudo header", "GET / HTTP/1.1\r\nHost: h\r\n:path: /x\r\n\r\n", 400, badRequest, Options{}},
		{"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, badRequest, Options{}},
		{"host with slash", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400, "http1.invalid_authority", Options{}},
		{"host with space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "http1.invalid_authority", Options{}},
		{"1.0", "GET / HTTP/1.0\r\nHost: h\r\n\r\n", 426, "low_version", Options{}},
		{"0.9", "GET /\r\n", 400, badRequest, Options{}},
		{"version 2", "GET / HTTP/2.0\r\n\r\n", 400, badRequest, Options{}},
		{"version 1.2", "GET / HTTP/1.2\r\nHost: h\r\n\r\n", 400, badRequest, Options{}},
		{"version lower case", "GET / http/1.1\r\nHost: h\r\n\r\n", 400, badRequest, Options{}},
		{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, badRequest, Options{}},
		{"two spaces", "GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http1.codec_error", Options{}},
		{"space in target", "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http1.codec_error", Options{}},
		{"relative target", "GET a HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http1.codec_error", Options{}},
		{"other scheme", "GET ftp://a/ HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http1.codec_error", Options{}},
		{"asterisk get", "GET * HTTP/1.1\r\nHost: h\r\n\r\n", 400, "http1.invalid_url", Options{}},
		{"trailing space", "GET / HTTP/1.1 \r\nHost: h\r\n\r\n", 400, badRequest, Options{}},
		{"leading space", " GET / HTTP/1.1\r\nHost: h\r\n\r\n", 400, badRequest, Options{}},
		{"method", "G(T / HTTP/1.1\r\nHost: h\r\n\r\n", 400, badRequest, Options{}},
		{"TLS on a plain port", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, badRequest, Options{}},
		{"many blank lines", "\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400, badRequest, Options{}},
		{"CONNECT with length", "CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\nContent-Length: 5\r\n\r\n", 400, "http1.body_disallowed", Options{}},
		{"CONNECT chunked", "CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\nTransfer-Encoding: chunked\r\n\r\n", 501, "http1.invalid_transfer_encoding", Options{}},
		{"CONNECT path", "CONNECT /x HTTP/1.1\r\nHost: h:1\r\n\r\n", 400, "http1.invalid_url", Options{}},
		{"head too large", "GET / HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("a", 61<<10) + "\r\n\r\n", 431, "http1.headers_too_large", Options{}},
		{"head too large without an end", "GET /" + strings.Repeat("a", 61<<10), 431, "http1.headers_too_large", Options{}},
		{"many small fields over the size", "GET / HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("X: aaaaaaaaaa\r\n", 20) + "\r\n", 431, "http1.headers_too_large", Options{MaxHeadBytes: 200}},
		{"too many fields", "GET / HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("X: a\r\n", 100) + "\r\n", 431, "http1.too_many_headers", Options{}},
		{"underscore", "GET / HTTP/1.1\r\nHost: h\r\nA_b: 1\r\n\r\n", 400, "http1.unexpected_underscore", Options{Underscores: UnderscoresReject}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, step := range []int{1 << 20, 1} {
				r, c := answering(tt.opt)
				err := feed(c, tt.in+smuggled, step)
				var e *codec.Error
				if !errors.As(err, &e) {
					t.Fatalf("step %d: accepted: %v", step, r.events())
				}
				if e.Status != tt.status || e.Detail != tt.detail {
					t.Errorf("step %d: got %d %v, want %d %s", step, e.Status, e, tt.status, tt.detail)
				}
				if got := r.events(); len(got) != 0 {
					t.Errorf("step %d: events of a refused request: %v", step, got)
				}
				if out := string(c.Output()); !strings.HasPrefix(out, "HTTP/1.1 ") || strings.Count(out, "HTTP/1.1 ") != 1 || !strings.Contains(out, "connection: close\r\n") {
					t.Errorf("step %d: output %q", step, out)
				}
				if c.KeepAlive() || c.Streams() != 0 {
					t.Errorf("step %d: the connection goes on", step)
				}
			}
		})
	}
}

// TestRefusedChunks: the head was good, the body is not.
func TestRefusedChunks(t *testing.T) {
	for name, body := range map[string]string{
		"empty size":                 "\r\n",
		"size with space":            "5 \r\nhello\r\n",
		"space before size":          " 5\r\nhello\r\n",
		"0x":                         "0x5\r\nhello\r\n",
		"sign":                       "+5\r\nhello\r\n",
		"underscore":                 "1_0\r\nhello",
		"overflow":                   "10000000000000005\r\nhello",
		"bare LF after size":         "5\nhello\r\n",
		"bare LF in extension":       "5;a\nhello\r\n0\r\n\r\n",
		"CR in extension":            "5;a\rb\r\nhello\r\n",
		"NUL in extension":           "5;a\x00\r\nhello\r\n",
		"longer than size":           "5\r\nhello!\r\n0\r\n\r\n",
		"shorter than size":          "6\r\nhello\r\n0\r\n\r\n",
		"bare LF after data":         "5\r\nhello\n0\r\n\r\n",
		"bare CR after data":         "5\r\nhello\r0\r\n\r\n",
		"bare LF at the end":         "0\r\n\n",
		"trailer without colon":      "0\r\nX\r\n\r\n",
		"trailer with space":         "0\r\nX : a\r\n\r\n",
		"trailer folded":             "0\r\nX: a\r\n b\r\n\r\n",
		"trailer NUL":                "0\r\nX: \x00\r\n\r\n",
		"long extension":             "5;" + strings.Repeat("a", 5000) + "\r\n",
		"long extension without end": "5;" + strings.Repeat("a", 5000),
		"too many trailers":          "0\r\n" + strings.Repeat("X: a\r\n", 101) + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			for _, step := range []int{1 << 20, 1} {
				r, c := answering(Options{Trailers: true})
				err := feed(c, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"+body+"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n", step)
				if err == nil {
					t.Fatalf("step %d: accepted: %v", step, r.events())
				}
				got := r.events()
				if last := got[len(got)-1]; last != "reset 1 PROTOCOL_ERROR" {
					t.Errorf("step %d: last event %q", step, last)
				}
				if out := string(c.Output()); strings.Count(out, "HTTP/1.1 ") != 1 {
					t.Errorf("step %d: output %q", step, out)
				}
			}
		})
	}
}

func feed(c *Conn, in string, step int) error {
	for i := 0; i < len(in); i += step {
		if err := c.Feed([]byte(in[i:min(i+step, len(in))])); err != nil {
			return err
		}
	}
	return nil
}

func TestLateResponses(t *testing.T) {
	r := &recorder{}
	c := NewServer(r, Options{})
	if err := feed(c, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\nGET", 1<<20); err != nil {
		t.Fatal(err)
	}
	if got := len(r.events()); got != 1 {
		t.Fatalf("%d events before the first response: %v", got, r.lines)
	}
	if c.Retained() == 0 || c.Streams() != 1 {
		t.Errorf("retained %d, streams %d", c.Retained(), c.Streams())
	}
	c.Headers(1, response(200, "content-length", "5"), false)
	if n := c.Data(1, []byte("hello, more than announced"), true); n != 26 {
		t.Errorf("Data took %d", n)
	}
	if c.KeepAlive() {
		t.Error("kept alive after a body longer than its length")
	}
	if want := "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"; string(c.Output()) != want {
		t.Errorf("output %q", c.Output())
	}
}

func TestFeedNilGoesOn(t *testing.T) {
	r := &recorder{}
	c := NewServer(r, Options{})
	if err := feed(c, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n", 1<<20); err != nil {
		t.Fatal(err)
	}
	c.Headers(1, response(404), true)
	if err := c.Feed(nil); err != nil {
		t.Fatal(err)
	}
	want := []string{"head 1 GET /1 host=h end=true", "head 2 GET /2 host=h end=true"}
	if d := cmp.Diff(want, r.events()); d != "" {
		t.Error(d)
	}
	c.Headers(1, response(200), true) // a stream that is over
	if out := string(c.Output()); strings.Count(out, "HTTP/1.1") != 1 {
		t.Errorf("output %q", out)
	}
}

func TestEarlyResponse(t *testing.T) {
	for _, tt := range []struct {
		name, in, rest string
		keep           bool
	}{
		{"short rest", "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe", "llo", true},
		{"long rest", "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5000000\r\n\r\nhe", "llo", false},
		{"chunks", "POST /1 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe", "\r\n0\r\n\r\n", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &recorder{}
			c := NewServer(r, Options{})
			if err := feed(c, tt.in, 1<<20); err != nil {
				t.Fatal(err)
			}
			before := len(r.events())
			c.Headers(1, response(413), true)
			if got := strings.Contains(string(c.Output()), "connection: close"); got == tt.keep {
				t.Errorf("output %q", c.Output())
			}
			if c.KeepAlive() != tt.keep || c.Streams() != 0 {
				t.Errorf("keep alive %v, streams %d", c.KeepAlive(), c.Streams())
			}
			if err := feed(c, tt.rest+"GET /2 HTTP/1.1\r\nHost: h\r\n\r\n", 1<<20); err != nil {
				t.Fatal(err)
			}
			if more := len(r.events()) - before; (more == 1) != tt.keep || !tt.keep && more != 0 {
				t.Errorf("%d events after the response: %v", more, r.lines)
			}
		})
	}
}

func response(status int, fields ...string) *filter.Headers {
	h := &filter.Headers{Status: status}
	for i := 0; i < len(fields); i += 2 {
		h.Add(fields[i], fields[i+1])
	}
	return h
}

func TestResponses(t *testing.T) {
	for _, tt := range []struct {
		name, request string
		h             *filter.Headers
		body          []string
		trailers      *filter.Headers
		opt           Options
		want          string
		close         bool
	}{
		{name: "chunked", h: response(200), body: []string{"hello", "", "world more than 16"}, want: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n12\r\nworld more than 16\r\n0\r\n\r\n"},
		{name: "length", h: response(200, "content-length", "3", "x", "y"), body: []string{"abc"}, want: "HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 3\r\n\r\nabc"},
		{name: "short", h: response(200, "content-length", "3"), body: []string{"a"}, want: "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\na", close: true},
		{name: "head", request: "HEAD", h: response(200, "content-length", "3"), body: []string{"abc"}, want: "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n"},
		{name: "no content", h: response(204, "content-length", "3"), body: []string{"abc"}, want: "HTTP/1.1 204 No Content\r\n\r\n"},
		{name: "not modified", h: response(304, "content-length", "3"), want: "HTTP/1.1 304 Not Modified\r\ncontent-length: 3\r\n\r\n"},
		{name: "empty", h: response(599), want: "HTTP/1.1 599 Unknown\r\ncontent-length: 0\r\n\r\n"},
		{name: "trailers", h: response(200), body: []string{"a"}, trailers: response(0, "x-t", "1"), opt: Options{Trailers: true}, want: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-t: 1\r\n\r\n"},
		{name: "trailers not enabled", h: response(200), body: []string{"a"}, trailers: response(0, "x-t", "1"), want: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"},
		{name: "fields of the connection", h: response(200, "connection", "close", "transfer-encoding", "gzip", "keep-alive", "x", "upgrade", "x"), want: okReply},
		{name: "line ends in a value", h: response(200, "x", "a\r\nset-cookie: b", "y", "\n"), want: "HTTP/1.1 200 OK\r\nx: aset-cookie: b\r\ny: \r\ncontent-length: 0\r\n\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			method := tt.request
			if method == "" {
				method = "GET"
			}
			r := &recorder{}
			c := NewServer(r, tt.opt)
			if err := feed(c, method+" / HTTP/1.1\r\nHost: h\r\n\r\n", 1<<20); err != nil {
				t.Fatal(err)
			}
			end := tt.body == nil && tt.trailers == nil
			c.Headers(1, tt.h, end)
			for i, b := range tt.body {
				c.Data(1, []byte(b), tt.trailers == nil && i == len(tt.body)-1)
			}
			if tt.trailers != nil {
				c.Trailers(1, tt.trailers)
			}
			if d := cmp.Diff(tt.want, string(c.Output())); d != "" {
				t.Error(d)
			}
			if c.KeepAlive() == tt.close || c.Streams() != 0 {
				t.Errorf("keep alive %v, streams %d", c.KeepAlive(), c.Streams())
			}
		})
	}
}
