package trace

import (
	"context"
	"fmt"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// OTLP exports over a gRPC connection, which is the caller's to close.
type OTLP struct {
	client collectorpb.TraceServiceClient
}

// NewOTLP makes an exporter.
func NewOTLP(c grpc.ClientConnInterface) *OTLP {
	return &OTLP{collectorpb.NewTraceServiceClient(c)}
}

// Export implements Exporter.
func (o *OTLP) Export(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	resp, err := o.client.Export(ctx, &collectorpb.ExportTraceServiceRequest{ResourceSpans: spans})
	if err != nil {
		return err
	}
	if n := resp.GetPartialSuccess().GetRejectedSpans(); n > 0 {
		return fmt.Errorf("the collector rejected %d spans: %s", n, resp.GetPartialSuccess().GetErrorMessage())
	}
	return nil
}
