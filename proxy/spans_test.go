package proxy_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/proxy/xds/xdstest"
	"github.com/weftmesh/weft/test/freeport"
	"github.com/weftmesh/weft/wire"
)

// collector takes spans by OTLP over gRPC, as Jaeger and Tempo do.
type collector struct {
	collectorpb.UnimplementedTraceServiceServer
	address string

	mu    sync.Mutex
	spans map[string][]*tracepb.Span // by service.name
	more  chan struct{}
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{address: l.Addr().String(), spans: map[string][]*tracepb.Span{}, more: make(chan struct{}, 1000)}
	s := grpc.NewServer()
	collectorpb.RegisterTraceServiceServer(s, c)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	return c
}

func (c *collector) Export(_ context.Context, r *collectorpb.ExportTraceServiceRequest) (*collectorpb.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range r.ResourceSpans {
		name := attributes(rs.Resource.Attributes)["service.name"]
		for _, ss := range rs.ScopeSpans {
			c.spans[name] = append(c.spans[name], ss.Spans...)
		}
	}
	c.more <- struct{}{}
	return &collectorpb.ExportTraceServiceResponse{}, nil
}

func attributes(list []*commonpb.KeyValue) map[string]string {
	out := map[string]string{}
	for _, a := range list {
		out[a.Key] = a.Value.GetStringValue()
	}
	return out
}

// of returns n spans of a service, once they have come.
func (c *collector) of(t *testing.T, service string, n int) []*tracepb.Span {
	t.Helper()
	for {
		c.mu.Lock()
		got := c.spans[service]
		c.mu.Unlock()
		if len(got) >= n {
			return got
		}
		select {
		case <-c.more:
		case <-t.Context().Done():
			t.Fatalf("%d spans of %s came, want %d", len(got), service, n)
		}
	}
}

// traced is a chain whose connection manager makes spans.
func traced(routes, service string, sampling int) string {
	return strings.Replace(httpFilters(routes), "      stat_prefix: test\n", fmt.Sprintf(`      stat_prefix: test
      generate_request_id: true
      tracing:
        random_sampling: {value: %d}
        provider:
          name: envoy.tracers.opentelemetry
          typed_config:
            "@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
            grpc_service: {envoy_grpc: {cluster_name: spans}}
            service_name: %s
`, sampling, service), 1)
}

const spansHTTP2 = `, typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {
  "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}`

// TestSpans follows a request through two connection managers, as through a
// client's and a server's sidecar, and looks at what a collector gets of it.
func TestSpans(t *testing.T) {
	c := newCollector(t)
	m := newMesh(t)
	out, in := freeport.Addr(t), freeport.Addr(t)
	var mu sync.Mutex
	var program nethttp.Header // what the program got last
	srv := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		mu.Lock()
		program = r.Header
		mu.Unlock()
		if r.URL.Path == "/broken" {
			w.WriteHeader(nethttp.StatusInternalServerError)
		}
		_, _ = io.WriteString(w, "done")
	}))
	t.Cleanup(srv.Close)
	app := srv.Listener.Addr().String()
	m.cluster("app", "")
	m.endpoint("app", app)
	m.cluster("peer", "")
	m.endpoint("peer", in)
	m.cluster("spans", spansHTTP2)
	m.endpoint("spans", c.address)
	m.listener("out", out, "traffic_direction: OUTBOUND\n", traced("out", "web.default", 0))
	m.routes("out", "{match: {prefix: /}, route: {cluster: peer}, decorator: {operation: 'reviews:9080/*'}}")
	m.listener("in", in, "traffic_direction: INBOUND\n", traced("in", "reviews.default", 0))
	m.routes("in", "{match: {prefix: /}, route: {cluster: app}}")
	m.listen()
	m.until("everything taken", func(v xdstest.View) bool { return v.Acks(wire.TypeListener) > 0 })
	eventually(t, out, "/warm", "done")

	const traceID, clientSpan = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	ask := func(path string, headers ...string) {
		t.Helper()
		r, err := nethttp.NewRequestWithContext(t.Context(), nethttp.MethodGet, "http://"+out+path, nethttp.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("User-Agent", "test")
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		resp, err := nethttp.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	// One that the client does not sample, one that it does, in each form.
	ask("/unsampled", "traceparent", "00-"+traceID+"-"+clientSpan+"-00")
	ask("/sampled", "traceparent", "00-"+traceID+"-"+clientSpan+"-01")
	mu.Lock()
	got := program
	mu.Unlock()
	ask("/broken", "x-b3-traceid", traceID, "x-b3-spanid", clientSpan, "x-b3-sampled", "1")

	client, server := c.of(t, "web.default", 2), c.of(t, "reviews.default", 2)
	if len(client) != 2 || len(server) != 2 {
		t.Fatalf("%d and %d spans, want 2 and 2: only sampled ones", len(client), len(server))
	}
	type row struct {
		Trace, Parent, Name string
		Kind                tracepb.Span_SpanKind
		Failed              bool
		URL, Status, Agent  string
		Cluster, Peer       string
	}
	show := func(s *tracepb.Span) row {
		a := attributes(s.Attributes)
		return row{
			hex.EncodeToString(s.TraceId), hex.EncodeToString(s.ParentSpanId), s.Name, s.Kind,
			s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR,
			a["http.url"], a["http.status_code"], a["user_agent"], a["upstream_cluster"], a["upstream_address"],
		}
	}
	id := func(s *tracepb.Span) string { return hex.EncodeToString(s.SpanId) }
	for i, path := range []string{"/sampled", "/broken"} {
		status, failed := "200", false
		if path == "/broken" {
			status, failed = "500", true
		}
		want := []row{
			{traceID, clientSpan, "reviews:9080/*", tracepb.Span_SPAN_KIND_CLIENT, failed, "http://" + out + path, status, "test", "peer", in},
			{traceID, id(client[i]), out, tracepb.Span_SPAN_KIND_SERVER, failed, "http://" + out + path, status, "test", "app", app},
		}
		if d := cmp.Diff(want, []row{show(client[i]), show(server[i])}); d != "" {
			t.Errorf("%s, -want +got:\n%s", path, d)
		}
		a, b := client[i], server[i]
		if a.StartTimeUnixNano > b.StartTimeUnixNano || a.EndTimeUnixNano < b.EndTimeUnixNano || b.EndTimeUnixNano <= b.StartTimeUnixNano {
			t.Errorf("%s: the client's span %d-%d does not hold the server's %d-%d", path,
				a.StartTimeUnixNano, a.EndTimeUnixNano, b.StartTimeUnixNano, b.EndTimeUnixNano)
		}
		x, y := attributes(a.Attributes)["guid:x-request-id"], attributes(b.Attributes)["guid:x-request-id"]
		if x == "" || x != y {
			t.Errorf("%s: the request's id is %q and %q", path, x, y)
		}
	}
	if want := "00-" + traceID + "-" + id(server[0]) + "-01"; got.Get("traceparent") != want {
		t.Errorf("the program got traceparent %q, want %q", got.Get("traceparent"), want)
	}
}

// TestSpansOfTheLastMoment: what has been made when the proxy ends is still sent.
func TestSpansOfTheLastMoment(t *testing.T) {
	c := newCollector(t)
	m := newMesh(t)
	out := freeport.Addr(t)
	m.cluster("app", "")
	m.endpoint("app", backend(t, "app"))
	m.cluster("spans", spansHTTP2)
	m.endpoint("spans", c.address)
	m.listener("out", out, "traffic_direction: OUTBOUND\n", traced("out", "web.default", 100))
	m.routes("out", "{match: {prefix: /}, route: {cluster: app}}")
	m.listen()
	eventually(t, out, "/warm", "app GET /warm")
	before := len(c.of(t, "web.default", 1)) // the connection to the collector is there
	const n = 20
	for range n {
		if got := get(out, "/x"); got != "app GET /x" {
			t.Fatal(got)
		}
	}
	m.end()
	c.mu.Lock()
	defer c.mu.Unlock()
	if got := len(c.spans["web.default"]) - before; got != n {
		t.Errorf("%d spans came, want %d", got, n)
	}
}
