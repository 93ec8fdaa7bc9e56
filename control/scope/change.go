package scope

import (
	"net/netip"
	"reflect"
	"slices"
	"sync"

	"github.com/weftmesh/weft/control/model"
)

// Change is what made one index of another: workloads that came, went or are
// others, and services that have other endpoints for that reason or by themselves.
// Limits are those whose conditions or quotas have come to something else, and of
// which nothing is about the way out: they concern the proxies that they limit
// (Limited). Nothing else is different: no service has another port, no route
// another destination.
type Change struct {
	// From is the version of the snapshot before.
	From      uint64
	Services  []Changed[*model.Service]
	Workloads []Changed[*model.Workload]
	Limits    []Changed[*model.Limits]
}

// Changed is an object before and after. A service is the same object when only
// the workloads that it selects are different.
type Changed[T any] struct{ Old, New T }

// Next prepares a snapshot that comes after the index's. Where only instances are
// different, which is most of what happens in a mesh, its cost follows their number
// (and a comparison of pointers), and the result has a Change; else it is NewIndex.
func (x *Index) Next(s *model.Snapshot) *Index {
	change := x.compare(s)
	if change == nil {
		return NewIndex(s)
	}
	out := *x
	out.Snapshot, out.Change = s, change
	out.memo = &sync.Map{}
	out.replaceWorkloads(change)
	out.replaceServices(x, change)
	return &out
}

// compare finds the change to a snapshot; nil when more than instances are different.
func (x *Index) compare(s *model.Snapshot) *Change {
	old := x.Snapshot
	same := old.Mesh == s.Mesh && sameList(old.Routes, s.Routes) && sameList(old.Policies, s.Policies) &&
		sameList(old.Gateways, s.Gateways) && sameList(old.Sidecars, s.Sidecars) && sameList(old.PeerAuths, s.PeerAuths) &&
		sameList(old.Authz, s.Authz) && sameList(old.Telemetry, s.Telemetry) && sameList(old.Secrets, s.Secrets) &&
		sameList(old.EnvoyFilters, s.EnvoyFilters) && sameList(old.Quarantines, s.Quarantines) && sameList(old.ProxyConfigs, s.ProxyConfigs) &&
		sameList(old.Groups, s.Groups) && sameList(old.RequestAuths, s.RequestAuths) && sameList(old.KeySets, s.KeySets) && sameList(old.Bundles, s.Bundles) && sameList(old.API.Gateways, s.API.Gateways) &&
		sameList(old.Limiters, s.Limiters) && len(old.Limits) == len(s.Limits) &&
		x.sameFences(s) && sameList(old.Modules, s.Modules) &&
		sameList(old.Redis, s.Redis) && sameList(old.RedisDestinations, s.RedisDestinations) &&
		sameList(old.Protocols, s.Protocols) && sameList(old.Registries, s.Registries) && sameList(old.RegistrySources, s.RegistrySources) &&
		sameList(old.Transcodings, s.Transcodings) && sameList(old.Descriptors, s.Descriptors) &&
		len(old.Services) == len(s.Services)
	if !same {
		return nil
	}
	c := &Change{From: old.Version}
	if !c.compareLimits(old.Limits, s.Limits) {
		return nil
	}
	for i, a := range old.Services {
		if b := s.Services[i]; a != b {
			if !sameButEndpoints(a, b) || len(x.inSlices(a))+len(x.inSlices(b)) > 0 {
				return nil
			}
			c.Services = append(c.Services, Changed[*model.Service]{a, b})
		}
	}
	if !sameList(old.Workloads, s.Workloads) {
		c.Workloads = compareWorkloads(old.Workloads, s.Workloads)
	}
	if !x.settled(c, s) || len(c.Workloads) > 0 && !x.selectedBy(c, s) {
		return nil
	}
	return c
}

// compareLimits adds what is in force of limits now. Not ok: more than that is different, or
// it shows in what many proxies get.
func (c *Change) compareLimits(old, now []*model.Limits) (ok bool) {
	if len(old) == 0 || &old[0] == &now[0] {
		return true
	}
	for i, a := range old {
		b := now[i]
		if a == b {
			continue
		}
		if a == nil || b == nil || a.Limiter == nil || a.Limiter != b.Limiter || a.Limiter.Gateway {
			return false
		}
		for j := range a.Limiter.Rules {
			if a.Limiter.Rules[j].Target.Outbound && a.Quotas[j] != b.Quotas[j] {
				return false
			}
		}
		c.Limits = append(c.Limits, Changed[*model.Limits]{a, b})
	}
	return true
}

// Limited tells whether limits of the change are those of a proxy.
func (x *Index) Limited(p *Proxy) bool {
	return x.Change != nil && slices.ContainsFunc(x.Change.Limits, func(c Changed[*model.Limits]) bool { return x.limited(p, c.New.Limiter) })
}

// sameList tells whether two slices are one, as those of kinds that did not change
// are, or have the same objects.
func sameList[T comparable](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0] || slices.Equal(a, b))
}

// sameButEndpoints tells whether only the endpoints of two services are different,
// and whether these show nowhere but in its clusters and their endpoints.
func sameButEndpoints(a, b *model.Service) bool {
	if a.Headless || a.Resolution == model.Passthrough {
		return false // listeners and names have the endpoints' addresses
	}
	x, y := *a, *b
	for _, s := range []*model.Service{&x, &y} {
		s.Inline, s.Joined, s.Hash, s.Lines = nil, nil, 0, model.Lines{}
	}
	return reflect.DeepEqual(x, y)
}

func compareWorkloads(old, now []*model.Workload) (out []Changed[*model.Workload]) {
	for len(old)+len(now) > 0 {
		side := 0
		switch {
		case len(old) == 0:
			side = 1
		case len(now) == 0:
			side = -1
		case old[0] == now[0]:
			old, now = old[1:], now[1:]
			continue
		default:
			side = model.Before(&old[0].Meta, &now[0].Meta)
		}
		var c Changed[*model.Workload]
		if side <= 0 {
			c.Old, old = old[0], old[1:]
		}
		if side >= 0 {
			c.New, now = now[0], now[1:]
		}
		out = append(out, c)
	}
	return out
}

// selectedBy adds the services that select workloads of the change. Not ok: one of
// them shows its instances elsewhere than in endpoints, or workloads share names or
// addresses.
func (x *Index) selectedBy(c *Change, s *model.Snapshot) (ok bool) {
	listed := map[*model.Service]bool{}
	for _, p := range c.Services {
		listed[p.New] = true
	}
	names, addresses := map[string]bool{}, map[netip.Addr]bool{}
	for _, p := range c.Workloads {
		if x.twice || !x.free(p, names, addresses) {
			return false
		}
		for _, svc := range s.Services {
			if lists(svc, p.Old) || lists(svc, p.New) {
				return false // whom it serves is different
			}
			if listed[svc] || !counts(svc, p.Old) && !counts(svc, p.New) {
				continue
			}
			if svc.Headless || svc.Resolution == model.Passthrough {
				return false
			}
			listed[svc] = true
			c.Services = append(c.Services, Changed[*model.Service]{svc, svc})
		}
	}
	return true
}

func selects(s *model.Service, w *model.Workload) bool {
	return w != nil && s.Picks(w)
}

// lists tells whether a service, or one that is joined with it, has a workload in its
// EndpointSlices.
func lists(s *model.Service, w *model.Workload) bool {
	return w != nil && (s.Lists(w) || slices.ContainsFunc(s.Joined, func(j *model.Service) bool { return j.Lists(w) }))
}

// counts tells whether a workload is an instance of a service by its selector, or by that
// of one that is joined with it.
func counts(s *model.Service, w *model.Workload) bool {
	return selects(s, w) || slices.ContainsFunc(s.Joined, func(j *model.Service) bool { return selects(j, w) })
}

// free tells whether nobody else has, or will have, a workload's name and addresses.
func (x *Index) free(p Changed[*model.Workload], names map[string]bool, addresses map[netip.Addr]bool) bool {
	if p.New == nil {
		return true
	}
	name := p.New.Namespace + "/" + p.New.Name
	if w := x.workloads.Get(name); w != nil && w != p.Old || names[name] {
		return false
	}
	names[name] = true
	for _, a := range p.New.Addresses {
		if w := x.WorkloadAt(a); w != nil && w != p.Old || addresses[a] {
			return false
		}
		addresses[a] = true
	}
	return true
}

func (x *Index) replaceWorkloads(c *Change) {
	if len(c.Workloads) == 0 {
		return
	}
	names, addresses := map[string]*model.Workload{}, map[netip.Addr]*model.Workload{}
	var goneNames []string
	var goneAddresses []netip.Addr
	var goneServed []*model.Workload
	for _, p := range c.Workloads {
		if w := p.Old; w != nil {
			goneNames = append(goneNames, w.Namespace+"/"+w.Name)
			goneAddresses = append(goneAddresses, w.Addresses...)
			goneServed = append(goneServed, w)
		}
	}
	for _, p := range c.Workloads {
		if w := p.New; w != nil {
			names[w.Namespace+"/"+w.Name] = w
			for _, a := range w.Addresses {
				addresses[a] = w
			}
		}
	}
	x.workloads = x.workloads.With(names, goneNames...)
	x.byAddress = x.byAddress.With(addresses, goneAddresses...)
	served := map[*model.Workload][]*model.Service{}
	for _, p := range c.Workloads {
		for _, s := range x.Snapshot.Services {
			if selects(s, p.New) {
				served[p.New] = append(served[p.New], s)
			}
		}
	}
	x.served = x.served.With(served, goneServed...)
}

// replaceServices puts the changed services in the places of the old ones.
func (x *Index) replaceServices(before *Index, c *Change) {
	services := map[string][]*model.Service{}
	selections := map[*model.Service][]*model.Workload{}
	served := map[*model.Workload][]*model.Service{}
	var gone []*model.Service
	seen := &sync.Map{}
	before.seen.Range(func(namespace, list any) bool {
		seen.Store(namespace, replaced(list.([]*model.Service), c))
		return true
	})
	for _, p := range c.Services {
		if p.Old != p.New {
			gone = append(gone, p.Old)
			list, ok := services[p.New.Host]
			if !ok {
				list = slices.Clone(x.services.Get(p.New.Host))
			}
			list[slices.Index(list, p.Old)] = p.New
			services[p.New.Host] = list
		}
		selected := x.selects(p.New)
		selections[p.New] = selected
		for _, j := range p.New.Joined {
			selections[j] = x.selects(j)
		}
		for _, w := range selected {
			list, ok := served[w]
			if !ok {
				list = x.served.Get(w)
			}
			if i := slices.Index(list, p.Old); i >= 0 && p.Old != p.New {
				list = slices.Clone(list)
				list[i] = p.New
				served[w] = list
			}
		}
	}
	x.seen = seen
	x.services = x.services.With(services)
	x.selected = x.selected.With(selections, gone...)
	x.served = x.served.With(served)
}

// selects are the snapshot's workloads that a service selects.
func (x *Index) selects(s *model.Service) (out []*model.Workload) {
	if len(s.Selector) == 0 {
		return nil
	}
	for _, w := range x.Snapshot.Workloads {
		if selects(s, w) {
			out = append(out, w)
		}
	}
	return out
}

// replaced is a list sorted by host with the changed services in it.
func replaced(list []*model.Service, c *Change) []*model.Service {
	out := list
	for _, p := range c.Services {
		i, ok := slices.BinarySearchFunc(list, p.New, byHost)
		if !ok || p.Old == p.New || list[i] != p.Old {
			continue
		}
		if &out[0] == &list[0] {
			out = slices.Clone(list)
		}
		out[i] = p.New
	}
	return out
}
