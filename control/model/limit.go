package model

import "time"

// WholeService is the name of the set of limits that hold for all of a service.
const WholeService = "_base"

// SmartLimiter is a set of limits as written. What is in force of it at the moment is a Limits.
type SmartLimiter struct {
	Meta `json:"meta"`
	// Service is the host of the service whose requests are limited; "": Selector picks the proxies.
	Service string
	// Selector, when set, picks proxies by labels: gateways when Gateway is set.
	Selector map[string]string
	Gateway  bool
	Rules    []LimitRule
	// RLS is a service of Envoy's rate limit protocol for the global limits, "host:port"; "": the control plane.
	RLS    string
	Domain string
	// Prometheus, when set, has values for expressions.
	Prometheus *PrometheusMetrics
}

// LimitStrategy says who shares a quota.
type LimitStrategy string

// Strategies.
const (
	// LimitSingle is for each proxy, LimitAverage for all together in equal parts, LimitGlobal for all together as they need it.
	LimitSingle  LimitStrategy = "single"
	LimitAverage LimitStrategy = "average"
	LimitGlobal  LimitStrategy = "global"
)

// LimitRule is one limit.
type LimitRule struct {
	// Field is where it is written: spec.sets._base.descriptor[0].
	Field string
	// Set is WholeService or the name of a subset.
	Set string
	// Condition and Quota are expressions (base/formula) over values of the set; Quota is of Concurrency when that is set.
	Condition, Quota string
	// Concurrency: the quota is of requests at a time.
	Concurrency bool
	Interval    time.Duration
	Strategy    LimitStrategy
	Headers     []LimitHeader
	Matches     []LimitMatch
	Target      LimitTarget
	Shadow      bool
	// Per gives each client a quota of its own: "source", or the name of a header after "header:".
	Per string
	// Key and Value, when set, are a descriptor's that somebody else makes.
	Key, Value string
}

// LimitHeader is added to the answers to refused requests.
type LimitHeader struct{ Name, Value string }

// LimitAttr is what a LimitMatch looks at.
type LimitAttr string

// Attributes of limits. The name of one that is a header or a parameter is LimitMatch.Name.
const (
	LimitHeaderAttr LimitAttr = "header"
	LimitQueryAttr  LimitAttr = "query"
	LimitSourceAttr LimitAttr = "source"
)

// LimitOp is how a LimitMatch compares.
type LimitOp string

// Operators. LimitEach matches whatever is present, and counts each value apart.
const (
	LimitExact   LimitOp = "exact"
	LimitPrefix  LimitOp = "prefix"
	LimitSuffix  LimitOp = "suffix"
	LimitRegex   LimitOp = "regex"
	LimitPresent LimitOp = "present"
	LimitEach    LimitOp = "each"
)

// LimitMatch is one test. Of a source, Value is an address or a prefix.
type LimitMatch struct {
	Attr  LimitAttr
	Name  string
	Op    LimitOp
	Value string
	Not   bool
}

// LimitTarget says where a limit holds.
type LimitTarget struct {
	Outbound bool
	// Port of the service; 0: all.
	Port uint16
	// Hosts are "host" or "host:port", Routes "host:port/name".
	Hosts, Routes []string
}

// PrometheusMetrics is a server and what to ask it.
type PrometheusMetrics struct {
	Address string
	Queries []PrometheusQuery
}

// PrometheusQuery has the name that expressions use. Grouped: it is asked once, and the labels of its results are
// part of their names.
type PrometheusQuery struct {
	Name, Query string
	Grouped     bool
}

// Limits is what is in force of a SmartLimiter (Meta.Of) for the moment.
type Limits struct {
	Meta    `json:"meta"`
	Limiter *SmartLimiter
	// Quotas are by the index into Limiter.Rules.
	Quotas []LimitQuota
	// Values are the numbers that the expressions were evaluated with, by name.
	Values map[string]float64
}

// LimitQuota is the quota of a rule.
type LimitQuota struct {
	// Active: the rule's condition holds, and there is a quota.
	Active bool
	Quota  float64
	// ID tells the rule from all others of the mesh, and stays as long as its place does.
	ID string
}
