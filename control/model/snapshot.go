package model

import (
	"cmp"
	"slices"
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
	Version  uint64
	Mesh     *Mesh
	Services []*Service
	// Workloads are all running instances.
	Workloads  []*Workload
	Routes     []*RouteSet
	Policies   []*TrafficPolicySet
	Gateways   []*Gateway
	Sidecars   []*Sidecar
	PeerAuths  []*PeerAuth
	Authz      []*Authz
	Secrets    []*Secret
	Namespaces []*Namespace
	Accounts   []*ServiceAccount
	Processes  []*Process
	Findings   []Finding
	// Objects by key, of every kind above.
	Objects map[Key]Object
	// Why lists the reasons of the changes since the previous version.
	Why []string
}

// SortObjects sorts a slice in the order that Snapshot promises.
func SortObjects[T Object](s []T) {
	slices.SortFunc(s, func(a, b T) int {
		x, y := a.Head(), b.Head()
		return cmp.Or(
			cmp.Compare(x.Created, y.Created),
			cmp.Compare(x.Key.Namespace, y.Key.Namespace),
			cmp.Compare(x.Key.Name, y.Key.Name),
		)
	})
}

// Endpoint of a service joined with the workload that serves it (nil for inline ones).
type Instance struct {
	Endpoint Endpoint
	Workload *Workload
}
