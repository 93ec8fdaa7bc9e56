package config

import (
	"fmt"
	"maps"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/route"
	"github.com/weftmesh/weft/proxy/xds"
	"github.com/weftmesh/weft/wire"
)

// Scopes (SRDS). All connection managers that take their routes by scopes share
// those that the control plane sends; how keys are made is each one's own. A
// scope's routes are a route configuration like any other: by its name, or, when
// they are inline, by one that no other has. Those of a scope on demand are asked
// for by the first request that needs them.

// inlineName is the name of a scope's own routes.
func inlineName(scope string) string { return "\x00" + scope }

// heldScope is a scope that has arrived.
type heldScope struct {
	scope
	cell string // name of its routes
}

// lazy tells whether its routes are asked for by requests.
func (h *heldScope) lazy() bool { return h.onDemand && h.inline == nil }

// scopeStats are those of one connection manager, by Envoy's names.
type scopeStats struct {
	reload, success, rejected *filter.Counter
	all, onDemand, active     *filter.Gauge
}

// openScope decodes a resource, with its routes if it brings them.
func (d *Decoder) openScope(r xds.Resource) (s scope, spec *route.Spec, t *route.Table, source *vhds, err error) {
	m := &routev3.ScopedRouteConfiguration{}
	if err = open(r.Body, m); err != nil {
		return s, nil, nil, nil, err
	}
	if s, err = readScope(m); err != nil || s.inline == nil {
		return s, nil, nil, nil, err
	}
	if spec, t, err = d.compileRoutes(s.inline); err == nil {
		source, err = d.vhds(s.inline.Vhds)
	}
	return s, spec, t, source, at(err, "route_configuration")
}

func (s *Store) applyScopes(u xds.Update) (rejected []xds.Rejection) {
	s.mu.Lock()
	for _, n := range u.Removed {
		s.dropScope(n)
	}
	s.mu.Unlock()
	for _, r := range u.Set {
		if err := s.applyScope(r); err != nil {
			rejected = append(rejected, xds.Rejection{Name: r.Name, Err: err})
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sawScopes = true
	s.arrived(waitKey{wire.TypeScope, "*"})
	s.publishScopes(len(u.Set)+len(u.Removed) > len(rejected))
	for _, st := range s.scopeStats {
		if len(rejected) > 0 {
			st.rejected.Add(1)
		} else {
			st.success.Add(1)
		}
	}
	s.progressLocked()
	return rejected
}

func (s *Store) applyScope(r xds.Resource) error {
	sc, spec, table, source, err := s.opt.Decoder.openScope(r)
	if err != nil {
		return err
	}
	h := &heldScope{sc, sc.routes}
	if sc.inline != nil {
		h.cell = inlineName(r.Name)
	}
	s.mu.Lock()
	for n, other := range s.scopes {
		if other.key == sc.key && n != r.Name {
			s.mu.Unlock()
			return at(fmt.Errorf("the scope %q has the same", n), "key")
		}
	}
	s.refScope(h)
	s.dropScope(r.Name)
	s.scopes[r.Name] = h
	s.mu.Unlock()
	if sc.inline != nil {
		return s.setRoutes(h.cell, spec, table, source)
	}
	return nil
}

// refScope holds the routes of a scope.
func (s *Store) refScope(h *heldScope) {
	cell := s.cellLocked(h.cell)
	if h.onDemand || h.inline != nil {
		cell.unasked++
		return
	}
	if cell.refs++; cell.refs == 1 {
		s.subscribe(wire.TypeRoute, h.cell)
	}
	if cell.table.Load() == nil {
		s.await(waitKey{wire.TypeRoute, h.cell}, s.scopedRoutes, nil)
	}
}

// dropScope forgets a scope and lets go of its routes.
func (s *Store) dropScope(name string) {
	h := s.scopes[name]
	if h == nil {
		return
	}
	delete(s.scopes, name)
	if h.onDemand || h.inline != nil {
		cell := s.cellLocked(h.cell)
		cell.unasked--
		s.releaseRoutes(h.cell, cell)
		if cell.unasked == 0 {
			s.demand.gone(waitKey{wire.TypeRoute, h.cell})
		}
		return
	}
	s.unrefRoutes(h.cell)
}

// publishScopes makes the scopes that are held those in effect.
func (s *Store) publishScopes(changed bool) {
	out := make(route.Scopes, len(s.scopes))
	for _, h := range s.scopes {
		sc := &route.Scope{Table: s.cellLocked(h.cell).table.Load}
		if h.lazy() {
			sc.OnDemand = h.cell
		}
		out[h.key] = sc
	}
	s.scopeTable.Store(&out)
	if changed {
		for _, st := range s.scopeStats {
			st.reload.Add(1)
		}
	}
	s.countScopes()
	s.activity.Add(1)
}

// countScopes keeps the statistics: active are those whose routes are asked for.
func (s *Store) countScopes() {
	demand, active := 0, 0
	for _, h := range s.scopes {
		if h.lazy() {
			demand++
		}
		if h.inline == nil && (!h.onDemand || s.demand.asked(waitKey{wire.TypeRoute, h.cell})) {
			active++
		}
	}
	for _, st := range s.scopeStats {
		st.all.Store(int64(len(s.scopes)))
		st.onDemand.Store(int64(demand))
		st.active.Store(int64(active))
	}
}

// scopesNow are the scopes in effect.
func (s *Store) scopesNow() route.Scopes {
	if t := s.scopeTable.Load(); t != nil {
		return *t
	}
	return nil
}

// refScopes is told of connection managers that take their routes by scopes.
// Once asked for, scopes stay: a listener that is updated is to find them.
func (s *Store) refScopes(list []scopedNeed) {
	for _, n := range list {
		s.scopedRoutes = n.routes
		st := s.opt.Decoder.FilterStats
		counter := func(name string) *filter.Counter {
			return st.Counter("http", n.statPrefix, "scoped_rds."+n.name+"."+name)
		}
		gauge := func(name string) *filter.Gauge {
			return st.Gauge("http", n.statPrefix, "scoped_rds."+n.name+"."+name)
		}
		if key := n.statPrefix + "\x00" + n.name; s.scopeStats[key] == nil {
			s.scopeStats[key] = &scopeStats{
				reload: counter("config_reload"), success: counter("update_success"), rejected: counter("update_rejected"),
				all: gauge("all_scopes"), onDemand: gauge("on_demand_scopes"), active: gauge("active_scopes"),
			}
			if s.sawScopes {
				s.publishScopes(true)
			}
		}
		if !s.scopesAsked && s.ads != nil {
			s.ads.SubscribeAll(wire.TypeScope)
		}
		s.scopesAsked = true
		if !s.sawScopes {
			s.await(waitKey{wire.TypeScope, "*"}, n.timeout, nil)
		}
	}
}

// haveScopes tells whether scopes are there, and the routes of those that are not on demand.
func (s *Store) haveScopes(list []scopedNeed) bool {
	if len(list) == 0 || s.gaveUp(waitKey{wire.TypeScope, "*"}) {
		return true
	}
	if !s.sawScopes {
		return false
	}
	for _, h := range s.scopes {
		if !h.onDemand && s.cellLocked(h.cell).table.Load() == nil && !s.gaveUp(waitKey{wire.TypeRoute, h.cell}) {
			return false
		}
	}
	return true
}

// Scopes are the names under which connection managers take scopes from the
// control plane, and the scopes that others have of their own.
func (s *Store) Scopes() (dynamic []string, inline []InlineScopes) {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := map[string]bool{}
	for _, n := range slices.Sorted(maps.Keys(s.listeners)) {
		c := s.listeners[n].active
		if c == nil {
			continue
		}
		inline = append(inline, c.inlineScopes...)
		for _, need := range c.scoped {
			names[need.name] = true
		}
	}
	return slices.Sorted(maps.Keys(names)), inline
}
