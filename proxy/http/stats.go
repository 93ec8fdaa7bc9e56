package http

import (
	"maps"
	"strings"
	"sync"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/http/router"
)

// Counter only goes up.
type Counter = cluster.Counter

// Gauge goes up and down.
type Gauge = cluster.Gauge

// Stats holds the statistics of all connection managers by their prefix. It
// outlives them: an update of a listener does not reset counters.
type Stats struct {
	mu sync.Mutex
	by map[string]*ManagerStats
}

// NewStats returns an empty Stats.
func NewStats() *Stats { return &Stats{by: map[string]*ManagerStats{}} }

// ManagerStats are the statistics of one prefix; the names are Envoy's.
type ManagerStats struct {
	CxTotal, CxHTTP1Total, CxHTTP2Total               Counter
	CxDestroy, CxDestroyActiveRq                      Counter
	CxProtocolError, CxIdleTimeout, CxMaxDuration     Counter
	CxDrainClose, CxUpgradesTotal                     Counter
	CxRxBytesTotal, CxTxBytesTotal                    Counter
	CxActive, CxHTTP1Active, CxHTTP2Active            Gauge
	CxUpgradesActive, RqActive                        Gauge
	RqTotal, RqHTTP1Total, RqHTTP2Total, RqCompleted  Counter
	Rq1xx, Rq2xx, Rq3xx, Rq4xx, Rq5xx                 Counter
	RqRxReset, RqTxReset, RqNonRelativePath           Counter
	RqTimeout, RqHeaderTimeout, RqIdleTimeout         Counter
	RqMaxDuration, RqWsOnNonWsRoute, RqRedirectedPath Counter
	RqTooLarge, RsTooLarge                            Counter
	RqOverloadClose, CxOverloadDisableKeepalive       Counter
	Router                                            router.Stats
}

// Prefix returns the statistics of a prefix, made when there are none.
func (s *Stats) Prefix(prefix string) *ManagerStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.by[prefix]
	if m == nil {
		m = &ManagerStats{}
		s.by[prefix] = m
	}
	return m
}

// Under calls f with the statistics of each prefix that begins so.
func (s *Stats) Under(begin string, f func(*ManagerStats)) {
	s.mu.Lock()
	all := maps.Clone(s.by)
	s.mu.Unlock()
	for prefix, m := range all {
		if strings.HasPrefix(prefix, begin) {
			f(m)
		}
	}
}

// Each yields all statistics with their whole names ("http.PREFIX.downstream_cx_total").
func (s *Stats) Each(yield func(name string, gauge bool, v uint64) bool) {
	s.mu.Lock()
	all := maps.Clone(s.by)
	s.mu.Unlock()
	for prefix, m := range all {
		if !m.each("http."+prefix+".", yield) {
			return
		}
	}
}

func (m *ManagerStats) each(prefix string, yield func(name string, gauge bool, v uint64) bool) bool {
	for _, c := range []struct {
		name string
		c    *Counter
	}{
		{"downstream_cx_total", &m.CxTotal},
		{"downstream_rq_overload_close", &m.RqOverloadClose},
		{"downstream_cx_overload_disable_keepalive", &m.CxOverloadDisableKeepalive},
		{"downstream_cx_http1_total", &m.CxHTTP1Total},
		{"downstream_cx_http2_total", &m.CxHTTP2Total},
		{"downstream_cx_destroy", &m.CxDestroy},
		{"downstream_cx_destroy_active_rq", &m.CxDestroyActiveRq},
		{"downstream_cx_protocol_error", &m.CxProtocolError},
		{"downstream_cx_idle_timeout", &m.CxIdleTimeout},
		{"downstream_cx_max_duration_reached", &m.CxMaxDuration},
		{"downstream_cx_drain_close", &m.CxDrainClose},
		{"downstream_cx_upgrades_total", &m.CxUpgradesTotal},
		{"downstream_cx_rx_bytes_total", &m.CxRxBytesTotal},
		{"downstream_cx_tx_bytes_total", &m.CxTxBytesTotal},
		{"downstream_rq_total", &m.RqTotal},
		{"downstream_rq_http1_total", &m.RqHTTP1Total},
		{"downstream_rq_http2_total", &m.RqHTTP2Total},
		{"downstream_rq_completed", &m.RqCompleted},
		{"downstream_rq_1xx", &m.Rq1xx},
		{"downstream_rq_2xx", &m.Rq2xx},
		{"downstream_rq_3xx", &m.Rq3xx},
		{"downstream_rq_4xx", &m.Rq4xx},
		{"downstream_rq_5xx", &m.Rq5xx},
		{"downstream_rq_rx_reset", &m.RqRxReset},
		{"downstream_rq_tx_reset", &m.RqTxReset},
		{"downstream_rq_non_relative_path", &m.RqNonRelativePath},
		{"downstream_rq_timeout", &m.RqTimeout},
		{"downstream_rq_header_timeout", &m.RqHeaderTimeout},
		{"downstream_rq_idle_timeout", &m.RqIdleTimeout},
		{"downstream_rq_max_duration_reached", &m.RqMaxDuration},
		{"downstream_rq_ws_on_non_ws_route", &m.RqWsOnNonWsRoute},
		{"downstream_rq_redirected_with_normalized_path", &m.RqRedirectedPath},
		{"downstream_rq_too_large", &m.RqTooLarge},
		{"rs_too_large", &m.RsTooLarge},
		{"rq_total", &m.Router.Total},
		{"no_route", &m.Router.NoRoute},
		{"no_cluster", &m.Router.NoCluster},
		{"rq_direct_response", &m.Router.DirectResponse},
		{"rq_redirect", &m.Router.Redirect},
		{"passthrough_internal_redirect_bad_location", &m.Router.RedirectBadLocation},
		{"passthrough_internal_redirect_unsafe_scheme", &m.Router.RedirectUnsafeScheme},
		{"passthrough_internal_redirect_too_many_redirects", &m.Router.RedirectTooMany},
		{"passthrough_internal_redirect_no_route", &m.Router.RedirectNoRoute},
		{"passthrough_internal_redirect_predicate", &m.Router.RedirectPredicate},
		{"rq_retry_or_shadow_abandoned", &m.Router.RetryOrShadowAbandoned},
	} {
		if !yield(prefix+c.name, false, c.c.Load()) {
			return false
		}
	}
	for _, g := range []struct {
		name string
		g    *Gauge
	}{
		{"downstream_cx_active", &m.CxActive},
		{"downstream_cx_http1_active", &m.CxHTTP1Active},
		{"downstream_cx_http2_active", &m.CxHTTP2Active},
		{"downstream_cx_upgrades_active", &m.CxUpgradesActive},
		{"downstream_rq_active", &m.RqActive},
	} {
		if !yield(prefix+g.name, true, uint64(max(g.g.Load(), 0))) {
			return false
		}
	}
	return true
}

// countResponse counts a response by its class.
func (m *ManagerStats) countResponse(status int) {
	m.RqCompleted.Add(1)
	switch status / 100 {
	case 1:
		m.Rq1xx.Add(1)
	case 2:
		m.Rq2xx.Add(1)
	case 3:
		m.Rq3xx.Add(1)
	case 4:
		m.Rq4xx.Add(1)
	case 5:
		m.Rq5xx.Add(1)
	}
}
