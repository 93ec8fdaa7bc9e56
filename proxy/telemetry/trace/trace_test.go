package trace

import (
	"context"
	"encoding/hex"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/weftmesh/weft/proxy/filter"
)

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	spanID  = "00f067aa0ba902b7"
)

func headers(kv ...string) *filter.Headers {
	h := &filter.Headers{Method: "GET", Path: "/", Authority: "a"}
	for i := 0; i < len(kv); i += 2 {
		h.Add(kv[i], kv[i+1])
	}
	return h
}

func TestStartContinuesTheTrace(t *testing.T) {
	for name, c := range map[string]struct {
		in      []string
		trace   string // "" any
		sampled bool
		has     []string // headers that go on
		hasNot  []string
	}{
		"none":              {nil, "", false, []string{"traceparent"}, []string{"b3", "x-b3-traceid"}},
		"w3c sampled":       {[]string{"traceparent", "00-" + traceID + "-" + spanID + "-01"}, traceID, true, []string{"traceparent"}, []string{"b3"}},
		"w3c not sampled":   {[]string{"traceparent", "00-" + traceID + "-" + spanID + "-00"}, traceID, false, nil, nil},
		"w3c bad":           {[]string{"traceparent", "00-" + strings.Repeat("0", 32) + "-" + spanID + "-01"}, "", false, nil, nil},
		"w3c later version": {[]string{"traceparent", "cc-" + traceID + "-" + spanID + "-01-what"}, traceID, true, nil, nil},
		"b3 single":         {[]string{"b3", traceID + "-" + spanID + "-1"}, traceID, true, []string{"b3", "traceparent"}, []string{"x-b3-traceid"}},
		"b3 debug":          {[]string{"b3", traceID + "-" + spanID + "-d"}, traceID, true, []string{"b3"}, nil},
		"b3 deny":           {[]string{"b3", "0"}, "", false, []string{"b3"}, nil},
		"b3 multi":          {[]string{"x-b3-traceid", traceID, "x-b3-spanid", spanID, "x-b3-sampled", "1"}, traceID, true, []string{"x-b3-traceid", "x-b3-parentspanid"}, []string{"b3"}},
		"b3 64 bit":         {[]string{"x-b3-traceid", traceID[16:], "x-b3-spanid", spanID, "x-b3-sampled", "1"}, strings.Repeat("0", 16) + traceID[16:], true, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			tr := New(Options{})
			h, i := headers(c.in...), &filter.Info{}
			tr.Start(i, h)
			got := hex.EncodeToString(i.Trace.TraceID[:])
			if c.trace != "" && got != c.trace || i.Trace.Sampled != c.sampled {
				t.Errorf("trace %s sampled %v, want %s %v", got, i.Trace.Sampled, c.trace, c.sampled)
			}
			own := hex.EncodeToString(i.Trace.SpanID[:])
			if own == spanID || !strings.Contains(h.Get("traceparent"), got+"-"+own) {
				t.Errorf("traceparent is %q, want trace %s and an own span", h.Get("traceparent"), got)
			}
			for _, n := range c.has {
				if !h.Has(n) {
					t.Errorf("%s does not go on", n)
				}
			}
			for _, n := range c.hasNot {
				if h.Has(n) {
					t.Errorf("%s was added: %q", n, h.Get(n))
				}
			}
		})
	}
}

// TestSilent: a trace that came is not passed on anew, and the proxy's own span
// is part of it all the same.
func TestSilent(t *testing.T) {
	in := "00-" + traceID + "-" + spanID + "-01"
	h, i := headers("traceparent", in), &filter.Info{}
	New(Options{Silent: true}).Start(i, h)
	if got := h.Get("traceparent"); got != in || h.Has("x-b3-traceid") {
		t.Errorf("traceparent is %q, want it as it came", got)
	}
	if got := hex.EncodeToString(i.Trace.TraceID[:]); got != traceID || !i.Trace.Sampled {
		t.Errorf("the span is of trace %s, sampled %v", got, i.Trace.Sampled)
	}
}

func TestSamplingIsByPercent(t *testing.T) {
	tr := New(Options{Random: 25, Overall: 100})
	n := 0
	for range 10000 {
		i := &filter.Info{}
		tr.Start(i, headers())
		if i.Trace.Sampled {
			n++
		}
	}
	if n < 2250 || n > 2750 {
		t.Errorf("%d of 10000 sampled, want about 2500", n)
	}
}

type collector struct{ got []*tracepb.Span }

func (c *collector) Export(_ context.Context, spans []*tracepb.Span) error {
	c.got = append(c.got, spans...)
	return nil
}

func TestRunExportsBatchesAndTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &collector{}
		tr := New(Options{Random: 100, Overall: 100, Exporter: c, Log: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = tr.Run(ctx)
		}()
		request := func() {
			i := &filter.Info{Start: time.Now(), Status: 503, Operation: "reviews:9080/*", Request: headers()}
			tr.Start(i, i.Request)
			i.Duration = time.Second
			tr.Finish(i)
		}
		request()
		time.Sleep(2 * batchDelay)
		synctest.Wait()
		if len(c.got) != 1 || c.got[0].Name != "reviews:9080/*" || c.got[0].Status.Code != tracepb.Status_STATUS_CODE_ERROR {
			t.Errorf("exported %v", c.got)
		}
		request()
		synctest.Wait()
		cancel()
		<-done
		if len(c.got) != 2 {
			t.Errorf("%d spans after the end, want 2", len(c.got))
		}
	})
}

func TestDecisionTravelsInTheRequestID(t *testing.T) {
	const id = "00000000-0000-4000-8000-000000000000"
	for name, c := range map[string]struct {
		o       Options
		id      string
		head    []string
		sampled bool
		want    string // digit 14 of the id
	}{
		"random":              {Options{Random: 100, Overall: 100}, id, nil, true, "9"},
		"none":                {Options{Overall: 100}, id, nil, false, "4"},
		"forced":              {Options{Overall: 100}, id, []string{"x-envoy-force-trace", "1"}, true, "a"},
		"client":              {Options{Client: 100, Overall: 100}, id, []string{"x-client-trace-id", "1"}, true, "b"},
		"not this client":     {Options{Overall: 100}, id, []string{"x-client-trace-id", "1"}, false, "4"},
		"decided before":      {Options{Overall: 100}, id[:14] + "9" + id[15:], nil, true, "9"},
		"but not overall":     {Options{Random: 100}, id[:14] + "9" + id[15:], nil, false, "4"},
		"kept":                {Options{Random: 100, Overall: 100, KeepRequestID: true}, id, nil, true, "4"},
		"by the id":           {Options{Random: 50, Overall: 100}, "0000270f" + id[8:], nil, false, "4"}, // 9999
		"parent not sampled":  {Options{Random: 100, Overall: 100}, id, []string{"traceparent", "00-" + traceID + "-" + spanID + "-00"}, false, "9"},
		"an id of other form": {Options{Random: 100, Overall: 100}, "mine", nil, true, ""},
	} {
		h, i := headers(c.head...), &filter.Info{RequestID: c.id}
		h.Add("x-request-id", c.id)
		New(c.o).Start(i, h)
		got := ""
		if len(i.RequestID) > 14 {
			got = i.RequestID[14:15]
		}
		if i.Trace.Sampled != c.sampled || got != c.want || h.Get("x-request-id") != i.RequestID {
			t.Errorf("%s: sampled %v, id %q %q, want %v and %q", name, i.Trace.Sampled, i.RequestID, h.Get("x-request-id"), c.sampled, c.want)
		}
	}
}

func TestZipkinSharesTheSpan(t *testing.T) {
	var body string
	z := &Zipkin{Service: "svc", Post: func(_ context.Context, b []byte) error { body = string(b); return nil }}
	tr := New(Options{B3: true, Short: true, Shared: true, Exporter: z})
	h := headers("x-b3-traceid", traceID[16:], "x-b3-spanid", spanID, "x-b3-parentspanid", spanID[:15]+"1", "x-b3-sampled", "1")
	i := &filter.Info{Request: h, Start: time.UnixMicro(5), Duration: time.Millisecond, Status: 200}
	tr.Start(i, h)
	if h.Get("x-b3-spanid") != spanID || h.Get("x-b3-traceid") != traceID[16:] || h.Has("traceparent") {
		t.Errorf("goes on as %q %q %q", h.Get("x-b3-traceid"), h.Get("x-b3-spanid"), h.Get("traceparent"))
	}
	if err := z.Export(t.Context(), []*tracepb.Span{tr.span(i)}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"traceId":"` + traceID[16:] + `"`, `"id":"` + spanID + `"`, `"parentId":"` + spanID[:15] + `1"`, `"kind":"SERVER"`, `"timestamp":5`,
		`"duration":1000`, `"serviceName":"svc"`, `"shared":true`, `"http.status_code":"200"`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
}

func TestAttemptsHaveSpans(t *testing.T) {
	c := &collector{}
	tr := New(Options{Random: 100, Overall: 100, Attempts: true, Exporter: c, Log: slog.New(slog.DiscardHandler)})
	h := headers()
	start := time.Unix(7, 0)
	i := &filter.Info{Request: h, Start: start, Upstream: filter.Upstream{Cluster: "c"}}
	tr.Start(i, h)
	tr.Attempt(i, h, start.Add(1))
	first := h.Get("traceparent")
	tr.Attempt(i, h, start.Add(2))
	if h.Get("traceparent") == first {
		t.Error("two attempts go on with one context")
	}
	i.Status, i.Duration = 200, time.Second
	tr.Finish(i)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = tr.Run(ctx)
	if len(c.got) != 3 {
		t.Fatalf("%d spans, want 3", len(c.got))
	}
	for n, s := range c.got[:2] {
		failed := s.Status.Code == tracepb.Status_STATUS_CODE_ERROR
		if s.Name != "router c egress" || string(s.ParentSpanId) != string(i.Trace.SpanID[:]) || failed != (n == 0) {
			t.Errorf("attempt %d: %v", n, s)
		}
	}
}

func FuzzExtract(f *testing.F) {
	f.Add("00-"+traceID+"-"+spanID+"-01", traceID+"-"+spanID+"-1")
	f.Fuzz(func(t *testing.T, w3c, b3 string) {
		h, i := headers("traceparent", w3c, "b3", b3), &filter.Info{}
		New(Options{}).Start(i, h)
		if again := extract(h); again.traceID != i.Trace.TraceID || again.spanID != i.Trace.SpanID {
			t.Errorf("what was written reads as %x %x, want %x %x", again.traceID, again.spanID, i.Trace.TraceID, i.Trace.SpanID)
		}
	})
}

// TestSpanOutlivesTheRequest: the operation may come from a header, whose
// memory is used again.
func TestSpanOutlivesTheRequest(t *testing.T) {
	h := &filter.Headers{}
	h.AddBytes([]byte("x-envoy-decorator-operation"), []byte("checkout"))
	tr := New(Options{})
	s := tr.span(&filter.Info{Request: h, Operation: h.Get("x-envoy-decorator-operation")})
	h.Reset()
	h.AddBytes([]byte("some-other-request-with-long-name"), []byte("whatever"))
	if s.Name != "checkout" {
		t.Errorf("the span is called %q, want checkout", s.Name)
	}
}
