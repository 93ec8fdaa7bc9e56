package config

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	sinkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/health_check/event_sinks/file/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/base/strict"
	"github.com/weftmesh/weft/proxy/cluster/health"
)

// supportedHealth lists the supported fields of active health checks.
var supportedHealth = strict.Table{
	"envoy.config.core.v3.HealthCheck": "timeout interval initial_jitter interval_jitter interval_jitter_percent unhealthy_threshold " +
		"healthy_threshold reuse_connection http_health_check tcp_health_check grpc_health_check no_traffic_interval " +
		"no_traffic_healthy_interval unhealthy_interval unhealthy_edge_interval healthy_edge_interval event_log_path event_logger " +
		"always_log_health_check_failures always_log_health_check_success tls_options transport_socket_match_criteria",
	"envoy.config.core.v3.HealthCheck.HttpHealthCheck": "host path send receive response_buffer_size request_headers_to_add " +
		"request_headers_to_remove expected_statuses retriable_statuses codec_client_type method service_name_matcher",
	"envoy.config.core.v3.HealthCheck.TcpHealthCheck":  "send receive",
	"envoy.config.core.v3.HealthCheck.GrpcHealthCheck": "service_name authority initial_metadata",
	"envoy.config.core.v3.HealthCheck.Payload":         "text binary",
	"envoy.config.core.v3.HealthCheck.TlsOptions":      "alpn_protocols",

	"envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink": "event_log_path",
}

// healthChecks reads the active health check of a cluster: Envoy has one at most.
func (d *Decoder) healthChecks(list []*corev3.HealthCheck) (*health.Spec, error) {
	if len(list) == 0 {
		return nil, nil
	}
	if len(list) > 1 {
		return nil, at(errors.New("multiple health checks are not supported"), "health_checks")
	}
	s, err := d.healthCheck(list[0])
	return s, at(err, "health_checks[0]")
}

func (d *Decoder) healthCheck(m *corev3.HealthCheck) (*health.Spec, error) {
	s := &health.Spec{
		Timeout: duration(m.Timeout), Interval: duration(m.Interval), InitialJitter: duration(m.InitialJitter),
		IntervalJitter: duration(m.IntervalJitter), JitterPercent: m.IntervalJitterPercent,
		UnhealthyThreshold: m.UnhealthyThreshold.GetValue(), HealthyThreshold: m.HealthyThreshold.GetValue(),
		NoReuse:   m.ReuseConnection != nil && !m.ReuseConnection.Value,
		NoTraffic: duration(m.NoTrafficInterval), NoTrafficHealthy: duration(m.NoTrafficHealthyInterval),
		Unhealthy: duration(m.UnhealthyInterval), UnhealthyEdge: duration(m.UnhealthyEdgeInterval), HealthyEdge: duration(m.HealthyEdgeInterval),
		LogFailures: m.AlwaysLogHealthCheckFailures, LogSuccesses: m.AlwaysLogHealthCheckSuccess,
		ALPN: m.GetTlsOptions().GetAlpnProtocols(),
	}
	var err error
	s.TransportLabels, err = labels(&corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"": m.TransportSocketMatchCriteria}}, "")
	if err != nil {
		return nil, at(err, "transport_socket_match_criteria")
	}
	switch c := m.HealthChecker.(type) {
	case *corev3.HealthCheck_HttpHealthCheck_:
		if s.HTTP, err = httpCheck(c.HttpHealthCheck); err != nil {
			return nil, at(err, "http_health_check")
		}
		if s.HTTP.HTTP2 && s.ALPN == nil {
			s.ALPN = []string{"h2"}
		}
	case *corev3.HealthCheck_TcpHealthCheck_:
		if s.TCP, err = tcpCheck(c.TcpHealthCheck); err != nil {
			return nil, at(err, "tcp_health_check")
		}
	case *corev3.HealthCheck_GrpcHealthCheck_:
		if s.GRPC, err = grpcCheck(c.GrpcHealthCheck); err != nil {
			return nil, at(err, "grpc_health_check")
		}
		if s.ALPN == nil {
			s.ALPN = []string{"h2"}
		}
	default:
		return nil, fmt.Errorf("%T is not supported", c)
	}
	return s, d.healthLog(m, s)
}

// healthLog opens where the events go.
func (d *Decoder) healthLog(m *corev3.HealthCheck, s *health.Spec) error {
	path, field := m.EventLogPath, "event_log_path" //nolint:staticcheck // deprecated, but still what people write
	for i, l := range m.EventLogger {
		sink := &sinkv3.HealthCheckEventFileSink{}
		if err := openExtension(l.GetTypedConfig(), sink); err != nil {
			return at(err, "event_logger[%d].typed_config", i)
		}
		if path != "" && path != sink.EventLogPath {
			return at(errors.New("only one file is supported"), "event_logger[%d].typed_config.event_log_path", i)
		}
		path, field = sink.EventLogPath, "event_logger"
	}
	if path == "" {
		return nil
	}
	if d.HealthLog == nil {
		return at(errors.New("not supported"), "%s", field)
	}
	var err error
	s.Log, err = d.HealthLog(path)
	return at(err, "%s", field)
}

func httpCheck(m *corev3.HealthCheck_HttpHealthCheck) (*health.HTTP, error) {
	h := &health.HTTP{Host: m.Host, Method: http.MethodGet, Header: http.Header{}, Buffer: 1024}
	if m.Method != corev3.RequestMethod_METHOD_UNSPECIFIED {
		h.Method = m.Method.String()
	}
	if h.Method == http.MethodConnect {
		return nil, at(errors.New("CONNECT is not supported"), "method")
	}
	u, err := url.ParseRequestURI(m.Path)
	if err != nil || u.IsAbs() {
		return nil, at(fmt.Errorf("%q is not a path", m.Path), "path")
	}
	h.URL = u
	for i, o := range m.RequestHeadersToAdd {
		if o.GetHeader().GetKey() == "" {
			return nil, at(errors.New("has no name"), "request_headers_to_add[%d]", i)
		}
	}
	ops, err := readHeaderOps(m.RequestHeadersToAdd, m.RequestHeadersToRemove, "request_headers_to_add")
	if err != nil {
		return nil, err
	}
	for _, v := range ops.Add {
		h.Header.Add(v.Name, v.Value)
	}
	for _, v := range append(ops.Set, ops.AddIfAbsent...) {
		h.Header.Set(v.Name, v.Value)
	}
	h.Remove = ops.Remove
	if h.Body, err = payload(m.Send); err != nil {
		return nil, at(err, "send")
	}
	if h.Receive, err = payloads(m.Receive); err != nil {
		return nil, err
	}
	if m.ResponseBufferSize != nil {
		h.Buffer = int64(min(m.ResponseBufferSize.Value, 1<<20))
		if m.ResponseBufferSize.Value == 0 {
			h.Buffer = 1 << 20 // Envoy: without end
		}
	}
	switch m.CodecClientType {
	case typev3.CodecClientType_HTTP1:
	case typev3.CodecClientType_HTTP2:
		h.HTTP2 = true
	default:
		return nil, at(fmt.Errorf("%v is not supported", m.CodecClientType), "codec_client_type")
	}
	if m.ServiceNameMatcher != nil {
		t, err := textMatch(m.ServiceNameMatcher)
		if err != nil {
			return nil, at(err, "service_name_matcher")
		}
		h.Service = t.Match
	}
	if h.Expected, err = ranges(m.ExpectedStatuses); err != nil {
		return nil, at(err, "expected_statuses")
	}
	h.Retriable, err = ranges(m.RetriableStatuses)
	return h, at(err, "retriable_statuses")
}

func ranges(list []*typev3.Int64Range) (out []health.Range, err error) {
	for i, r := range list {
		if r.Start < 100 || r.End > 600 || r.Start >= r.End {
			return nil, at(fmt.Errorf("%d to %d is not a range within 100 to 600", r.Start, r.End), "[%d]", i)
		}
		out = append(out, health.Range{Start: int(r.Start), End: int(r.End)})
	}
	return out, nil
}

func tcpCheck(m *corev3.HealthCheck_TcpHealthCheck) (*health.TCP, error) {
	t := &health.TCP{}
	var err error
	if t.Send, err = payload(m.Send); err != nil {
		return nil, at(err, "send")
	}
	t.Receive, err = payloads(m.Receive)
	return t, err
}

func grpcCheck(m *corev3.HealthCheck_GrpcHealthCheck) (*health.GRPC, error) {
	g := &health.GRPC{Service: m.ServiceName, Authority: m.Authority}
	ops, err := readHeaderOps(m.InitialMetadata, nil, "initial_metadata")
	if err != nil {
		return nil, err
	}
	for _, v := range append(append(ops.Add, ops.Set...), ops.AddIfAbsent...) {
		g.Metadata = append(g.Metadata, v.Name, v.Value)
	}
	return g, nil
}

// payload reads bytes; text is hexadecimal.
func payload(m *corev3.HealthCheck_Payload) ([]byte, error) {
	switch p := m.GetPayload().(type) {
	case nil:
		return nil, nil
	case *corev3.HealthCheck_Payload_Text:
		b, err := hex.DecodeString(p.Text)
		return b, at(err, "text")
	case *corev3.HealthCheck_Payload_Binary:
		return p.Binary, nil
	default:
		return nil, fmt.Errorf("%T is not supported", p)
	}
}

func payloads(list []*corev3.HealthCheck_Payload) (out [][]byte, err error) {
	for i, m := range list {
		b, err := payload(m)
		if err != nil {
			return nil, at(err, "receive[%d]", i)
		}
		out = append(out, b)
	}
	return out, nil
}
