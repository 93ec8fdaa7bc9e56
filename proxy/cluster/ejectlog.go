package cluster

import (
	"strconv"
	"time"

	"github.com/weftmesh/weft/proxy/cluster/health"
)

// The log of outlier detection is a file of JSON, one line for each ejection and
// each end of one, in the form of Envoy's (envoy.data.cluster.v3.OutlierDetectionEvent).

// ejection is one line.
type ejection struct {
	Type     string  `json:"type"`
	Time     string  `json:"timestamp"`
	Secs     *string `json:"secs_since_last_action,omitempty"`
	Cluster  string  `json:"cluster_name"`
	Host     string  `json:"upstream_url"`
	Action   string  `json:"action"`
	Number   int     `json:"num_ejections"`
	Enforced bool    `json:"enforced"`

	Consecutive *struct{}   `json:"eject_consecutive_event,omitempty"`
	Rate        *ejectRate  `json:"eject_success_rate_event,omitempty"`
	Percentage  *ejectShare `json:"eject_failure_percentage_event,omitempty"`
}

// ejectRate is in percent, as Envoy cut down to whole ones.
type ejectRate struct {
	Host      uint32 `json:"host_success_rate"`
	Average   uint32 `json:"cluster_average_success_rate"`
	Threshold uint32 `json:"cluster_success_rate_ejection_threshold"`
}

type ejectShare struct {
	Host uint32 `json:"host_success_rate"`
}

// causeTypes are Envoy's types of ejections.
var causeTypes = [causes]string{
	"CONSECUTIVE_5XX", "CONSECUTIVE_GATEWAY_FAILURE", "CONSECUTIVE_LOCAL_ORIGIN_FAILURE",
	"SUCCESS_RATE", "SUCCESS_RATE_LOCAL_ORIGIN", "FAILURE_PERCENTAGE", "FAILURE_PERCENTAGE_LOCAL_ORIGIN",
}

// logEjectLocked logs that a host was ejected, or would have been.
func (c *Cluster) logEjectLocked(h *Host, cs cause, now time.Time, enforced bool) {
	if c.m.o.Ejections == nil {
		return
	}
	e := c.ejectionOf(h, now, h.monitor.back)
	e.Type, e.Action, e.Enforced = causeTypes[cs], "EJECT", enforced
	local := cs == causeLocalSuccessRate || cs == causeLocalFailurePercentage
	switch cs {
	case causeSuccessRate, causeLocalSuccessRate:
		t := c.thresholds[kindOf(local)]
		e.Rate = &ejectRate{percentOf(h.SuccessRate(local)), percentOf(t[0]), percentOf(t[1])}
	case causeFailurePercentage, causeLocalFailurePercentage:
		e.Percentage = &ejectShare{percentOf(h.SuccessRate(local))}
	default:
		e.Consecutive = &struct{}{}
	}
	c.writeEjection(e)
}

// logUnejectLocked logs the end of an ejection, which in Envoy has no type of its own.
func (c *Cluster) logUnejectLocked(h *Host, now time.Time) {
	if c.m.o.Ejections == nil {
		return
	}
	e := c.ejectionOf(h, now, h.monitor.out)
	e.Type, e.Action = causeTypes[cause5xx], "UNEJECT"
	c.writeEjection(e)
}

func (c *Cluster) ejectionOf(h *Host, now, last time.Time) *ejection {
	e := &ejection{
		Time:    health.Stamp(now),
		Cluster: c.spec.Name, Host: h.String(), Number: h.monitor.total,
	}
	if !last.IsZero() {
		secs := strconv.Itoa(int(now.Sub(last) / time.Second))
		e.Secs = &secs
	}
	return e
}

// writeEjection writes later: the lock is held.
func (c *Cluster) writeEjection(e *ejection) {
	c.m.post(func() { c.m.o.Ejections.Append(e) })
}

// percentOf cuts a rate down; one that is not known is 0.
func percentOf(rate float64) uint32 { return uint32(min(max(rate, 0), 100)) }

func kindOf(local bool) int {
	if local {
		return 1
	}
	return 0
}
