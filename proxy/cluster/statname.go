package cluster

// counterNames are the counters by Envoy's names.
var counterNames = []struct {
	name string
	of   func(*Stats) *Counter
}{
	{"upstream_cx_total", func(s *Stats) *Counter { return &s.UpstreamCxTotal }},
	{"upstream_cx_http1_total", func(s *Stats) *Counter { return &s.UpstreamCxHTTP1Total }},
	{"upstream_cx_http2_total", func(s *Stats) *Counter { return &s.UpstreamCxHTTP2Total }},
	{"upstream_cx_connect_fail", func(s *Stats) *Counter { return &s.UpstreamCxConnectFail }},
	{"upstream_cx_connect_timeout", func(s *Stats) *Counter { return &s.UpstreamCxConnectTimeout }},
	{"upstream_cx_overflow", func(s *Stats) *Counter { return &s.UpstreamCxOverflow }},
	{"upstream_cx_none_healthy", func(s *Stats) *Counter { return &s.UpstreamCxNoneHealthy }},
	{"upstream_cx_max_requests", func(s *Stats) *Counter { return &s.UpstreamCxMaxRequests }},
	{"upstream_cx_idle_timeout", func(s *Stats) *Counter { return &s.UpstreamCxIdleTimeout }},
	{"upstream_cx_max_duration_reached", func(s *Stats) *Counter { return &s.UpstreamCxMaxDurationReached }},
	{"upstream_cx_destroy", func(s *Stats) *Counter { return &s.UpstreamCxDestroy }},
	{"upstream_cx_destroy_local", func(s *Stats) *Counter { return &s.UpstreamCxDestroyLocal }},
	{"upstream_cx_destroy_remote", func(s *Stats) *Counter { return &s.UpstreamCxDestroyRemote }},
	{"upstream_cx_destroy_with_active_rq", func(s *Stats) *Counter { return &s.UpstreamCxDestroyWithActiveRq }},
	{"upstream_cx_destroy_local_with_active_rq", func(s *Stats) *Counter { return &s.UpstreamCxDestroyLocalWithActiveRq }},
	{"upstream_cx_destroy_remote_with_active_rq", func(s *Stats) *Counter { return &s.UpstreamCxDestroyRemoteWithActiveRq }},
	{"upstream_cx_protocol_error", func(s *Stats) *Counter { return &s.UpstreamCxProtocolError }},
	{"upstream_cx_close_notify", func(s *Stats) *Counter { return &s.UpstreamCxCloseNotify }},
	{"upstream_cx_rx_bytes_total", func(s *Stats) *Counter { return &s.UpstreamCxRxBytesTotal }},
	{"upstream_cx_tx_bytes_total", func(s *Stats) *Counter { return &s.UpstreamCxTxBytesTotal }},
	{"upstream_rq_total", func(s *Stats) *Counter { return &s.UpstreamRqTotal }},
	{"upstream_rq_pending_total", func(s *Stats) *Counter { return &s.UpstreamRqPendingTotal }},
	{"upstream_rq_pending_overflow", func(s *Stats) *Counter { return &s.UpstreamRqPendingOverflow }},
	{"upstream_rq_pending_failure_eject", func(s *Stats) *Counter { return &s.UpstreamRqPendingFailureEject }},
	{"upstream_rq_cancelled", func(s *Stats) *Counter { return &s.UpstreamRqCancelled }},
	{"upstream_rq_maintenance_mode", func(s *Stats) *Counter { return &s.UpstreamRqMaintenanceMode }},
	{"upstream_rq_timeout", func(s *Stats) *Counter { return &s.UpstreamRqTimeout }},
	{"upstream_rq_per_try_timeout", func(s *Stats) *Counter { return &s.UpstreamRqPerTryTimeout }},
	{"upstream_rq_per_try_idle_timeout", func(s *Stats) *Counter { return &s.UpstreamRqPerTryIdleTimeout }},
	{"upstream_rq_max_duration_reached", func(s *Stats) *Counter { return &s.UpstreamRqMaxDurationReached }},
	{"upstream_rq_rx_reset", func(s *Stats) *Counter { return &s.UpstreamRqRxReset }},
	{"upstream_rq_tx_reset", func(s *Stats) *Counter { return &s.UpstreamRqTxReset }},
	{"upstream_rq_retry", func(s *Stats) *Counter { return &s.UpstreamRqRetry }},
	{"upstream_rq_retry_success", func(s *Stats) *Counter { return &s.UpstreamRqRetrySuccess }},
	{"upstream_rq_retry_overflow", func(s *Stats) *Counter { return &s.UpstreamRqRetryOverflow }},
	{"upstream_rq_retry_limit_exceeded", func(s *Stats) *Counter { return &s.UpstreamRqRetryLimitExceeded }},
	{"upstream_rq_retry_backoff_ratelimited", func(s *Stats) *Counter { return &s.UpstreamRqRetryBackoffRatelimited }},
	{"upstream_rq_retry_backoff_exponential", func(s *Stats) *Counter { return &s.UpstreamRqRetryBackoffExponential }},
	{"upstream_rq_completed", func(s *Stats) *Counter { return &s.UpstreamRqCompleted }},
	{"upstream_rq_drop_overload", func(s *Stats) *Counter { return &s.UpstreamRqDropOverload }},
	{"retry_or_shadow_abandoned", func(s *Stats) *Counter { return &s.RetryOrShadowAbandoned }},
	{"upstream_flow_control_paused_reading_total", func(s *Stats) *Counter { return &s.UpstreamFlowControlPaused }},
	{"upstream_flow_control_resumed_reading_total", func(s *Stats) *Counter { return &s.UpstreamFlowControlResumed }},
	{"update_attempt", func(s *Stats) *Counter { return &s.UpdateAttempt }},
	{"update_success", func(s *Stats) *Counter { return &s.UpdateSuccess }},
	{"update_failure", func(s *Stats) *Counter { return &s.UpdateFailure }},
	{"update_empty", func(s *Stats) *Counter { return &s.UpdateEmpty }},
	{"assignment_stale", func(s *Stats) *Counter { return &s.AssignmentStale }},
	{"membership_change", func(s *Stats) *Counter { return &s.MembershipChange }},
	{"lb_healthy_panic", func(s *Stats) *Counter { return &s.LBHealthyPanic }},
	{"lb_subsets_created", func(s *Stats) *Counter { return &s.LBSubsetsCreated }},
	{"lb_subsets_removed", func(s *Stats) *Counter { return &s.LBSubsetsRemoved }},
	{"lb_subsets_selected", func(s *Stats) *Counter { return &s.LBSubsetsSelected }},
	{"lb_subsets_fallback_panic", func(s *Stats) *Counter { return &s.LBSubsetsFallbackPanic }},
	{"lb_subsets_fallback", func(s *Stats) *Counter { return &s.LBSubsetsFallback }},
}

// gaugeNames are the gauges by Envoy's names.
var gaugeNames = []struct {
	name string
	of   func(*Stats) *Gauge
}{
	{"upstream_cx_active", func(s *Stats) *Gauge { return &s.UpstreamCxActive }},
	{"upstream_rq_active", func(s *Stats) *Gauge { return &s.UpstreamRqActive }},
	{"upstream_rq_pending_active", func(s *Stats) *Gauge { return &s.UpstreamRqPendingActive }},
	{"membership_total", func(s *Stats) *Gauge { return &s.MembershipTotal }},
	{"membership_healthy", func(s *Stats) *Gauge { return &s.MembershipHealthy }},
	{"membership_degraded", func(s *Stats) *Gauge { return &s.MembershipDegraded }},
	{"lb_subsets_active", func(s *Stats) *Gauge { return &s.LBSubsetsActive }},
	{"lb_subsets_single_host_duplicate", func(s *Stats) *Gauge { return &s.LBSubsetsDuplicate }},
	{"membership_excluded", func(s *Stats) *Gauge { return &s.MembershipExcluded }},
}
