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
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
	statspb "istio.io/api/envoy/extensions/stats"

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
	if got := m.Every(i); got != defaultReport {
		t.Errorf("reported every %v", got)
	}
	m.ConnProgress(i, 2, 6) // while it lasts, and the rest at its end
	i.Reported = filter.Bytes{Received: 2, Sent: 6}
	m.ConnClosed(i)
	if got := gather(t, m, "istio_tcp_received_bytes_total"); !strings.Contains(got, "} 5") || !strings.Contains(got, `destination_service_name="stock"`) {
		t.Error(got)
	}
}

func TestConfigRefusesWhatItDoesNotKnow(t *testing.T) {
	m := New(local, NewDirectory(nil))
	for text, want := range map[string]string{
		`{"tcp_reporting_duration": "5s", "metrics": [{"name": "requests_total", "drop": true}]}`: "",
		`{"definitions": [{"name": "x", "value": "1"}]}`:                                          "definitions: not supported",
		`{"metrics": [{"match": "x"}]}`:                                                           "metrics[0].match: not supported",
		`{"metrics": [{"dimensions": {"host": "request."}}]}`:                                     `metrics[0].dimensions["host"]`,
		`{"nonsense": 1}`: "nonsense",
	} {
		for _, typed := range []bool{false, true} {
			cfg, err := configuration(typed, text)
			if err == nil {
				_, err = m.settings(cfg)
			}
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", text, err)
			}
		}
	}
}

// configuration is one of the filter, as a message or as a TypedStruct of it.
func configuration(typed bool, text string) (*anypb.Any, error) {
	if typed {
		c := &statspb.PluginConfig{}
		if err := protojson.Unmarshal([]byte(text), c); err != nil {
			return nil, err
		}
		return anypb.New(c)
	}
	s := &structpb.Struct{}
	if err := protojson.Unmarshal([]byte(text), s); err != nil {
		return nil, err
	}
	return anypb.New(&udpav1.TypedStruct{TypeUrl: typeURL, Value: s})
}

// TestSettings: labels are removed, replaced and added, metrics dropped, and
// what is the same without a removed label is one series.
func TestSettings(t *testing.T) {
	m := New(local, NewDirectory(nil))
	m.SetNode("1.31", map[string]any{"id": "n1"})
	cfg, err := configuration(true, `{"metrics": [
		{"tags_to_remove": ["response_flags"], "dimensions": {"node": "node.id", "path": "request.path", "none": "nobody.knows"}},
		{"name": "requests_total", "dimensions": {"response_code": "string(response.code / 100) + 'xx'"}},
		{"name": "request_bytes", "drop": true}]}`)
	if err != nil {
		t.Fatal(err)
	}
	set, err := m.settings(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := m.settings(cfg); err != nil || again != set {
		t.Errorf("the same settings are %p and %p (%v)", set, again, err)
	}
	for _, flags := range []filter.ResponseFlags{0, filter.FlagUpstreamOverflow} {
		i := inboundInfo()
		i.Request = &filter.Headers{Path: "/x"}
		i.Flags = flags
		m.request(i, false, set)
	}
	got := gather(t, m, "istio_requests_total")
	for _, want := range []string{`response_code="2xx"`, `node="n1"`, `path="/x"`, `none="unknown"`, "} 2\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if strings.Contains(got, "response_flags") {
		t.Errorf("a removed label is there:\n%s", got)
	}
	if got := gather(t, m, "istio_request_bytes"); got != "" {
		t.Errorf("a dropped metric is there:\n%s", got)
	}
	if got := gather(t, m, "istio_response_bytes"); !strings.Contains(got, `response_code="200"`) || !strings.Contains(got, "_count{") {
		t.Error(got)
	}
	if got := gather(t, m, "istio_build"); !strings.Contains(got, `istio_build{component="proxy",tag="1.31"} 1`) {
		t.Error(got)
	}
}

// TestPeersThatTold: what peers have told of themselves goes before what is
// known of an address, and certificates before both for the namespace.
// TestRecipe: what another engine carried is counted by the same settings.
func TestRecipe(t *testing.T) {
	m := New(local, NewDirectory(nil))
	if _, err := m.Recipe(`{"what": 1}`); err == nil {
		t.Error("an unknown field is taken")
	}
	r, err := m.Recipe(`{"metrics": [{"name": "requests_total", "dimensions": {"path": "request.path"}}, {"name": "tcp_sent_bytes_total", "drop": true}]}`)
	if err != nil {
		t.Fatal(err)
	}
	i := inboundInfo()
	i.Request = &filter.Headers{Path: "/x"}
	m.RequestBy(r, i, false)
	m.RequestBy(Recipe{}, i, false)
	if got := gather(t, m, "istio_requests_total"); !strings.Contains(got, `path="/x"`) || strings.Count(got, "} 1\n") != 2 {
		t.Errorf("want a request of each kind:\n%s", got)
	}
	c := &filter.ConnInfo{Sent: 5}
	r.Mark(c)
	m.ConnOpened(c)
	m.ConnClosed(c)
	if got := gather(t, m, "istio_tcp_sent_bytes_total"); got != "" {
		t.Errorf("a dropped metric is there:\n%s", got)
	}
	if got := gather(t, m, "istio_tcp_connections_opened_total"); !strings.Contains(got, "} 1\n") {
		t.Errorf("the connection is not counted:\n%s", got)
	}
}

func TestPeersThatTold(t *testing.T) {
	m := New(local, NewDirectory(nil))
	i := inboundInfo()
	i.Peer = &filter.Peer{WorkloadRef: filter.WorkloadRef{Name: "web-v2", Namespace: "lies", App: "web", Service: "web", Cluster: "c2"}}
	m.Request(i, false)
	out := inboundInfo()
	out.Upstream.Workload = ParseWorkload("ratings-v1;default;ratings;v1;k")
	out.Upstream.Peer = &filter.Peer{WorkloadRef: filter.WorkloadRef{Name: "ratings-v2", App: "ratings", Revision: "v2"}}
	m.Request(out, true)
	got := gather(t, m, "istio_requests_total")
	for _, want := range []string{
		`source_workload="web-v2"`, `source_workload_namespace="default"`, `source_app="web"`, `source_cluster="c2"`,
		`source_canonical_revision="latest"`, `destination_workload="ratings-v2"`, `destination_canonical_revision="v2"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}

// TestWaypoint reports for the server that it stands before.
func TestWaypoint(t *testing.T) {
	m := New(local, NewDirectory(nil))
	cfg, err := configuration(true, `{"reporter": "SERVER_GATEWAY", "metrics": [{"dimensions": {"one": "'1'"}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	set, err := m.settings(cfg)
	if err != nil {
		t.Fatal(err)
	}
	i := inboundInfo()
	i.Peer = &filter.Peer{WorkloadRef: filter.WorkloadRef{Name: "web"}}
	i.Upstream.Workload = ParseWorkload("ratings-v1;shop;ratings;v1;k")
	m.request(i, true, set)
	got := gather(t, m, "istio_requests_total")
	for _, want := range []string{
		`reporter="waypoint"`, `source_workload="web"`, `destination_workload="ratings-v1"`, `destination_workload_namespace="shop"`, `one="1"`,
		`connection_security_policy="mutual_tls"`, `destination_service_name="reviews"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}

// TestReplicasAreOneSeries: two addresses of one workload.
func TestReplicasAreOneSeries(t *testing.T) {
	d := NewDirectory(func(string) {})
	m := New(local, d)
	for _, a := range []string{"10.244.0.7", "10.244.0.8"} {
		i := inboundInfo()
		i.Conn.Remote = netip.AddrPortFrom(netip.MustParseAddr(a), 1)
		m.Request(i, false)
		d.Learn(a, filter.WorkloadRef{Name: "web", Namespace: "default"})
	}
	if got := gather(t, m, "istio_requests_total"); !strings.Contains(got, "} 2\n") {
		t.Error(got)
	}
}

// TestServicesWithoutAName have that of the host, or Istio's for traffic that
// passes.
func TestServicesWithoutAName(t *testing.T) {
	m := New(local, NewDirectory(nil))
	cfg, err := configuration(true, `{}`)
	if err != nil {
		t.Fatal(err)
	}
	set, err := m.settings(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []string{"", "PassthroughCluster"} {
		i := inboundInfo()
		i.Upstream.Service = filter.ServiceRef{}
		i.Upstream.Cluster = c
		i.Request = &filter.Headers{Authority: "example.com"}
		m.request(i, true, set)
	}
	got := gather(t, m, "istio_requests_total")
	for _, want := range []string{
		`destination_service="example.com",destination_service_name="example.com"`,
		`destination_service="example.com",destination_service_name="PassthroughCluster"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
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
