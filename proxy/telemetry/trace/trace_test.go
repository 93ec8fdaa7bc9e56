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

func TestSamplingIsByPercent(t *testing.T) {
	tr := New(Options{Sampling: 25})
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

func (c *collector) Export(_ context.Context, r []*tracepb.ResourceSpans) error {
	for _, rs := range r {
		for _, s := range rs.ScopeSpans {
			c.got = append(c.got, s.Spans...)
		}
	}
	return nil
}

func TestRunExportsBatchesAndTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &collector{}
		tr := New(Options{Sampling: 100, Exporter: c, Log: slog.New(slog.DiscardHandler), Service: "s"})
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

func TestAFullQueueDrops(t *testing.T) {
	tr := New(Options{Sampling: 100})
	for range queueSize + 3 {
		i := &filter.Info{}
		tr.Start(i, headers())
		tr.Finish(i)
	}
	if tr.Dropped() != 3 {
		t.Errorf("dropped %d, want 3", tr.Dropped())
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
