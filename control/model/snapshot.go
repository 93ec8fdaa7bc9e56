package model

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/base/cow"
)

// Delta is what a source sends: the objects that are new or changed, the keys
// that are gone, and the Findings of what it read. Findings is everything that
// the source finds fault with now: it replaces the source's earlier ones whole.
type Delta struct {
	// Source is the sending source's name.
	Source  string
	Upserts []Object
	Deletes []Key
	// Full: Upserts is everything the source has; what it does not name is gone.
	Full     bool
	Findings []Finding
	// Why is for people: "reviews.yaml changed".
	Why string
}

// Snapshot is the whole mesh at one moment. It is immutable. Slices are sorted
// by Created, then namespace and name, so that the first of several competing
// objects wins; slices that did not change are shared with the previous snapshot.
type Snapshot struct {
	Version uint64
	Mesh    *Mesh
	// Captured, when set, are the only addresses of which traffic enters sidecars; every
	// service that can has its addresses there.
	Captured []netip.Prefix
	Services []*Service
	// Workloads are all running instances.
	Workloads []*Workload
	Routes    []*RouteSet
	Policies  []*TrafficPolicySet
	Gateways  []*Gateway
	Sidecars  []*Sidecar
	PeerAuths []*PeerAuth
	Authz     []*Authz
	// RequestAuths, and the KeySets that were fetched for them.
	RequestAuths []*RequestAuth
	KeySets      []*KeySet
	Telemetry    []*Telemetry
	// EnvoyFilters, and what of them is kept from engines.
	EnvoyFilters []*EnvoyFilter
	Quarantines  []*Quarantine
	ProxyConfigs []*ProxyConfig
	Groups       []*WorkloadGroup
	// Protocols are those that ports speak whose names say so.
	Protocols  []*AppProtocol
	Secrets    []*Secret
	Namespaces []*Namespace
	Accounts   []*ServiceAccount
	Processes  []*Process
	// API is as written; what it amounts to is among Routes, Gateways and Policies.
	API GatewayAPI
	// Cluster is there for an analysis only.
	Cluster  Cluster
	Findings []Finding
	// Objects by key, of every kind above.
	Objects cow.Map[Key, Object]
	// Versions are those of the snapshots with which the objects took their form.
	Versions cow.Map[Key, uint64]
	// Why lists the reasons of the changes since the previous version.
	Why []string
}

// SortObjects sorts a slice in the order that Snapshot promises.
func SortObjects[T Object](s []T) {
	slices.SortFunc(s, func(a, b T) int { return Before(a.Head(), b.Head()) })
}

// Before compares two objects by the order that Snapshot promises; objects of
// different kinds that share all that count by their kinds.
func Before(x, y *Meta) int {
	switch {
	case x.Created != y.Created:
		return cmp.Compare(x.Created, y.Created)
	case x.Key.Namespace != y.Key.Namespace:
		return cmp.Compare(x.Key.Namespace, y.Key.Namespace)
	case x.Key.Name != y.Key.Name:
		return cmp.Compare(x.Key.Name, y.Key.Name)
	}
	return cmp.Compare(x.Key.Kind, y.Key.Kind)
}

// Endpoint of a service joined with the workload that serves it (nil for inline ones).
type Instance struct {
	Endpoint Endpoint
	Workload *Workload
}
