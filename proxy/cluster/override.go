package cluster

import (
	"time"

	"github.com/weftmesh/weft/proxy/filter/runtime"
)

// The runtime overrides limits and outlier detection by names of Envoy's:
// circuit_breakers.CLUSTER.PRIORITY.… and outlier_detection.…. What is in force is
// reckoned anew when the runtime changes, so that the data path reads it as before.

// Prefixes of the names.
const (
	breakerKeys = "circuit_breakers."
	outlierKeys = "outlier_detection."
)

// overrides are values of the runtime by the rest of their names.
type overrides map[string]*runtime.Value

// number replaces a number where there is a value of that name.
func (o overrides) number(name string, n *uint32) {
	if v := o[name]; v != nil && v.IsInteger {
		*n = uint32(min(v.Integer, 1<<32-1)) //nolint:gosec // bounded
	}
}

func (o overrides) millis(name string, d *time.Duration) {
	if v := o[name]; v != nil && v.IsInteger {
		*d = time.Duration(min(v.Integer, 1<<40)) * time.Millisecond //nolint:gosec // bounded
	}
}

// names of the priorities in the runtime and in statistics.
var priorityNames = [...]string{Default: "default", High: "high"}

// breakers are the limits of a cluster's priority as they are in force.
func (o overrides) breakers(cluster string, p Priority, b Breakers) Breakers {
	if o == nil {
		return b
	}
	prefix := cluster + "." + priorityNames[p] + "."
	o.number(prefix+"max_connections", &b.Connections)
	o.number(prefix+"max_pending_requests", &b.Pending)
	o.number(prefix+"max_requests", &b.Requests)
	o.number(prefix+"max_retries", &b.Retries)
	percent := o[prefix+"retry_budget.budget_percent"]
	if least := o[prefix+"retry_budget.min_retry_concurrency"]; b.Budget == nil && percent == nil && least == nil {
		return b
	}
	budget := DefaultBudget
	if b.Budget != nil {
		budget = *b.Budget
	}
	if percent != nil && percent.IsDouble {
		budget.Percent = percent.Double
	}
	o.number(prefix+"retry_budget.min_retry_concurrency", &budget.MinConcurrency)
	b.Budget = &budget
	return b
}

// outlier is outlier detection as it is in force.
func (o overrides) outlier(spec Outlier) *Outlier {
	if o == nil {
		return &spec
	}
	for name, n := range map[string]*uint32{
		"consecutive_5xx": &spec.Consecutive5xx, "consecutive_gateway_failure": &spec.ConsecutiveGateway,
		"consecutive_local_origin_failure": &spec.ConsecutiveLocal, "enforcing_consecutive_5xx": &spec.Enforce5xx,
		"enforcing_consecutive_gateway_failure": &spec.EnforceGateway, "enforcing_consecutive_local_origin_failure": &spec.EnforceLocal,
		"max_ejection_percent": &spec.MaxEjectionPercent,
	} {
		o.number(name, n)
	}
	o.millis("interval_ms", &spec.Interval)
	o.millis("base_ejection_time_ms", &spec.BaseEjection)
	o.millis("max_ejection_time_ms", &spec.MaxEjection)
	o.millis("max_ejection_time_jitter_ms", &spec.Jitter)
	if r := spec.SuccessRate; r != nil {
		own := *r
		o.number("enforcing_success_rate", &own.Enforce)
		o.number("enforcing_local_origin_success_rate", &own.EnforceLocal)
		o.number("success_rate_minimum_hosts", &own.MinHosts)
		o.number("success_rate_request_volume", &own.MinVolume)
		o.number("success_rate_stdev_factor", &own.StdevFactorPerThousand)
		spec.SuccessRate = &own
	}
	if f := spec.FailurePercentage; f != nil {
		own := *f
		o.number("enforcing_failure_percentage", &own.Enforce)
		o.number("enforcing_failure_percentage_local_origin", &own.EnforceLocal)
		o.number("failure_percentage_minimum_hosts", &own.MinHosts)
		o.number("failure_percentage_request_volume", &own.MinVolume)
		o.number("failure_percentage_threshold", &own.Threshold)
		spec.FailurePercentage = &own
	}
	spec = spec.withDefaults()
	return &spec
}

// override takes in what the runtime says. On Run's goroutine.
func (m *Manager) override() {
	limits, outlier := overrides(m.o.Runtime.Under(breakerKeys)), overrides(m.o.Runtime.Under(outlierKeys))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.overrides = limits
	m.outlierOverrides = outlier
	for _, c := range m.newest {
		c.obeyLocked()
		if cur := m.Get(c.spec.Name); cur != c && cur != nil {
			cur.detect(outlier)
		}
	}
}

// obeyLocked makes limits and outlier detection what configuration and runtime say; the
// Manager's mu is held.
func (c *Cluster) obeyLocked() {
	for p := range c.limits {
		b := c.m.overrides.breakers(c.spec.Name, Priority(p), c.spec.Breakers[p]) //nolint:gosec // there are two
		c.limits[p].set(&b)
	}
	c.detect(c.m.outlierOverrides)
}

func (c *Cluster) detect(o overrides) {
	if c.spec.Outlier != nil {
		c.outlier.Store(o.outlier(c.spec.Outlier.withDefaults()))
	}
}
