package lua_test

import (
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
	"github.com/weftmesh/weft/proxy/http/lua"
)

// logged is what scripts say.
type logged struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// caller answers calls at once.
type caller struct {
	answer *filter.Answer
	err    error
	asked  *filter.Call
}

func (c *caller) Call(ask *filter.Call, done func(*filter.Answer, error)) (cancel func()) {
	c.asked = ask
	go done(c.answer, c.err)
	return func() {}
}

// script is one under test.
type script struct {
	factory filter.HTTPFactory
	log     logged
	stats   filter.Stats
	calls   caller
}

func load(t testing.TB, code string) *script {
	t.Helper()
	b, err := json.Marshal(map[string]any{"@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua", "default_source_code": map[string]any{"inline_string": code}})
	if err != nil {
		t.Fatal(err)
	}
	x := &script{}
	f, err := lua.Kind(slog.New(slog.NewTextHandler(&x.log, nil))).Parse(&filter.ParseContext{FilterName: "lua", StatPrefix: "s", Stats: &x.stats, Calls: &x.calls}, filtertest.Any(t, string(b)))
	if err != nil {
		t.Fatal(err)
	}
	x.factory = f
	return x
}

// posting is a stream whose posted functions the test waits for.
type posting struct {
	*filtertest.Stream
	posted chan func()
}

func (p *posting) Post(f func()) { p.posted <- f }

func (p *posting) next(t *testing.T) {
	t.Helper()
	select {
	case f := <-p.posted:
		f()
	case <-time.After(time.Minute):
		t.Fatal("nothing was posted")
	}
}

func TestHeaders(t *testing.T) {
	x := load(t, `
function envoy_on_request(h)
  local all = h:headers()
  all:add("x-added", "1"); all:add("x-added", "2"); all:replace("x-replaced", "new"); all:remove("x-removed")
  local seen = {}
  for k, v in pairs(all) do seen[#seen + 1] = k .. "=" .. v end
  all:replace("x-seen", table.concat(seen, ","))
  all:replace("x-count", tostring(all:getNumValues("x-added")) .. all:getAtIndex("x-added", 1) .. tostring(all:get("none")))
  all:replace(":path", all:get(":path") .. "?changed")
  h:streamInfo():dynamicMetadata():set("space", "key", {a = "b"})
  h:logInfo("said " .. h:base64Escape("x"))
end
function envoy_on_response(h)
  h:headers():add("x-status", h:headers():get(":status") .. h:streamInfo():dynamicMetadata():get("space").key.a)
end`)
	s := filtertest.New(":path", "/p", "x-replaced", "old", "x-removed", "r")
	f := x.factory.New(s)
	if v := f.RequestHeaders(s, s.Req, true); v != filter.Continue {
		t.Fatalf("verdict %d: %s", v, x.log.String())
	}
	for name, want := range map[string]string{
		"x-replaced": "new", "x-removed": "", ":path": "/p?changed", "x-count": "22nil",
		"x-seen": ":authority=host,:path=/p,:method=GET,:scheme=http,x-replaced=new,x-added=1,x-added=2",
	} {
		if got := s.Req.Get(name); got != want {
			t.Errorf("%s: %q, want %q; %s", name, got, want, x.log.String())
		}
	}
	s.Resp = &filter.Headers{Status: 201}
	f.ResponseHeaders(s, s.Resp, true)
	f.Done(s)
	if got := s.Resp.Get("x-status"); got != "201b" {
		t.Errorf("x-status: %q; %s", got, x.log.String())
	}
	if s.Cleared == 0 || !strings.Contains(x.log.String(), "said eA==") {
		t.Errorf("route chosen again %d times, logged %s", s.Cleared, x.log.String())
	}
}

func TestBody(t *testing.T) {
	x := load(t, `
function envoy_on_request(h)
  local b = h:body()
  h:headers():add("x-length", tostring(b:length()) .. b:getBytes(0, 1))
  b:setBytes(string.upper(b:getBytes(0, b:length())))
end`)
	s := filtertest.New(":method", "POST")
	f := x.factory.New(s)
	if v := f.RequestHeaders(s, s.Req, false); v != filter.Wait {
		t.Fatalf("verdict %d: %s", v, x.log.String())
	}
	for i, part := range []string{"hello ", "world"} {
		if v := f.RequestData(s, []byte(part), i == 1); v != filter.Stop {
			t.Fatalf("part %d: %d", i, v)
		}
	}
	f.Done(s)
	if string(s.Data) != "HELLO WORLD" || s.Req.Get("x-length") != "11h" || len(s.Resumed) != 1 {
		t.Errorf("%q, %q, resumed %v: %s", s.Data, s.Req.Get("x-length"), s.Resumed, x.log.String())
	}
}

func TestChunksAndTrailers(t *testing.T) {
	x := load(t, `
function envoy_on_request(h)
  local n = 0
  for chunk in h:bodyChunks() do n = n + chunk:length() end
  local t = h:trailers()
  t:add("x-total", tostring(n) .. t:get("x-in"))
end`)
	s := filtertest.New(":method", "POST")
	f := x.factory.New(s)
	if v := f.RequestHeaders(s, s.Req, false); v != filter.Continue {
		t.Fatalf("verdict %d: %s", v, x.log.String())
	}
	f.RequestData(s, []byte("ab"), false)
	f.RequestData(s, []byte("cde"), false)
	trailers := &filter.Headers{}
	trailers.Set("x-in", "!")
	f.RequestTrailers(s, trailers)
	f.Done(s)
	if got := trailers.Get("x-total"); got != "5!" {
		t.Errorf("%q: %s", got, x.log.String())
	}
}

func TestRespond(t *testing.T) {
	x := load(t, `function envoy_on_request(h) h:respond({[":status"] = "403", ["x-why"] = "no"}, "nope"); error("not reached") end`)
	s := filtertest.New()
	f := x.factory.New(s)
	if v := f.RequestHeaders(s, s.Req, true); v != filter.Reply || len(s.Replies) != 1 {
		t.Fatalf("verdict %d: %s", v, x.log.String())
	}
	f.Done(s)
	if r := s.Replies[0]; r.Status != 403 || r.Body != "nope" || len(r.Header) != 1 {
		t.Errorf("%+v", r)
	}
}

func TestCall(t *testing.T) {
	const code = `
function envoy_on_request(h)
  local headers, body = h:httpCall("auth", {[":method"] = "POST", [":path"] = "/ask", [":authority"] = "a"}, "question", 2000)
  if headers[":status"] ~= "200" then h:respond({[":status"] = headers[":status"]}, body) end
  h:headers():add("x-auth", headers["x-user"] .. body)
end`
	x := load(t, code)
	header := &filter.Headers{Status: 200}
	header.Set("x-user", "me")
	x.calls = caller{answer: &filter.Answer{Header: header, Body: []byte("!")}}
	s := &posting{filtertest.New(":method", "POST"), make(chan func(), 1)}
	f := x.factory.New(s)
	if v := f.RequestHeaders(s, s.Req, false); v != filter.Wait {
		t.Fatalf("verdict %d: %s", v, x.log.String())
	}
	f.RequestData(s, []byte("body"), true)
	s.next(t)
	f.Done(s)
	if s.Req.Get("x-auth") != "me!" || len(s.Resumed) != 1 || string(s.Data) != "body" {
		t.Errorf("%+v, resumed %v, %q: %s", s.Req, s.Resumed, s.Data, x.log.String())
	}
	if a := x.calls.asked; a.Cluster != "auth" || string(a.Body) != "question" || a.Timeout != 2*time.Second {
		t.Errorf("asked %+v", a)
	}
	// One that cannot be asked is a 503.
	x.calls = caller{err: errNobody}
	s = &posting{filtertest.New(), make(chan func(), 1)}
	f = x.factory.New(s)
	f.RequestHeaders(s, s.Req, true)
	s.next(t)
	f.Done(s)
	if len(s.Replies) != 1 || s.Replies[0].Status != 503 {
		t.Errorf("%v: %s", s.Replies, x.log.String())
	}
}

type nobody struct{}

func (nobody) Error() string { return "nobody is there" }

var errNobody nobody

// TestFailure: what fails is counted and said, and the message goes on.
func TestFailure(t *testing.T) {
	x := load(t, `function envoy_on_request(h) h:headers():add("a", "b"); h:nothing() end`)
	s := filtertest.New()
	f := x.factory.New(s)
	if v := f.RequestHeaders(s, s.Req, true); v != filter.Continue {
		t.Errorf("verdict %d", v)
	}
	f.Done(s)
	var n uint64
	x.stats.Each(func(_, _, stat string, v uint64, _ bool) {
		if stat == "lua.errors" {
			n = v
		}
	})
	if n != 1 || !strings.Contains(x.log.String(), "has failed") {
		t.Errorf("counted %d, said %s", n, x.log.String())
	}
}

func TestRefused(t *testing.T) {
	const typ = `"@type":"type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"`
	filtertest.Refused(t, func(ctx *filter.ParseContext, a *anypb.Any) error {
		_, err := lua.Kind(nil).Parse(ctx, a)
		return err
	}, map[string]string{
		`{` + typ + `,"default_source_code":{"inline_string":"function ("}}`:         "default_source_code",
		`{` + typ + `,"default_source_code":{"inline_string":"error('x')"}}`:         "default_source_code",
		`{` + typ + `,"source_codes":{"a":{"inline_string":"("}}}`:                   "source_codes",
		`{` + typ + `,"default_source_code":{"filename":"/none.lua"}}`:               "default_source_code",
		`{` + typ + `,"default_source_code":{"inline_string":"os.execute('true')"}}`: "default_source_code",
	})
}

// TestTooLarge: a script may hold as much as the listener lets it; what is said of a body
// that it cannot have is said of the right one.
func TestTooLarge(t *testing.T) {
	x := load(t, "function envoy_on_request(h) h:body() end function envoy_on_response(h) h:body() end")
	piece := make([]byte, 60<<10)
	for _, want := range []int{413, 500} {
		s := filtertest.New(":method", "POST")
		s.Most = 100 << 10
		s.Resp = &filter.Headers{Status: 200}
		f := x.factory.New(s)
		v := f.RequestHeaders(s, s.Req, want != 413)
		data := f.RequestData
		if want == 500 {
			v, data = f.ResponseHeaders(s, s.Resp, false), f.ResponseData
		}
		if v != filter.Wait {
			t.Fatalf("%d: verdict %v, want to wait", want, v)
		}
		for range 2 {
			_ = data(s, piece, false)
		}
		if len(s.Replies) != 1 || s.Replies[0].Status != want {
			t.Errorf("answers %v, want one with %d", s.Replies, want)
		}
		f.Done(s)
	}
}
