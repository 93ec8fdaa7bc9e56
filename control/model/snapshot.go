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
	// Slices are parts of Services, which have them among their endpoints.
	Slices []*EndpointSlice
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
	// Bundles are authorities of workloads: the mesh's own, and those that were fetched.
	Bundles   []*TrustBundle
	Telemetry []*Telemetry
	// EnvoyFilters, and what of them is kept from engines.
	EnvoyFilters []*EnvoyFilter
	Quarantines  []*Quarantine
	ProxyConfigs []*ProxyConfig
	Groups       []*WorkloadGroup
	// Registries are to be followed, and RegistrySources what of them is left out.
	Registries      []*Registry
	RegistrySources []*RegistrySource
	// Transcodings, and what was fetched for those of gRPC.
	Transcodings []*Transcoding
	Descriptors  []*Descriptors
	// Limiters, and what is in force of them.
	Limiters []*SmartLimiter
	Limits   []*Limits
	// Redis are what Aeraki's kinds say of Redis.
	Redis             []*RedisService
	RedisDestinations []*RedisDestination
	// Modules are what was fetched for plug-ins.
	Modules []*Module
	Fences  []*Fence
	Boots   []*Boot
	// Protocols are those that ports speak whose names say so.
	Protocols  []*AppProtocol
	Secrets    []*Secret
	Namespaces []*Namespace
	Accounts   []*ServiceAccount
	Processes  []*Process
	// API is as written; what it amounts to is among Routes, Gateways and Policies.
	API GatewayAPI
	// Verdicts are what was found about each object of API that is ours; read-only.
	Verdicts map[Key]*APIVerdict
	// Cluster is there for an analysis only.
	Cluster  Cluster
	Findings []Finding
	// Objects by key, of every kind above.
	Objects cow.Map[Key, Object]
	// Ages says since when the objects are what they are.
	Ages cow.Map[Key, Age]
	// Why lists the reasons of the changes since the previous version.
	Why []string
}

// Age is the version of the snapshot with which an object came, and of the one with which
// it took its present form.
type Age struct{ Born, Formed uint64 }

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
	// Of is the service whose ports hold for it, when that is one of Service.Joined.
	Of *Service
}

// Without is the snapshot without some objects and what was made of them. What others
// were given because of them (addresses) stays, as do Findings.
func (s *Snapshot) Without(gone map[Key]bool) *Snapshot {
	out := *s
	out.Services = without(s.Services, gone)
	out.Workloads = without(s.Workloads, gone)
	out.Routes = without(s.Routes, gone)
	out.Policies = without(s.Policies, gone)
	out.Gateways = without(s.Gateways, gone)
	out.Sidecars = without(s.Sidecars, gone)
	out.PeerAuths = without(s.PeerAuths, gone)
	out.Authz = without(s.Authz, gone)
	out.RequestAuths = without(s.RequestAuths, gone)
	out.KeySets = without(s.KeySets, gone)
	out.Telemetry = without(s.Telemetry, gone)
	out.EnvoyFilters = without(s.EnvoyFilters, gone)
	out.Quarantines = without(s.Quarantines, gone)
	out.ProxyConfigs = without(s.ProxyConfigs, gone)
	out.Groups = without(s.Groups, gone)
	out.Secrets = without(s.Secrets, gone)
	var keys []Key
	for k := range gone {
		keys = append(keys, k)
		if k.Kind == KindMeshConfig {
			out.Mesh = DefaultMesh()
		}
	}
	out.Objects = s.Objects.With(nil, keys...)
	return &out
}

// without is the list itself where it has none of them.
func without[T Object](list []T, gone map[Key]bool) []T {
	is := func(o T) bool { return gone[o.Head().Key] || gone[o.Head().Written()] }
	if !slices.ContainsFunc(list, is) {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), is)
}
