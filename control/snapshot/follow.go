package snapshot

import (
	"maps"
	"slices"
	"strconv"

	"github.com/weftmesh/weft/control/model"
)

// place is where services of one host meet.
type place struct{ namespace, host string }

// bonds are what services take from other objects: EndpointSlices, services of the same
// host and namespace, and annotations of their namespace.
type bonds struct {
	hosted map[place]map[model.Key]*model.Service
	slices map[model.Key]map[model.Key]*model.EndpointSlice // by Service
	// turns count how often what a service takes has become something else; epoch is
	// added to all of them.
	turns map[model.Key]uint64
	epoch uint64
}

func newBonds() bonds {
	return bonds{
		hosted: map[place]map[model.Key]*model.Service{}, slices: map[model.Key]map[model.Key]*model.EndpointSlice{}, turns: map[model.Key]uint64{},
	}
}

func (b *bonds) turn(k model.Key) uint64 { return b.turns[k] + b.epoch }

// follow marks the services as changed that take something from what has changed.
func (m *merger) follow() {
	if m.reselected {
		m.bonds.epoch++
	}
	dependents := map[model.Key]bool{}
	for k, old := range m.changed {
		now := m.kinds[k.Kind][k]
		switch k.Kind {
		case model.KindEndpointSlice, model.KindEndpoints:
			for _, o := range []model.Object{old, now} {
				if s, ok := o.(*model.EndpointSlice); ok {
					dependents[serviceOf(s)] = true
				}
			}
			m.bonds.keepSlice(k, old, now)
		case model.KindService, model.KindServiceEntry:
			m.bonds.keepHost(k, old, now)
			for _, o := range []model.Object{old, now} {
				if s, ok := o.(*model.Service); ok {
					for other := range m.bonds.hosted[place{s.Namespace, s.Host}] {
						if other != k { // which is made again anyway
							dependents[other] = true
						}
					}
				}
			}
		case model.KindNamespace:
			if distributionOf(old) != distributionOf(now) {
				m.inherit(k.Name, dependents)
			}
		}
	}
	for k := range dependents {
		m.bonds.turns[k]++
		now := m.kinds[k.Kind][k]
		if now == nil {
			delete(m.bonds.turns, k)
			continue
		}
		if _, noted := m.changed[k]; !noted {
			m.changed[k] = now
		}
		m.dirty[k.Kind] = true
	}
}

// inherit adds the services of a namespace that leave their distribution to it.
func (m *merger) inherit(namespace string, to map[model.Key]bool) {
	for _, kind := range []model.Kind{model.KindService, model.KindServiceEntry} {
		for k, o := range m.kinds[kind] {
			if k.Namespace == namespace && o.(*model.Service).Distribution == model.DistributionUnset {
				to[k] = true
			}
		}
	}
	for _, in := range m.instances { // which are no objects, and made again where that is asked for
		if in.Namespace == namespace {
			m.bonds.turns[in.Key]++
		}
	}
}

func distributionOf(namespace model.Object) model.Distribution {
	if namespace == nil {
		return model.DistributionUnset
	}
	return model.ParseDistribution(namespace.Head().Annotations[model.DistributionKey])
}

func serviceOf(s *model.EndpointSlice) model.Key {
	return model.Key{Kind: model.KindService, Namespace: s.Key.Namespace, Name: s.Service}
}

func (b *bonds) keepSlice(k model.Key, old, now model.Object) {
	if s, ok := old.(*model.EndpointSlice); ok {
		delete(b.slices[serviceOf(s)], k)
		if len(b.slices[serviceOf(s)]) == 0 {
			delete(b.slices, serviceOf(s))
		}
	}
	if s, ok := now.(*model.EndpointSlice); ok {
		of := b.slices[serviceOf(s)]
		if of == nil {
			of = map[model.Key]*model.EndpointSlice{}
			b.slices[serviceOf(s)] = of
		}
		of[k] = s
	}
}

func (b *bonds) keepHost(k model.Key, old, now model.Object) {
	if s, ok := old.(*model.Service); ok {
		at := place{s.Namespace, s.Host}
		delete(b.hosted[at], k)
		if len(b.hosted[at]) == 0 {
			delete(b.hosted, at)
		}
	}
	if s, ok := now.(*model.Service); ok {
		at := place{s.Namespace, s.Host}
		of := b.hosted[at]
		if of == nil {
			of = map[model.Key]*model.Service{}
			b.hosted[at] = of
		}
		of[k] = s
	}
}

// endpoints are those of a service, with what its slices add. An address counts once,
// with the ports of all slices that have it; the first slice decides the rest.
func (m *merger) endpoints(s *model.Service) []model.Endpoint {
	of := m.bonds.slices[s.Key]
	if len(of) == 0 || s.FromEntry || s.ExternalName != "" {
		return s.Inline
	}
	list := slices.Collect(maps.Values(of))
	model.SortObjects(list)
	out := slices.Clone(s.Inline)
	at := map[string]int{}
	for _, slice := range list {
		if slice.Mirrored && len(s.Selector) > 0 {
			continue // Kubernetes has written it, of what the selector picks
		}
		for _, e := range slice.Endpoints {
			i, there := at[e.Address]
			if !there {
				at[e.Address] = len(out)
				out = append(out, e)
				continue
			}
			ports := maps.Clone(e.Ports)
			maps.Copy(ports, out[i].Ports)
			out[i].Ports = ports
		}
	}
	return out
}

// joined are the services of a service's host and namespace, itself included, oldest
// first, as far as they have instances; nil: there is no other.
func (m *merger) joined(s *model.Service) (out []*model.Service) {
	of := m.bonds.hosted[place{s.Namespace, s.Host}]
	if len(of) < 2 || s.ExternalName != "" || s.Instance != "" {
		return nil
	}
	for _, o := range of {
		if o.Key == s.Key || m.counts(o) && o.ExternalName == "" && o.Resolution != model.Passthrough && o.Resolution != model.ByRequest {
			if with := m.endpoints(o); len(with) != len(o.Inline) {
				c := *o
				c.Inline = with
				o = &c
			}
			out = append(out, o)
		}
	}
	if len(out) < 2 {
		return nil
	}
	model.SortObjects(out)
	return out
}

// bind puts into a service what it takes from others; c is the service's copy.
func (m *merger) bind(c, s *model.Service) {
	if list := m.endpoints(s); len(list) != len(s.Inline) {
		c.Inline = list
		for _, slice := range m.bonds.slices[s.Key] {
			c.Hash ^= slice.Hash
		}
	}
	if s.Distribution == model.DistributionUnset && s.ExternalName == "" {
		if d := distributionOf(m.kinds[model.KindNamespace][model.Key{Kind: model.KindNamespace, Name: s.Namespace}]); d != model.DistributionUnset {
			c.Distribution = d
			c.Hash ^= sum("distribution " + strconv.Itoa(int(d)))
		}
	}
	if c.Joined = m.joined(s); c.Joined == nil {
		return
	}
	for _, o := range c.Joined {
		c.Hash ^= sum("joined " + o.Key.String())
		c.Hash ^= o.Hash
		if o.Key == s.Key || !s.Merges(o) || !s.FromEntry {
			continue
		}
		for i := range o.Ports {
			if c.Port(o.Ports[i].Port) == nil {
				c.Ports = append(slices.Clip(c.Ports), o.Ports[i])
			}
		}
		for _, p := range o.VIPs {
			if !m.vips.every && !slices.Contains(c.VIPs, p) {
				c.VIPs = append(slices.Clip(c.VIPs), p)
			}
		}
	}
}

// isBound tells whether a service takes anything from others.
func (m *merger) isBound(s *model.Service) bool {
	return len(m.bonds.slices[s.Key]) > 0 || len(m.bonds.hosted[place{s.Namespace, s.Host}]) > 1 ||
		s.Distribution == model.DistributionUnset && distributionOf(m.kinds[model.KindNamespace][model.Key{Kind: model.KindNamespace, Name: s.Namespace}]) != model.DistributionUnset
}
