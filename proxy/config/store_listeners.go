package config

import (
	"errors"
	"maps"
	"slices"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/proxy/listener"
	"github.com/weftmesh/weft/proxy/route"
	"github.com/weftmesh/weft/proxy/xds"
	"github.com/weftmesh/weft/wire"
)

func (s *Store) applyListeners(u xds.Update) (rejected []xds.Rejection) {
	var decoded []*listenerConfig
	for _, r := range u.Set {
		c, err := s.opt.Decoder.openListener(r)
		if err != nil {
			rejected = append(rejected, xds.Rejection{Name: r.Name, Err: err})
			continue
		}
		decoded = append(decoded, c)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range decoded {
		s.addListener(c, false)
	}
	removed := false
	for _, n := range u.Removed {
		if h := s.listeners[n]; h != nil && !h.static {
			s.unrefListener(h.active)
			s.unrefListener(h.next)
			delete(s.listeners, n)
			removed = removed || h.active != nil
		}
	}
	if removed {
		s.updateListeners()
	}
	if s.gate == gateShut {
		// Without clusters nothing tells that they will come.
		s.await(waitKey{wire.TypeCluster, "*"}, defaultFetchTimeout, func() { s.gate = gateOpen })
	}
	s.progressLocked()
	return append(rejected, s.refused()...)
}

// openListener decodes a resource.
func (d *Decoder) openListener(r xds.Resource) (*listenerConfig, error) {
	m := &listenerv3.Listener{}
	if err := open(r.Body, m); err != nil {
		return nil, err
	}
	c, err := d.decodeListener(m)
	if err != nil {
		return nil, err
	}
	c.listener.Version = contentHash(m)
	return c, nil
}

func (s *Store) addListener(c *listenerConfig, static bool) {
	h := s.listeners[c.listener.Name]
	if h == nil {
		s.order++
		h = &heldListener{order: s.order, static: static}
		s.listeners[c.listener.Name] = h
	}
	old := h.next
	h.next = c
	for _, n := range c.routes {
		cell := s.cellLocked(n.name)
		if cell.refs++; cell.refs == 1 {
			s.subscribe(wire.TypeRoute, n.name)
		}
		if cell.table.Load() == nil {
			s.await(waitKey{wire.TypeRoute, n.name}, n.timeout, nil)
		}
	}
	s.refSecrets(c.secrets)
	s.refExtensions(c.extensions)
	s.refScopes(c.scoped)
	s.unrefListener(old)
}

func (s *Store) unrefListener(c *listenerConfig) {
	if c == nil {
		return
	}
	for _, n := range c.routes {
		s.unrefRoutes(n.name)
	}
	s.unrefSecrets(c.secrets)
	s.unrefExtensions(c.extensions)
}

// unrefRoutes lets go of a route configuration.
func (s *Store) unrefRoutes(name string) {
	cell := s.cellLocked(name)
	if cell.refs--; cell.refs == 0 {
		s.releaseRoutes(name, cell)
		s.unsubscribe(wire.TypeRoute, name)
	}
}

// releaseRoutes forgets what has come for a cell that nobody wants any more.
func (s *Store) releaseRoutes(name string, cell *routeCell) {
	if cell.refs > 0 || cell.unasked > 0 {
		return
	}
	cell.table.Store(nil)
	s.forgetHosts(cell)
	cell.clusters, cell.pending = nil, nil
	cell.generation++
	s.arrived(waitKey{wire.TypeRoute, name})
}

// refused turns what the listener manager said in the last update into
// rejections: a listener whose socket cannot be bound is NACKed like a bad one.
func (s *Store) refused() (out []xds.Rejection) {
	for _, err := range s.bindErrors {
		var e *listener.Error
		if errors.As(err, &e) {
			out = append(out, xds.Rejection{Name: e.Listener, Err: e.Err})
		}
	}
	s.bindErrors = nil
	return out
}

func (s *Store) applyRoutes(u xds.Update) (rejected []xds.Rejection) {
	for _, r := range u.Set {
		m := &routev3.RouteConfiguration{}
		err := open(r.Body, m)
		var spec *route.Spec
		var table *route.Table
		var source *vhds
		if err == nil {
			spec, table, err = s.opt.Decoder.compileRoutes(m)
		}
		if err == nil {
			source, err = s.opt.Decoder.vhds(m.Vhds)
		}
		if err == nil {
			err = s.setRoutes(r.Name, spec, table, source)
		}
		if err != nil {
			rejected = append(rejected, xds.Rejection{Name: r.Name, Err: err})
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range u.Removed {
		// Envoy keeps the routes of a removed configuration too: the listener
		// that names it goes, or it will be there again.
		s.noSuch(waitKey{wire.TypeRoute, n})
		s.demand.absent(waitKey{wire.TypeRoute, n})
	}
	s.progressLocked()
	return rejected
}

// noSuch ends the wait for what does not exist.
func (s *Store) noSuch(k waitKey) {
	s.arrived(k)
	w := &wait{over: true, timer: time.NewTimer(0)}
	w.timer.Stop()
	s.waits[k] = w
}

// setRoutes puts routes into effect as soon as their clusters are ready.
func (s *Store) setRoutes(name string, spec *route.Spec, table *route.Table, source *vhds) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	cell := s.cellLocked(name)
	if cell.refs+cell.unasked == 0 {
		return nil // unsubscribed meanwhile
	}
	if err := s.setHosts(cell, spec, table, source); err != nil {
		return err
	}
	cell.generation++
	generation := cell.generation
	clusters := clustersOf(spec)
	cell.pending = clusters
	s.whenReady(clusters, func() {
		s.afterHosts(source, func() {
			if cell.generation != generation {
				return
			}
			s.enterRoutes(cell, table, source)
			cell.clusters, cell.pending = clusters, nil
			s.arrived(waitKey{wire.TypeRoute, name})
			s.activity.Add(1)
			if cell.unasked > 0 {
				s.countScopes() // before those who wait for it go on
			}
			s.demand.found(waitKey{wire.TypeRoute, name})
		})
	})
	return nil
}

// compileRoutes decodes and compiles a route configuration.
func (d *Decoder) compileRoutes(m *routev3.RouteConfiguration) (*route.Spec, *route.Table, error) {
	spec, err := d.decodeRoutes(m)
	if err != nil {
		return nil, nil, err
	}
	table, err := route.Compile(spec, d.RouteOptions)
	return spec, table, err
}

// clustersOf lists the clusters that routes name.
func clustersOf(s *route.Spec) []string {
	return clusterNames(s.Mirrors, s.VirtualHosts)
}

// clustersOfHosts lists those that virtual hosts name.
func clustersOfHosts(hosts ...route.VirtualHost) []string { return clusterNames(nil, hosts) }

func clusterNames(mirrors []route.Mirror, hosts []route.VirtualHost) []string {
	names := map[string]bool{}
	add := func(list []route.Mirror) {
		for _, m := range list {
			names[m.Cluster] = true
		}
	}
	add(mirrors)
	for i := range hosts {
		add(hosts[i].Mirrors)
		hosts[i].Each(func(r *route.Route) {
			if f := r.Forward; f != nil {
				names[f.Cluster] = true
				add(f.Mirrors)
				for _, w := range f.Weighted {
					names[w.Cluster] = true
				}
			}
		})
	}
	delete(names, "")
	return slices.Sorted(maps.Keys(names))
}
