package behave

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"

	alsv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	collogspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// span is what a collector keeps of one, whatever form it came in: Zipkin's.
type span struct {
	Name, Kind, TraceID, ParentID string
	Tags                          map[string]string
	LocalEndpoint                 struct{ ServiceName string }
}

// collector takes over gRPC what proxies tell of requests.
type collector struct {
	alsv3.UnimplementedAccessLogServiceServer
	coltracepb.UnimplementedTraceServiceServer
	p *peer
}

// logsTaker is apart, since its method has the name that the traces' has.
type logsTaker struct {
	collogspb.UnimplementedLogsServiceServer
	p *peer
}

// serveCollector serves all of it at one port.
func (p *peer) serveCollector() error {
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", portCollector))
	if err != nil {
		return err
	}
	s := grpc.NewServer(grpc.UnknownServiceHandler(p.keepSegments)) // SkyWalking's reports, whose protobufs are nowhere else needed
	c := &collector{p: p}
	alsv3.RegisterAccessLogServiceServer(s, c)
	coltracepb.RegisterTraceServiceServer(s, c)
	collogspb.RegisterLogsServiceServer(s, logsTaker{p: p})
	secretv3.RegisterSecretDiscoveryServiceServer(s, secretServer{})
	return s.Serve(l)
}

// StreamAccessLogs keeps the entries of Envoy's access-log service.
func (c *collector) StreamAccessLogs(stream grpc.ClientStreamingServer[alsv3.StreamAccessLogsMessage, alsv3.StreamAccessLogsResponse]) error {
	name := ""
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		if id := m.GetIdentifier(); id != nil {
			name = id.GetLogName()
		}
		for _, e := range m.GetHttpLogs().GetLogEntry() {
			c.p.note(name, e)
		}
		for _, e := range m.GetTcpLogs().GetLogEntry() {
			c.p.note(name, e)
		}
	}
}

// Export keeps records of OpenTelemetry.
func (l logsTaker) Export(_ context.Context, r *collogspb.ExportLogsServiceRequest) (*collogspb.ExportLogsServiceResponse, error) {
	for _, x := range r.GetResourceLogs() {
		for _, s := range x.GetScopeLogs() {
			for _, e := range s.GetLogRecords() {
				l.p.note("otel "+attributes(x.GetResource().GetAttributes())["log_name"], e)
			}
		}
	}
	return &collogspb.ExportLogsServiceResponse{}, nil
}

// Export keeps spans of OpenTelemetry.
func (c *collector) Export(_ context.Context, r *coltracepb.ExportTraceServiceRequest) (*coltracepb.ExportTraceServiceResponse, error) {
	c.p.keepSpans(r, "otlp-grpc")
	return &coltracepb.ExportTraceServiceResponse{}, nil
}

// keepSpans keeps spans of OpenTelemetry; by says how they came.
func (p *peer) keepSpans(r *coltracepb.ExportTraceServiceRequest, by string) {
	for _, x := range r.GetResourceSpans() {
		service := attributes(x.GetResource().GetAttributes())["service.name"]
		for _, s := range x.GetScopeSpans() {
			for _, e := range s.GetSpans() {
				out := span{Name: e.GetName(), Kind: e.GetKind().String(), TraceID: hex.EncodeToString(e.GetTraceId()), ParentID: hex.EncodeToString(e.GetParentSpanId())}
				out.Tags = attributes(e.GetAttributes())
				out.Tags["by"], out.Tags["service"] = by, service
				p.keepSpan(out)
			}
		}
	}
}

func attributes(list []*commonpb.KeyValue) map[string]string {
	out := map[string]string{}
	for _, a := range list {
		out[a.GetKey()] = a.GetValue().GetStringValue()
	}
	return out
}

// note keeps a log's entry, as JSON without spaces behind the log's name.
func (p *peer) note(name string, m proto.Message) {
	raw, err := protojson.Marshal(m)
	if err != nil {
		return
	}
	var v any
	_ = json.Unmarshal(raw, &v)
	raw, _ = json.Marshal(v) // protojson's spacing is random on purpose
	p.keepNote(name + " " + string(raw))
}

func (p *peer) keepNote(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.notes) < 10_000 {
		p.notes = append(p.notes, text)
	}
}

// keepSegments keeps what is said to a gRPC service that there is not, as it comes: texts
// can be read in it. Metadata goes before.
func (p *peer) keepSegments(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	md, _ := metadata.FromIncomingContext(stream.Context())
	for {
		m := &emptypb.Empty{}
		if err := stream.RecvMsg(m); err != nil {
			return stream.SendMsg(&emptypb.Empty{})
		}
		p.keepNote(method + " " + strings.Join(md.Get("authentication"), "") + " " + strings.ToValidUTF8(string(m.ProtoReflect().GetUnknown()), "?"))
	}
}

func (p *peer) noteList(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = json.NewEncoder(w).Encode(p.notes)
}
