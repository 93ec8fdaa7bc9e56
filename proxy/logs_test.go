package proxy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	alspb "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/google/go-cmp/cmp"
	logspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/grpc"
)

// logLines waits for n lines of a file.
func logLines(t *testing.T, file string, n int) []string {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); {
		b, _ := os.ReadFile(file)
		if bytes.Count(b, []byte("\n")) >= n {
			return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
		}
		select {
		case <-t.Context().Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
	b, _ := os.ReadFile(file)
	t.Fatalf("%d lines did not come: %s", n, b)
	return nil
}

const fileLogType = `typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, `

func TestAccessLogFormats(t *testing.T) {
	s := &static{
		routes: "- {match: {path: /teapot}, name: tea, direct_response: {status: 418, body: {inline_string: short}}}\n" +
			"- {match: {prefix: /}, name: rest, route: {cluster: a, prefix_rewrite: /new}}\n",
		clusters: map[string]string{"a": mirrorBackend(t, "a")},
	}
	run := func(t *testing.T, start func(*testing.T) served) []any {
		dir := t.TempDir()
		typed, text, omit := filepath.Join(dir, "typed"), filepath.Join(dir, "text"), filepath.Join(dir, "omit")
		s.manager = "access_log:\n" +
			"- {name: f, " + fileLogType + "path: " + typed + `, log_format: {json_format: {code: "%RESPONSE_CODE%", text: "c=%RESPONSE_CODE% %REQ(X-NONE)%", none: "%REQ(X-NONE)%",
    flags: "%RESPONSE_FLAGS%", long: "%RESPONSE_FLAGS_LONG%", route: "%ROUTE_NAME%", details: "%RESPONSE_CODE_DETAILS%", protocol: "%PROTOCOL%",
    deep: {list: ["%REQ(:METHOD)%", 1, true], sent: "%BYTES_SENT%"}, path: "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    pathnq: "%PATH(NQ:ORIG_OR_PATH)%", param: "%QUERY_PARAM(q)%", type: "%ACCESS_LOG_TYPE%", cluster: "%UPSTREAM_CLUSTER%", cut: "%REQ(X-LONG):3%", meta: "%DYNAMIC_METADATA(a:b)%",
    attempts: "%UPSTREAM_REQUEST_ATTEMPT_COUNT%", body: "%LOCAL_REPLY_BODY%", tls: "%DOWNSTREAM_TLS_VERSION%", grpc: "%GRPC_STATUS%", number: "%GRPC_STATUS_NUMBER%", quote: "%REQ(X-QUOTE)%"}}}}` + "\n" +
			"- {name: f, " + fileLogType + "path: " + text + `, log_format: {text_format_source: {inline_string: "%RESPONSE_CODE% %REQ(X-NONE)% %REQ(:PATH)% %REQ(X-LONG):2%\n"}}}}` + "\n" +
			"- {name: f, " + fileLogType + "path: " + omit + `, log_format: {omit_empty_values: true, json_format: {a: "%REQ(X-NONE)%", b: "%RESPONSE_CODE%", c: "x%REQ(X-NONE)%", d: {e: "%REQ(X-NONE)%"}}}}}` + "\n"
		p := start(t)
		p.ask(t, "GET", "/teapot?q=1&r=2", "x-long: abcdef", `x-quote: say "hi" ü`)
		p.ask(t, "GET", "/other?q=%20", "x-long: a")
		var out []any
		for _, l := range append(logLines(t, typed, 2), logLines(t, omit, 2)...) {
			var v any
			if err := json.Unmarshal([]byte(l), &v); err != nil {
				t.Errorf("%v in %s", err, l)
			}
			out = append(out, v)
		}
		for _, l := range logLines(t, text, 2) {
			out = append(out, l)
		}
		return out
	}
	got := run(t, s.weft)
	first := got[0].(map[string]any)
	if first["code"] != 418.0 || first["text"] != "c=418 -" || first["none"] != nil {
		t.Errorf("first entry: %v", first)
	}
	if os.Getenv("WEFT_ENVOY") != "" {
		if d := cmp.Diff(run(t, s.envoy), got); d != "" {
			t.Errorf("-envoy +weft:\n%s", d)
		}
	}
}

func TestAccessLogFilters(t *testing.T) {
	s := &static{
		routes: "- {match: {path: /418}, direct_response: {status: 418}}\n- {match: {path: /200}, direct_response: {status: 200}}\n- {match: {path: /grpc}, direct_response: {status: 503}}\n",
	}
	filters := map[string]string{
		"status":  "status_code_filter: {comparison: {op: GE, value: {default_value: 400, runtime_key: k}}}",
		"header":  `header_filter: {header: {name: x-log, string_match: {exact: "1"}}}`,
		"flag":    "response_flag_filter: {flags: [NR]}",
		"grpc":    "grpc_status_filter: {statuses: [UNAVAILABLE]}",
		"notgrpc": "grpc_status_filter: {statuses: [UNAVAILABLE], exclude: true}",
		"type":    "log_type_filter: {types: [DownstreamEnd]}",
		"notype":  "log_type_filter: {types: [DownstreamEnd], exclude: true}",
		"none":    "runtime_filter: {runtime_key: k3, percent_sampled: {numerator: 0}}",
		"all":     "runtime_filter: {runtime_key: k4, percent_sampled: {numerator: 100}}",
		"meta":    "metadata_filter: {matcher: {filter: f, path: [{key: k}], value: {bool_match: true}}, match_if_key_not_found: false}",
		"nometa":  "metadata_filter: {matcher: {filter: f, path: [{key: k}], value: {bool_match: true}}}",
		"trace":   "traceable_filter: {}",
		"health":  "not_health_check_filter: {}",
		"and":     "and_filter: {filters: [{status_code_filter: {comparison: {op: NE, value: {default_value: 200, runtime_key: k2}}}}, {not_health_check_filter: {}}]}",
		"cel":     `extension_filter: {name: cel, typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter, expression: "response.code == 418 || request.headers['x-log'] == '1'"}}`,
	}
	all := []string{"/418", "/200", "/nowhere", "/grpc"}
	want := map[string][]string{
		"status": {"/418", "/nowhere"}, "header": {"/200"}, "flag": {"/nowhere"}, "grpc": {"/grpc"}, "notgrpc": {"/418", "/200", "/nowhere"},
		"type": all, "notype": {}, "none": {}, "all": all, "meta": {}, "nometa": all, "trace": {}, "health": all,
		"and": {"/418", "/nowhere"}, "cel": {"/418", "/200"},
	}
	run := func(t *testing.T, start func(*testing.T) served) map[string][]string {
		dir := t.TempDir()
		s.manager = "access_log:\n"
		for name, f := range filters {
			s.manager += "- {name: f, filter: {" + f + "}, " + fileLogType + "path: " + filepath.Join(dir, name) + `, log_format: {text_format_source: {inline_string: "%REQ(:PATH)%\n"}}}}` + "\n"
		}
		p := start(t)
		p.ask(t, "GET", "/418")
		p.ask(t, "GET", "/200", "x-log: 1")
		p.ask(t, "GET", "/nowhere")
		p.ask(t, "GET", "/grpc", "content-type: application/grpc")
		for name, want := range want {
			if len(want) > 0 {
				logLines(t, filepath.Join(dir, name), len(want))
			}
		}
		out := map[string][]string{}
		for name := range filters {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Error(err)
			}
			out[name] = strings.Fields(string(b))
		}
		return out
	}
	t.Run("weft", func(t *testing.T) {
		if d := cmp.Diff(want, run(t, s.weft)); d != "" {
			t.Error(d)
		}
	})
	if os.Getenv("WEFT_ENVOY") != "" {
		t.Run("envoy", func(t *testing.T) {
			if d := cmp.Diff(want, run(t, s.envoy)); d != "" {
				t.Error(d)
			}
		})
	}
}

// logServer takes access logs over gRPC, in both forms.
type logServer struct {
	alspb.UnimplementedAccessLogServiceServer
	logspb.UnimplementedLogsServiceServer
	address string
	als     chan *alspb.StreamAccessLogsMessage
	otlp    chan *logspb.ExportLogsServiceRequest
}

func newLogServer(t *testing.T) *logServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &logServer{address: l.Addr().String(), als: make(chan *alspb.StreamAccessLogsMessage, 100), otlp: make(chan *logspb.ExportLogsServiceRequest, 100)}
	s := grpc.NewServer()
	alspb.RegisterAccessLogServiceServer(s, c)
	logspb.RegisterLogsServiceServer(s, c)
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

func (c *logServer) StreamAccessLogs(s alspb.AccessLogService_StreamAccessLogsServer) error {
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return s.SendAndClose(&alspb.StreamAccessLogsResponse{})
		}
		if err != nil {
			return err
		}
		c.als <- m
	}
}

func (c *logServer) Export(_ context.Context, r *logspb.ExportLogsServiceRequest) (*logspb.ExportLogsServiceResponse, error) {
	c.otlp <- r
	return &logspb.ExportLogsServiceResponse{}, nil
}

func TestAccessLogsByGRPC(t *testing.T) {
	c := newLogServer(t)
	s := &static{
		http2: map[string]string{"logs": c.address}, clusters: map[string]string{"a": mirrorBackend(t, "a")},
		routes: "- {match: {prefix: /}, name: rest, route: {cluster: a}, response_headers_to_add: [{header: {key: x-b, value: two}}]}\n",
		manager: `access_log:
- name: als
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig
    additional_request_headers_to_log: [x-a]
    additional_response_headers_to_log: [x-b]
    common_config:
      log_name: mine
      transport_api_version: V3
      buffer_flush_interval: 0.05s
      grpc_service: {envoy_grpc: {cluster_name: logs}}
      custom_tags: [{tag: t, literal: {value: v}}, {tag: h, request_header: {name: x-a}}]
- name: otel
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig
    common_config:
      log_name: mine
      transport_api_version: V3
      buffer_flush_interval: 0.05s
      grpc_service: {envoy_grpc: {cluster_name: logs}}
    body: {string_value: "%REQ(:METHOD)% %RESPONSE_CODE%"}
    attributes: {values: [{key: path, value: {string_value: "%REQ(:PATH)%"}}, {key: deep, value: {kvlist_value: {values: [{key: num, value: {string_value: "7%RESPONSE_CODE%"}}]}}}]}
    resource_attributes: {values: [{key: r, value: {string_value: s}}]}
`,
	}
	s.engines(t, func(t *testing.T, p served) {
		p.ask(t, "GET", "/x?y", "x-a: one")
		m := <-c.als
		type row struct {
			Log, Node                    string
			Method, Path, A, B           string
			Version                      datav3.HTTPAccessLogEntry_HTTPVersion
			Code                         uint32
			Route, Cluster, Details      string
			Tags                         map[string]string
			RequestBytes, ResponseBytes  uint64
			Type                         datav3.AccessLogType
			Upstream, Remote, UpAttempts bool
		}
		e := m.GetHttpLogs().GetLogEntry()[0]
		q, r, o := e.Request, e.Response, e.CommonProperties
		got := row{
			m.GetIdentifier().GetLogName(), m.GetIdentifier().GetNode().GetId(), q.RequestMethod.String(), q.Path, q.RequestHeaders["x-a"], r.ResponseHeaders["x-b"],
			e.ProtocolVersion, r.ResponseCode.GetValue(), o.RouteName, o.UpstreamCluster, r.ResponseCodeDetails, o.CustomTags, q.RequestBodyBytes, r.ResponseBodyBytes,
			o.AccessLogType, o.UpstreamRemoteAddress != nil && o.TimeToFirstUpstreamRxByte != nil, o.DownstreamRemoteAddress != nil && o.DownstreamLocalAddress != nil, o.UpstreamRequestAttemptCount == 1,
		}
		want := row{
			"mine", "test", "GET", "/x?y", "one", "two", datav3.HTTPAccessLogEntry_HTTP11, 200, "rest", "a", "via_upstream",
			map[string]string{"t": "v", "h": "one"}, 0, got.ResponseBytes, datav3.AccessLogType_DownstreamEnd, true, true, true,
		}
		if d := cmp.Diff(want, got); d != "" || got.ResponseBytes == 0 {
			t.Error(d)
		}
		l := (<-c.otlp).ResourceLogs[0]
		attrs := attributes(l.Resource.Attributes)
		if attrs["r"] != "s" || attrs["log_name"] != "mine" || attrs["node_name"] != "test" || attrs["cluster_name"] != "test" {
			t.Errorf("resource %v", attrs)
		}
		rec := l.ScopeLogs[0].LogRecords[0]
		var deep *commonpb.KeyValueList
		for _, a := range rec.Attributes {
			if a.Key == "deep" {
				deep = a.Value.GetKvlistValue()
			}
		}
		if rec.Body.GetStringValue() != "GET 200" || attributes(rec.Attributes)["path"] != "/x?y" || deep.GetValues()[0].Value.GetStringValue() != "7200" || rec.TimeUnixNano == 0 {
			t.Errorf("record %v", rec)
		}
	})
}

// TestSpansByHTTP: OpenTelemetry's collector and Zipkin's, both by HTTP.
func TestSpansByHTTP(t *testing.T) {
	bodies := make(chan string, 100)
	srv := httptest.NewServer(nethttp.HandlerFunc(func(_ nethttp.ResponseWriter, r *nethttp.Request) {
		b, _ := io.ReadAll(r.Body)
		bodies <- r.URL.Path + " " + r.Host + " " + string(b)
	}))
	t.Cleanup(srv.Close)
	for name, c := range map[string]struct {
		provider string
		want     []string
	}{
		"zipkin": {`{name: envoy.tracers.zipkin, typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.ZipkinConfig, collector_cluster: spans, collector_endpoint: /api/v2/spans, collector_hostname: zip, collector_endpoint_version: HTTP_JSON}}`,
			[]string{"/api/v2/spans zip ", `"literal":"x"`, `"header":"one"`, `"http.status_code":"200"`, `"upstream_cluster":"a"`, `"component":"proxy"`}},
		"otlp": {`{name: envoy.tracers.opentelemetry, typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig, service_name: svc, http_service: {http_uri: {uri: "http://otel/v1/traces", cluster: spans, timeout: 1s}}}}`,
			[]string{"/v1/traces otel ", "svc", "literal", "upstream_cluster"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := &static{
				clusters: map[string]string{"spans": srv.Listener.Addr().String(), "a": mirrorBackend(t, "a")},
				routes:   "- {match: {prefix: /}, route: {cluster: a}}\n",
				manager: "tracing:\n  random_sampling: {value: 100}\n  custom_tags: [{tag: literal, literal: {value: x}}, {tag: header, request_header: {name: x-a}}]\n  provider: " +
					c.provider + "\n",
			}
			s.engines(t, func(t *testing.T, p served) {
				p.ask(t, "GET", "/x", "x-a: one", "x-request-id: 00000000-0000-4000-8000-000000000000")
				select {
				case b := <-bodies:
					for _, w := range c.want {
						if !strings.Contains(b, w) {
							t.Errorf("no %s in %q", w, b)
						}
					}
				case <-time.After(60 * time.Second):
					t.Error("no span came")
				}
			})
		})
	}
}
