// Package telemetry makes Istio's standard metrics of what the data plane
// reports at the end of each request and connection.
//
// The hot path (Metrics.Request, Metrics.ConnClosed) takes no lock and, once a
// combination of labels has been seen, allocates nothing: counters are found by
// a comparable key in a map that is replaced whole when it grows. Label values
// are put together only when somebody scrapes.
//
// Who a peer is may be learnt after it has been counted: a Peer is a cell that
// is filled when the control plane has answered, and shows in the next scrape.
//
// The package does not export anything by itself: it is a prometheus.Collector.
// Access logs and spans are in the folders accesslog and trace.
package telemetry

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	statspb "istio.io/api/envoy/extensions/stats"

	"github.com/weftmesh/weft/proxy/filter"
)

// Metrics are the proxy's request and connection metrics. It is safe for
// concurrent use.
type Metrics struct {
	// Set at construction.
	local filter.WorkloadRef
	peers *Directory

	standard *settings // of who counts without a filter
	version  string    // of the proxy, as Istio calls it; "": none
	node     map[string]any
	sets     settingsByContent

	requests table[requestKey, requestSeries]
	conns    table[connKey, connSeries]
	added    histogram
}

// New makes the metrics of a proxy that serves the local workload.
func New(local filter.WorkloadRef, peers *Directory) *Metrics {
	standard, err := compile(&statspb.PluginConfig{DisableHostHeaderFallback: true}, nil)
	if err != nil {
		panic("BUG: the standard metrics: " + err.Error())
	}
	return &Metrics{local: local, peers: peers, added: newHistogram(addedBounds), standard: standard}
}

// SetNode tells of the proxy's own node: metrics' settings may name it in
// expressions, and istio_build shows the version, where there is one. Call it
// before the Metrics are used.
func (m *Metrics) SetNode(version string, node map[string]any) { m.version, m.node = version, node }

// table is a map for many readers: found without a lock, grown by copying.
type table[K comparable, V any] struct {
	read atomic.Pointer[map[K]*V]
	mu   sync.Mutex // serialises growth
}

// find returns the entry for a key; nil: there is none.
func (t *table[K, V]) find(k K) *V {
	if m := t.read.Load(); m != nil {
		return (*m)[k]
	}
	return nil
}

// get returns the entry for a key, made by fresh when there is none.
func (t *table[K, V]) get(k K, fresh func(K) *V) *V {
	if v := t.find(k); v != nil {
		return v
	}
	return t.grow(k, fresh)
}

func (t *table[K, V]) grow(k K, fresh func(K) *V) *V {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.read.Load()
	var m map[K]*V
	if old == nil {
		m = map[K]*V{}
	} else if v := (*old)[k]; v != nil {
		return v
	} else {
		m = maps.Clone(*old)
	}
	v := fresh(k)
	m[k] = v
	t.read.Store(&m)
	return v
}

func (t *table[K, V]) all() map[K]*V {
	if m := t.read.Load(); m != nil {
		return *m
	}
	return nil
}

// Describe implements prometheus.Collector: the set of series is not known
// beforehand, so it describes nothing and is "unchecked".
func (m *Metrics) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	all := merger{}
	for k, s := range m.requests.all() {
		m.collectRequest(all, k, s)
	}
	for k, s := range m.conns.all() {
		m.collectConn(all, k, s)
	}
	all.send(out)
	if m.added.count() > 0 {
		out <- m.added.metric(addedDesc, nil)
	}
	if m.version != "" {
		out <- prometheus.MustNewConstMetric(buildDesc, prometheus.GaugeValue, 1, "proxy", m.version)
	}
}

var buildDesc = desc("istio_build", "The version of the proxy.", []string{"component", "tag"})
