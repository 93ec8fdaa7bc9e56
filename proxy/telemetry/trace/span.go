package trace

import (
	"strconv"
	"strings"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/weftmesh/weft/proxy/filter"
)

// span copies what a request's Info says, under Envoy's names; the Info dies
// with the request.
func (t *Tracer) span(i *filter.Info) *tracepb.Span {
	kind := tracepb.Span_SPAN_KIND_SERVER
	if t.Outbound {
		kind = tracepb.Span_SPAN_KIND_CLIENT
	}
	s := &tracepb.Span{
		TraceId: bytesOf(i.Trace.TraceID[:]), SpanId: bytesOf(i.Trace.SpanID[:]), Kind: kind,
		Name:              t.name(i),
		StartTimeUnixNano: uint64(i.Start.UnixNano()),
		EndTimeUnixNano:   uint64(i.Start.Add(i.Duration).UnixNano()),
		Status:            &tracepb.Status{},
	}
	if i.Trace.Shared {
		s.Flags |= sharedFlag
	}
	if i.Trace.Parent != ([8]byte{}) {
		s.ParentSpanId = bytesOf(i.Trace.Parent[:])
	}
	add := adder(s)
	add("node_id", t.Node)
	add("component", "proxy")
	if h := i.Request; h != nil {
		path := h.Path
		if i.OriginalPath != "" {
			path = i.OriginalPath
		}
		add("http.method", h.Method)
		add("http.url", h.Scheme+"://"+h.Authority+path[:min(len(path), t.MaxPath)])
		add("user_agent", orDash(h.Get("user-agent")))
		add("downstream_cluster", orDash(h.Get("x-envoy-downstream-service-cluster")))
		add("guid:x-client-trace-id", h.Get("x-client-trace-id"))
	}
	add("http.protocol", i.Protocol)
	add("http.status_code", strconv.Itoa(i.Status))
	add("response_flags", i.Flags.String())
	add("guid:x-request-id", i.RequestID)
	if i.Conn != nil && i.Conn.Remote.IsValid() {
		add("peer.address", i.Conn.Remote.Addr().String())
	}
	t.addUpstream(s, i)
	add("request_size", strconv.FormatUint(i.Received, 10))
	add("response_size", strconv.FormatUint(i.Sent, 10))
	for n := range t.Tags {
		if v, ok := t.Tags[n].Value(i); ok {
			add(t.Tags[n].Name, v)
		}
	}
	if i.Status >= 500 || i.Status == 0 {
		t.fail(s)
	}
	return s
}

func adder(s *tracepb.Span) func(k, v string) {
	return func(k, v string) {
		if v != "" {
			s.Attributes = append(s.Attributes, text(k, strings.Clone(v)))
		}
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func (t *Tracer) addUpstream(s *tracepb.Span, i *filter.Info) {
	add := adder(s)
	add("upstream_cluster", i.Upstream.Cluster)
	add("upstream_cluster.name", i.Upstream.Cluster)
	if i.Upstream.Host.IsValid() {
		add("upstream_address", i.Upstream.Host.String())
	}
}

// fail marks a span as failed, both in OpenTelemetry's and in Zipkin's way.
func (t *Tracer) fail(s *tracepb.Span) {
	s.Status.Code = tracepb.Status_STATUS_CODE_ERROR
	s.Attributes = append(s.Attributes, text("error", "true"))
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
