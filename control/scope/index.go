package scope

import (
	"net/netip"
	"strings"
	"sync"

	"github.com/weftmesh/weft/control/model"
)

// Gateway name of all sidecars in RouteSet.Gateways.
const meshGateway = "mesh"

// Index is a snapshot prepared for look-ups. It is read-only but for the memo,
// which only remembers what follows from the snapshot.
type Index struct {
	Snapshot *model.Snapshot
	// Mesh is the snapshot's mesh configuration, or the default one; never nil.
	Mesh *model.Mesh

	services  map[string][]*model.Service // by host, in snapshot order
	aliases   map[string][]string         // ExternalName services by the host they stand for
	instances map[*model.Service][]model.Instance
	served    map[*model.Workload][]*model.Service

	workloads map[string]*model.Workload // "namespace/name"
	byAddress map[netip.Addr]*model.Workload
	policies  map[string]*policyTable // by the namespace of the DestinationRule
	routes    map[string][]*model.RouteSet
	gateways  []*model.Gateway
	sidecars  map[string][]*model.Sidecar
	peerAuths map[string][]*model.PeerAuth
	authz     map[string][]*model.Authz
	secrets   map[string]*model.Secret
	findings  []model.Finding
	memo      sync.Map
}

// NewIndex prepares a snapshot. Its cost is linear in the snapshot.
func NewIndex(s *model.Snapshot) *Index {
	x := &Index{
		Snapshot:  s,
		Mesh:      meshOf(s),
		services:  make(map[string][]*model.Service, len(s.Services)),
		aliases:   map[string][]string{},
		instances: make(map[*model.Service][]model.Instance, len(s.Services)),
		served:    make(map[*model.Workload][]*model.Service, len(s.Workloads)),
		workloads: make(map[string]*model.Workload, len(s.Workloads)),
		byAddress: make(map[netip.Addr]*model.Workload, len(s.Workloads)),
		policies:  map[string]*policyTable{},
		routes:    map[string][]*model.RouteSet{},
		gateways:  s.Gateways,
		sidecars:  map[string][]*model.Sidecar{},
		peerAuths: map[string][]*model.PeerAuth{},
		authz:     map[string][]*model.Authz{},
		secrets:   make(map[string]*model.Secret, len(s.Secrets)),
	}
	x.indexWorkloads()
	x.indexServices()
	for _, p := range s.Policies {
		x.addPolicy(p)
	}
	x.indexRoutes()
	for _, o := range s.Sidecars {
		x.sidecars[o.Key.Namespace] = append(x.sidecars[o.Key.Namespace], o)
	}
	for _, o := range s.PeerAuths {
		x.peerAuths[o.Key.Namespace] = append(x.peerAuths[o.Key.Namespace], o)
	}
	for _, o := range s.Authz {
		x.authz[o.Key.Namespace] = append(x.authz[o.Key.Namespace], o)
	}
	for _, o := range s.Secrets {
		x.secrets[o.Key.Namespace+"/"+o.Key.Name] = o
	}
	return x
}

// meshOf fills the defaults without which nothing works; a front end that read
// a MeshConfig has set them already.
func meshOf(s *model.Snapshot) *model.Mesh {
	m := model.Mesh{AutoMTLS: true}
	if s.Mesh != nil {
		m = *s.Mesh
	}
	if m.TrustDomain == "" {
		m.TrustDomain = "cluster.local"
	}
	if m.ClusterDomain == "" {
		m.ClusterDomain = "cluster.local"
	}
	if m.RootNamespace == "" {
		m.RootNamespace = "istio-system"
	}
	return &m
}

func (x *Index) indexWorkloads() {
	for _, w := range x.Snapshot.Workloads {
		x.workloads[w.Namespace+"/"+w.Name] = w
		for _, a := range w.Addresses {
			if _, taken := x.byAddress[a]; !taken {
				x.byAddress[a] = w
			}
		}
	}
}

func (x *Index) indexServices() {
	bySelector := newSelectorIndex(x.Snapshot.Workloads)
	for _, s := range x.Snapshot.Services {
		x.services[s.Host] = append(x.services[s.Host], s)
		list := make([]model.Instance, 0, len(s.Inline))
		for _, e := range s.Inline {
			list = append(list, model.Instance{Endpoint: e})
		}
		for _, w := range bySelector.find(s.Namespace, s.Selector) {
			list = append(list, model.Instance{Endpoint: endpointOf(w), Workload: w})
			x.served[w] = append(x.served[w], s)
		}
		x.instances[s] = list
	}
	for _, s := range x.Snapshot.Services {
		if s.ExternalName != "" && len(x.services[s.ExternalName]) > 0 {
			x.aliases[s.ExternalName] = append(x.aliases[s.ExternalName], s.Host)
		}
	}
}

// endpointOf is the endpoint that a selected workload is.
func endpointOf(w *model.Workload) model.Endpoint {
	e := model.Endpoint{
		Address:        w.Host,
		Labels:         w.Labels,
		Locality:       w.Locality,
		Network:        w.Network,
		Weight:         w.Weight,
		ServiceAccount: w.ServiceAccount,
		Healthy:        w.Ready,
	}
	if len(w.Addresses) > 0 {
		e.Address = w.Addresses[0].String()
	}
	return e
}

// Workload returns the workload of that name, or nil.
func (x *Index) Workload(namespace, name string) *model.Workload {
	return x.workloads[namespace+"/"+name]
}

// WorkloadAt returns who has an address, or nil.
func (x *Index) WorkloadAt(a netip.Addr) *model.Workload { return x.byAddress[a] }

// Instances returns who serves a service, in a stable order.
func (x *Index) Instances(s *model.Service) []model.Instance { return x.instances[s] }

// Served returns the services that a workload serves, in snapshot order.
func (x *Index) Served(w *model.Workload) []*model.Service { return x.served[w] }

// Aliases returns the hosts of ExternalName services that stand for a host.
func (x *Index) Aliases(host string) []string { return x.aliases[host] }

// IsAlias tells whether the service is only another name of one in the mesh.
func (x *Index) IsAlias(s *model.Service) bool {
	return s.ExternalName != "" && len(x.services[s.ExternalName]) > 0
}

// Secret returns the Secret "namespace/name", or nil.
func (x *Index) Secret(name string) *model.Secret { return x.secrets[name] }

// ServiceAny returns the first service of a host, whoever may see it: for what
// the mesh itself calls, such as a tracing collector.
func (x *Index) ServiceAny(host string) *model.Service {
	if list := x.services[host]; len(list) > 0 {
		return list[0]
	}
	return nil
}

// Memo returns the value that make gave the first time for the key. The value
// must follow from the snapshot and the key alone, and must not be changed.
func (x *Index) Memo(key any, make func() any) any {
	if v, ok := x.memo.Load(key); ok {
		return v
	}
	v, _ := x.memo.LoadOrStore(key, make())
	return v
}

// selectorIndex finds workloads by label without looking at all of them.
type selectorIndex struct {
	byLabel map[[3]string][]*model.Workload // namespace, label, value
}

func newSelectorIndex(all []*model.Workload) selectorIndex {
	ix := selectorIndex{byLabel: map[[3]string][]*model.Workload{}}
	for _, w := range all {
		for k, v := range w.Labels {
			key := [3]string{w.Namespace, k, v}
			ix.byLabel[key] = append(ix.byLabel[key], w)
		}
	}
	return ix
}

// find returns the workloads of a namespace that an all-of selector picks; a
// nil or empty selector picks none.
func (ix selectorIndex) find(namespace string, selector map[string]string) []*model.Workload {
	var best []*model.Workload
	first := true
	for k, v := range selector {
		list := ix.byLabel[[3]string{namespace, k, v}]
		if first || len(list) < len(best) {
			best, first = list, false
		}
	}
	out := make([]*model.Workload, 0, len(best))
	for _, w := range best {
		if model.Matches(selector, w.Labels) {
			out = append(out, w)
		}
	}
	return out
}

// hostMatches tells whether a pattern, exact or with a leading "*", covers a host
// (or a narrower pattern).
func hostMatches(pattern, host string) bool {
	if pattern == host || pattern == "*" {
		return true
	}
	return strings.HasPrefix(pattern, "*") && strings.HasSuffix(host, pattern[1:]) && len(host) >= len(pattern)
}
