package scope

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weftmesh/weft/base/cow"
	"github.com/weftmesh/weft/control/model"
)

// Gateway name of all sidecars in RouteSet.Gateways.
const meshGateway = "mesh"

// Index is a snapshot prepared for look-ups. It is read-only but for what it
// remembers of what follows from the snapshot.
type Index struct {
	Snapshot *model.Snapshot
	// Mesh is the snapshot's mesh configuration, or the default one; never nil.
	Mesh *model.Mesh

	// Change is how the index came from the one before; nil: from nothing.
	Change *Change

	services cow.Map[string, []*model.Service]          // by host, in snapshot order
	aliases  map[string][]string                        // ExternalName services by the host they stand for
	selected cow.Map[*model.Service, []*model.Workload] // of services with a selector
	served   cow.Map[*model.Workload, []*model.Service]

	workloads cow.Map[string, *model.Workload] // "namespace/name"
	byAddress cow.Map[netip.Addr, *model.Workload]
	// twice: two workloads share a name or an address, so that the end of one is
	// the beginning of the other.
	twice     bool
	policies  map[string]*policyTable // by the namespace of the DestinationRule
	routes    map[string][]*model.RouteSet
	gateways  []*model.Gateway
	sidecars  map[string][]*model.Sidecar
	peerAuths map[string][]*model.PeerAuth
	authz     map[string][]*model.Authz
	requests  map[string][]*model.RequestAuth
	keySets   map[model.Key]*model.KeySet
	telemetry map[string][]*model.Telemetry
	secrets   map[string]*model.Secret
	// envoyFilters are by namespace.
	envoyFilters map[string][]*model.EnvoyFilter
	barred       map[barred]bool
	versions     map[string]*regexp.Regexp // of proxies, that patches are for
	findings     []model.Finding
	fences       fences
	// seen are the services that each namespace sees. lasting is what follows from
	// everything but instances, memo the rest.
	seen, memo *sync.Map
	lasting    *sync.Map
}

// NewIndex prepares a snapshot. Its cost is linear in the snapshot.
func NewIndex(s *model.Snapshot) *Index {
	x := &Index{
		Snapshot:     s,
		Mesh:         meshOf(s),
		aliases:      map[string][]string{},
		policies:     map[string]*policyTable{},
		routes:       map[string][]*model.RouteSet{},
		gateways:     s.Gateways,
		sidecars:     map[string][]*model.Sidecar{},
		peerAuths:    map[string][]*model.PeerAuth{},
		authz:        map[string][]*model.Authz{},
		requests:     map[string][]*model.RequestAuth{},
		keySets:      map[model.Key]*model.KeySet{},
		telemetry:    map[string][]*model.Telemetry{},
		secrets:      make(map[string]*model.Secret, len(s.Secrets)),
		envoyFilters: map[string][]*model.EnvoyFilter{}, barred: map[barred]bool{}, versions: map[string]*regexp.Regexp{},
		seen: &sync.Map{}, memo: &sync.Map{}, lasting: &sync.Map{},
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
	x.indexFences(time.Now())
	for _, o := range s.PeerAuths {
		x.peerAuths[o.Key.Namespace] = append(x.peerAuths[o.Key.Namespace], o)
	}
	for _, o := range s.Authz {
		x.authz[o.Key.Namespace] = append(x.authz[o.Key.Namespace], o)
	}
	for _, o := range s.RequestAuths {
		x.requests[o.Key.Namespace] = append(x.requests[o.Key.Namespace], o)
	}
	for _, o := range s.KeySets {
		x.keySets[o.Key] = o
	}
	for _, o := range s.Telemetry {
		x.telemetry[o.Key.Namespace] = append(x.telemetry[o.Key.Namespace], o)
	}
	x.indexEnvoyFilters()
	for _, o := range s.Secrets {
		name := o.Key.Namespace + "/" + o.Key.Name
		if o.Key.Kind == model.KindConfigMap {
			name = model.ConfigMapCA + name
		}
		x.secrets[name] = o
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
	names := make(map[string]*model.Workload, len(x.Snapshot.Workloads))
	addresses := make(map[netip.Addr]*model.Workload, len(x.Snapshot.Workloads))
	for _, w := range x.Snapshot.Workloads {
		name := w.Namespace + "/" + w.Name
		x.twice = x.twice || names[name] != nil
		names[name] = w
		for _, a := range w.Addresses {
			if first := addresses[a]; first == nil {
				addresses[a] = w
			} else if first != w {
				x.twice = true
			}
		}
	}
	x.workloads, x.byAddress = cow.Of(names), cow.Of(addresses)
}

func (x *Index) indexServices() {
	bySelector := newSelectorIndex(x.Snapshot.Workloads)
	services := make(map[string][]*model.Service, len(x.Snapshot.Services))
	selected := map[*model.Service][]*model.Workload{}
	served := make(map[*model.Workload][]*model.Service, len(x.Snapshot.Workloads))
	for _, s := range x.Snapshot.Services {
		services[s.Host] = append(services[s.Host], s)
		found := bySelector.find(s.Namespace, s.Selector)
		if s.Instance != "" {
			found = slices.DeleteFunc(found, func(w *model.Workload) bool { return w.Name != s.Instance })
		}
		if s.Registry != "" {
			for _, e := range s.Inline {
				if w := x.resident(e.Address); w != nil && !slices.Contains(served[w], s) {
					served[w] = append(served[w], s)
				}
			}
		}
		for _, w := range found {
			served[w] = append(served[w], s)
		}
		if len(found) > 0 {
			selected[s] = found
		}
		for _, w := range x.inSlices(s) {
			if !slices.Contains(found, w) {
				served[w] = append(served[w], s)
			}
		}
		for _, j := range s.Joined {
			if found := bySelector.find(j.Namespace, j.Selector); len(found) > 0 {
				selected[j] = found
			}
		}
	}
	for _, s := range x.Snapshot.Services {
		if s.ExternalName != "" && len(services[s.ExternalName]) > 0 {
			x.aliases[s.ExternalName] = append(x.aliases[s.ExternalName], s.Host)
		}
	}
	x.services, x.selected, x.served = cow.Of(services), cow.Of(selected), cow.Of(served)
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
	return x.workloads.Get(namespace + "/" + name)
}

// WorkloadAt returns who has an address, or nil.
func (x *Index) WorkloadAt(a netip.Addr) *model.Workload { return x.byAddress.Get(a) }

// Selected returns the workloads that serve a service by its selector.
func (x *Index) Selected(s *model.Service) []*model.Workload { return x.selected.Get(s) }

// Served returns the services that a workload serves, in snapshot order.
func (x *Index) Served(w *model.Workload) []*model.Service { return x.served.Get(w) }

// Aliases returns the hosts of ExternalName services that stand for a host.
func (x *Index) Aliases(host string) []string { return x.aliases[host] }

// IsAlias tells whether the service is only another name of one in the mesh.
func (x *Index) IsAlias(s *model.Service) bool {
	return s.ExternalName != "" && len(x.services.Get(s.ExternalName)) > 0
}

// Secret returns the Secret "namespace/name", or nil.
func (x *Index) Secret(name string) *model.Secret {
	return x.secrets[strings.TrimPrefix(strings.TrimPrefix(name, model.GatewaySecret), model.SecretCA)]
}

// ServiceAny returns the first service of a host, whoever may see it: for what
// the mesh itself calls, such as a tracing collector.
func (x *Index) ServiceAny(host string) *model.Service {
	if list := x.services.Get(host); len(list) > 0 {
		return list[0]
	}
	return nil
}

// Memo returns the value that make gave the first time for the key. The value
// must follow from the snapshot and the key alone, and must not be changed.
func (x *Index) Memo(key any, make func() any) any { return remember(x.memo, key, make) }

// Lasting is Memo for what does not depend on instances: which workloads there
// are, and which endpoints services have. It outlives changes of these alone.
func (x *Index) Lasting(key any, make func() any) any { return remember(x.lasting, key, make) }

func remember(in *sync.Map, key any, make func() any) any {
	if v, ok := in.Load(key); ok {
		return v
	}
	v, _ := in.LoadOrStore(key, make())
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
