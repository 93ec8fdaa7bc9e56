// Package v1alpha2 is what Weft accepts of Slime's SmartLimiter: of the group microservice.slime.io in the versions
// v1alpha1 and v1alpha2, and of the older group microservice.netease.com, v1alpha1. One set of types holds all three;
// what one of them lacks the others may have.
//
// The types say what there is and what it means; they convert nothing. Names of fields are Slime's, which mix
// snake_case and camelCase. Fields that are Weft's own say so.
package v1alpha2

// Groups and versions of SmartLimiter.
const (
	Group    = "microservice.slime.io"
	OldGroup = "microservice.netease.com"
)

// SmartLimiterSpec limits the requests of the service that has the object's name and namespace.
type SmartLimiterSpec struct {
	// Sets have the limits of subsets by their names; "_base" is the whole service.
	Sets map[string]Set `json:"sets,omitempty"`
	// Descriptors are those of "_base" as the older versions write them.
	Descriptors []Descriptor `json:"descriptors,omitempty"`
	// Target is that of descriptors without one of their own.
	Target *Target `json:"target,omitempty"`
	// Gateway: the limits are for the gateways that WorkloadSelector picks.
	Gateway bool `json:"gateway,omitempty"`
	// WorkloadSelector picks proxies by labels, in place of those of the service.
	WorkloadSelector map[string]string `json:"workloadSelector,omitempty"`
	// Host is that of a ServiceEntry, in place of the object's name.
	Host string `json:"host,omitempty"`
	// RLS is a service of Envoy's rate limit protocol that counts the global limits, "host:port"; none: the control plane.
	RLS string `json:"rls,omitempty"`
	// Domain is what global limits are counted under. Weft's own; default: "slime".
	Domain string `json:"domain,omitempty"`
	// Metric says where values come from that the mesh does not know itself, as SlimeBoot's global.metric does. Weft's own.
	Metric *Metric `json:"metric,omitempty"`
}

// Set is the limits of a subset. Slime writes "descriptor"; "descriptors" is taken too.
type Set struct {
	Descriptor  []Descriptor `json:"descriptor,omitempty"`
	Descriptors []Descriptor `json:"descriptors,omitempty"`
}

// Descriptor is one limit.
type Descriptor struct {
	// Condition turns the limit on: an expression, or true. Nothing: it is always on.
	Condition any    `json:"condition,omitempty"`
	Action    Action `json:"action"`
	// Match has to be true as a whole; nothing: all requests.
	Match  []Match `json:"match,omitempty"`
	Target *Target `json:"target,omitempty"`
	// CustomKey and CustomValue are the entry that somebody else's action makes.
	CustomKey   string `json:"custom_key,omitempty"`
	CustomValue string `json:"custom_value,omitempty"`
}

// Action is what a limit allows.
type Action struct {
	// Quota is how many requests in FillInterval: a number or an expression.
	Quota any `json:"quota,omitempty"`
	// Concurrency is how many requests at a time, in place of Quota. Weft's own.
	Concurrency  any       `json:"concurrency,omitempty"`
	FillInterval *Interval `json:"fill_interval,omitempty"`
	// Strategy is single (the default), average or global.
	Strategy string `json:"strategy,omitempty"`
	// HeadersToAdd are added to the answers to requests that are refused.
	HeadersToAdd []Header `json:"headers_to_add,omitempty"`
	// Shadow: requests are counted and never refused. Weft's own.
	Shadow bool `json:"shadow,omitempty"`
	// Per gives each client the quota for itself: "source" by address, or "header:NAME" by the value of a header. Weft's own.
	Per string `json:"per,omitempty"`
}

// Interval is a time.
type Interval struct {
	Seconds int32 `json:"seconds,omitempty"`
	Nanos   int32 `json:"nanos,omitempty"`
}

// Header is one of a response.
type Header struct {
	Key   string `json:"key"`
	Value string `json:"value,omitempty"`
}

// Match tests one thing of a request.
type Match struct {
	Name                 string `json:"name,omitempty"`
	RegexMatch           string `json:"regex_match,omitempty"`
	ExactMatch           string `json:"exact_match,omitempty"`
	PrefixMatch          string `json:"prefix_match,omitempty"`
	SuffixMatch          string `json:"suffix_match,omitempty"`
	PresentMatch         bool   `json:"present_match,omitempty"`
	InvertMatch          bool   `json:"invert_match,omitempty"`
	IsExactMatchEmpty    bool   `json:"is_exact_match_empty,omitempty"`
	PresentMatchSeparate bool   `json:"present_match_separate,omitempty"`
	UseQueryMatch        bool   `json:"useQueryMatch,omitempty"`
	// MatchSource is HeadMatch (0), QueryMatch (1), JsonBodyMatch (2) or SourceIpMatch (3).
	MatchSource any `json:"matchSource,omitempty"`
}

// Target says where a limit holds.
type Target struct {
	// Direction is inbound (the default) or outbound.
	Direction string `json:"direction,omitempty"`
	// Port is the service's; 0: all.
	Port int32 `json:"port,omitempty"`
	// Route are "host:port/routeName", Host are host names, "host" or "host:port".
	Route []string `json:"route,omitempty"`
	Host  []string `json:"host,omitempty"`
}

// Metric says where values come from.
type Metric struct {
	Prometheus *Prometheus `json:"prometheus,omitempty"`
}

// Prometheus is a server and what to ask it.
type Prometheus struct {
	// Address is a URL; without a scheme http.
	Address string `json:"address"`
	// Handlers are queries by the name that expressions use; $namespace, $service and $pod_name (a pattern of all pods) are replaced.
	Handlers map[string]Handler `json:"handlers,omitempty"`
}

// Handler is one query.
type Handler struct {
	Query string `json:"query"`
	// Type is Value (0): the query is made for each subset; or Group (1): once, and the labels of its results are part of their names.
	Type any `json:"type,omitempty"`
}
