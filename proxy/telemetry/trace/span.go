package trace

import (
	"strconv"
	"strings"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/weftmesh/weft/proxy/filter"
)

// span copies what a request's Info says; the Info dies with the request.
func (t *Tracer) span(i *filter.Info) *tracepb.Span {
	kind := tracepb.Span_SPAN_KIND_SERVER
	if t.Outbound {
		kind = tracepb.Span_SPAN_KIND_CLIENT
	}
	s := &tracepb.Span{
		TraceId: i.Trace.TraceID[:], SpanId: i.Trace.SpanID[:], Kind: kind,
		Name:              t.name(i),
		StartTimeUnixNano: uint64(i.Start.UnixNano()),
		EndTimeUnixNano:   uint64(i.Start.Add(i.Duration).UnixNano()),
		Status:            &tracepb.Status{},
	}
	s.TraceId = append([]byte(nil), s.TraceId...)
	s.SpanId = append([]byte(nil), s.SpanId...)
	if i.Trace.Parent != ([8]byte{}) {
		s.ParentSpanId = append([]byte(nil), i.Trace.Parent[:]...)
	}
	if i.Status >= 500 || i.Status == 0 {
		s.Status.Code = tracepb.Status_STATUS_CODE_ERROR
	}
	add := func(k, v string) {
		if v != "" {
			s.Attributes = append(s.Attributes, text(k, strings.Clone(v)))
		}
	}
	if h := i.Request; h != nil {
		add("http.method", h.Method)
		add("http.url", h.Scheme+"://"+h.Authority+h.Path)
		add("user_agent", h.Get("user-agent"))
	}
	add("http.protocol", i.Protocol)
	add("http.status_code", strconv.Itoa(i.Status))
	add("response_flags", i.Flags.String())
	add("guid:x-request-id", i.RequestID)
	add("upstream_cluster", i.Upstream.Cluster)
	if i.Upstream.Host.IsValid() {
		add("peer.address", i.Upstream.Host.String())
	}
	add("request_size", strconv.FormatUint(i.Received, 10))
	add("response_size", strconv.FormatUint(i.Sent, 10))
	return s
}

// name is "reviews.default.svc.cluster.local:9080/*", as Istio's decorator has
// it, when the route says so.
func (t *Tracer) name(i *filter.Info) string {
	if i.Operation != "" {
		return strings.Clone(i.Operation) // it may be the request's
	}
	if i.Request != nil && i.Request.Authority != "" {
		return strings.Clone(i.Request.Authority)
	}
	return "request"
}

func text(k, v string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: k, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: v}}}
}
