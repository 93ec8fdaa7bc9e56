package fleet

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/serve"
	"github.com/weftmesh/weft/wire"
)

// metrics are the control plane's, by the names that Istio's dashboards know.
type metrics struct {
	connected prometheus.Gauge
	pushes    *prometheus.CounterVec
	rejects   *prometheus.CounterVec
	size      *prometheus.HistogramVec
	pushTime  prometheus.Histogram
	services  prometheus.Gauge
	routes    prometheus.Gauge
	triggers  *prometheus.CounterVec
	uptime    prometheus.GaugeFunc
}

func newMetrics() *metrics {
	start := time.Now()
	return &metrics{
		connected: prometheus.NewGauge(prometheus.GaugeOpts{Name: "pilot_xds", Help: "Proxies connected over xDS."}),
		pushes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pilot_xds_pushes", Help: "xDS responses sent, by type."}, []string{"type"}),
		rejects: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pilot_total_xds_rejects", Help: "xDS responses that proxies rejected, by type."}, []string{"type"}),
		size: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "pilot_xds_config_size_bytes", Help: "Size of the xDS responses sent.",
			Buckets: []float64{1, 1e4, 1e6, 4e6, 1e7, 4e7}}, []string{"type"}),
		pushTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "pilot_xds_push_time", Help: "Seconds to build a snapshot's configuration for all proxies.",
			Buckets: []float64{.001, .01, .1, 1, 3, 5, 10, 20, 30}}),
		services: prometheus.NewGauge(prometheus.GaugeOpts{Name: "pilot_services", Help: "Services known."}),
		routes:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "pilot_virt_services", Help: "VirtualServices known."}),
		triggers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pilot_push_triggers", Help: "Snapshots pushed."}, []string{"type"}),
		uptime: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "istiod_uptime_seconds", Help: "Seconds since the control plane started."},
			func() float64 { return time.Since(start).Seconds() }),
	}
}

// Register adds the fleet's metrics.
func (f *Fleet) Register(r prometheus.Registerer) {
	m := f.metrics
	r.MustRegister(m.connected, m.pushes, m.rejects, m.size, m.pushTime, m.services, m.routes, m.triggers, m.uptime)
}

func (m *metrics) snapshot(s *model.Snapshot) {
	m.services.Set(float64(len(s.Services)))
	m.routes.Set(float64(len(s.Routes)))
	m.triggers.WithLabelValues("config").Inc()
}

func (m *metrics) report(r serve.Report) {
	switch r.Kind {
	case serve.Sent:
		m.pushes.WithLabelValues(shortType(r.Type)).Inc()
		m.size.WithLabelValues(r.Type).Observe(float64(r.Bytes))
	case serve.Rejected:
		m.rejects.WithLabelValues(shortType(r.Type)).Inc()
	}
}

// shortType is the label that dashboards use for a type URL.
func shortType(url string) string {
	switch url {
	case wire.TypeListener:
		return "lds"
	case wire.TypeRoute:
		return "rds"
	case wire.TypeCluster:
		return "cds"
	case wire.TypeEndpoint:
		return "eds"
	case wire.TypeSecret:
		return "sds"
	}
	return strings.ToLower(url[strings.LastIndexByte(url, '.')+1:])
}
