package translate

import (
	"maps"
	"slices"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/route"
	"github.com/weftmesh/weft/wire"
)

// Used is what one proxy has asked for, with what only it gets. It is immutable.
type Used struct {
	// Findings, each once.
	Findings []model.Finding
	layers   map[string]*resource.Layer
	services map[string]bool
	// sets are made of layers and those of shared.
	sets   map[string]*resource.Set
	own    *Own
	shared *Shared
	before *Used // until the sets are made
	// whole are the clusters that the proxy has with their endpoints inside, by name.
	whole map[string]*stock
	// demand answered, at that version.
	demand  *Demand
	version uint64
}

// Asked are the names that a proxy asks for, by type.
type Asked map[string]map[string]bool

// Ask is all that a proxy asks for.
type Ask struct {
	Names Asked
	// Held are versions of clusters that the proxy had when its stream began.
	Held map[string]string
	// Round is another number each time that a proxy is to forget what it asked for of
	// virtual hosts, so that it asks again.
	Round int
}

// Used answers all that a proxy asks for. before is what it got last: what has not
// changed since stays the same object.
func (d *Demand) Used(own *Own, ask Ask, before *Used) *Used {
	d.mu.Lock()
	defer d.mu.Unlock()
	if before == nil {
		before = &Used{}
	}
	u := &usage{Used: &Used{services: map[string]bool{}, whole: map[string]*stock{}, own: own, demand: d, version: d.version}, made: map[string][]*resource.Resource{}, secrets: map[string]bool{}}
	for url, l := range own.layers {
		u.made[url] = slices.Clone(l.List())
	}
	if d.client == nil {
		rc := route.OnDemand(ask.Round)
		u.made[wire.TypeRoute] = append(u.made[wire.TypeRoute], d.cache.pack(wire.TypeRoute, rc.Name, rc))
	}
	for _, url := range slices.Sorted(maps.Keys(ask.Names)) {
		for _, name := range slices.Sorted(maps.Keys(ask.Names[url])) {
			if r := own.listener(d.cache, url, name); r != nil {
				u.made[url] = append(u.made[url], r)
			}
			if a := d.find(question{url, name}); a != nil {
				u.add(a, ask.Held, before)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(u.secrets)) {
		for _, m := range secrets(d.view, name) {
			u.made[wire.TypeSecret] = append(u.made[wire.TypeSecret], d.cache.pack(wire.TypeSecret, m.Name, m))
		}
	}
	u.layers = make(map[string]*resource.Layer, len(u.made))
	for url, list := range u.made {
		u.layers[url] = before.layers[url].Become(list)
	}
	u.Findings, u.before = u.findings.list, before
	return u.Used
}

// Again answers what Used does of a proxy that asks for what it asked for before, to
// which nothing has happened since but the view's Change: at the cost of what that
// concerns, where no more than clusters and endpoints are different.
func (d *Demand) Again(own *Own, ask Ask, before *Used) *Used {
	if out := d.again(own, ask, before); out != nil {
		return out
	}
	return d.Used(own, ask, before)
}

func (d *Demand) again(own *Own, ask Ask, before *Used) *Used {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case before == nil || before.demand != d || before.own != own:
		return nil
	case before.version == d.version:
		return before
	case !d.plain:
		return nil
	}
	var clusters, endpoints []*resource.Resource
	whole := before.whole
	for _, s := range d.view.Index.Change.Services {
		for q := range d.users[s.New.Host] {
			if !before.services[s.New.Host] || !ask.Names[q.url][q.name] {
				continue
			}
			for _, s := range d.answers[q].stocks {
				name := s.cluster.Name
				switch has := before.whole[name]; {
				case has == nil && before.layers[wire.TypeCluster].Get(name) == nil:
					return nil
				case has != nil && has.cluster == s.cluster && has.endpoints == s.endpoints:
					continue
				case has != nil && whole[name] != nil:
					whole = maps.Clone(whole)
					delete(whole, name)
				}
				clusters = append(clusters, s.cluster)
				if s.endpoints != nil {
					endpoints = append(endpoints, s.endpoints)
				}
			}
		}
	}
	out := *before
	out.before, out.sets, out.shared = before, nil, nil
	out.version, out.whole, out.layers = d.version, whole, maps.Clone(before.layers)
	out.layers[wire.TypeCluster] = out.layers[wire.TypeCluster].With(clusters, nil)
	out.layers[wire.TypeEndpoint] = out.layers[wire.TypeEndpoint].With(endpoints, nil)
	return &out
}

// Outdated tells whether what answered has been brought to a newer snapshot since. nil is
// not.
func (u *Used) Outdated() bool {
	if u == nil || u.demand == nil {
		return false
	}
	u.demand.mu.Lock()
	defer u.demand.mu.Unlock()
	return u.version < u.demand.version
}

// Hosts are those of the services that the proxy uses; read-only. nil has none.
func (u *Used) Hosts() map[string]bool {
	if u == nil {
		return nil
	}
	return u.services
}

// usage is a Used in the making.
type usage struct {
	*Used
	made     map[string][]*resource.Resource
	secrets  map[string]bool
	findings findings
}

func (u *usage) add(a *answer, held map[string]string, before *Used) {
	if a.self != nil {
		url := a.self.Body.TypeUrl
		u.made[url] = append(u.made[url], a.self)
	}
	for _, s := range a.stocks {
		u.stock(s, held, before)
	}
	for _, h := range a.services {
		u.services[h] = true
	}
	for _, s := range a.secrets {
		u.secrets[s] = true
	}
	u.findings.add(a.findings...)
}

// Touched tells whether a change of instances is about what the proxy uses.
func (u *Used) Touched(ch *scope.Change) bool {
	return slices.ContainsFunc(ch.Services, func(s scope.Changed[*model.Service]) bool { return u.services[s.New.Host] })
}

// Sets are all that the proxy gets, by type, together with what its group does. It is
// for one goroutine at a time.
func (u *Used) Sets(s *Shared) map[string]*resource.Set {
	old := u
	if u.sets == nil {
		old, u.before = u.before, nil
	}
	sets := make(map[string]*resource.Set, len(s.sets)+1)
	for url, set := range s.sets {
		sets[url] = set
	}
	for url, l := range u.layers {
		if old != nil && old.sets[url] != nil && old.layers[url] == l && old.shared.layers[url] == s.layers[url] {
			sets[url] = old.sets[url]
		} else {
			sets[url] = resource.Compose(s.layers[url], l)
		}
	}
	u.sets, u.shared = sets, s
	return maps.Clone(sets)
}
