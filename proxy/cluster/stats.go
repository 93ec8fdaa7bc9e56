package cluster

import (
	"strconv"
	"sync/atomic"
	"time"
)

// Counter only goes up.
type Counter struct{ atomic.Uint64 }

// Gauge goes up and down.
type Gauge struct{ atomic.Int64 }

// Stats of a cluster. Names are Envoy's, in camel case. They count on when the
// cluster is replaced by one of the same name.
type Stats struct {
	UpstreamCxTotal, UpstreamCxHTTP1Total, UpstreamCxHTTP2Total               Counter
	UpstreamCxConnectFail, UpstreamCxConnectTimeout                           Counter
	UpstreamCxOverflow, UpstreamCxNoneHealthy, UpstreamCxMaxRequests          Counter
	UpstreamCxIdleTimeout, UpstreamCxMaxDurationReached                       Counter
	UpstreamCxDestroy, UpstreamCxDestroyLocal, UpstreamCxDestroyRemote        Counter
	UpstreamCxDestroyWithActiveRq, UpstreamCxDestroyLocalWithActiveRq         Counter
	UpstreamCxDestroyRemoteWithActiveRq                                       Counter
	UpstreamCxProtocolError, UpstreamCxCloseNotify                            Counter
	UpstreamCxRxBytesTotal, UpstreamCxTxBytesTotal                            Counter
	UpstreamRqTotal, UpstreamRqPendingTotal, UpstreamRqPendingOverflow        Counter
	UpstreamRqPendingFailureEject, UpstreamRqCancelled                        Counter
	UpstreamRqMaintenanceMode, UpstreamRqTimeout                              Counter
	UpstreamRqPerTryTimeout, UpstreamRqPerTryIdleTimeout                      Counter
	UpstreamRqMaxDurationReached, UpstreamRqRxReset, UpstreamRqTxReset        Counter
	UpstreamRqRetry, UpstreamRqRetrySuccess, UpstreamRqRetryOverflow          Counter
	UpstreamRqRetryLimitExceeded, UpstreamRqRetryBackoffExponential           Counter
	UpstreamRqRetryBackoffRatelimited                                         Counter
	UpstreamRqCompleted, UpstreamRqDropOverload, RetryOrShadowAbandoned       Counter
	UpstreamInternalRedirectSucceeded, UpstreamInternalRedirectFailed         Counter
	UpstreamFlowControlPaused                                                 Counter
	UpstreamFlowControlResumed                                                Counter
	UpdateAttempt, UpdateSuccess, UpdateFailure, UpdateEmpty, AssignmentStale Counter
	MembershipChange, LBHealthyPanic, LBSubsetsFallback                       Counter
	LBSubsetsCreated, LBSubsetsRemoved, LBSubsetsSelected                     Counter
	LBSubsetsFallbackPanic                                                    Counter
	LBZoneRecalculate, LBZoneTooSmall, LBZoneNoCapacity                       Counter
	LBZoneDirectly, LBZoneSampled, LBZoneCross, LBLocalNotOK                  Counter
	OutlierEjectionsTotal, OutlierOverflow                                    Counter
	OutlierDetected, OutlierEnforced                                          [causes]Counter
	HealthAttempt, HealthSuccess, HealthFailure, HealthNetworkFailure         Counter
	HealthPassiveFailure, HealthVerifyCluster                                 Counter
	UDPRx, UDPRxDropped, UDPRxErrors, UDPTx, UDPTxErrors                      Counter

	UpstreamCxActive, UpstreamRqActive, UpstreamRqPendingActive              Gauge
	MembershipTotal, MembershipHealthy, MembershipDegraded, OutlierEjections Gauge
	LBSubsetsActive, LBSubsetsDuplicate                                      Gauge
	MembershipExcluded, HealthHealthy, HealthDegraded                        Gauge
	// UDPSessions is not one of Envoy's.
	UDPSessions Gauge

	// UpstreamRqTime is of requests, ConnectTime of making connections (without TLS), in milliseconds.
	UpstreamRqTime, ConnectTime Histogram
	// More are those that only some clusters have.
	budgets atomic.Pointer[Budgets]
	sizes   atomic.Pointer[Sizes]

	udp     atomic.Bool // there have been sessions of datagrams
	classes [6]Counter  // by hundreds of the status
	codes   atomic.Pointer[codeCounter]
}

// HostStats of one host.
type HostStats struct {
	CxTotal, CxConnectFail                 Counter
	RqTotal, RqSuccess, RqError, RqTimeout Counter
	CxActive, RqActive, RqPendingActive    Gauge
}

// codeCounter counts one status. There are few different ones per cluster, so
// that a list that only grows at its head needs no lock and little time.
type codeCounter struct {
	code int
	n    Counter
	next *codeCounter
}

// Status counts a completed response by its code.
func (s *Stats) Status(code int) {
	s.UpstreamRqCompleted.Add(1)
	if code < 100 || code > 599 {
		return
	}
	s.classes[code/100].Add(1)
	for {
		head := s.codes.Load()
		for c := head; c != nil; c = c.next {
			if c.code == code {
				c.n.Add(1)
				return
			}
		}
		s.codes.CompareAndSwap(head, &codeCounter{code: code, next: head})
	}
}

// RequestTime records the duration of a request (upstream_rq_time).
func (s *Stats) RequestTime(d time.Duration) { s.UpstreamRqTime.Observe(d) }

// Budgets are the histograms of how much of their timeouts requests and attempts have used, nil: nobody
// wants to know.
func (s *Stats) Budgets() *Budgets { return s.budgets.Load() }

// Sizes are the histograms of heads and bodies, nil: nobody wants to know.
func (s *Stats) Sizes() *Sizes { return s.sizes.Load() }

// StatKind of a statistic.
type StatKind uint8

// Kinds.
const (
	KindCounter StatKind = iota
	KindGauge
)

// Each yields all statistics by Envoy's names, without the "cluster.NAME." prefix.
func (c *Cluster) Each(yield func(name string, k StatKind, v uint64) bool) {
	s := c.stats
	for _, n := range counterNames {
		if !yield(n.name, KindCounter, n.of(s).Load()) {
			return
		}
	}
	for _, n := range gaugeNames {
		if !yield(n.name, KindGauge, uint64(max(n.of(s).Load(), 0))) {
			return
		}
	}
	for i := 1; i < len(s.classes); i++ {
		if n := s.classes[i].Load(); n > 0 && !yield("upstream_rq_"+strconv.Itoa(i)+"xx", KindCounter, n) {
			return
		}
	}
	for cc := s.codes.Load(); cc != nil; cc = cc.next {
		if !yield("upstream_rq_"+strconv.Itoa(cc.code), KindCounter, cc.n.Load()) {
			return
		}
	}
	if c.outlier.Load() != nil {
		if !yield("outlier_detection.ejections_enforced_total", KindCounter, s.OutlierEjectionsTotal.Load()) ||
			!yield("outlier_detection.ejections_overflow", KindCounter, s.OutlierOverflow.Load()) ||
			!yield("outlier_detection.ejections_active", KindGauge, uint64(max(s.OutlierEjections.Load(), 0))) {
			return
		}
		for i, name := range causeNames {
			if !yield("outlier_detection.ejections_detected_"+name, KindCounter, s.OutlierDetected[i].Load()) ||
				!yield("outlier_detection.ejections_enforced_"+name, KindCounter, s.OutlierEnforced[i].Load()) {
				return
			}
		}
	}
	if c.spec.Health != nil && !s.eachHealth(yield) {
		return
	}
	if s.udp.Load() && !s.eachUDP(yield) {
		return
	}
	for p, l := range c.limits {
		if !l.each(priorityNames[p], yield) {
			return
		}
	}
}

// eachHealth yields what active health checks count.
func (s *Stats) eachHealth(yield func(string, StatKind, uint64) bool) bool {
	return yield("health_check.attempt", KindCounter, s.HealthAttempt.Load()) &&
		yield("health_check.success", KindCounter, s.HealthSuccess.Load()) &&
		yield("health_check.failure", KindCounter, s.HealthFailure.Load()) &&
		yield("health_check.network_failure", KindCounter, s.HealthNetworkFailure.Load()) &&
		yield("health_check.passive_failure", KindCounter, s.HealthPassiveFailure.Load()) &&
		yield("health_check.verify_cluster", KindCounter, s.HealthVerifyCluster.Load()) &&
		yield("health_check.healthy", KindGauge, uint64(max(s.HealthHealthy.Load(), 0))) &&
		yield("health_check.degraded", KindGauge, uint64(max(s.HealthDegraded.Load(), 0)))
}

// eachUDP yields what is counted of sessions of datagrams.
func (s *Stats) eachUDP(yield func(string, StatKind, uint64) bool) bool {
	return yield("udp.sess_rx_datagrams", KindCounter, s.UDPRx.Load()) &&
		yield("udp.sess_rx_datagrams_dropped", KindCounter, s.UDPRxDropped.Load()) &&
		yield("udp.sess_rx_errors", KindCounter, s.UDPRxErrors.Load()) &&
		yield("udp.sess_tx_datagrams", KindCounter, s.UDPTx.Load()) &&
		yield("udp.sess_tx_errors", KindCounter, s.UDPTxErrors.Load())
}

// each yields the state of the breakers.
func (l *Limits) each(priority string, yield func(string, StatKind, uint64) bool) bool {
	for r, short := range [resources]string{"cx", "rq_pending", "rq", "rq_retry"} {
		open := uint64(0)
		if l.Open(Resource(r)) {
			open = 1
		}
		left := uint64(max(l.Max(Resource(r))-l.Current(Resource(r)), 0))
		prefix := "circuit_breakers." + priority + "."
		if !yield(prefix+short+"_open", KindGauge, open) || l.show.Load() &&
			!yield(prefix+"remaining_"+[...]string{"cx", "pending", "rq", "retries"}[r], KindGauge, left) {
			return false
		}
	}
	return true
}

// Histograms yields the histograms by Envoy's names.
func (c *Cluster) Histograms(yield func(name string, h *Histogram) bool) {
	s := c.stats
	if !yield("upstream_rq_time", &s.UpstreamRqTime) || !yield("upstream_cx_connect_ms", &s.ConnectTime) {
		return
	}
	if b := s.Budgets(); b != nil && (!yield(budgetName, &b.Request) || !yield(perTryBudgetName, &b.Attempt)) {
		return
	}
	if z := s.Sizes(); z != nil {
		for i := range z.all() {
			if !yield(sizeNames[i], z.all()[i]) {
				return
			}
		}
	}
}

// Activity is a number that grows when a cluster is used, 0 when there is no
// such cluster; busy: it is used just now.
func (m *Manager) Activity(name string) (uses uint64, busy bool) {
	c := m.Get(name)
	if c == nil {
		return 0, false
	}
	st := c.stats
	return st.UpstreamRqTotal.Load() + st.UpstreamCxTotal.Load() + st.UpstreamRqPendingTotal.Load() + st.UDPTx.Load(),
		st.UpstreamRqActive.Load() > 0 || st.UpstreamCxActive.Load() > 0 || st.UDPSessions.Load() > 0
}
