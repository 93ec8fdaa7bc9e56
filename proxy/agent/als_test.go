package agent

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	datav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/proxy/dns"
	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/wire"
)

// testAgent knows the name of one service and nothing else.
func testAgent() *agent {
	a := &agent{
		Options: Options{Node: wire.NodeID{Namespace: "default", Domain: "default.svc.cluster.local"}},
		names:   dns.NewNames(), hosts: map[string]dns.Host{},
	}
	a.resolver = a.newResolver()
	a.names.Set([]dns.Host{{Name: "reviews.default.svc.cluster.local", Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.1")}}})
	return a
}

func address(s string) *corev3.Address {
	ap := netip.MustParseAddrPort(s)
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: ap.Addr().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(ap.Port())},
	}}}
}

func certificate(uri string) *datav3.TLSProperties_CertificateProperties {
	return &datav3.TLSProperties_CertificateProperties{SubjectAltName: []*datav3.TLSProperties_CertificateProperties_SubjectAltName{
		{San: &datav3.TLSProperties_CertificateProperties_SubjectAltName_Dns{Dns: "x"}},
		{San: &datav3.TLSProperties_CertificateProperties_SubjectAltName_Uri{Uri: uri}},
	}}
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// entry is a request as Envoy logs it: 5 ms, of which the upstream took from 2 to 4.
func entry(change func(*datav3.HTTPAccessLogEntry)) *datav3.HTTPAccessLogEntry {
	ms := func(n int) *durationpb.Duration { return durationpb.New(time.Duration(n) * time.Millisecond) }
	e := &datav3.HTTPAccessLogEntry{
		CommonProperties: &datav3.AccessLogCommon{
			StartTime:                     timestamppb.New(start),
			DownstreamDirectRemoteAddress: address("10.244.0.7:4000"),
			DownstreamLocalAddress:        address("10.244.0.5:9080"),
			UpstreamRemoteAddress:         address("10.244.0.9:9080"),
			UpstreamCluster:               "outbound|9080|v1|reviews.default.svc.cluster.local",
			TimeToLastRxByte:              ms(1),
			TimeToFirstUpstreamTxByte:     ms(2),
			TimeToFirstUpstreamRxByte:     ms(4),
			TimeToFirstDownstreamTxByte:   ms(4),
			TimeToLastDownstreamTxByte:    ms(5),
			UpstreamRequestAttemptCount:   1,
			TlsProperties: &datav3.TLSProperties{
				PeerCertificateProperties:  certificate("spiffe://cluster.local/ns/default/sa/web"),
				LocalCertificateProperties: certificate("spiffe://cluster.local/ns/default/sa/reviews"),
			},
		},
		Request: &datav3.HTTPRequestProperties{
			RequestBodyBytes: 10, Authority: "reviews:9080", RequestHeaders: map[string]string{"content-type": "application/json"},
		},
		Response: &datav3.HTTPResponseProperties{ResponseCode: wrapperspb.UInt32(200), ResponseBodyBytes: 20},
	}
	if change != nil {
		change(e)
	}
	return e
}

func TestRequestFromALog(t *testing.T) {
	reviews := filter.ServiceRef{Host: "reviews.default.svc.cluster.local", Name: "reviews", Namespace: "default"}
	grpc := func(headers, trailers map[string]string) func(*datav3.HTTPAccessLogEntry) {
		return func(e *datav3.HTTPAccessLogEntry) {
			e.Request.RequestHeaders["content-type"] = "application/grpc+proto"
			e.Response.ResponseHeaders, e.Response.ResponseTrailers = headers, trailers
		}
	}
	for _, tc := range []struct {
		name     string
		outbound bool
		change   func(*datav3.HTTPAccessLogEntry)
		service  filter.ServiceRef
		status   string // gRPC's; "-": no gRPC
	}{
		{"out", true, nil, reviews, "-"},
		{"out to another namespace", true, func(e *datav3.HTTPAccessLogEntry) {
			e.CommonProperties.UpstreamCluster = "outbound|80||a.b.svc.cluster.local"
		}, filter.ServiceRef{Host: "a.b.svc.cluster.local", Name: "a", Namespace: "b"}, "-"},
		{"out of the mesh", true, func(e *datav3.HTTPAccessLogEntry) {
			e.CommonProperties.UpstreamCluster = "outbound|443||www.example.com"
		}, filter.ServiceRef{Host: "www.example.com", Name: "www.example.com", Namespace: "default"}, "-"},
		{"out by no service", true, func(e *datav3.HTTPAccessLogEntry) {
			e.CommonProperties.UpstreamCluster = "PassthroughCluster"
		}, filter.ServiceRef{}, "-"},
		{"in by a short name", false, func(e *datav3.HTTPAccessLogEntry) {
			e.CommonProperties.UpstreamCluster = "inbound|9080||"
		}, reviews, "-"},
		{"in by another case and no port", false, func(e *datav3.HTTPAccessLogEntry) { e.Request.Authority = "Reviews.default" }, reviews, "-"},
		{"in by a name of nobody", false, func(e *datav3.HTTPAccessLogEntry) { e.Request.Authority = "10.1.1.1:80" }, filter.ServiceRef{}, "-"},
		{"gRPC by trailers", true, grpc(map[string]string{"grpc-status": "0"}, map[string]string{"grpc-status": "14"}), reviews, "14"},
		{"gRPC by headers", true, grpc(map[string]string{"grpc-status": "7"}, nil), reviews, "7"},
		{"gRPC without", true, grpc(nil, nil), reviews, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			i := testAgent().request(entry(tc.change), tc.outbound)
			if d := cmp.Diff(tc.service, i.Upstream.Service); d != "" {
				t.Errorf("service, -want +got:\n%s", d)
			}
			status := "-"
			if i.GRPC {
				status = i.Response.Get("grpc-status")
			}
			if status != tc.status {
				t.Errorf("gRPC status is %q, want %q", status, tc.status)
			}
		})
	}
}

// TestTimesAndSizesOfALog: what metrics of requests and of the proxy's own
// latency are made of.
func TestTimesAndSizesOfALog(t *testing.T) {
	i := testAgent().request(entry(nil), false)
	got := []any{
		i.Status, i.Received, i.Sent, i.Duration, i.RequestEnd, i.UpstreamStart, i.UpstreamFirstByte, i.ResponseStart, i.Attempts,
		i.Start, i.Conn.Remote.String(), i.Conn.Local.String(), i.Upstream.Host.String(), i.Conn.PeerURI, i.Conn.LocalURI, i.Conn.Outbound,
	}
	want := []any{
		200, uint64(10), uint64(20), 5 * time.Millisecond, time.Millisecond, 2 * time.Millisecond, 4 * time.Millisecond, 4 * time.Millisecond, 1,
		start, "10.244.0.7:4000", "10.244.0.5:9080", "10.244.0.9:9080",
		"spiffe://cluster.local/ns/default/sa/web", "spiffe://cluster.local/ns/default/sa/reviews", false,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	cut := testAgent().request(entry(func(e *datav3.HTTPAccessLogEntry) {
		*e = datav3.HTTPAccessLogEntry{CommonProperties: &datav3.AccessLogCommon{Duration: durationpb.New(time.Second)}}
	}), true)
	if cut.Duration != time.Second || cut.Status != 0 || cut.Conn.Remote.IsValid() {
		t.Errorf("a request that was cut off is %+v", cut)
	}
}

// TestFlags sets each of Envoy's response flags that the data plane has a name
// for, and expects that name.
func TestFlags(t *testing.T) {
	known := map[string]string{
		"no_healthy_upstream": "UH", "upstream_connection_failure": "UF", "upstream_overflow": "UO", "no_route_found": "NR",
		"upstream_retry_limit_exceeded": "URX", "no_cluster_found": "NC", "duration_timeout": "DT",
		"downstream_connection_termination": "DC", "local_reset": "LR", "upstream_request_timeout": "UT",
		"upstream_remote_reset": "UR", "upstream_connection_termination": "UC", "delay_injected": "DI", "fault_injected": "FI",
		"rate_limited": "RL", "unauthorized_details": "UAEX", "stream_idle_timeout": "SI", "downstream_protocol_error": "DPE",
		"upstream_protocol_error": "UPE", "overload_manager": "OM", "upstream_max_stream_duration_reached": "UMSDR",
		"downstream_remote_reset": "DR",
	}
	fields := (&datav3.ResponseFlags{}).ProtoReflect().Descriptor().Fields()
	var all filter.ResponseFlags
	for n := range fields.Len() {
		f := fields.Get(n)
		m := (&datav3.ResponseFlags{}).ProtoReflect()
		if f.Kind() == protoreflect.BoolKind {
			m.Set(f, protoreflect.ValueOfBool(true))
		} else {
			m.Set(f, m.NewField(f))
		}
		got := flags(m.Interface().(*datav3.ResponseFlags))
		want, ok := known[string(f.Name())]
		if !ok {
			want = filter.ResponseFlags(0).String()
		}
		if got.String() != want {
			t.Errorf("%s is %s, want %s", f.Name(), got, want)
		}
		all |= got
	}
	if n := strings.Count(all.String(), ",") + 1; n != len(known) {
		t.Errorf("%d flags are known together, want %d: %s", n, len(known), all)
	}
	if got := flags(nil); got != 0 {
		t.Errorf("no flags are %s", got)
	}
}

func TestEnvoysLevel(t *testing.T) {
	got := map[string]string{}
	for _, s := range []string{"debug", "INFO", "warn", "error", "trace", "nonsense", ""} {
		got[s] = envoyLevel(s)
	}
	want := map[string]string{
		"debug": "debug", "INFO": "info", "warn": "warning", "error": "error", "trace": "trace", "nonsense": "warning", "": "warning",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
