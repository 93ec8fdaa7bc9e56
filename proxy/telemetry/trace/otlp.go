package trace

import (
	"context"
	"fmt"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// OTLP exports in OpenTelemetry's form.
type OTLP struct {
	resource *resourcepb.Resource
	send     func(context.Context, *collectorpb.ExportTraceServiceRequest) error
}

// NewOTLP makes an exporter over a gRPC connection, which is the caller's to
// close. The resource is what the spans are of: service.name and more.
func NewOTLP(c grpc.ClientConnInterface, resource ...[2]string) *OTLP {
	client := collectorpb.NewTraceServiceClient(c)
	return &OTLP{resourceOf(resource), func(ctx context.Context, m *collectorpb.ExportTraceServiceRequest) error {
		resp, err := client.Export(ctx, m)
		if err != nil {
			return err
		}
		if n := resp.GetPartialSuccess().GetRejectedSpans(); n > 0 {
			return fmt.Errorf("the collector rejected %d spans: %s", n, resp.GetPartialSuccess().GetErrorMessage())
		}
		return nil
	}}
}

// NewOTLPOver makes an exporter that posts protobuf.
func NewOTLPOver(post func(context.Context, []byte) error, resource ...[2]string) *OTLP {
	return &OTLP{resourceOf(resource), func(ctx context.Context, m *collectorpb.ExportTraceServiceRequest) error {
		b, err := proto.Marshal(m)
		if err != nil {
			return err
		}
		return post(ctx, b)
	}}
}

func resourceOf(list [][2]string) *resourcepb.Resource {
	r := &resourcepb.Resource{}
	for _, kv := range list {
		r.Attributes = append(r.Attributes, text(kv[0], kv[1]))
	}
	return r
}

// Export implements Exporter.
func (o *OTLP) Export(ctx context.Context, spans []*tracepb.Span) error {
	return o.send(ctx, &collectorpb.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{
		Resource:   o.resource,
		ScopeSpans: []*tracepb.ScopeSpans{{Scope: &commonpb.InstrumentationScope{Name: "weft"}, Spans: spans}},
	}}})
}
