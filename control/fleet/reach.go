package fleet

import (
	"cmp"
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/wire"
)

// Reach says how many proxies have an object in its present form, of how many in whose
// scope it is.
type Reach struct {
	Programmed int `json:"programmed"`
	Of         int `json:"of"`
	// Pending are the others, sorted.
	Pending []Pending `json:"pending,omitempty"`
}

// Pending is a proxy that has not taken an object, by "name.namespace", and why.
type Pending struct {
	Proxy string `json:"proxy"`
	Why   string `json:"why"`
	// Rejected: the proxy has refused what the object became, or something that came
	// with it.
	Rejected bool `json:"rejected,omitempty"`
}

// member is a proxy for which it is to be told whether it has an object.
type member struct {
	name  string
	proxy scope.Proxy
	view  *scope.View
	// session is nil for a proxy that should be connected.
	session *session
}

// Reach tells for each object of the newest snapshot that keys names which proxies
// have it. An object that no proxy is configured by is not in the result; of what
// Gateway API and Ingress objects become, all has to be there.
func (f *Fleet) Reach(keys []model.Key) map[model.Key]Reach {
	idx := f.index.Load()
	if idx == nil {
		return nil
	}
	made := map[model.Key][]model.Object{}
	note := func(o model.Object) {
		if of := o.Head().Of; of != (model.Key{}) {
			made[of] = append(made[of], o)
		}
	}
	for _, o := range idx.Snapshot.Routes {
		note(o)
	}
	for _, o := range idx.Snapshot.Gateways {
		note(o)
	}
	for _, o := range idx.Snapshot.Policies {
		note(o)
	}
	members := f.members(idx)
	out := make(map[model.Key]Reach, len(keys))
	for _, k := range keys {
		o := idx.Snapshot.Objects.Get(k)
		if o == nil || !configures(o) {
			continue
		}
		parts := made[k]
		if len(parts) == 0 {
			parts = []model.Object{o}
		}
		out[k] = reach(members, parts, idx.Snapshot.Versions.Get(k))
	}
	return out
}

// configures tells whether proxies can be configured by a kind of object.
func configures(o model.Object) bool {
	switch o.(type) {
	case *model.Namespace, *model.ServiceAccount, *model.Process, *model.KeySet, *model.GatewayClass, *model.IngressClass, *model.ReferenceGrant,
		*model.Pod, *model.Node, *model.Webhook, *model.CRD, *model.Injector:
		return false
	}
	return true
}

// members are the connected proxies, and those that should be. Views that translation
// would read the same are made once.
func (f *Fleet) members(idx *index) []member {
	f.mu.Lock()
	sessions := f.proxiesLocked()
	f.mu.Unlock()
	views := map[scope.Group]*scope.View{}
	seen := map[model.Key]bool{}
	var out []member
	add := func(p scope.Proxy, s *session) {
		key, who := idx.Group(p)
		v := views[key]
		if v == nil || who.Gateway() {
			v = scope.Build(idx.Index, who)
			views[key] = v
		}
		out = append(out, member{who.ID.Name + "." + who.Namespace(), who, v, s})
	}
	for _, s := range sessions {
		p := s.proxy
		p.Workload = s.findWorkload(idx)
		seen[s.identity] = true
		add(p, s)
	}
	for _, w := range idx.Snapshot.Workloads {
		if seen[w.Key] || w.TokenHash == "" || w.Engine == engineNone {
			continue
		}
		p := scope.Proxy{ID: wire.NodeID{Type: wire.Sidecar, Name: w.Name, Namespace: w.Namespace}, Workload: w}
		if w.Gateway {
			p.ID.Type = wire.Router
		}
		add(p, nil)
	}
	slices.SortFunc(out, func(a, b member) int { return cmp.Compare(a.name, b.name) })
	return out
}

// reach counts the members that have what an object became with a version.
func reach(members []member, parts []model.Object, version uint64) Reach {
	var r Reach
	for i := range members {
		m := &members[i]
		if !slices.ContainsFunc(parts, m.has) {
			continue
		}
		r.Of++
		if m.session == nil {
			r.Pending = append(r.Pending, Pending{Proxy: m.name, Why: "is not connected"})
			continue
		}
		if why, rejected := m.session.lacks(version); why != "" {
			r.Pending = append(r.Pending, Pending{m.name, why, rejected})
			continue
		}
		r.Programmed++
	}
	return r
}

// has tells whether an object is in a proxy's scope.
func (m *member) has(o model.Object) bool {
	if s, ok := o.(*model.Secret); ok {
		return m.session != nil && m.session.holds(s)
	}
	// What is for the own workload only differs within a group.
	return m.view.Has(o) || m.view.For(m.proxy).Has(o)
}

// holds tells whether a Secret is among what the proxy is to have.
func (p *session) holds(s *model.Secret) bool {
	cur := p.state.Load()
	if cur == nil || cur.state.Sets[wire.TypeSecret] == nil {
		return false
	}
	name := s.Key.Namespace + "/" + s.Key.Name
	for r := range cur.state.Sets[wire.TypeSecret].All() {
		if rest, ok := strings.CutSuffix(strings.TrimSuffix(r.Name, "-cacert"), name); ok && strings.HasSuffix(rest, "/") {
			return true
		}
	}
	return false
}

// lacks says why the proxy does not have what came with a version of the mesh; "":
// it has it.
func (p *session) lacks(version uint64) (why string, rejected bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.faults {
		if text := f.at(version); text != "" {
			return "rejected: " + text, true
		}
	}
	held := p.holdsLocked()
	switch {
	case held >= version:
		return "", false
	case held == 0:
		return "has not taken its first configuration yet", false
	}
	return "has not taken it yet", false
}

// holdsLocked is the newest version of the mesh that the proxy has whole, whether or not
// it brought anything for it. p.mu is held.
func (p *session) holdsLocked() uint64 {
	seen := p.seen.Load() // before the state, which is published first
	if cur := p.state.Load(); cur != nil && p.settled >= cur.woken {
		return max(p.settled, seen) // nothing has been different for it since
	}
	return p.settled
}
