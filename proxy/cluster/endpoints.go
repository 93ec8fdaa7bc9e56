package cluster

import (
	"net/netip"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
)

// Health of an endpoint, as the control plane tells it.
type Health uint8

// Healths. Unknown counts as healthy.
const (
	Unknown Health = iota
	Healthy
	Unhealthy
	Draining
	Timeout
	// Degraded endpoints serve when the healthy ones are not enough.
	Degraded
)

// Endpoints are the endpoints of a cluster.
type Endpoints struct {
	Localities []Locality
	// Overprovisioning in percent; 0: 140.
	Overprovisioning uint32
	// WeightedPriorityHealth weighs endpoints when a priority's health is computed.
	WeightedPriorityHealth bool
	// StaleAfter is how long they hold without being sent again; 0: for ever.
	StaleAfter time.Duration
	// DropCategory is what those that are dropped are counted as.
	DropCategory string
	// DropPercent of requests is refused by the control plane's wish.
	DropPercent float64
}

// Locality groups endpoints.
type Locality struct {
	Region, Zone, SubZone string
	Priority              uint32
	// Weight is used with LB.LocalityWeighted; 0 gets no traffic then.
	Weight    uint32
	Endpoints []Endpoint
}

// Endpoint is one address. Exactly one of Addr, Name, Path and Internal is set.
type Endpoint struct {
	Addr netip.AddrPort
	// More are further addresses of the same endpoint, tried after Addr.
	More []netip.AddrPort
	// Name and Port are resolved by DNS clusters.
	Name string
	Port uint16
	// Path of a unix socket.
	Path string
	// Internal is a listener of this proxy, InternalID tells endpoints at it apart.
	Internal, InternalID string
	// Metadata, by filter name, for internal listeners only.
	Metadata map[string]any
	// TLVs of PROXY headers, in place of the cluster's of the same types.
	TLVs []AddedTLV

	// Hostname for automatic host rewrites.
	Hostname string
	Health   Health
	// Weight 0: 1.
	Weight uint32
	// Labels choose subsets ("envoy.lb"), TransportLabels the transport ("envoy.transport_socket_match").
	Labels, TransportLabels map[string]string
	// Lists are labels that have several values.
	Lists map[string][]string
	// HashKey replaces the address in consistent hashing (envoy.lb: hash_key).
	HashKey  string
	Workload filter.WorkloadRef

	// HealthAddr, or HealthPort of Addr, is where health checks ask instead;
	// HealthName is the host name that they ask for. NoCheck: they do not.
	HealthAddr netip.AddrPort
	HealthPort uint16
	HealthName string
	NoCheck    bool
}
