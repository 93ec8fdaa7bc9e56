package wasm_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/filtertest"
	"github.com/weftmesh/weft/proxy/http/wasm"
)

// module is the plug-in of the tests, built once.
var module = sync.OnceValues(func() (string, error) { return build("./testdata/plugin") })

// noop is one that looks at nothing but heads, and changes nothing.
var noop = sync.OnceValues(func() (string, error) { return build("./testdata/noop") })

var folder string

func TestMain(m *testing.M) {
	var err error
	if folder, err = os.MkdirTemp("", "wasm"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(folder)
	os.Exit(code)
}

func build(dir string) (string, error) {
	out := filepath.Join(folder, filepath.Base(dir)+".wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-o", out, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if b, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, b)
	}
	return out, nil
}

// plugin is a plug-in under test.
type plugin struct {
	t       testing.TB
	factory filter.HTTPFactory
	stats   filter.Stats
	calls   caller
	said    strings.Builder
	mu      sync.Mutex
}

// Write takes what is logged.
func (p *plugin) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.Write(b)
}

// caller answers calls as the test says.
type caller struct {
	answer *filter.Answer
	asked  []*filter.Call
}

func (c *caller) Call(ask *filter.Call, done func(*filter.Answer, error)) (cancel func()) {
	c.asked = append(c.asked, ask)
	go func() {
		if c.answer == nil {
			done(nil, errors.New("nobody is there"))
			return
		}
		done(c.answer, nil)
	}()
	return func() {}
}

func conf(t testing.TB, file string, more map[string]any) string {
	t.Helper()
	c := map[string]any{
		"name": "p", "root_id": "root", "configuration": map[string]any{"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "word"},
		"vm_config": map[string]any{"vm_id": t.Name(), "runtime": "envoy.wasm.runtime.v8", "code": map[string]any{"local": map[string]any{"filename": file}}},
	}
	for k, v := range more {
		c[k] = v
	}
	b, err := json.Marshal(map[string]any{"@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm", "config": c})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func load(t testing.TB, config string) (*plugin, error) {
	t.Helper()
	p := &plugin{t: t}
	k := wasm.Kind(wasm.Options{
		Life: t.Context(),
		Node: map[string]any{"id": "me"}, Knows: func(c string) bool { return c == "auth" },
		Log: slog.New(slog.NewTextHandler(p, nil)),
	})
	f, err := k.Parse(&filter.ParseContext{FilterName: "w", StatPrefix: "s", Stats: &p.stats, Calls: &p.calls}, filtertest.Any(t, config))
	p.factory = f
	return p, err
}

func started(t testing.TB, more map[string]any) *plugin {
	t.Helper()
	file, err := module()
	if err != nil {
		t.Fatal(err)
	}
	p, err := load(t, conf(t, file, more))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// get is a request without a body, as far as its head.
func (p *plugin) get(fields ...string) (*filtertest.Stream, filter.HTTPFilter, filter.Verdict) {
	p.t.Helper()
	s := filtertest.New(fields...)
	f := p.factory.New(s)
	if f == nil {
		return s, nil, filter.Continue
	}
	return s, f, f.RequestHeaders(s, s.Req, true)
}

func TestHeaders(t *testing.T) {
	p := started(t, nil)
	s, f, v := p.get(":path", "/a?b=c", "x-in", "in", "x-remove", "gone")
	if v != filter.Continue {
		t.Fatalf("verdict %d, replies %v", v, s.Replies)
	}
	if s.Req.Get("x-wasm") != "word" || s.Req.Get("x-path") != "/a?b=c in" || s.Req.Has("x-remove") || s.Cleared == 0 {
		t.Errorf("%+v, route chosen again %d times", s.Req, s.Cleared)
	}
	s.Resp = &filter.Headers{Status: 200}
	if v := f.ResponseHeaders(s, s.Resp, true); v != filter.Continue || s.Resp.Get("x-wasm-response") != "word" {
		t.Errorf("verdict %d, %+v", v, s.Resp)
	}
	f.Done(s)
	if !strings.Contains(p.said.String(), "configured: word") {
		t.Errorf("logged: %s", p.said.String())
	}
	var seen uint64
	p.stats.Each(func(_, _, stat string, value uint64, _ bool) {
		if stat == "requests_seen" {
			seen = value
		}
	})
	if seen != 1 {
		t.Errorf("counted %d requests", seen)
	}
}

func TestLocalReply(t *testing.T) {
	p := started(t, nil)
	s, f, v := p.get(":path", "/deny")
	if v != filter.Reply || len(s.Replies) != 1 {
		t.Fatalf("verdict %d, replies %v", v, s.Replies)
	}
	if r := s.Replies[0]; r.Status != 403 || r.Body != "denied by the plug-in" || len(r.Header) != 1 || r.Header[0] != (filter.Field{Name: "x-denied", Value: "word"}) {
		t.Errorf("%+v", r)
	}
	f.Done(s)
}

func TestBody(t *testing.T) {
	p := started(t, nil)
	s := filtertest.New(":method", "POST", "x-upper", "1", "content-length", "11")
	f := p.factory.New(s)
	if v := f.RequestHeaders(s, s.Req, false); v != filter.Continue || s.Req.Has("content-length") {
		t.Fatalf("verdict %d", v)
	}
	for i, part := range []string{"hello ", "world"} {
		if v := f.RequestData(s, []byte(part), i == 1); v != filter.Stop {
			t.Fatalf("part %d: verdict %d", i, v)
		}
	}
	if string(s.Data) != "HELLO WORLD" {
		t.Errorf("%q went on", s.Data)
	}
	f.Done(s)
	// One that the plug-in leaves alone is not copied.
	s = filtertest.New(":method", "POST")
	f = p.factory.New(s)
	f.RequestHeaders(s, s.Req, false)
	if v := f.RequestData(s, []byte("x"), true); v != filter.Continue || len(s.Data) != 0 {
		t.Errorf("verdict %d, %q", v, s.Data)
	}
	f.Done(s)
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

func TestCall(t *testing.T) {
	p := started(t, nil)
	for name, tc := range map[string]struct {
		answer *filter.Answer
		status int
	}{
		"allowed": {&filter.Answer{Header: &filter.Headers{Status: 200}, Body: []byte("who")}, 0},
		"denied":  {&filter.Answer{Header: &filter.Headers{Status: 403}}, 401},
		"failed":  {nil, 503},
	} {
		p.calls = caller{answer: tc.answer}
		s := &posting{filtertest.New(":path", "/call"), make(chan func(), 1)}
		f := p.factory.New(s)
		if v := f.RequestHeaders(s, s.Req, false); v != filter.Wait {
			t.Fatalf("%s: verdict %d, %v", name, v, s.Replies)
		}
		if v := f.RequestData(s, []byte("body"), true); v != filter.Stop {
			t.Fatalf("%s: verdict %d of data", name, v)
		}
		s.next(t)
		if tc.status != 0 {
			if len(s.Replies) != 1 || s.Replies[0].Status != tc.status {
				t.Errorf("%s: %v", name, s.Replies)
			}
		} else if len(s.Resumed) != 1 || s.Req.Get("x-auth") != "who" || string(s.Data) != "body" {
			t.Errorf("%s: resumed %v, %+v, %q", name, s.Resumed, s.Req, s.Data)
		}
		f.Done(s)
		if a := p.calls.asked[0]; a.Cluster != "auth" || a.Header.Path != "/ask" || a.Timeout != 5*time.Second {
			t.Errorf("%s: asked %+v", name, a)
		}
	}
}

// TestTrap: a plug-in that fails is answered for, or passed by, and lives again.
func TestTrap(t *testing.T) {
	for _, open := range []bool{false, true} {
		p := started(t, map[string]any{"fail_open": open})
		s, f, v := p.get(":path", "/trap")
		if open && v != filter.Continue || !open && (v != filter.Reply || s.Replies[0].Status != 503) {
			t.Fatalf("open %t: verdict %d, %v", open, v, s.Replies)
		}
		f.Done(s)
		for deadline := time.Now().Add(time.Minute); ; {
			if s, f, _ := p.get(); f != nil {
				f.Done(s)
				if s.Req.Get("x-wasm") == "word" {
					break
				}
			}
			if time.Now().After(deadline) {
				t.Fatal("the plug-in does not come back")
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

func TestTicksAndSharedData(t *testing.T) {
	p := started(t, map[string]any{"configuration": map[string]any{"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "tick"}})
	for deadline := time.Now().Add(time.Minute); ; {
		s, f, _ := p.get(":path", "/shared")
		f.Done(s)
		if s.Req.Get("x-shared") == "yes" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("no tick has left anything")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestRefused(t *testing.T) {
	file, err := module()
	if err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(t.TempDir(), "text.wasm")
	if err := os.WriteFile(text, []byte("no module"), 0o600); err != nil {
		t.Fatal(err)
	}
	value := func(s string) map[string]any {
		return map[string]any{"@type": "type.googleapis.com/google.protobuf.StringValue", "value": s}
	}
	for config, want := range map[string]string{
		conf(t, text, nil):         "local.filename: is no WebAssembly module",
		conf(t, file+".none", nil): "local.filename",
		conf(t, file, map[string]any{"configuration": value("refuse")}): "refuses its configuration",
		conf(t, file, map[string]any{"vm_config": map[string]any{"runtime": "envoy.wasm.runtime.null", "code": map[string]any{"local": map[string]any{"filename": file}}}}): "vm_config.runtime",
		conf(t, file, map[string]any{"vm_config": map[string]any{}}): "vm_config.code",
		conf(t, file, map[string]any{"vm_config": map[string]any{"code": map[string]any{"remote": map[string]any{
			"sha256": "abc", "http_uri": map[string]any{"uri": "http://a/b", "cluster": "c", "timeout": "1s"},
		}}}}): "remote.sha256",
		conf(t, file, map[string]any{"capability_restriction_config": map[string]any{"allowed_capabilities": map[string]any{"proxy_log": map[string]any{}}}}): "allowed_capabilities",
	} {
		if _, err := load(t, config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want it to say %q", err, want)
		}
	}
}

// BenchmarkNoop is what a plug-in that does nothing costs a request.
func BenchmarkNoop(b *testing.B) {
	file, err := noop()
	if err != nil {
		b.Fatal(err)
	}
	p, err := load(b, conf(b, file, nil))
	if err != nil {
		b.Fatal(err)
	}
	s := filtertest.New("a", "b")
	s.Resp = &filter.Headers{Status: 200}
	b.ReportAllocs()
	var before, after syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	for b.Loop() {
		f := p.factory.New(s)
		f.RequestHeaders(s, s.Req, true)
		f.ResponseHeaders(s, s.Resp, true)
		f.Done(s)
	}
	// What it costs, also where the machine has others to serve.
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	spent := time.Duration(after.Utime.Nano() - before.Utime.Nano() + after.Stime.Nano() - before.Stime.Nano())
	b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "cpu-ns/op")
}
