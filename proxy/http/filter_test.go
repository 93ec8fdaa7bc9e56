package http

import (
	"bytes"
	"io"
	nethttp "net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/route"
)

// factory makes filters of a function.
type factory func(s filter.Stream) filter.HTTPFilter

func (f factory) New(s filter.Stream) filter.HTTPFilter { return f(s) }

// journal keeps the order of events.
type journal struct {
	mu  sync.Mutex
	all []string
}

func (j *journal) add(s string) {
	j.mu.Lock()
	j.all = append(j.all, s)
	j.mu.Unlock()
}

func (j *journal) take() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := strings.Join(j.all, " ")
	j.all = nil
	return s
}

// spy notes what it sees.
type spy struct {
	filter.PassThrough
	name string
	j    *journal
}

func (f *spy) RequestHeaders(filter.Stream, *filter.Headers, bool) filter.Verdict {
	f.j.add(f.name + ">")
	return filter.Continue
}

func (f *spy) ResponseHeaders(_ filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
	h.Add("x-seen-by", f.name)
	f.j.add(f.name + "<")
	return filter.Continue
}
func (f *spy) Done(filter.Stream) { f.j.add(f.name + ".") }

func withFilters(fs ...factory) func(*ManagerConfig) {
	return func(c *ManagerConfig) {
		for i, f := range fs {
			c.Filters = append(c.Filters, NamedFilter{Name: string(rune('a' + i)), Factory: f})
		}
	}
}

func spies(j *journal, names ...string) (fs []factory) {
	for _, n := range names {
		fs = append(fs, func(filter.Stream) filter.HTTPFilter { return &spy{name: n, j: j} })
	}
	return fs
}

// TestFilterOrder: in order towards the upstream, backwards on the way back.
func TestFilterOrder(t *testing.T) {
	j := &journal{}
	k := start(t, routes(to("up")), withFilters(spies(j, "a", "b", "c")...), upstreamSpec("up", backend(t, echo)))
	_, _, h := get(t, client(t), request(t, "GET", k.url("/"), nil))
	k.log.next(t)
	if d := cmp.Diff("a> b> c> c< b< a< a. b. c.", j.take()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"c", "b", "a"}, h.Values("x-seen-by")); d != "" {
		t.Error(d)
	}
}

// verdicts is a filter made of functions.
type verdicts struct {
	filter.PassThrough
	reqHead func(s filter.Stream, h *filter.Headers, end bool) filter.Verdict
	reqData func(s filter.Stream, b []byte, end bool) filter.Verdict
	resHead func(s filter.Stream, h *filter.Headers, end bool) filter.Verdict
	resData func(s filter.Stream, b []byte, end bool) filter.Verdict
}

func (f *verdicts) RequestHeaders(s filter.Stream, h *filter.Headers, end bool) filter.Verdict {
	if f.reqHead == nil {
		return filter.Continue
	}
	return f.reqHead(s, h, end)
}

func (f *verdicts) RequestData(s filter.Stream, b []byte, end bool) filter.Verdict {
	if f.reqData == nil {
		return filter.Continue
	}
	return f.reqData(s, b, end)
}

func (f *verdicts) ResponseHeaders(s filter.Stream, h *filter.Headers, end bool) filter.Verdict {
	if f.resHead == nil {
		return filter.Continue
	}
	return f.resHead(s, h, end)
}

func (f *verdicts) ResponseData(s filter.Stream, b []byte, end bool) filter.Verdict {
	if f.resData == nil {
		return filter.Continue
	}
	return f.resData(s, b, end)
}

// TestFilterReply: a filter answers, the upstream is not asked.
func TestFilterReply(t *testing.T) {
	var asked atomic.Int64
	up := backend(t, func(nethttp.ResponseWriter, *nethttp.Request) { asked.Add(1) })
	j := &journal{}
	fs := append(spies(j, "a"), func(filter.Stream) filter.HTTPFilter {
		return &verdicts{reqHead: func(s filter.Stream, _ *filter.Headers, _ bool) filter.Verdict {
			s.Reply(filter.LocalReply{Status: 403, Body: "RBAC: access denied", GRPCStatus: -1, Details: "rbac_denied", Flags: filter.FlagUnauthorizedExternal})
			return filter.Reply
		}}
	})
	fs = append(fs, spies(j, "z")...)
	k := start(t, routes(to("up")), withFilters(fs...), upstreamSpec("up", up))
	for _, c := range []*nethttp.Client{client(t), client2(t)} {
		code, body, _ := get(t, c, request(t, "POST", k.url("/"), strings.NewReader("some body")))
		if code != 403 || body != "RBAC: access denied" || asked.Load() != 0 {
			t.Errorf("%d %q, upstream asked %d times", code, body, asked.Load())
		}
		if e := k.log.next(t); e.Details != "rbac_denied" || e.Flags != "UAEX" {
			t.Errorf("log %+v", e)
		}
		if d := cmp.Diff("a> z< a< a. z.", j.take()); d != "" {
			t.Error(d)
		}
	}
	// A gRPC client is told in its own way.
	code, _, h := get(t, client2(t), request(t, "POST", k.url("/"), nil, "content-type", "application/grpc"))
	want := []any{200, "7", "RBAC: access denied", "application/grpc"}
	if d := cmp.Diff(want, []any{code, h.Get("grpc-status"), h.Get("grpc-message"), h.Get("content-type")}); d != "" {
		t.Error(d)
	}
	// HEAD has the length and no body.
	res, err := client(t).Do(request(t, "HEAD", k.url("/"), nil))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.ContentLength != 19 {
		t.Errorf("content-length %d, want 19", res.ContentLength)
	}
}

// TestFilterWait: head, body and trailers are held in both directions and then
// arrive in order, from another goroutine or after a delay.
func TestFilterWait(t *testing.T) {
	up := backend(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("trailer", "x-sum")
		_, _ = w.Write(append(b, r.Trailer.Get("x-t")...))
		_ = nethttp.NewResponseController(w).Flush()
		_, _ = w.Write([]byte("!"))
		w.Header().Set("x-sum", "42")
	})
	hold := func(filter.Stream) filter.HTTPFilter {
		f := &verdicts{}
		resume := func(s filter.Stream, d filter.Direction) { go s.Resume(f, d) }
		f.reqHead = func(s filter.Stream, _ *filter.Headers, _ bool) filter.Verdict {
			s.After(2*time.Millisecond, func() { resume(s, filter.ToUpstream) })
			return filter.Wait
		}
		f.resHead = func(s filter.Stream, _ *filter.Headers, _ bool) filter.Verdict {
			s.After(2*time.Millisecond, func() { resume(s, filter.ToDownstream) })
			return filter.Wait
		}
		return f
	}
	spec := upstreamSpec("up", up)
	spec.HTTP.Trailers = true
	k := start(t, routes(to("up")), func(c *ManagerConfig) {
		c.HTTP1.Trailers = true
		c.BufferLimit = 1000
		withFilters(hold, hold)(c)
	}, spec)
	big := strings.Repeat("x", 300_000)
	for name, c := range map[string]*nethttp.Client{"h1": client(t), "h2": client2(t)} {
		for range 5 {
			req := request(t, "POST", k.url("/"), io.MultiReader(strings.NewReader(big), strings.NewReader("y")))
			req.Trailer = nethttp.Header{"X-T": {"tail"}}
			res, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil || string(b) != big+"ytail!" {
				t.Errorf("%s: %d bytes, ends in %q, %v", name, len(b), b[max(0, len(b)-10):], err)
			}
			if got := res.Trailer.Get("x-sum"); got != "42" {
				t.Errorf("%s: trailer %q, want 42", name, got)
			}
		}
	}
	balanced(t, k)
}

// TestFilterSeesAPart: a filter wants to see more of a body than is held up to otherwise, then waits
// for something else. Without room for it the client would never be read from again.
func TestFilterSeesAPart(t *testing.T) {
	up := backend(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = w.Write(b)
	})
	const part = 200_000
	look := func(filter.Stream) filter.HTTPFilter {
		f, seen, asked := &verdicts{}, 0, false
		f.reqHead = func(s filter.Stream, _ *filter.Headers, _ bool) filter.Verdict {
			s.Buffer(f, filter.ToUpstream, part)
			return filter.Wait
		}
		f.reqData = func(s filter.Stream, b []byte, end bool) filter.Verdict {
			if seen += len(b); !asked && (end || seen >= part) {
				asked = true
				s.Buffer(f, filter.ToUpstream, 0)
				s.After(2*time.Millisecond, func() { go s.Resume(f, filter.ToUpstream) })
			}
			return filter.Continue
		}
		return f
	}
	k := start(t, routes(to("up")), func(c *ManagerConfig) {
		c.BufferLimit = 1000
		withFilters(look)(c)
	}, upstreamSpec("up", up))
	for _, size := range []int{500, part / 2, part, 3 * part} {
		for name, c := range map[string]*nethttp.Client{"h1": client(t), "h2": client2(t)} {
			body := strings.Repeat("x", size)
			if _, got, _ := get(t, c, request(t, "POST", k.url("/"), strings.NewReader(body))); got != body {
				t.Errorf("%s: %d bytes came back, want %d", name, len(got), size)
			}
		}
	}
	balanced(t, k)
}

// TestFilterHoldsALateResponse: the rest of a response, whose head a filter holds, does not come in time.
// The client is told so, and not that the upstream is gone.
func TestFilterHoldsALateResponse(t *testing.T) {
	up := backend(t, func(w nethttp.ResponseWriter, r *nethttp.Request) {
		_ = nethttp.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	hold := func(filter.Stream) filter.HTTPFilter {
		return &verdicts{resHead: func(filter.Stream, *filter.Headers, bool) filter.Verdict { return filter.Wait }}
	}
	k := start(t, routes(to("up", func(f *route.Forward) { f.Timeout = 50 * time.Millisecond })), withFilters(hold), upstreamSpec("up", up))
	for name, c := range map[string]*nethttp.Client{"h1": client(t), "h2": client2(t)} {
		code, body, _ := get(t, c, request(t, "GET", k.url("/"), nil))
		e := k.log.next(t)
		if code != 504 || body != "upstream request timeout" || e.Flags != "UT" || e.Details != "response_timeout" {
			t.Errorf("%s: %d %q, flags %s, details %s", name, code, body, e.Flags, e.Details)
		}
	}
	balanced(t, k)
}

// TestFilterStopInject: a filter that replaces bytes, on both ways.
func TestFilterStopInject(t *testing.T) {
	upper := func(filter.Stream) filter.HTTPFilter {
		f := &verdicts{}
		change := func(s filter.Stream, d filter.Direction, b []byte, end bool) filter.Verdict {
			s.Inject(f, d, append(bytes.ToUpper(b), '.'), end)
			return filter.Stop
		}
		f.reqHead = func(_ filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
			h.Del("content-length")
			return filter.Continue
		}
		f.resHead = f.reqHead
		f.reqData = func(s filter.Stream, b []byte, end bool) filter.Verdict { return change(s, filter.ToUpstream, b, end) }
		f.resData = func(s filter.Stream, b []byte, end bool) filter.Verdict {
			return change(s, filter.ToDownstream, b, end)
		}
		return f
	}
	k := start(t, routes(to("up")), withFilters(upper), upstreamSpec("up", backend(t, echo)))
	_, body, _ := get(t, client(t), request(t, "POST", k.url("/"), strings.NewReader("abc")))
	if !strings.HasPrefix(body, "POST / ABC.") {
		t.Errorf("body %q", body)
	}
}

// TestClearRoute: a filter changes headers and the route is chosen again.
func TestClearRoute(t *testing.T) {
	a, b := backend(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) { _, _ = io.WriteString(w, "a") }),
		backend(t, func(w nethttp.ResponseWriter, _ *nethttp.Request) { _, _ = io.WriteString(w, "b") })
	special := to("b")
	special.Match.Headers = []route.HeaderMatch{{Name: "x-b"}}
	special.FilterConfig = map[string]any{"a": "for b"}
	var config any
	f := func(filter.Stream) filter.HTTPFilter {
		return &verdicts{reqHead: func(s filter.Stream, h *filter.Headers, _ bool) filter.Verdict {
			h.Add("x-b", "1")
			s.ClearRoute()
			config = s.RouteConfig("a")
			return filter.Continue
		}}
	}
	k := start(t, routes(special, to("a")), withFilters(f), upstreamSpec("a", a), upstreamSpec("b", b))
	if _, body, _ := get(t, client(t), request(t, "GET", k.url("/"), nil)); body != "b" {
		t.Errorf("went to %q, want b", body)
	}
	k.log.next(t)
	if config != "for b" {
		t.Errorf("configuration %v, want that of the new route", config)
	}
}

// TestLateWakeup: posts of a filter whose stream has ended, while its
// connection carries others, do nothing.
func TestLateWakeup(t *testing.T) {
	late := make(chan func(), 100)
	f := func(filter.Stream) filter.HTTPFilter {
		v := &verdicts{}
		v.reqHead = func(s filter.Stream, _ *filter.Headers, _ bool) filter.Verdict {
			go s.Resume(v, filter.ToUpstream)
			late <- func() {
				s.Resume(v, filter.ToUpstream)
				s.Post(func() { panic("the stream is over") })
			}
			return filter.Wait
		}
		return v
	}
	k := start(t, routes(to("up")), withFilters(f), upstreamSpec("up", backend(t, echo)))
	c := client(t)
	for range 20 {
		if code, _, _ := get(t, c, request(t, "GET", k.url("/"), nil)); code != 200 {
			t.Fatalf("status %d", code)
		}
		k.log.next(t)
		(<-late)()
	}
}
