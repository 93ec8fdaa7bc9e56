package cluster

import (
	"sync/atomic"
	"time"
)

// Counter only goes up.
type Counter struct{ atomic.Uint64 }

// Gauge goes up and down.
type Gauge struct{ atomic.Int64 }

// Stats of a cluster. Names are Envoy's, in camel case.
type Stats struct {
	UpstreamCxTotal, UpstreamCxHTTP1Total, UpstreamCxHTTP2Total           Counter
	UpstreamCxConnectFail, UpstreamCxConnectTimeout                       Counter
	UpstreamCxOverflow, UpstreamCxNoneHealthy, UpstreamCxMaxRequests      Counter
	UpstreamCxIdleTimeout, UpstreamCxMaxDurationReached                   Counter
	UpstreamCxDestroy, UpstreamCxDestroyLocal, UpstreamCxDestroyRemote    Counter
	UpstreamCxDestroyWithActiveRq                                         Counter
	UpstreamCxDestroyLocalWithActiveRq, UpstreamCxDestroyRemoteWithAct    Counter
	UpstreamCxProtocolError, UpstreamCxCloseNotify                        Counter
	UpstreamCxRxBytesTotal, UpstreamCxTxBytesTotal                        Counter
	UpstreamRqTotal, UpstreamRqPendingTotal, UpstreamRqPendingOverflow    Counter
	UpstreamRqPendingFailureEject, UpstreamRqCancelled                    Counter
	UpstreamRqMaintenanceMode, UpstreamRqTimeout, UpstreamRqPerTryTimeout Counter
	UpstreamRqPerTryIdleTimeout, UpstreamRqMaxDurationReached             Counter
	UpstreamRqRxReset, UpstreamRqTxReset                                  Counter
	UpstreamRqRetry, UpstreamRqRetrySuccess, UpstreamRqRetryOverflow      Counter
	UpstreamRqRetryLimitExceeded, UpstreamRqRetryBackoffExponential       Counter
	UpstreamFlowControlPaused, UpstreamFlowControlResumed                 Counter
	RetryOrShadowAbandoned                                                Counter
	UpstreamCxActive, UpstreamRqActive, UpstreamRqPendingActive           Gauge
}

// HostStats of one host.
type HostStats struct {
	CxTotal, CxConnectFail                 Counter
	RqTotal, RqSuccess, RqError, RqTimeout Counter
	CxActive, RqActive                     Gauge
}

// Status counts a completed response by its code.
func (s *Stats) Status(code int) { panic("BUG: being built") }

// RequestTime records the duration of a request (upstream_rq_time).
func (s *Stats) RequestTime(d time.Duration) { panic("BUG: being built") }

// StatKind of a statistic.
type StatKind uint8

// Kinds.
const (
	KindCounter StatKind = iota
	KindGauge
)

// Each yields all statistics by Envoy's names, without the "cluster.NAME." prefix.
func (c *Cluster) Each(yield func(name string, k StatKind, v uint64) bool) { panic("BUG: being built") }
