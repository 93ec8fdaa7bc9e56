package trace

import (
	"context"
	"encoding/hex"
	"encoding/json"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// Zipkin exports in the form of Zipkin's API v2 (JSON).
type Zipkin struct {
	// Service and Address are the local endpoint's.
	Service, Address string
	// Post sends a body.
	Post func(context.Context, []byte) error
}

type zipkinSpan struct {
	TraceID   string            `json:"traceId"`
	ID        string            `json:"id"`
	ParentID  string            `json:"parentId,omitempty"`
	Name      string            `json:"name"`
	Kind      string            `json:"kind"`
	Timestamp uint64            `json:"timestamp"`
	Duration  uint64            `json:"duration"`
	Local     zipkinEndpoint    `json:"localEndpoint"`
	Tags      map[string]string `json:"tags,omitempty"`
	Shared    bool              `json:"shared,omitempty"`
}

type zipkinEndpoint struct {
	Service string `json:"serviceName"`
	IPv4    string `json:"ipv4,omitempty"`
}

// sharedFlag marks a span that is the client's too, in Span.Flags: a bit that
// OpenTelemetry does not use.
const sharedFlag = 1 << 31

// Export implements Exporter.
func (z *Zipkin) Export(ctx context.Context, spans []*tracepb.Span) error {
	out := make([]zipkinSpan, 0, len(spans))
	for _, s := range spans {
		kind := "SERVER"
		if s.Kind == tracepb.Span_SPAN_KIND_CLIENT {
			kind = "CLIENT"
		}
		o := zipkinSpan{
			TraceID: traceText(s.TraceId), ID: hex.EncodeToString(s.SpanId), ParentID: hex.EncodeToString(s.ParentSpanId),
			Name: s.Name, Kind: kind, Timestamp: s.StartTimeUnixNano / 1000, Duration: max((s.EndTimeUnixNano-s.StartTimeUnixNano)/1000, 1),
			Local: zipkinEndpoint{z.Service, z.Address}, Tags: map[string]string{}, Shared: s.Flags&sharedFlag != 0,
		}
		for _, a := range s.Attributes {
			o.Tags[a.Key] = a.Value.GetStringValue()
		}
		out = append(out, o)
	}
	b, err := json.Marshal(out)
	if err != nil {
		return err
	}
	return z.Post(ctx, b)
}

// traceText writes ids of 64 bits short.
func traceText(id []byte) string {
	if len(id) == 16 && [8]byte(id[:8]) == ([8]byte{}) {
		id = id[8:]
	}
	return hex.EncodeToString(id)
}
