package admin

import (
	"context"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Bounds on scraping the program: a slow one must not take the proxy's own
// metrics with it.
const (
	programBound = 5 * time.Second
	programLimit = 16 << 20
)

// prometheus writes the proxy's own metrics.
func (s *Server) prometheus(w http.ResponseWriter, r *http.Request) {
	if s.Metrics == nil {
		missing(w)
		return
	}
	// What fails to be gathered does not keep the rest back.
	promhttp.HandlerFor(s.Metrics, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, DisableCompression: true}).ServeHTTP(w, r)
}

// merged writes the proxy's metrics and then the programs', as Istio's agent
// does: the text formats concatenate.
func (s *Server) merged(w http.ResponseWriter, r *http.Request) {
	if len(s.Programs) == 0 {
		s.prometheus(w, r)
		return
	}
	plain := r.Clone(r.Context())
	plain.Header.Set("Accept", "text/plain;version=0.0.4")
	s.prometheus(w, plain)
	for _, url := range s.Programs {
		s.program(w, r, url)
	}
}

// program writes the metrics of one program; one that does not answer has none.
func (s *Server) program(w io.Writer, r *http.Request, url string) {
	ctx, cancel := context.WithTimeout(r.Context(), programBound)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		s.Log.Warn("metrics of the program", "url", url, "error", err)
		return
	}
	req.Header.Set("Accept", "text/plain;version=0.0.4")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.Log.Debug("metrics of the program", "url", url, "error", err)
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		_, _ = io.Copy(w, io.LimitReader(resp.Body, programLimit))
	}
}

// EnvoyStats shows Envoy's dotted statistics as Prometheus metrics the way Envoy
// does: "cluster.NAME.upstream_rq_total" is envoy_cluster_upstream_rq_total with
// the label envoy_cluster_name.
type EnvoyStats struct {
	// Visit calls back with scope ("cluster", "http", "listener", "server" or ""), its
	// name, the statistic's, its value, and whether it is a gauge.
	Visit func(func(scope, name, stat string, value uint64, gauge bool))
	// Histograms calls back with each; nil: there are none. Those without values are not shown.
	Histograms func(func(Histogram))
}

// Histogram is one of Envoy's.
type Histogram struct {
	Scope, Name, Stat string
	// Bounds are the upper ones of buckets, Counts how many values are in each, and above
	// them all; Sum is that of all values.
	Bounds []float64
	Counts []uint64
	Sum    float64
}

// EndpointStat is the name of a statistic of a cluster's endpoint, as Envoy makes it.
func EndpointStat(address, stat string) string {
	return endpointScope + strings.ReplaceAll(address, ":", "_") + "." + stat
}

const endpointScope = "endpoint."

// labelOf is Envoy's label for a scope's name.
var labelOf = map[string]string{
	"cluster": "envoy_cluster_name", "http": "envoy_http_conn_manager_prefix", "listener": "envoy_listener_address",
	"http_local_rate_limit": "envoy_local_http_ratelimit_prefix", "local_rate_limit": "envoy_local_ratelimit_prefix", "connection_limit": "envoy_connection_limit_prefix", "udp": "envoy_udp_prefix", "tcp": "envoy_tcp_prefix",
}

// LabelOf is Envoy's label for the names of a scope, "" when they are no label.
func LabelOf(scope string) string { return labelOf[scope] }

// Describe implements prometheus.Collector; it is unchecked.
func (EnvoyStats) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (e EnvoyStats) Collect(out chan<- prometheus.Metric) {
	e.Visit(func(scope, name, stat string, v uint64, gauge bool) {
		full := "envoy_" + clean(stat)
		if scope != "" {
			full = "envoy_" + scope + "_" + clean(stat)
		}
		labels, values := labelsOf(scope, name)
		if rest, ok := strings.CutPrefix(stat, endpointScope); ok && scope == "cluster" {
			i := strings.LastIndexByte(rest, '.')
			full = "envoy_cluster_endpoint_" + clean(rest[i+1:])
			labels, values = append(labels, "envoy_endpoint_address"), append(values, rest[:i])
		}
		typ := prometheus.CounterValue
		if gauge {
			typ = prometheus.GaugeValue
		}
		m, err := prometheus.NewConstMetric(prometheus.NewDesc(full, "Envoy's statistic "+stat+".", labels, nil), typ, float64(v), values...)
		if err != nil {
			return // a statistic whose name Prometheus cannot have
		}
		out <- m
	})
	if e.Histograms != nil {
		e.Histograms(func(h Histogram) {
			if m := h.metric(); m != nil {
				out <- m
			}
		})
	}
}

// metric is h for Prometheus, nil when there is nothing in it.
func (h *Histogram) metric() prometheus.Metric {
	count, upTo := uint64(0), make(map[float64]uint64, len(h.Bounds))
	for i, n := range h.Counts {
		count += n
		if i < len(h.Bounds) {
			upTo[h.Bounds[i]] = count
		}
	}
	if count == 0 {
		return nil
	}
	labels, values := labelsOf(h.Scope, h.Name)
	m, err := prometheus.NewConstHistogram(prometheus.NewDesc("envoy_"+h.Scope+"_"+clean(h.Stat), "Envoy's histogram "+h.Stat+".", labels, nil), count, h.Sum, upTo, values...)
	if err != nil {
		return nil // a histogram whose name Prometheus cannot have
	}
	return m
}

// labelsOf is the label for a scope's name, if it has one.
func labelsOf(scope, name string) (labels, values []string) {
	if l := labelOf[scope]; l != "" {
		return []string{l}, []string{name}
	}
	return nil, nil
}

// clean replaces what a metric's name may not hold.
func clean(s string) string {
	b := []byte(s)
	for i, c := range b {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' {
			b[i] = '_'
		}
	}
	return string(b)
}
