package fleet

import (
	"sync"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/serve"
	"github.com/weftmesh/weft/control/translate"
	"github.com/weftmesh/weft/wire"
)

// group is the proxies that get the same for their way out.
type group struct {
	key scope.Group
	// members, and of those on demand who uses which service, by host, are guarded by
	// Fleet.mu; a group without members is forgotten.
	members map[*session]struct{}
	users   map[string]map[*session]struct{}
	// told is what all members have been built with; it belongs to Fleet.apply.
	told *translate.Shared

	mu     sync.Mutex
	index  *index
	shared *translate.Shared
	demand *translate.Demand // nil: not on demand
}

// join puts a session into the group of a key; nil when the session is closed.
func (f *Fleet) join(p *session, key scope.Group) *group {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p.closed || p.group != nil && p.group.key == key {
		return p.group
	}
	f.leaveLocked(p)
	g := f.groups[key]
	if g == nil {
		g = &group{key: key, members: map[*session]struct{}{}, users: map[string]map[*session]struct{}{}}
		f.groups[key] = g
	}
	g.members[p] = struct{}{}
	p.group = g
	g.enlist(p, nil, p.used)
	return g
}

// enlist notes what a member uses; Fleet.mu is held.
func (g *group) enlist(p *session, old, now *translate.Used) {
	for host := range old.Hosts() {
		if !now.Hosts()[host] {
			if of := g.users[host]; len(of) > 1 {
				delete(of, p)
			} else {
				delete(g.users, host)
			}
		}
	}
	for host := range now.Hosts() {
		if g.users[host] == nil {
			g.users[host] = map[*session]struct{}{}
		}
		g.users[host][p] = struct{}{}
	}
}

// present is what the group gets by the newest index that it was brought to.
func (g *group) present() *translate.Shared {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shared
}

func (f *Fleet) leaveLocked(p *session) {
	if p.group == nil {
		return
	}
	p.group.enlist(p, p.used, nil)
	if delete(p.group.members, p); len(p.group.members) == 0 && f.groups[p.group.key] == p.group {
		delete(f.groups, p.group.key)
	}
	p.group = nil
}

// bring returns what the group gets by an index, or by a newer one that another
// member has brought, what answers its demand, and that index.
func (g *group) bring(c *translate.Cache, idx *index, proxy scope.Proxy) (*translate.Shared, *translate.Demand, *index) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.index == nil || g.index.Snapshot.Version < idx.Snapshot.Version {
		view := scope.Build(idx.Index, proxy)
		g.shared, g.index = c.Shared(view, g.shared), idx
		if proxy.OnDemand {
			g.demand = c.Demand(view, g.demand)
		}
	}
	return g.shared, g.demand, g.index
}

// build translates for one session. When something is different for it, push
// (nil: that of a new session, which nobody waits for) awaits the proxy's answer.
func (f *Fleet) build(p *session, idx *index, push *push) {
	p.building.Lock()
	defer p.building.Unlock()
	var shared *translate.Shared
	var own *translate.Own
	var demand *translate.Demand
	untouched := false // nothing that the proxy uses is different
	for brought := (*index)(nil); brought != idx; {
		if p.built >= idx.Snapshot.Version {
			return
		}
		c := idx.Change
		follows := c != nil && p.built >= idx.since
		proxy, workload := p.proxy, p.workload
		if !follows || len(c.Workloads) > 0 {
			workload = p.findWorkload(idx)
		}
		proxy.Workload = workload
		if p.built == 0 {
			p.warm(account(workload))
		}
		switch {
		case proxy.Proxyless():
			proxy.OnDemand = true // and for everything
		case p.delta:
			proxy = idx.Layout(proxy, f.onDemand)
		}
		if !follows || workload != p.workload {
			p.fence(idx, proxy)
		}
		// Of instances only its own workload concerns what only the proxy has, and of limits its own.
		var g *group
		if untouched = follows && workload == p.workload && !idx.Limited(&proxy); untouched {
			g, own = p.member, p.own
		} else {
			var key scope.Group
			key, proxy = idx.Group(proxy)
			g, own = f.join(p, key), nil
			p.member = g
		}
		if g == nil {
			return
		}
		if shared, demand, brought = g.bring(f.cache, idx, proxy); brought != idx {
			idx, brought = brought, nil // a push was quicker: what is built is built of one snapshot
			continue
		}
		if own == nil {
			own = f.cache.Own(scope.Build(idx.Index, proxy), p.own)
		}
		p.workload = workload
	}
	p.built, p.demand = idx.Snapshot.Version, demand
	used := p.used
	if !untouched {
		used = p.use(own)
	} else if used != nil && used.Touched(idx.Change) {
		used = p.demand.Again(own, p.ask(), used)
	} else if shared.Same(p.shared) {
		p.seen.Store(p.built)
		return
	}
	made := used != p.used
	f.publish(p, shared, own, used, push)
	if made {
		p.renew()
	}
	p.seen.Store(p.built)
}

// publish makes a session's state of what was built, unless it is what there was.
func (f *Fleet) publish(p *session, shared *translate.Shared, own *translate.Own, used *translate.Used, push *push) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p.closed || shared.Same(p.shared) && own == p.own && used == p.used {
		return
	}
	f.stale = f.stale || said(p.shared, p.own, p.used) || said(shared, own, used)
	if p.group != nil && used != p.used {
		p.group.enlist(p, p.used, used)
	}
	p.shared, p.own, p.used = shared, own, used
	sets := own.Sets(shared)
	if used != nil {
		sets = used.Sets(shared)
	}
	if p.plain {
		delete(sets, wire.TypeSecret)
	}
	st := &serve.State{Version: p.built, Sets: sets}
	if p.proxy.Proxyless() {
		st.Between = f.cache.Between
	}
	p.publish(st, push)
}

// said tells whether there are Findings in what a session got.
func said(s *translate.Shared, o *translate.Own, u *translate.Used) bool {
	return s != nil && len(s.Findings) > 0 || o != nil && len(o.Findings) > 0 || u != nil && len(u.Findings) > 0
}

// findWorkload is the workload of a session's proxy by an index, nil when there is none.
func (p *session) findWorkload(idx *index) *model.Workload {
	if w := findWorkload(idx.Snapshot, p.identity); w != nil {
		return p.permitted(w)
	}
	if w := findWorkload(idx.Snapshot, p.registered); w != nil {
		return p.permitted(w)
	}
	if w := idx.Workload(p.proxy.ID.Namespace, p.proxy.ID.Name); w != nil {
		return p.permitted(w)
	}
	// A WorkloadEntry of the machine's address may have any name.
	for _, a := range p.proxy.Addresses() {
		if w := idx.WorkloadAt(a); w != nil && w.Namespace == p.proxy.ID.Namespace {
			return p.permitted(w)
		}
	}
	return nil
}

// sameSets tells whether nothing is different between the sets of two states.
func sameSets(a, b map[string]*resource.Set) bool {
	for url, set := range a {
		if !set.Same(b[url]) {
			return false
		}
	}
	for url, set := range b {
		if a[url] == nil && set.Len() > 0 {
			return false
		}
	}
	return true
}
