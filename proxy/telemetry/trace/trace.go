// Package trace makes a span of each request: it reads the trace context that a
// request carries (W3C traceparent, B3 in one or in several headers), writes the
// context of its own span for the upstream in the same forms, and exports
// sampled spans by OTLP over gRPC in batches.
//
// Start and Finish never block and take no lock; when the collector does not
// keep up, spans are dropped and counted.
package trace

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/weftmesh/weft/proxy/filter"
)

// Batches.
const (
	queueSize  = 2048
	batchSize  = 512
	batchDelay = time.Second
)

// Exporter sends spans to a collector.
type Exporter interface {
	Export(ctx context.Context, spans []*tracepb.ResourceSpans) error
}

// Options of a Tracer.
type Options struct {
	// Service is service.name, e.g. "reviews.default".
	Service string
	// Sampling of requests that carry no decision, in percent.
	Sampling float64
	// Outbound: the proxy is the client of the span, not its server.
	Outbound bool
	Exporter Exporter
	Log      *slog.Logger
}

// Tracer implements the connection manager's hook.
type Tracer struct {
	Options
	queue   chan *tracepb.Span
	dropped atomic.Uint64
}

// New makes a tracer; Run exports.
func New(o Options) *Tracer {
	return &Tracer{Options: o, queue: make(chan *tracepb.Span, queueSize)}
}

// Start reads the context from the request, makes the proxy's own span and
// writes its context into the headers.
func (t *Tracer) Start(i *filter.Info, h *filter.Headers) {
	c := extract(h)
	if c.traceID == ([16]byte{}) {
		putRandom(c.traceID[:8])
		putRandom(c.traceID[8:])
	}
	if !c.decided {
		c.sampled = t.Sampling > 0 && rand.Float64()*100 < t.Sampling
	}
	i.Trace = filter.Trace{TraceID: c.traceID, Parent: c.spanID, Sampled: c.sampled, Valid: true}
	putRandom(i.Trace.SpanID[:])
	inject(h, &i.Trace, c)
}

// putRandom fills eight bytes, never all zero.
func putRandom(b []byte) {
	for v := uint64(0); v == 0; {
		v = rand.Uint64()
		for n := range b {
			b[n] = byte(v >> (8 * n))
		}
	}
}

// Finish queues the span of a sampled request.
func (t *Tracer) Finish(i *filter.Info) {
	if !i.Trace.Sampled || !i.Trace.Valid {
		return
	}
	select {
	case t.queue <- t.span(i):
	default:
		t.dropped.Add(1)
	}
}

// Dropped is the number of spans that were lost.
func (t *Tracer) Dropped() uint64 { return t.dropped.Load() }

// Run exports batches until ctx ends, and then, briefly, what is left.
func (t *Tracer) Run(ctx context.Context) error {
	tick := time.NewTicker(batchDelay)
	defer tick.Stop()
	var batch []*tracepb.Span
	for {
		select {
		case s := <-t.queue:
			if batch = append(batch, s); len(batch) < batchSize {
				continue
			}
		case <-tick.C:
		case <-ctx.Done():
			for more := true; more; {
				select {
				case s := <-t.queue:
					batch = append(batch, s)
				default:
					more = false
				}
			}
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), batchDelay)
			t.export(last, batch)
			cancel()
			return nil
		}
		t.export(ctx, batch)
		batch = batch[:0]
	}
}

func (t *Tracer) export(ctx context.Context, batch []*tracepb.Span) {
	if len(batch) == 0 {
		return
	}
	resource := &resourcepb.Resource{Attributes: []*commonpb.KeyValue{text("service.name", t.Service)}}
	err := t.Exporter.Export(ctx, []*tracepb.ResourceSpans{{
		Resource:   resource,
		ScopeSpans: []*tracepb.ScopeSpans{{Scope: &commonpb.InstrumentationScope{Name: "weft"}, Spans: batch}},
	}})
	if err != nil {
		t.dropped.Add(uint64(len(batch)))
		t.Log.Debug("spans not exported", "spans", len(batch), "error", err)
	}
}
