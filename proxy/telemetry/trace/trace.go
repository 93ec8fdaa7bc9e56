// Package trace makes a span of each request, and on demand one of each attempt
// upstream: it reads the trace context that a request carries (W3C traceparent,
// B3 in one or in several headers), writes the context of its own span for the
// upstream, and exports sampled spans in batches, in OpenTelemetry's or in
// Zipkin's form.
//
// Start, Attempt and Finish never block and take no lock; when the collector
// does not keep up, spans are dropped and counted.
package trace

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/filter/format"
	"github.com/weftmesh/weft/proxy/telemetry/export"
)

// batchDelay is how long spans wait for others.
const batchDelay = time.Second

// Exporter sends spans to a collector.
type Exporter interface {
	Export(ctx context.Context, spans []*tracepb.Span) error
}

// Options of a Tracer.
type Options struct {
	// Service is service.name, e.g. "reviews.default".
	Service string
	// Sampling of requests that carry no decision, in percent: Client of those that
	// ask for it (x-client-trace-id), Random of the others, Overall of all.
	Client, Random, Overall float64
	// Outbound: the proxy is the client of the span, not its server.
	Outbound bool
	// Attempts makes a span of each attempt upstream too.
	Attempts bool
	// B3 writes B3 headers instead of W3C ones; Both writes both. Either way
	// contexts go on in the forms in which they came.
	B3, Both bool
	// Shared: a server's span that came by B3 is the client's, as in Zipkin.
	Shared bool
	// Short makes trace ids of 64 bits.
	Short bool
	// MaxPath bounds the path in tags.
	MaxPath int
	Tags    []format.Tag
	// KeepRequestID leaves the decision out of x-request-id; Chance decides by
	// chance instead of by the request id.
	KeepRequestID, Chance bool
	// Silent leaves the headers of requests as they are: contexts end here.
	Silent bool
	// Node is the tag node_id.
	Node     string
	Exporter Exporter
	Log      *slog.Logger
}

// Tracer implements the connection manager's hook. Run exports.
type Tracer struct {
	Options
	*export.Batch[*tracepb.Span]
}

// New makes a tracer.
func New(o Options) *Tracer {
	t := &Tracer{Options: o}
	if t.MaxPath == 0 {
		t.MaxPath = 256
	}
	t.Batch = export.New(&export.Batch[*tracepb.Span]{Every: batchDelay, Log: o.Log, Send: func(ctx context.Context, spans []*tracepb.Span) error {
		return o.Exporter.Export(ctx, spans)
	}})
	return t
}

// Start reads the context from the request, makes the proxy's own span and
// writes its context into the headers.
func (t *Tracer) Start(i *filter.Info, h *filter.Headers) {
	c := extract(h)
	shared := t.Shared && !t.Outbound && c.spanID != ([8]byte{}) && (c.b3 || c.b3multi) && !c.w3c
	if c.traceID == ([16]byte{}) {
		if !t.Short {
			putRandom(c.traceID[:8])
		}
		putRandom(c.traceID[8:])
	}
	wanted := t.decide(i, h)
	if !c.decided {
		c.sampled = wanted
	}
	i.Trace = filter.Trace{TraceID: c.traceID, Parent: c.spanID, Sampled: c.sampled, Valid: true}
	if shared {
		i.Trace.SpanID, i.Trace.Parent, i.Trace.Shared = c.spanID, c.parentID, true
		c.spanID = c.parentID
	} else {
		putRandom(i.Trace.SpanID[:])
	}
	t.inject(h, &i.Trace, i.Trace.SpanID, c)
}

// The digit of a UUID that tells its version carries why a request is traced.
const (
	reasonAt      = 14
	reasonNone    = '4'
	reasonSampled = '9'
	reasonService = 'a'
	reasonClient  = 'b'
)

// decide tells whether a request without a context is to be traced, and notes
// that in its id for the proxies that come after.
func (t *Tracer) decide(i *filter.Info, h *filter.Headers) bool {
	id := i.RequestID
	number, known := rand.Uint64()%10000, byte(reasonNone) //nolint:gosec // sampling
	usable := len(id) == 36 && (id[reasonAt] == reasonNone || id[reasonAt] == reasonSampled || id[reasonAt] == reasonService || id[reasonAt] == reasonClient)
	if usable && !t.Chance {
		if n, err := strconv.ParseUint(id[:8], 16, 64); err == nil {
			number = n % 10000
		}
	}
	if usable {
		known = id[reasonAt]
	}
	reason := known
	if reason == reasonNone {
		switch {
		case h.Has("x-client-trace-id") && share(t.Client, rand.Uint64()%10000): //nolint:gosec // sampling
			reason = reasonClient
		case h.Has("x-envoy-force-trace"):
			reason = reasonService
		case share(t.Random, number):
			reason = reasonSampled
		}
	}
	if reason != reasonNone && !share(t.Overall, number) {
		reason = reasonNone
	}
	if usable && reason != known && !t.KeepRequestID {
		b := append(h.Buffer(), id...)
		b[len(b)-len(id)+reasonAt] = reason
		i.RequestID = h.Kept(b)
		h.Set("x-request-id", i.RequestID)
	}
	return reason != reasonNone
}

// share tells whether a number below 10,000 falls into a percentage.
func share(percent float64, n uint64) bool { return float64(n) < percent*100 }

// putRandom fills eight bytes, never all zero.
func putRandom(b []byte) {
	for v := uint64(0); v == 0; {
		v = rand.Uint64()
		for n := range b {
			b[n] = byte(v >> (8 * n))
		}
	}
}

// Attempt is told that the request goes upstream: it begins a span of that
// attempt, and ends that of the one before.
func (t *Tracer) Attempt(i *filter.Info, h *filter.Headers, now time.Time) {
	if !t.Attempts || !i.Trace.Valid {
		return
	}
	t.endAttempt(i, now, true)
	i.Trace.AttemptStart = now
	putRandom(i.Trace.AttemptID[:])
	c := carried{traceID: i.Trace.TraceID, spanID: i.Trace.SpanID, b3: h.Has("b3"), b3multi: h.Has("x-b3-traceid"), w3c: h.Has("traceparent")}
	t.inject(h, &i.Trace, i.Trace.AttemptID, c)
}

// endAttempt ends the span of the present attempt, if there is one.
func (t *Tracer) endAttempt(i *filter.Info, now time.Time, failed bool) {
	if i.Trace.AttemptStart.IsZero() || !i.Trace.Sampled {
		return
	}
	s := &tracepb.Span{
		TraceId: bytesOf(i.Trace.TraceID[:]), SpanId: bytesOf(i.Trace.AttemptID[:]), ParentSpanId: bytesOf(i.Trace.SpanID[:]),
		Kind: tracepb.Span_SPAN_KIND_CLIENT, Name: "router " + i.Upstream.Cluster + " egress",
		StartTimeUnixNano: uint64(i.Trace.AttemptStart.UnixNano()), EndTimeUnixNano: uint64(now.UnixNano()), Status: &tracepb.Status{},
	}
	t.addUpstream(s, i)
	if !failed {
		s.Attributes = append(s.Attributes, text("http.status_code", strconv.Itoa(i.Status)), text("response_flags", i.Flags.String()))
	}
	if failed || i.Status >= 500 || i.Status == 0 {
		t.fail(s)
	}
	t.Add(s)
}

// Finish queues the span of a sampled request.
func (t *Tracer) Finish(i *filter.Info) {
	if !i.Trace.Sampled || !i.Trace.Valid {
		return
	}
	t.endAttempt(i, i.Start.Add(i.Duration), false)
	t.Add(t.span(i))
}

// bytesOf copies an id, whose memory is the request's.
func bytesOf(id []byte) []byte { return append([]byte(nil), id...) }

func text(k, v string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: k, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: v}}}
}
