package proxy

import (
	"context"
	"maps"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	lrsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/base/backoff"
	"github.com/weftmesh/weft/proxy/cluster"
)

// allClusters is the feature by which a server knows that it may ask for all.
const allClusters = "envoy.lrs.supports_send_all_clusters"

// reportLoad reports the load of clusters to whom the bootstrap names, as long as
// the proxy lives: the server says of which, and how often (LRS).
func (r *runtime) reportLoad(ctx context.Context) error {
	conn, err := r.collector(r.boot.LoadStats)
	if err != nil {
		return err
	}
	defer conn.Close()
	client, wait := lrsv3.NewLoadReportingServiceClient(conn), backoff.Backoff{Min: 500 * time.Millisecond, Max: 30 * time.Second}
	for {
		l := &loadReport{r: r, reset: wait.Reset}
		err := l.run(ctx, client)
		if ctx.Err() != nil {
			return nil
		}
		r.log.Info("load reports: the stream has ended", "component", "loadstats", "cluster", r.boot.LoadStats.Cluster, "error", err)
		if wait.Wait(ctx) != nil {
			return nil
		}
	}
}

// loadReport is one stream of reports.
type loadReport struct {
	r     *runtime
	reset func() // the server has answered

	want *lrsv3.LoadStatsResponse // nil: it has not said yet
	last map[string]*clusterLoad  // what was reported, by cluster
}

// clusterLoad is how far counters had come.
type clusterLoad struct {
	at    time.Time
	hosts map[*cluster.Host]hostLoad
	// dropped by the control plane's wish, and by the route's (maintenance).
	dropped, kept uint64
}

type hostLoad struct{ issued, success, failed, connected, refused uint64 }

func loadOf(h *cluster.Host) hostLoad {
	s := h.Stats()
	return hostLoad{s.RqTotal.Load(), s.RqSuccess.Load(), s.RqError.Load(), s.CxTotal.Load(), s.CxConnectFail.Load()}
}

func (l *loadReport) run(ctx context.Context, client lrsv3.LoadReportingServiceClient) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := client.StreamLoadStats(ctx)
	if err != nil {
		return err
	}
	node := proto.CloneOf(l.r.boot.Node)
	node.ClientFeatures = append(node.ClientFeatures, allClusters)
	if err := s.Send(&lrsv3.LoadStatsRequest{Node: node}); err != nil {
		return err
	}
	answers, ended := make(chan *lrsv3.LoadStatsResponse), make(chan error, 1)
	done := make(chan struct{})
	defer func() { cancel(); <-done }()
	go func() {
		defer close(done)
		for {
			m, err := s.Recv()
			if err != nil {
				ended <- err
				return
			}
			select {
			case answers <- m:
			case <-ctx.Done():
				return
			}
		}
	}()
	tick := time.NewTimer(time.Hour)
	tick.Stop()
	defer tick.Stop()
	for {
		select {
		case m := <-answers:
			l.reset()
			l.ask(m, time.Now())
			tick.Reset(max(m.LoadReportingInterval.AsDuration(), time.Millisecond))
		case <-tick.C:
			if err := s.Send(&lrsv3.LoadStatsRequest{Node: node, ClusterStats: l.report(time.Now())}); err != nil {
				return err
			}
			tick.Reset(max(l.want.LoadReportingInterval.AsDuration(), time.Millisecond))
		case err := <-ended:
			return err
		}
	}
}

// ask takes in what the server wants: those clusters that it did not ask for before begin now.
func (l *loadReport) ask(m *lrsv3.LoadStatsResponse, now time.Time) {
	former := l.last
	l.want, l.last = m, map[string]*clusterLoad{}
	for _, name := range l.names() {
		if l.last[name] = former[name]; l.last[name] == nil {
			l.last[name] = begin(l.r.clusters.Get(name), now)
		}
	}
}

func (l *loadReport) names() []string {
	if !l.want.SendAllClusters {
		return l.want.Clusters
	}
	var all []string
	for c := range l.r.clusters.Clusters {
		all = append(all, c.Name())
	}
	return all
}

// begin notes where the counters of a cluster stand; of one that is not there, nothing.
func begin(c *cluster.Cluster, now time.Time) *clusterLoad {
	l := &clusterLoad{at: now, hosts: map[*cluster.Host]hostLoad{}}
	if c != nil {
		for h := range c.Hosts {
			l.hosts[h] = loadOf(h)
			h.TakeMetrics()
		}
		l.dropped, l.kept = droppedBy(c)
	}
	return l
}

func droppedBy(c *cluster.Cluster) (dropped, kept uint64) {
	return c.Stats().UpstreamRqDropOverload.Load(), c.Stats().UpstreamRqMaintenanceMode.Load()
}

// report makes the report of what has happened since the last one.
func (l *loadReport) report(now time.Time) (out []*endpointv3.ClusterStats) {
	for _, name := range l.names() {
		c := l.r.clusters.Get(name)
		if c == nil {
			continue
		}
		last := l.last[name]
		if last == nil { // it came with all the others
			last = begin(nil, now)
			l.last[name] = last
		}
		out = append(out, last.report(c, now, l.want.ReportEndpointGranularity))
	}
	return out
}

func (l *clusterLoad) report(c *cluster.Cluster, now time.Time, endpoints bool) *endpointv3.ClusterStats {
	dropped, kept := droppedBy(c)
	out := &endpointv3.ClusterStats{
		ClusterName: c.Name(), ClusterServiceName: c.Spec().ServiceName,
		TotalDroppedRequests: dropped - l.dropped + kept - l.kept, LoadReportInterval: durationpb.New(now.Sub(l.at)),
	}
	if n, category := dropped-l.dropped, c.DropCategory(); n > 0 && category != "" {
		out.DroppedRequests = []*endpointv3.ClusterStats_DroppedRequests{{Category: category, DroppedCount: n}}
	}
	type place struct {
		region, zone, subZone string
		priority              uint32
	}
	by := map[place]*endpointv3.UpstreamLocalityStats{}
	var order []place
	hosts := map[*cluster.Host]hostLoad{}
	for h := range c.Hosts {
		n, was := loadOf(h), l.hosts[h]
		hosts[h] = n
		loc := h.Locality()
		at := place{loc.Region, loc.Zone, loc.SubZone, loc.Priority}
		if by[at] == nil {
			order = append(order, at)
			by[at] = &endpointv3.UpstreamLocalityStats{
				Locality: &corev3.Locality{Region: loc.Region, Zone: loc.Zone, SubZone: loc.SubZone}, Priority: loc.Priority,
			}
		}
		count(by[at], h, n, was, endpoints)
	}
	for _, at := range order {
		s := by[at]
		if s.TotalIssuedRequests+s.TotalSuccessfulRequests+s.TotalErrorRequests+s.TotalRequestsInProgress+s.TotalNewConnections+s.TotalFailConnections > 0 {
			out.UpstreamLocalityStats = append(out.UpstreamLocalityStats, s)
		}
	}
	l.at, l.hosts, l.dropped, l.kept = now, hosts, dropped, kept
	return out
}

// count adds what a host has done to its locality's.
func count(s *endpointv3.UpstreamLocalityStats, h *cluster.Host, n, was hostLoad, endpoints bool) {
	active := uint64(max(h.Stats().RqActive.Load(), 0))
	e := &endpointv3.UpstreamEndpointStats{
		TotalSuccessfulRequests: n.success - was.success, TotalErrorRequests: n.failed - was.failed,
		TotalIssuedRequests: n.issued - was.issued, TotalRequestsInProgress: active,
	}
	metrics := h.TakeMetrics()
	for _, name := range slices.Sorted(maps.Keys(metrics)) {
		m := metrics[name]
		e.LoadMetricStats = append(e.LoadMetricStats, metric(name, m))
		addMetric(s, name, m)
	}
	s.TotalSuccessfulRequests += e.TotalSuccessfulRequests
	s.TotalErrorRequests += e.TotalErrorRequests
	s.TotalIssuedRequests += e.TotalIssuedRequests
	s.TotalRequestsInProgress += active
	s.TotalActiveConnections += uint64(max(h.Stats().CxActive.Load(), 0))
	s.TotalNewConnections += n.connected - was.connected
	s.TotalFailConnections += n.refused - was.refused
	if endpoints && e.TotalIssuedRequests+e.TotalSuccessfulRequests+e.TotalErrorRequests+active > 0 {
		e.Address = addressOf(h)
		s.UpstreamEndpointStats = append(s.UpstreamEndpointStats, e)
	}
}

func metric(name string, m cluster.Metric) *endpointv3.EndpointLoadMetricStats {
	return &endpointv3.EndpointLoadMetricStats{MetricName: name, NumRequestsFinishedWithMetric: m.Requests, TotalMetricValue: m.Total}
}

func addMetric(s *endpointv3.UpstreamLocalityStats, name string, m cluster.Metric) {
	for _, have := range s.LoadMetricStats {
		if have.MetricName == name {
			have.NumRequestsFinishedWithMetric += m.Requests
			have.TotalMetricValue += m.Total
			return
		}
	}
	s.LoadMetricStats = append(s.LoadMetricStats, metric(name, m))
}
