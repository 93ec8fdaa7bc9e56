package proxy

import (
	"fmt"
	"io"
	"strings"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/proxy/cluster"
)

// showClusters writes /clusters, as Envoy does.
func (r *runtime) showClusters(w io.Writer, asJSON bool) error {
	if asJSON {
		return r.clustersJSON(w)
	}
	p := &printer{w: w}
	for c := range r.clusters.Clusters {
		p.cluster(c)
	}
	return p.err
}

// printer writes lines until one fails.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(name, key string, value any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, "%s::%s::%v\n", name, key, value)
	}
}

func (p *printer) cluster(c *cluster.Cluster) {
	name, spec := c.Name(), c.Spec()
	p.line(name, "observability_name", c.StatName())
	for i, prefix := range []string{"", "local_origin_"} {
		mean, threshold, ok := c.SuccessRates(i == 1)
		if !ok {
			continue
		}
		p.line(name, "outlier::"+prefix+"success_rate_average", short(mean))
		p.line(name, "outlier::"+prefix+"success_rate_ejection_threshold", short(threshold))
	}
	for i, prefix := range []string{"default_priority", "high_priority"} {
		b := &spec.Breakers[i]
		p.line(name, prefix+"::max_connections", b.Connections)
		p.line(name, prefix+"::max_pending_requests", b.Pending)
		p.line(name, prefix+"::max_requests", b.Requests)
		p.line(name, prefix+"::max_retries", b.Retries)
	}
	p.line(name, "added_via_api", !spec.Static)
	if spec.Type == cluster.EDS {
		p.line(name, "eds_service_name", spec.ServiceName)
	}
	for h := range c.Hosts {
		p.host(name+"::"+h.String(), h)
	}
}

// short is a rate in as many digits as Envoy prints.
func short(f float64) string { return fmt.Sprintf("%.6g", f) }

func (p *printer) host(name string, h *cluster.Host) {
	s := h.Stats()
	for _, st := range hostStats(s) {
		p.line(name, st.name, st.value)
	}
	l := h.Locality()
	p.line(name, "hostname", h.Hostname())
	p.line(name, "health_flags", h.HealthFlags())
	p.line(name, "weight", h.Weight())
	p.line(name, "region", l.Region)
	p.line(name, "zone", l.Zone)
	p.line(name, "sub_zone", l.SubZone)
	p.line(name, "canary", false)
	p.line(name, "priority", l.Priority)
	p.line(name, "success_rate", short(h.SuccessRate(false)))
	p.line(name, "local_origin_success_rate", short(h.SuccessRate(true)))
}

// hostStat is a statistic of one host.
type hostStat struct {
	name  string
	gauge bool
	value uint64
}

func hostStats(s *cluster.HostStats) []hostStat {
	gauge := func(g *cluster.Gauge) uint64 { return uint64(max(g.Load(), 0)) }
	return []hostStat{
		{"cx_active", true, gauge(&s.CxActive)},
		{"cx_connect_fail", false, s.CxConnectFail.Load()},
		{"cx_total", false, s.CxTotal.Load()},
		{"rq_active", true, gauge(&s.RqActive)},
		{"rq_error", false, s.RqError.Load()},
		{"rq_success", false, s.RqSuccess.Load()},
		{"rq_timeout", false, s.RqTimeout.Load()},
		{"rq_total", false, s.RqTotal.Load()},
	}
}

func (r *runtime) clustersJSON(w io.Writer) error {
	out := &adminv3.Clusters{}
	for c := range r.clusters.Clusters {
		spec := c.Spec()
		st := &adminv3.ClusterStatus{
			Name: c.Name(), AddedViaApi: !spec.Static, ObservabilityName: c.StatName(), EdsServiceName: spec.ServiceName,
			CircuitBreakers: &clusterv3.CircuitBreakers{},
		}
		for i, b := range spec.Breakers {
			st.CircuitBreakers.Thresholds = append(st.CircuitBreakers.Thresholds, &clusterv3.CircuitBreakers_Thresholds{
				Priority: corev3.RoutingPriority(i), MaxConnections: wrapperspb.UInt32(b.Connections),
				MaxPendingRequests: wrapperspb.UInt32(b.Pending), MaxRequests: wrapperspb.UInt32(b.Requests), MaxRetries: wrapperspb.UInt32(b.Retries),
			})
		}
		if _, threshold, ok := c.SuccessRates(false); ok {
			st.SuccessRateEjectionThreshold = percent(threshold)
		}
		if _, threshold, ok := c.SuccessRates(true); ok {
			st.LocalOriginSuccessRateEjectionThreshold = percent(threshold)
		}
		for h := range c.Hosts {
			st.HostStatuses = append(st.HostStatuses, hostStatus(h))
		}
		out.ClusterStatuses = append(out.ClusterStatuses, st)
	}
	b, err := protojson.MarshalOptions{UseProtoNames: true, Multiline: true, Indent: " "}.Marshal(out)
	if err == nil {
		_, err = w.Write(b)
	}
	return err
}

// percent is nil for a rate that there is not.
func percent(rate float64) *typev3.Percent {
	if rate < 0 {
		return nil
	}
	return &typev3.Percent{Value: rate}
}

func hostStatus(h *cluster.Host) *adminv3.HostStatus {
	e, l, flags := h.Endpoint(), h.Locality(), h.HealthFlags()
	has := func(flag string) bool { return strings.Contains(flags, flag) }
	st := &adminv3.HostStatus{
		Weight: h.Weight(), Hostname: e.Hostname, Priority: l.Priority,
		Locality:    &corev3.Locality{Region: l.Region, Zone: l.Zone, SubZone: l.SubZone},
		SuccessRate: percent(h.SuccessRate(false)), LocalOriginSuccessRate: percent(h.SuccessRate(true)),
		HealthStatus: &adminv3.HostHealthStatus{
			FailedActiveHealthCheck: has("/failed_active_hc"), FailedOutlierCheck: has("/failed_outlier_check"),
			FailedActiveDegradedCheck: has("/degraded_active_hc"), PendingDynamicRemoval: has("/pending_dynamic_removal"),
			PendingActiveHc: has("/pending_active_hc"), ExcludedViaImmediateHcFail: has("/excluded_via_immediate_hc_fail"),
			ActiveHcTimeout: has("/active_hc_timeout"), EdsHealthStatus: corev3.HealthStatus_HEALTHY,
		},
	}
	switch e.Health {
	case cluster.Unhealthy, cluster.Timeout:
		st.HealthStatus.EdsHealthStatus = corev3.HealthStatus_UNHEALTHY
	case cluster.Draining:
		st.HealthStatus.EdsHealthStatus = corev3.HealthStatus_DRAINING
	case cluster.Degraded:
		st.HealthStatus.EdsHealthStatus = corev3.HealthStatus_DEGRADED
	}
	st.Address = addressOf(h)
	for _, s := range hostStats(h.Stats()) {
		m := &adminv3.SimpleMetric{Name: s.name, Value: s.value}
		if s.gauge {
			m.Type = adminv3.SimpleMetric_GAUGE
		}
		st.Stats = append(st.Stats, m)
	}
	return st
}

// addressOf is the address of a host.
func addressOf(h *cluster.Host) *corev3.Address {
	if path := h.Endpoint().Path; path != "" {
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path}}}
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: h.Addr().Addr().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(h.Addr().Port())},
	}}}
}
