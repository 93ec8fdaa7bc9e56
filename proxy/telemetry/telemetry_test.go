package telemetry

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	udpav1 "github.com/cncf/xds/go/udpa/type/v1"

	"github.com/weftmesh/weft/proxy/filter"
)

var local = filter.WorkloadRef{
	Name: "reviews-v1", Namespace: "default", App: "reviews", Version: "v1", Service: "reviews", Revision: "v1", Cluster: "k", Account: "reviews",
}

func inboundInfo() *filter.Info {
	return &filter.Info{
		Conn: &filter.ConnInfo{
			Remote: netip.MustParseAddrPort("10.244.0.7:4000"), PeerURI: "spiffe://cluster.local/ns/default/sa/web",
		},
		Status: 200, Duration: 7 * time.Millisecond, Received: 10, Sent: 2000,
		UpstreamStart: 100 * time.Microsecond, UpstreamFirstByte: 6 * time.Millisecond, ResponseStart: 6*time.Millisecond + 30*time.Microsecond,
		Upstream: filter.Upstream{Service: filter.ServiceRef{Host: "reviews.default.svc.cluster.local", Name: "reviews", Namespace: "default"}},
	}
}

// gather returns the exposition of one family.
func gather(t *testing.T, c prometheus.Collector, name string) string {
	t.Helper()
	r := prometheus.NewRegistry()
	if err := r.Register(c); err != nil {
		t.Fatal(err)
	}
	out, err := testutil.CollectAndFormat(r, expfmt.TypeTextPlain, name)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestPeerLearntLaterShows(t *testing.T) {
	var asked []string
	d := NewDirectory(func(a string) { asked = append(asked, a) })
	m := New(local, d)
	m.Request(inboundInfo(), false)
	if got := gather(t, m, "istio_requests_total"); !strings.Contains(got, `source_workload="unknown"`) {
		t.Errorf("before the answer:\n%s", got)
	}
	if len(asked) != 1 || asked[0] != "10.244.0.7" {
		t.Fatalf("asked for %v", asked)
	}
	d.Learn("10.244.0.7", filter.WorkloadRef{Name: "web", Namespace: "default", App: "web", Version: "v1", Service: "web", Revision: "v1", Cluster: "k"})
	m.Request(inboundInfo(), false)
	want := `istio_requests_total{connection_security_policy="mutual_tls",destination_app="reviews",destination_canonical_revision="v1",` +
		`destination_canonical_service="reviews",destination_cluster="k",destination_principal="spiffe://cluster.local/ns/default/sa/reviews",` +
		`destination_service="reviews.default.svc.cluster.local",destination_service_name="reviews",destination_service_namespace="default",` +
		`destination_version="v1",destination_workload="reviews-v1",destination_workload_namespace="default",grpc_response_status="",` +
		`reporter="destination",request_protocol="http",response_code="200",response_flags="-",source_app="web",source_canonical_revision="v1",` +
		`source_canonical_service="web",source_cluster="k",source_principal="spiffe://cluster.local/ns/default/sa/web",source_version="v1",` +
		`source_workload="web",source_workload_namespace="default"} 2`
	if got := gather(t, m, "istio_requests_total"); !strings.Contains(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestOutboundNamesTheServer(t *testing.T) {
	m := New(local, NewDirectory(nil))
	i := inboundInfo()
	i.Upstream.Workload = ParseWorkload("ratings-v1;default;ratings;v1;k")
	i.Upstream.PeerURI = "spiffe://cluster.local/ns/default/sa/ratings"
	i.Flags = filter.FlagUpstreamOverflow
	m.Request(i, true)
	got := gather(t, m, "istio_requests_total")
	for _, want := range []string{
		`reporter="source"`, `source_workload="reviews-v1"`, `destination_workload="ratings-v1"`, `destination_app="ratings"`, `response_flags="UO"`,
		`connection_security_policy="unknown"`, `source_principal="spiffe://cluster.local/ns/default/sa/reviews"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}

func TestGRPCStatusAndMessages(t *testing.T) {
	m := New(local, NewDirectory(nil))
	i := inboundInfo()
	i.GRPC, i.RequestMessages, i.ResponseMessages = true, 3, 5
	i.Trailers = &filter.Headers{}
	i.Trailers.Add("grpc-status", "14")
	m.Request(i, false)
	if got := gather(t, m, "istio_requests_total"); !strings.Contains(got, `grpc_response_status="14"`) || !strings.Contains(got, `request_protocol="grpc"`) {
		t.Error(got)
	}
	if got := gather(t, m, "istio_response_messages_total"); !strings.Contains(got, "} 5") {
		t.Error(got)
	}
}

func TestMessagesCountsOverAnySplit(t *testing.T) {
	wire := []byte{0, 0, 0, 0, 2, 'a', 'b', 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 'z'}
	for size := 1; size <= len(wire); size++ {
		var m messages
		for b := wire; len(b) > 0; {
			n := min(size, len(b))
			m.feed(b[:n])
			b = b[n:]
		}
		if m.n != 3 || m.left != 0 {
			t.Errorf("in pieces of %d: %d messages, %d bytes left", size, m.n, m.left)
		}
	}
}

func TestAddedLatencyLeavesOutFaults(t *testing.T) {
	m := New(local, NewDirectory(nil))
	i := inboundInfo()
	m.AddedBy(i)
	i.Flags |= filter.FlagDelayInjected
	m.AddedBy(i)
	got := gather(t, m, "weft_added_latency_milliseconds")
	if !strings.Contains(got, "weft_added_latency_milliseconds_count 1") || !strings.Contains(got, "weft_added_latency_milliseconds_sum 0.13") {
		t.Error(got)
	}
}

func TestConnectionsAreCountedWhenMarked(t *testing.T) {
	m := New(local, NewDirectory(nil))
	i := &filter.ConnInfo{Outbound: true, Remote: netip.MustParseAddrPort("10.244.0.7:1"), Received: 5, Sent: 6}
	i.Upstream.Service.Name = "stock"
	m.ConnOpened(i)
	m.ConnClosed(i)
	if got := gather(t, m, "istio_tcp_connections_opened_total"); got != "" {
		t.Errorf("without the filter:\n%s", got)
	}
	marker{}.Open(nil, i)
	m.ConnOpened(i)
	m.ConnClosed(i)
	if got := gather(t, m, "istio_tcp_received_bytes_total"); !strings.Contains(got, "} 5") || !strings.Contains(got, `destination_service_name="stock"`) {
		t.Error(got)
	}
}

func TestConfigRefusesWhatItDoesNotKnow(t *testing.T) {
	for key, want := range map[string]string{"tcp_reporting_duration": "", "metrics": "value.metrics"} {
		s, err := structpb.NewStruct(map[string]any{key: "x"})
		if err != nil {
			t.Fatal(err)
		}
		cfg, err := anypb.New(&udpav1.TypedStruct{TypeUrl: typeURL, Value: s})
		if err != nil {
			t.Fatal(err)
		}
		err = checkConfig(cfg)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestProcessesReadThisOne(t *testing.T) {
	cpu, memory, err := usage(os.Getpid())
	if err != nil || memory < 1<<20 || cpu < 0 {
		t.Errorf("cpu %v, memory %d, error %v", cpu, memory, err)
	}
	if _, _, err := usage(1 << 30); err == nil {
		t.Error("a process that does not exist has usage")
	}
}
