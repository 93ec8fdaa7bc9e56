package fleet

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

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
	// Since is when the last of them had it; with Pending, since when not all have it;
	// of none, when the object took its form. Zero when it is not known.
	Since time.Time `json:"since,omitzero"`
}

// Pending is a proxy that has not taken an object, by "name.namespace", and why.
type Pending struct {
	Proxy string `json:"proxy"`
	Why   string `json:"why"`
	// Rejected: the proxy has refused what the object became. Where it is not known of
	// what a refused resource was made, all that came with it counts.
	Rejected bool `json:"rejected,omitempty"`
}

// member is a proxy for which it is to be told whether it has an object.
type member struct {
	name  string
	sight *sight
	// own is the view's own part for the proxy: what is for its workload.
	own *scope.View
	// session is nil for a proxy that should be connected. What it holds, what stands of its
	// rejections, and since when it is there, or gone, is as of the moment of asking.
	session *session
	held    uint64
	faults  []standing
	began   time.Time
}

// sight is what members of one scope.Group have in their scope. An object is looked for
// once for all of them.
type sight struct {
	view *scope.View
	last model.Object
	has  bool
}

func (s *sight) sees(o model.Object) bool {
	if s.last != o {
		s.last, s.has = o, s.view.Has(o)
	}
	return s.has
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
		out[k] = f.reach(idx, members, subject{k, parts, idx.Snapshot.Ages.Get(k).Formed})
	}
	return out
}

// subject is an object of which it is asked who has it: what it became, and with which
// version of the mesh.
type subject struct {
	key    model.Key
	parts  []model.Object
	formed uint64
}

// configures tells whether proxies can be configured by a kind of object.
func configures(o model.Object) bool {
	switch o.(type) {
	case *model.Namespace, *model.ServiceAccount, *model.Process, *model.KeySet, *model.TrustBundle, *model.GatewayClass, *model.IngressClass, *model.ReferenceGrant,
		*model.Registry, *model.RegistrySource, *model.AppProtocol,
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
	views := map[scope.Group]*sight{}
	seen := map[model.Key]bool{}
	var out []member
	add := func(id model.Key, p scope.Proxy, s *session) {
		key, who := idx.Group(p)
		v := views[key]
		if v == nil || who.Gateway() {
			v = &sight{view: scope.Build(idx.Index, who)}
			views[key] = v
		}
		m := member{name: who.ID.Name + "." + who.Namespace(), sight: v, own: v.view.For(who), session: s}
		if s == nil {
			m.began = f.moments.lost(id)
		} else {
			m.began = s.since
			s.mu.Lock()
			m.held, m.faults = s.holdsLocked(), s.standingLocked()
			s.mu.Unlock()
		}
		out = append(out, m)
	}
	for _, s := range sessions {
		p := s.proxy
		p.Workload = s.findWorkload(idx)
		seen[s.identity] = true
		add(s.identity, p, s)
	}
	for _, w := range idx.Snapshot.Workloads {
		if seen[w.Key] || w.TokenHash == "" || w.Engine == engineNone {
			continue
		}
		p := scope.Proxy{ID: wire.NodeID{Type: wire.Sidecar, Name: w.Name, Namespace: w.Namespace}, Workload: w}
		if w.Gateway {
			p.ID.Type = wire.Router
		}
		add(w.Key, p, nil)
	}
	slices.SortFunc(out, func(a, b member) int { return cmp.Compare(a.name, b.name) })
	return out
}

// reach counts the members that have an object.
func (f *Fleet) reach(idx *index, members []member, what subject) Reach {
	var r Reach
	when := f.moments.of(what.formed)
	had, lacked := when.held(), time.Time{}
	for i := range members {
		m := &members[i]
		if !slices.ContainsFunc(what.parts, m.has) {
			continue
		}
		r.Of++
		p := Pending{Proxy: m.name, Why: "is not connected"}
		began := m.began
		if m.session != nil {
			p.Why, p.Rejected = m.lacks(idx, what)
		}
		if p.Why == "" {
			r.Programmed++
			had = later(had, m.session.had(what.formed, when))
			continue
		}
		r.Pending = append(r.Pending, p)
		if began = later(began, when.published); lacked.IsZero() || began.Before(lacked) {
			lacked = began
		}
	}
	switch {
	case len(r.Pending) > 0:
		r.Since = lacked
	case r.Of > 0:
		r.Since = had
	default:
		r.Since = when.published
	}
	return r
}

// has tells whether an object is in a proxy's scope.
func (m *member) has(o model.Object) bool {
	if s, ok := o.(*model.Secret); ok {
		return m.session != nil && m.session.holds(s)
	}
	// What is for the own workload only differs within a group.
	return m.sight.sees(o) || m.own.Has(o)
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

// lacks says why the proxy does not have an object; "": it has it.
func (m *member) lacks(idx *index, what subject) (why string, rejected bool) {
	for _, x := range m.faults {
		if !x.of(what.formed) {
			continue
		}
		switch keys := m.session.causes(idx, x.url, x.fault); {
		case keys == nil:
			return "rejected what came with it: " + x.text, true
		case keys[what.key]:
			return "rejected: " + x.text, true
		}
	}
	switch {
	case m.held >= what.formed:
		return "", false
	case m.held == 0:
		return "has not taken its first configuration yet", false
	}
	return "has not taken it yet", false
}

// standing is a fault that stands, and the type of what was refused.
type standing struct {
	*fault
	url string
}

// standingLocked are the faults that stand, in one order. p.mu is held.
func (p *session) standingLocked() (out []standing) {
	for _, url := range slices.Sorted(maps.Keys(p.faults)) {
		for _, x := range p.faults[url].all() {
			out = append(out, standing{x, url})
		}
	}
	slices.SortStableFunc(out, func(a, b standing) int { return strings.Compare(a.text, b.text) })
	return out
}

// holdsLocked is the newest version of the mesh that the proxy has whole, whether or not
// it brought anything for it. p.mu is held.
func (p *session) holdsLocked() uint64 {
	seen := p.fleet.calm.Load().reached(p.seen.Load()) // before the state, which is published first
	if cur := p.state.Load(); cur != nil && p.settled >= cur.woken {
		return max(p.settled, seen) // nothing has been different for it since
	}
	return p.settled
}
