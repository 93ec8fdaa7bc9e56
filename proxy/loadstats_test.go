package proxy_test

import (
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	lrsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/test/freeport"
)

// loadServer is a server of load reports that asks for the reports of some clusters.
type loadServer struct {
	lrsv3.UnimplementedLoadReportingServiceServer

	ask     *lrsv3.LoadStatsResponse
	first   chan *lrsv3.LoadStatsRequest
	reports chan []*endpointv3.ClusterStats
}

func (s *loadServer) StreamLoadStats(stream lrsv3.LoadReportingService_StreamLoadStatsServer) error {
	m, err := stream.Recv()
	if err != nil {
		return err
	}
	s.first <- m
	if err := stream.Send(s.ask); err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		select {
		case s.reports <- m.ClusterStats:
		case <-stream.Context().Done():
			return nil
		}
	}
}

func serveLoad(t *testing.T, ask *lrsv3.LoadStatsResponse) (*loadServer, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &loadServer{ask: ask, first: make(chan *lrsv3.LoadStatsRequest, 1), reports: make(chan []*endpointv3.ClusterStats)}
	g := grpc.NewServer()
	lrsv3.RegisterLoadReportingServiceServer(g, s)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = g.Serve(l)
	}()
	t.Cleanup(func() {
		g.Stop()
		<-done
	})
	return s, l.Addr().String()
}

// within20s receives, or fails.
func within20s[T any](t *testing.T, what string, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(60 * time.Second):
		t.Fatalf("no %s", what)
	}
	return v
}

func TestLoadReports(t *testing.T) {
	for name, ask := range map[string]*lrsv3.LoadStatsResponse{
		"by name": {Clusters: []string{"up", "drops", "nowhere"}, ReportEndpointGranularity: true},
		"all":     {SendAllClusters: true},
	} {
		t.Run(name, func(t *testing.T) { loadReports(t, ask) })
	}
}

func loadReports(t *testing.T, ask *lrsv3.LoadStatsResponse) {
	up := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		w.Header().Set("endpoint-load-metrics", "TEXT cpu_utilization=0.5,named_metrics.a=2,named_metrics.b=1")
		if r.URL.Path == "/bad" {
			w.WriteHeader(500)
		}
	}))
	t.Cleanup(up.Close)
	ask.LoadReportingInterval = durationpb.New(30 * time.Millisecond)
	lrs, lrsAddr := serveLoad(t, ask)
	addr := freeport.Addr(t)
	runStatic(t, `
node: {id: me, cluster: mine}
cluster_manager:
  load_stats_config: {api_type: GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: lrs}}]}
static_resources:
  listeners:
  - name: l
    address: {L}
    filter_chains:
    - filters:
      - name: h
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: h
          route_config:
            virtual_hosts:
            - {name: v, domains: ["*"], routes: [{match: {prefix: /drop}, route: {cluster: drops}}, {match: {prefix: /}, route: {cluster: up}}]}
          http_filters: [{name: r, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
  clusters:
  - name: lrs
    type: STATIC
    typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}
    load_assignment: {cluster_name: lrs, endpoints: [{lb_endpoints: [{endpoint: {address: {LRS}}}]}]}
  - name: up
    type: STATIC
    lrs_report_endpoint_metrics: [cpu_utilization, "named_metrics.*"]
    load_assignment: {cluster_name: up, endpoints: [{locality: {region: r, zone: z}, priority: 0, lb_endpoints: [{endpoint: {address: {UP}}}]}]}
  - name: drops
    type: STATIC
    load_assignment: {cluster_name: drops, policy: {drop_overloads: [{category: much, drop_percentage: {numerator: 100}}]}, endpoints: [{lb_endpoints: [{endpoint: {address: {UP}}}]}]}
`, map[string]string{"L": addr, "UP": up.Listener.Addr().String(), "LRS": lrsAddr})
	first := within20s(t, "stream", lrs.first)
	if first.Node.GetId() != "me" || !strings.Contains(fmt.Sprint(first.Node.ClientFeatures), "envoy.lrs.supports_send_all_clusters") {
		t.Errorf("the first message is from %v", first.Node)
	}
	within20s(t, "report", lrs.reports) // from now on all counts
	connect(t, addr).Close()            // the listener is there
	for _, path := range []string{"/a", "/b", "/bad", "/drop"} {
		resp, err := nethttp.Get("http://" + addr + path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	var got totals
	for end := time.Now().Add(60 * time.Second); !got.whole(); {
		got.add(t, within20s(t, "report", lrs.reports), ask.ReportEndpointGranularity)
		if time.Now().After(end) {
			t.Fatalf("not all was reported: %+v", got)
		}
	}
	got.add(t, within20s(t, "report", lrs.reports), ask.ReportEndpointGranularity)
	want := totals{issued: 3, success: 2, failed: 1, dropped: 1, category: 1, connected: 1, cpu: 1.5, a: 6, b: 3, n: 3}
	if ask.ReportEndpointGranularity {
		want.endpoints = 3
	}
	if got != want {
		t.Errorf("reported %+v, want %+v", got, want)
	}
}

// totals are the sums of what was reported.
type totals struct {
	issued, success, failed, dropped, category, connected, endpoints, n uint64
	cpu, a, b                                                           float64
}

func (s *totals) whole() bool { return s.success+s.failed == 3 && s.dropped == 1 }

func (s *totals) add(t *testing.T, report []*endpointv3.ClusterStats, endpoints bool) {
	t.Helper()
	for _, c := range report {
		if c.LoadReportInterval.AsDuration() <= 0 {
			t.Errorf("%s: no interval", c.ClusterName)
		}
		s.dropped += c.TotalDroppedRequests
		for _, d := range c.DroppedRequests {
			if d.Category == "much" && c.ClusterName == "drops" {
				s.category += d.DroppedCount
			}
		}
		if c.ClusterName != "up" {
			continue
		}
		for _, l := range c.UpstreamLocalityStats {
			if l.Locality.Region != "r" || l.Locality.Zone != "z" {
				t.Errorf("locality %v", l.Locality)
			}
			s.issued += l.TotalIssuedRequests
			s.success += l.TotalSuccessfulRequests
			s.failed += l.TotalErrorRequests
			s.connected += l.TotalNewConnections
			for _, m := range l.LoadMetricStats {
				switch m.MetricName {
				case "cpu_utilization":
					s.cpu += m.TotalMetricValue
					s.n += m.NumRequestsFinishedWithMetric
				case "named_metrics.a":
					s.a += m.TotalMetricValue
				case "named_metrics.b":
					s.b += m.TotalMetricValue
				default:
					t.Errorf("metric %q", m.MetricName)
				}
			}
			for _, e := range l.UpstreamEndpointStats {
				s.endpoints += e.TotalIssuedRequests
				if !endpoints || e.Address.GetSocketAddress().GetPortValue() == 0 {
					t.Errorf("endpoint %v", e)
				}
			}
		}
	}
}
