package h2

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/http2"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/http/codec"
)

func response(status int, fields ...string) *filter.Headers {
	h := &filter.Headers{Status: status}
	for i := 0; i < len(fields); i += 2 {
		h.Add(fields[i], fields[i+1])
	}
	return h
}

func TestRequests(t *testing.T) {
	split := newWire().block(request("x-long", strings.Repeat("l", 100))...)
	for _, tt := range []struct {
		name string
		opt  Options
		in   *wire
		want []string
		out  []string
	}{
		{name: "get", in: clientWire().get(1), want: []string{`head 1 GET http://h/ end=true`}},
		{name: "body", in: clientWire().post(1, "content-length", "5").data(1, "he", false).data(1, "llo", true),
			want: []string{`head 1 POST http://h/ content-length="5" end=false`, `data 1 "hello"`, `end 1`}},
		{name: "trailers", in: clientWire().post(1).data(1, "a", false).headers(1, true, "x-t", "1"),
			want: []string{`head 1 POST http://h/ end=false`, `data 1 "a"`, `trailers 1 x-t="1"`}},
		{name: "interleaved", in: clientWire().post(1).post(3).data(1, "a", false).data(3, "b", true).data(1, "c", true),
			want: []string{`head 1 POST http://h/ end=false`, `head 3 POST http://h/ end=false`, `data 1 "a"`, `data 3 "b"`, `end 3`, `data 1 "c"`, `end 1`}},
		{name: "continuation", in: clientWire().raw(http2.FrameHeaders, 1, 1, string(split[:10])).
			raw(http2.FrameContinuation, 0, 1, string(split[10:20])).raw(http2.FrameContinuation, 4, 1, string(split[20:])),
			want: []string{fmt.Sprintf(`head 1 GET http://h/ x-long=%q end=true`, strings.Repeat("l", 100))}},
		{name: "padding and priority", in: clientWire().raw(http2.FrameHeaders, 0x8|0x20|4, 1, "\x03\x00\x00\x00\x00\x10"+string(newWire().block(request()...))+"\x00\x00\x00").
			raw(http2.FrameData, 0x8, 1, "\x02abc\x00\x00").raw(http2.FrameData, 0x8|1, 1, "\x00"),
			want: []string{`head 1 GET http://h/ end=false`, `data 1 "abc"`, `end 1`}},
		{name: "cookies are joined", in: clientWire().headers(1, true, request("cookie", "a=b", "x", "y", "cookie", "c=d")...),
			want: []string{`head 1 GET http://h/ cookie="a=b; c=d" x="y" end=true`}},
		{name: "host instead of authority", in: clientWire().headers(1, true, ":method", "GET", ":scheme", "http", ":path", "/", "host", "hh"),
			want: []string{`head 1 GET http://hh/ end=true`}},
		{name: "authority wins over host", in: clientWire().headers(1, true, request("host", "hh")...), want: []string{`head 1 GET http://h/ end=true`}},
		{name: "spaces round a value", in: clientWire().headers(1, true, request("x", " y\t")...), want: []string{`head 1 GET http://h/ x="y" end=true`}},
		{name: "connect", in: clientWire().headers(1, false, ":method", "CONNECT", ":authority", "a:1").data(1, "x", false),
			want: []string{`head 1 CONNECT ://a:1 end=false`, `data 1 "x"`}},
		{name: "extended connect", opt: Options{Upgrades: true}, in: clientWire().headers(1, false, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "h", ":path", "/w"),
			want: []string{`head 1 GET http://h/w protocol=websocket end=false`}},
		{name: "unknown frame", in: clientWire().raw(0x55, 0xff, 7, "xyz").get(1), want: []string{`head 1 GET http://h/ end=true`}},
		{name: "ping", in: clientWire().raw(http2.FramePing, 0, 0, "12345678").raw(http2.FramePing, 1, 0, "12345678"), out: []string{`PING "12345678" ack=true`}},
		{name: "reset", in: clientWire().post(1).raw(http2.FrameRSTStream, 0, 1, "\x00\x00\x00\x08"), want: []string{`head 1 POST http://h/ end=false`, `reset 1 CANCEL`}},
		{name: "late frames of a stream that is over", in: clientWire().post(1).raw(http2.FrameRSTStream, 0, 1, "\x00\x00\x00\x08").
			raw(http2.FrameRSTStream, 0, 1, "\x00\x00\x00\x08").raw(http2.FrameWindowUpdate, 0, 1, "\x00\x00\x00\x08"), want: []string{`head 1 POST http://h/ end=false`, `reset 1 CANCEL`}},
		{name: "goaway of the client", in: clientWire().raw(http2.FrameGoAway, 0, 0, "\x00\x00\x00\x00\x00\x00\x00\x00bye"), want: []string{`goaway 0 true`}},
		{name: "too many streams", opt: Options{MaxStreams: 1}, in: clientWire().post(1).get(3), want: []string{`head 1 POST http://h/ end=false`}, out: []string{`RST 3 REFUSED_STREAM`}},
		{name: "underscore dropped", opt: Options{Underscores: UnderscoresDrop}, in: clientWire().headers(1, true, request("a_b", "c")...), want: []string{`head 1 GET http://h/ end=true`}},
		{name: "head too large", opt: Options{MaxHeadBytes: 100}, in: clientWire().headers(1, true, request("x", strings.Repeat("x", 90))...), out: []string{`HEADERS 1 :status=431 end=true`, `RST 1 NO_ERROR`}},
		{name: "too many fields", opt: Options{MaxFields: 1}, in: clientWire().headers(1, true, request("x", "1", "y", "2")...), out: []string{`HEADERS 1 :status=431 end=true`, `RST 1 NO_ERROR`}},
		{name: "data over the stream's window", opt: Options{StreamWindow: 4}, in: clientWire().post(1).data(1, "hello", false), want: []string{`head 1 POST http://h/ end=false`, `reset 1 FLOW_CONTROL_ERROR`}, out: []string{`RST 1 FLOW_CONTROL_ERROR`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, step := range []int{tt.in.Len(), 1, 13} {
				r, c := newServer(tt.opt)
				if err := feed(c, tt.in.Bytes(), step); err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(tt.want, r.events()); d != "" {
					t.Errorf("events in steps of %d (-want +got):\n%s", step, d)
				}
				if d := cmp.Diff(tt.out, frames(t, c.Output())); d != "" {
					t.Errorf("output in steps of %d (-want +got):\n%s", step, d)
				}
			}
		})
	}
}

// TestMalformedRequests: the stream is refused, the connection and its HPACK state go on.
func TestMalformedRequests(t *testing.T) {
	for name, fields := range map[string][]string{
		"no method":                {":scheme", "http", ":authority", "h", ":path", "/"},
		"no scheme":                {":method", "GET", ":authority", "h", ":path", "/"},
		"no path":                  {":method", "GET", ":scheme", "http", ":authority", "h"},
		"no authority":             {":method", "GET", ":scheme", "http", ":path", "/"},
		"empty path":               {":method", "GET", ":scheme", "http", ":authority", "h", ":path", ""},
		"relative path":            {":method", "GET", ":scheme", "http", ":authority", "h", ":path", "x"},
		"path with space":          {":method", "GET", ":scheme", "http", ":authority", "h", ":path", "/ HTTP/1.1"},
		"path with fragment":       {":method", "GET", ":scheme", "http", ":authority", "h", ":path", "/#a"},
		"asterisk":                 {":method", "GET", ":scheme", "http", ":authority", "h", ":path", "*"},
		"method with space":        {":method", "GET /x", ":scheme", "http", ":authority", "h", ":path", "/"},
		"authority with slash":     {":method", "GET", ":scheme", "http", ":authority", "h/x", ":path", "/"},
		"two paths":                append(request(), ":path", "/2"),
		"pseudo after field":       {":method", "GET", ":scheme", "http", ":authority", "h", "x", "y", ":path", "/"},
		"unknown pseudo":           append([]string{":x", "y"}, request()...),
		"status":                   append([]string{":status", "200"}, request()...),
		"upper case":               request("X-A", "b"),
		"space in name":            request("x a", "b"),
		"colon in name":            request("x:a", "b"),
		"empty name":               request("", "b"),
		"CR LF in value":           request("x", "a\r\nb: c"),
		"LF in value":              request("x", "a\nb"),
		"NUL in value":             request("x", "a\x00b"),
		"connection":               request("connection", "close"),
		"keep-alive":               request("keep-alive", "1"),
		"proxy-connection":         request("proxy-connection", "1"),
		"transfer-encoding":        request("transfer-encoding", "chunked"),
		"upgrade":                  request("upgrade", "h2c"),
		"te":                       request("te", "gzip"),
		"two lengths":              request("content-length", "0", "content-length", "0"),
		"length sign":              request("content-length", "+1"),
		"length empty":             request("content-length", ""),
		"length without body":      request("content-length", "5"),
		"two hosts":                {":method", "GET", ":scheme", "http", ":path", "/", "host", "a", "host", "b"},
		"connect with path":        {":method", "CONNECT", ":authority", "a:1", ":path", "/"},
		"connect without host":     {":method", "CONNECT"},
		"protocol not offered":     {":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "h", ":path", "/"},
		"user in the authority":    {":method", "GET", ":scheme", "http", ":authority", "u@h", ":path", "/"},
		"protocol without CONNECT": append([]string{":protocol", "websocket"}, request()...),
	} {
		t.Run(name, func(t *testing.T) {
			in := clientWire().headers(1, true, fields...).headers(3, true, request("x-after", "v")...)
			for _, step := range []int{in.Len(), 1} {
				r, c := newServer(Options{})
				if err := feed(c, in.Bytes(), step); err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff([]string{`head 3 GET http://h/ x-after="v" end=true`}, r.events()); d != "" {
					t.Errorf("events (-want +got):\n%s", d)
				}
				if d := cmp.Diff([]string{`RST 1 PROTOCOL_ERROR`}, frames(t, c.Output())); d != "" {
					t.Errorf("output (-want +got):\n%s", d)
				}
			}
		})
	}
}

// TestBadBodies: the stream is reset where body and head do not agree.
func TestBadBodies(t *testing.T) {
	for name, tt := range map[string]struct {
		in   *wire
		want string
	}{
		"longer than its length":   {clientWire().post(1, "content-length", "3").data(1, "abcd", false), "reset 1 PROTOCOL_ERROR"},
		"shorter than its length":  {clientWire().post(1, "content-length", "3").data(1, "ab", true), "reset 1 PROTOCOL_ERROR"},
		"trailers before length":   {clientWire().post(1, "content-length", "3").headers(1, true, "x", "y"), "reset 1 PROTOCOL_ERROR"},
		"trailers without an end":  {clientWire().post(1).headers(1, false, "x", "y"), "reset 1 PROTOCOL_ERROR"},
		"pseudo header in trailer": {clientWire().post(1).headers(1, true, ":path", "/"), "reset 1 PROTOCOL_ERROR"},
		"data after the end":       {clientWire().get(1).data(1, "x", false), "reset 1 STREAM_CLOSED"},
		"head after the end":       {clientWire().get(1).get(1), "reset 1 STREAM_CLOSED"},
		"window of nothing":        {clientWire().post(1).raw(http2.FrameWindowUpdate, 0, 1, "\x00\x00\x00\x00"), "reset 1 PROTOCOL_ERROR"},
		"window overflow":          {clientWire().post(1).raw(http2.FrameWindowUpdate, 0, 1, "\x7f\xff\xff\xff"), "reset 1 FLOW_CONTROL_ERROR"},
		"priority on itself":       {clientWire().post(1).raw(http2.FramePriority, 0, 1, "\x00\x00\x00\x01\x00"), "reset 1 PROTOCOL_ERROR"},
		"short priority":           {clientWire().post(1).raw(http2.FramePriority, 0, 1, "\x00"), "reset 1 FRAME_SIZE_ERROR"},
	} {
		for _, step := range []int{tt.in.Len(), 1} {
			r, c := newServer(Options{})
			if err := feed(c, tt.in.Bytes(), step); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			got := r.events()
			if last := got[len(got)-1]; last != tt.want {
				t.Errorf("%s: last event %q, want %q", name, last, tt.want)
			}
			if c.Streams() != 0 {
				t.Errorf("%s: stream goes on", name)
			}
		}
	}
}

// TestConnectionErrors ends each with GOAWAY and no event after it.
func TestConnectionErrors(t *testing.T) {
	many := func(n int, f func(w *wire, i int)) *wire {
		w := clientWire().post(1)
		for i := range n {
			f(w, i)
		}
		return w
	}
	raw := func(s string) *wire {
		w := newWire()
		w.WriteString(s)
		return w
	}
	for name, tt := range map[string]struct {
		in   *wire
		code codec.ResetCode
	}{
		"HTTP/1 request":               {raw("GET / HTTP/1.1\r\n\r\n"), codec.ResetProtocol},
		"no settings first":            {raw(preface + "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678"), codec.ResetProtocol},
		"settings acknowledged first":  {raw(preface + "\x00\x00\x00\x04\x01\x00\x00\x00\x00"), codec.ResetProtocol},
		"settings on a stream":         {clientWire().raw(http2.FrameSettings, 0, 1, ""), codec.ResetProtocol},
		"settings size":                {clientWire().raw(http2.FrameSettings, 0, 0, "12345"), codec.ResetFrameSize},
		"settings ack with payload":    {clientWire().raw(http2.FrameSettings, 1, 0, "123456"), codec.ResetFrameSize},
		"settings: push":               {clientWire(http2.Setting{ID: 2, Val: 2}), codec.ResetProtocol},
		"settings: window":             {clientWire(http2.Setting{ID: 4, Val: 1 << 31}), codec.ResetFlowControl},
		"settings: frame size":         {clientWire(http2.Setting{ID: 5, Val: 100}), codec.ResetProtocol},
		"settings: connect":            {clientWire(http2.Setting{ID: 8, Val: 2}), codec.ResetProtocol},
		"settings: window overflow":    {clientWire().post(1).raw(http2.FrameWindowUpdate, 0, 1, "\x7f\xff\x00\x00").raw(http2.FrameSettings, 0, 0, "\x00\x04\x7f\xff\xff\xff"), codec.ResetFlowControl},
		"ping size":                    {clientWire().raw(http2.FramePing, 0, 0, "1234567"), codec.ResetFrameSize},
		"ping on a stream":             {clientWire().raw(http2.FramePing, 0, 1, "12345678"), codec.ResetProtocol},
		"goaway size":                  {clientWire().raw(http2.FrameGoAway, 0, 0, "1234567"), codec.ResetFrameSize},
		"reset size":                   {clientWire().post(1).raw(http2.FrameRSTStream, 0, 1, "123"), codec.ResetFrameSize},
		"reset of an idle stream":      {clientWire().raw(http2.FrameRSTStream, 0, 1, "1234"), codec.ResetProtocol},
		"reset of the connection":      {clientWire().raw(http2.FrameRSTStream, 0, 0, "1234"), codec.ResetProtocol},
		"data on the connection":       {clientWire().raw(http2.FrameData, 0, 0, "x"), codec.ResetProtocol},
		"data on an idle stream":       {clientWire().data(1, "x", false), codec.ResetProtocol},
		"headers on the connection":    {clientWire().raw(http2.FrameHeaders, 4, 0, ""), codec.ResetProtocol},
		"even stream":                  {clientWire().get(2), codec.ResetProtocol},
		"push":                         {clientWire().raw(http2.FramePushPromise, 4, 1, "\x00\x00\x00\x02"), codec.ResetProtocol},
		"continuation of nothing":      {clientWire().raw(http2.FrameContinuation, 4, 1, ""), codec.ResetProtocol},
		"frame in a header block":      {clientWire().raw(http2.FrameHeaders, 0, 1, "").raw(http2.FramePing, 0, 0, "12345678"), codec.ResetProtocol},
		"continuation of another":      {clientWire().raw(http2.FrameHeaders, 0, 1, "").raw(http2.FrameContinuation, 4, 3, ""), codec.ResetProtocol},
		"HPACK":                        {clientWire().raw(http2.FrameHeaders, 4, 1, "\xff\xff\xff\xff\xff"), codec.ResetCompression},
		"HPACK cut short":              {clientWire().raw(http2.FrameHeaders, 4, 1, "\x00\x05ab"), codec.ResetCompression},
		"padding too long":             {clientWire().post(1).raw(http2.FrameData, 8, 1, "\x05ab"), codec.ResetProtocol},
		"padding without length":       {clientWire().post(1).raw(http2.FrameData, 8, 1, ""), codec.ResetFrameSize},
		"headers padding too long":     {clientWire().raw(http2.FrameHeaders, 8|4, 1, "\x05ab"), codec.ResetProtocol},
		"headers depend on themselves": {clientWire().raw(http2.FrameHeaders, 0x20|4, 1, "\x00\x00\x00\x01\x00"), codec.ResetProtocol},
		"frame too large":              {clientWire().post(1).raw(http2.FrameData, 0, 1, strings.Repeat("x", ourMaxFrame+1)), codec.ResetFrameSize},
		"window of nothing":            {clientWire().raw(http2.FrameWindowUpdate, 0, 0, "\x00\x00\x00\x00"), codec.ResetProtocol},
		"window overflow":              {clientWire().raw(http2.FrameWindowUpdate, 0, 0, "\x7f\xff\xff\xff"), codec.ResetFlowControl},
		"window size":                  {clientWire().raw(http2.FrameWindowUpdate, 0, 0, "\x00"), codec.ResetFrameSize},
		"window of an idle stream":     {clientWire().raw(http2.FrameWindowUpdate, 0, 9, "\x00\x00\x00\x01"), codec.ResetProtocol},
		"data over the window":         {many(5, func(w *wire, _ int) { w.data(1, strings.Repeat("x", ourMaxFrame), false) }), codec.ResetFlowControl},
		"flood of empty data":          {many(3, func(w *wire, _ int) { w.data(1, "", false) }), codec.ResetEnhanceYourCalm},
		"flood of priority":            {many(300, func(w *wire, _ int) { w.raw(http2.FramePriority, 0, 1, "\x00\x00\x00\x00\x00") }), codec.ResetEnhanceYourCalm},
		"flood of window updates":      {many(100, func(w *wire, _ int) { w.raw(http2.FrameWindowUpdate, 0, 1, "\x00\x00\x00\x01") }), codec.ResetEnhanceYourCalm},
		"flood of settings":            {many(101, func(w *wire, _ int) { w.raw(http2.FrameSettings, 0, 0, "") }), codec.ResetEnhanceYourCalm},
		"flood of continuation": {func() *wire {
			w := clientWire().raw(http2.FrameHeaders, 0, 1, "\x00\x01a\x01b")
			for range 70 {
				w.raw(http2.FrameContinuation, 0, 1, "\x00\x01a\x01b")
			}
			return w
		}(), codec.ResetEnhanceYourCalm},
		"flood of resets": {many(1100, func(w *wire, i int) {
			if id := uint32(3 + 2*(i/2)); i%2 == 0 {
				w.post(id)
			} else {
				w.raw(http2.FrameRSTStream, 0, id, "\x00\x00\x00\x08")
			}
		}), codec.ResetEnhanceYourCalm},
		"head without an end": {func() *wire {
			w := clientWire().raw(http2.FrameHeaders, 0, 1, "")
			for range 20 {
				w.raw(http2.FrameContinuation, 0, 1, strings.Repeat("\x00\x01a\x01b", 2000))
			}
			return w
		}(), codec.ResetEnhanceYourCalm},
	} {
		t.Run(name, func(t *testing.T) {
			tt.in.get(4001)
			for _, step := range []int{tt.in.Len(), 17} {
				r, c := newServer(Options{ConnWindow: 1 << 16, StreamWindow: 1 << 20})
				err := feed(c, tt.in.Bytes(), step)
				var e *codec.Error
				if !errors.As(err, &e) || e.Code != tt.code {
					t.Fatalf("got %v, want %v", err, tt.code)
				}
				out := frames(t, c.Output())
				if last := out[len(out)-1]; !strings.HasPrefix(last, "GOAWAY") || !strings.HasSuffix(last, tt.code.String()) {
					t.Errorf("last frame %q", last)
				}
				if got := strings.Join(r.events(), "\n"); strings.Contains(got, "4001") {
					t.Errorf("events went on: %s", got)
				}
				if c.Streams() != 0 || c.KeepAlive() {
					t.Error("the connection goes on")
				}
				if again := c.Feed([]byte("x")); !errors.Is(again, err) {
					t.Errorf("Feed after an error: %v", again)
				}
			}
		})
	}
}

func TestResponses(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   *wire
		send func(c *Conn)
		want []string
	}{
		{"head only", clientWire().get(1), func(c *Conn) { c.Headers(1, response(204, "x", "y"), true) }, []string{`HEADERS 1 :status=204 x=y end=true`}},
		{"body", clientWire().get(1), func(c *Conn) { c.Headers(1, response(200), false); c.Data(1, []byte("abc"), true) }, []string{`HEADERS 1 :status=200 end=false`, `DATA 1 "abc" end=true`}},
		{"empty end", clientWire().get(1), func(c *Conn) { c.Headers(1, response(200), false); c.Data(1, nil, true) }, []string{`HEADERS 1 :status=200 end=false`, `DATA 1 "" end=true`}},
		{"trailers", clientWire().get(1), func(c *Conn) {
			c.Headers(1, response(200), false)
			c.Trailers(1, response(0, "grpc-status", "0", "x", "y"))
		}, []string{`HEADERS 1 :status=200 end=false`, `HEADERS 1 grpc-status=0 x=y end=true`}},
		{"no trailers", clientWire().get(1), func(c *Conn) { c.Headers(1, response(200), false); c.Trailers(1, response(0)) }, []string{`HEADERS 1 :status=200 end=false`, `DATA 1 "" end=true`}},
		{"interim", clientWire().get(1), func(c *Conn) { c.Interim(1, response(103, "link", "x")); c.Headers(1, response(200), true) }, []string{`HEADERS 1 :status=103 link=x end=false`, `HEADERS 1 :status=200 end=true`}},
		{"hop by hop", clientWire().get(1), func(c *Conn) {
			c.Headers(1, response(200, "connection", "x", "transfer-encoding", "chunked", "upgrade", "x", "te", "gzip", "keep-alive", "1", "y", "a\r\nb"), true)
		}, []string{`HEADERS 1 :status=200 end=true`}},
		{"switching", clientWire().headers(1, false, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "h", ":path", "/"),
			func(c *Conn) { c.Headers(1, response(101), false) }, []string{`HEADERS 1 :status=200 end=false`}},
		{"before the request's end", clientWire().post(1), func(c *Conn) { c.Headers(1, response(413), true) }, []string{`HEADERS 1 :status=413 end=true`, `RST 1 NO_ERROR`}},
		{"reset", clientWire().post(1), func(c *Conn) { c.Reset(1, codec.ResetConnection) }, []string{`RST 1 CANCEL`}},
		{"smaller table", clientWire(http2.Setting{ID: 1, Val: 0}).get(1), func(c *Conn) { c.Headers(1, response(200, "server", "x", "content-type", "y"), true) }, []string{`HEADERS 1 :status=200 server=x content-type=y end=true`}},
		{"long head", clientWire().get(1), func(c *Conn) { c.Headers(1, response(200, "x", strings.Repeat("a", 40000)), true) }, []string{`HEADERS 1 :status=200 x=` + strings.Repeat("a", 40000) + ` end=true`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, c := newServer(Options{Upgrades: true})
			if err := feed(c, tt.in.Bytes(), 1<<20); err != nil {
				t.Fatal(err)
			}
			c.ClearOutput()
			tt.send(c)
			if d := cmp.Diff(tt.want, frames(t, c.Output())); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestSendWindows: two streams wait for window, the first to wait goes first.
func TestSendWindows(t *testing.T) {
	r, c := newServer(Options{})
	if err := feed(c, clientWire(http2.Setting{ID: 4, Val: 10}).get(1).get(3).Bytes(), 1<<20); err != nil {
		t.Fatal(err)
	}
	left := map[uint32][]byte{1: []byte("hello, world 1"), 3: []byte("hello, world 3")}
	send := func(id uint32) {
		n := c.Data(id, left[id], true)
		left[id] = left[id][n:]
	}
	r.onWin = send
	for _, id := range []uint32{1, 3} {
		c.Headers(id, response(200), false)
		send(id)
		if len(left[id]) != 4 || c.CanSend(id) != 0 {
			t.Fatalf("stream %d: %d bytes left, can send %d", id, len(left[id]), c.CanSend(id))
		}
	}
	c.ClearOutput()
	w := newWire().raw(http2.FrameWindowUpdate, 0, 3, "\x00\x00\x00\x02").raw(http2.FrameSettings, 0, 0, "\x00\x04\x00\x00\x00\x64")
	if err := feed(c, w.Bytes(), 1<<20); err != nil {
		t.Fatal(err)
	}
	want := []string{`DATA 3 "ld" end=false`, `DATA 1 "ld 1" end=true`, `DATA 3 " 3" end=true`}
	if d := cmp.Diff(want, frames(t, c.Output())); d != "" {
		t.Error(d)
	}
	if c.Streams() != 0 {
		t.Errorf("%d streams", c.Streams())
	}
}

// TestConnectionWindow: the connection's window is shared, and waits for WINDOW_UPDATE on stream 0.
func TestConnectionWindow(t *testing.T) {
	r, c := newServer(Options{})
	if err := feed(c, clientWire(http2.Setting{ID: 4, Val: 1 << 20}).get(1).get(3).Bytes(), 1<<20); err != nil {
		t.Fatal(err)
	}
	c.Headers(1, response(200), false)
	c.Headers(3, response(200), false)
	if n := c.Data(1, make([]byte, 70000), false); n != defaultWindow {
		t.Errorf("took %d", n)
	}
	if n := c.Data(3, []byte("x"), true); n != 0 {
		t.Errorf("took %d", n)
	}
	if err := feed(c, newWire().raw(http2.FrameWindowUpdate, 0, 0, "\x00\x00\x10\x00").Bytes(), 1<<20); err != nil {
		t.Fatal(err)
	}
	got := r.events()
	if d := cmp.Diff([]string{"window 1", "window 3"}, got[len(got)-2:]); d != "" {
		t.Error(d)
	}
}

// TestReceiveWindows: what is consumed is given back, to stream and connection, in pieces worth a frame.
func TestReceiveWindows(t *testing.T) {
	_, c := newServer(Options{StreamWindow: 1000, ConnWindow: 1 << 16})
	if err := feed(c, clientWire().post(1).data(1, strings.Repeat("x", 1000), false).Bytes(), 1<<20); err != nil {
		t.Fatal(err)
	}
	c.ClearOutput()
	c.Consumed(1, 249)
	if got := frames(t, c.Output()); len(got) != 0 {
		t.Errorf("too early: %v", got)
	}
	c.Consumed(1, 1)
	if d := cmp.Diff([]string{"WINDOW 1 250"}, frames(t, c.Output())); d != "" {
		t.Error(d)
	}
	c.ClearOutput()
	c.Consumed(1, 5000) // more than there was
	if d := cmp.Diff([]string{"WINDOW 1 750"}, frames(t, c.Output())); d != "" {
		t.Error(d)
	}
	// A stream that ends gives back to the connection what was not consumed.
	for i := range uint32(20) {
		id := 3 + 2*i
		if err := feed(c, newWire().post(id).data(id, strings.Repeat("x", 1000), true).Bytes(), 1<<20); err != nil {
			t.Fatal(err)
		}
		c.Reset(id, codec.ResetCancel)
	}
	if got := strings.Join(frames(t, c.Output()), "\n"); !strings.Contains(got, "WINDOW 0 ") {
		t.Errorf("the connection's window was not given back: %s", got)
	}
}

func TestGoAway(t *testing.T) {
	r, c := newServer(Options{})
	in := clientWire()
	next := func(id uint32) {
		t.Helper()
		if err := feed(c, in.post(id).Bytes(), 1<<20); err != nil {
			t.Fatal(err)
		}
		in.Reset()
	}
	next(1)
	c.ClearOutput()
	c.GoAway(true)
	next(3)
	if !c.KeepAlive() || c.Streams() != 2 {
		t.Errorf("after the notice: keep alive %v, %d streams", c.KeepAlive(), c.Streams())
	}
	c.GoAway(false)
	next(5)
	c.Headers(1, response(200), true)
	c.Headers(3, response(200), true)
	want := []string{`GOAWAY 2147483647 NO_ERROR`, `GOAWAY 3 NO_ERROR`}
	if d := cmp.Diff(want, frames(t, c.Output())[:2]); d != "" {
		t.Error(d)
	}
	if c.KeepAlive() || c.Streams() != 0 {
		t.Errorf("keep alive %v, %d streams", c.KeepAlive(), c.Streams())
	}
	if got := strings.Join(r.events(), "\n"); strings.Contains(got, "head 5") {
		t.Error("a stream above the last was taken")
	}
}

// TestEndedWatches: streams that are answered and then reset, however many, are no flood.
func TestEndedWatches(t *testing.T) {
	r, c := newServer(Options{})
	r.onHead = func(id uint32) { c.Headers(id, response(200), false) }
	in := clientWire()
	for i := range uint32(2000) {
		in.post(1+2*i).raw(http2.FrameRSTStream, 0, 1+2*i, "\x00\x00\x00\x08")
	}
	if err := feed(c, in.Bytes(), 1<<20); err != nil {
		t.Fatal(err)
	}
}

func TestEndAndBroken(t *testing.T) {
	for name, end := range map[string]func(c *Conn){
		"end":    func(c *Conn) { _ = c.End() },
		"broken": func(c *Conn) { c.Broken() },
		"stop":   func(c *Conn) { c.Stop() },
	} {
		r, c := newServer(Options{})
		if err := feed(c, clientWire().post(1).post(3).Bytes(), 1<<20); err != nil {
			t.Fatal(err)
		}
		r.lines = nil
		end(c)
		want := []string{"reset 1 CONNECTION_TERMINATION", "reset 3 CONNECTION_TERMINATION"}
		if name == "stop" {
			want = nil
		}
		if d := cmp.Diff(want, r.events()); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		c.Headers(1, response(200), true)
		if c.Streams() != 0 || c.KeepAlive() {
			t.Errorf("%s: goes on", name)
		}
	}
	_, c := newServer(Options{})
	if err := c.End(); err != nil {
		t.Errorf("end of an idle connection: %v", err)
	}
}

func TestRefuse(t *testing.T) {
	r, c := newServer(Options{})
	r.refuse = true
	if err := feed(c, clientWire().get(1).Bytes(), 1<<20); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{`RST 1 REFUSED_STREAM`}, frames(t, c.Output())); d != "" {
		t.Error(d)
	}
}
