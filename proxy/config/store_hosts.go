package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/proxy/route"
	"github.com/weftmesh/weft/proxy/xds"
	"github.com/weftmesh/weft/wire"
)

// Virtual hosts on demand (VHDS). A resource belongs to the route configuration
// whose name stands before the last "/" of its own; requests ask for
// "<route configuration>/<authority>", and the answer may have another name and
// the one asked for as an alias, as in Envoy.

// hostSet are the virtual hosts that a route configuration has got on demand.
type hostSet struct {
	source *vhds
	// spec and all are the newest that have arrived: all is the table that there
	// will be when nothing waits any more. live is what is in effect, without
	// virtual hosts on demand.
	spec      *route.Spec
	all, live *route.Table
	held      map[string]*heldHost // by resource name
}

// heldHost is one of them. next waits for clusters.
type heldHost struct {
	vhost             *route.VirtualHost
	live, next        *route.Host
	clusters, pending []string
	// names are those by which it was asked for, or may be.
	names      []string
	generation uint64
	idle       bool // no request since the last sweep
}

// current is the newest compiled one.
func (h *heldHost) current() *route.Host {
	if h.next != nil {
		return h.next
	}
	return h.live
}

// hostName splits a resource's name into that of the route configuration and
// the rest.
func hostName(name string) (routes, host string) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return "", name
	}
	return name[:i], name[i+1:]
}

func hostKey(name string) waitKey { return waitKey{wire.TypeVirtualHost, name} }

// AskHost asks for the virtual host of an authority.
func (s *Store) AskHost(routes, authority string, wake func(filter.Outcome)) (filter.Outcome, func() bool) {
	return s.demand.ask(hostKey(routes+"/"+strings.ToLower(authority)), defaultFetchTimeout, wake)
}

func (s *Store) applyHosts(u xds.Update) (rejected []xds.Rejection) {
	type arrival struct {
		r     xds.Resource
		vhost *route.VirtualHost
	}
	var list []arrival
	var none []xds.Resource
	for _, r := range u.Set {
		if r.Body == nil {
			none = append(none, r) // the name is known, there is no such host
			continue
		}
		v, err := s.opt.Decoder.openHost(r)
		if err != nil {
			rejected = append(rejected, xds.Rejection{Name: r.Name, Err: err})
			none = append(none, r)
			continue
		}
		list = append(list, arrival{r, v})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range none {
		s.noHost(r)
	}
	for _, n := range u.Removed {
		s.removeHost(n)
	}
	taken := map[*routeCell][]*heldHost{}
	for _, a := range list {
		rc, _ := hostName(a.r.Name)
		cell := s.routes[rc]
		if cell == nil || cell.hosts == nil {
			continue // of a route configuration that is not held
		}
		h, err := s.takeHost(cell.hosts, a.r, a.vhost)
		if err != nil {
			rejected = append(rejected, xds.Rejection{Name: a.r.Name, Err: err})
			s.noHost(a.r)
			continue
		}
		taken[cell] = append(taken[cell], h)
	}
	for cell, hosts := range taken {
		s.hostsWhenReady(cell, hosts)
	}
	s.hostsArrived()
	s.progressLocked()
	return rejected
}

// noHost answers those who wait for a resource that has brought no virtual host.
// One that is held from before stays.
func (s *Store) noHost(r xds.Resource) {
	rc, _ := hostName(r.Name)
	if cell := s.routes[rc]; cell != nil && cell.hosts != nil && cell.hosts.held[r.Name] != nil {
		return
	}
	s.demand.absent(hostKeys(r)...)
}

// hostKeys are the names that a resource answers for.
func hostKeys(r xds.Resource) []waitKey {
	keys := []waitKey{hostKey(r.Name)}
	for _, a := range r.Aliases {
		keys = append(keys, hostKey(a))
	}
	return keys
}

// openHost decodes a resource.
func (d *Decoder) openHost(r xds.Resource) (*route.VirtualHost, error) {
	m := &routev3.VirtualHost{}
	if err := open(r.Body, m); err != nil {
		return nil, err
	}
	v := &route.VirtualHost{}
	if err := d.virtualHost(m, v); err != nil {
		return nil, err
	}
	return v, checkDirect(v, defaultDirectBody)
}

// takeHost compiles a virtual host into a set.
func (s *Store) takeHost(set *hostSet, r xds.Resource, v *route.VirtualHost) (*heldHost, error) {
	compiled, err := route.CompileHost(set.spec, v, s.opt.Decoder.RouteOptions)
	if err != nil {
		return nil, err
	}
	h := set.held[r.Name]
	var old []*route.Host
	if h != nil {
		old = append(old, h.current())
	}
	all, err := set.all.With([]*route.Host{compiled}, old)
	if err != nil {
		return nil, err
	}
	if h == nil {
		h = &heldHost{}
		set.held[r.Name] = h
	}
	set.all = all
	h.vhost, h.next, h.pending, h.idle = v, compiled, clustersOfHosts(*v), false
	for _, n := range append([]string{r.Name}, r.Aliases...) {
		if !slices.Contains(h.names, n) {
			h.names = append(h.names, n)
		}
	}
	h.generation++
	return h, nil
}

// hostsWhenReady puts virtual hosts into effect: at once all of those that have
// nothing to wait for, the others one by one.
func (s *Store) hostsWhenReady(cell *routeCell, hosts []*heldHost) {
	var now []*heldHost
	collecting := true
	for _, h := range hosts {
		generation := h.generation
		s.whenReady(h.pending, func() {
			if h.generation != generation || h.next == nil {
				return
			}
			if collecting {
				now = append(now, h)
				return
			}
			s.enterHosts(cell, []*heldHost{h})
		})
	}
	collecting = false
	s.enterHosts(cell, now)
}

// enterHosts publishes, and wakes who waits.
func (s *Store) enterHosts(cell *routeCell, hosts []*heldHost) {
	set := cell.hosts
	if set == nil || len(hosts) == 0 {
		return
	}
	var add, drop []*route.Host
	var keys []waitKey
	for _, h := range hosts {
		if h.live != nil {
			drop = append(drop, h.live)
		}
		h.live, h.next = h.next, nil
		h.clusters, h.pending = h.pending, nil
		add = append(add, h.live)
		for _, n := range h.names {
			keys = append(keys, hostKey(n))
		}
	}
	if set.live != nil {
		t, err := cell.table.Load().With(add, drop)
		if err != nil {
			// A domain has moved, and the host that it moved from waits still.
			t = set.all
		}
		cell.table.Store(t)
		s.activity.Add(1)
		s.demand.found(keys...)
	}
}

// removeHost is told that there is no such resource, or no longer.
func (s *Store) removeHost(name string) {
	rc, _ := hostName(name)
	cell := s.routes[rc]
	if cell == nil || cell.hosts == nil || cell.hosts.held[name] == nil {
		s.demand.absent(hostKey(name))
		return
	}
	s.dropHosts(cell, []string{name})
}

// dropHosts takes virtual hosts out of the routes: they are asked for anew when
// a request needs them.
func (s *Store) dropHosts(cell *routeCell, names []string) {
	set := cell.hosts
	var all, live []*route.Host
	var keys []waitKey
	for _, n := range names {
		h := set.held[n]
		delete(set.held, n)
		h.generation++
		all = append(all, h.current())
		if h.live != nil {
			live = append(live, h.live)
		}
		for _, a := range h.names {
			keys = append(keys, hostKey(a))
		}
	}
	set.all = without(set.all, all)
	if t := cell.table.Load(); t != nil && len(live) > 0 {
		cell.table.Store(without(t, live))
		s.activity.Add(1)
	}
	s.demand.gone(keys...)
	s.demand.absent(keys...) // those that wait still
}

func without(t *route.Table, hosts []*route.Host) *route.Table {
	out, err := t.With(nil, hosts)
	if err != nil {
		panic("BUG: taking hosts out of a table: " + err.Error())
	}
	return out
}

// hostsArrived notes that the control plane has told of virtual hosts: routes
// that take them on demand need not wait for the first answer any more.
func (s *Store) hostsArrived() {
	s.sawHosts = true
	s.arrived(waitKey{wire.TypeVirtualHost, "*"})
	waits := s.hostWaits
	s.hostWaits = nil
	for _, f := range waits {
		f()
	}
}

// afterHosts calls then, with the lock, when the first answer about virtual
// hosts has come, or is late.
func (s *Store) afterHosts(source *vhds, then func()) {
	if source == nil || s.sawHosts || s.ads == nil {
		then()
		return
	}
	s.hostWaits = append(s.hostWaits, then)
	s.await(waitKey{wire.TypeVirtualHost, "*"}, source.timeout, s.hostsArrived)
}

// setHosts prepares a cell for a route configuration that has arrived: its
// virtual hosts on demand are compiled anew. The table in effect does not change.
func (s *Store) setHosts(cell *routeCell, spec *route.Spec, table *route.Table, source *vhds) error {
	if source == nil {
		return nil // what was there goes when the routes come into effect
	}
	set := cell.hosts
	if set == nil {
		cell.hosts = &hostSet{source: source, spec: spec, all: table, held: map[string]*heldHost{}}
		if s.ads != nil {
			s.ads.SubscribeAll(wire.TypeVirtualHost)
		}
		return nil
	}
	next := make(map[*heldHost]*route.Host, len(set.held))
	add := make([]*route.Host, 0, len(set.held))
	for _, n := range slices.Sorted(maps.Keys(set.held)) {
		h := set.held[n]
		c, err := route.CompileHost(spec, h.vhost, s.opt.Decoder.RouteOptions)
		if err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
		next[h] = c
		add = append(add, c)
	}
	all, err := table.With(add, nil)
	if err != nil {
		return err
	}
	if set.source.hash != source.hash {
		// Envoy begins anew then: what was asked for is forgotten, what is there stays.
		for _, h := range set.held {
			for _, n := range h.names {
				s.demand.gone(hostKey(n))
			}
		}
	}
	set.source, set.spec, set.all = source, spec, all
	for h, c := range next {
		if h.next == nil {
			h.pending = h.clusters
		}
		h.next = c
		h.generation++
	}
	return nil
}

// enterRoutes puts a route configuration into effect, with the virtual hosts on
// demand that were there before.
func (s *Store) enterRoutes(cell *routeCell, table *route.Table, source *vhds) {
	if source == nil {
		s.forgetHosts(cell)
		cell.table.Store(table)
		return
	}
	set := cell.hosts
	set.live = table
	var live []*route.Host
	var waiting []*heldHost
	var keys []waitKey
	for _, n := range slices.Sorted(maps.Keys(set.held)) {
		h := set.held[n]
		if h.live == nil {
			waiting = append(waiting, h)
			continue
		}
		if h.next != nil {
			h.live, h.next = h.next, nil
			h.clusters, h.pending = h.pending, nil
		}
		live = append(live, h.live)
		for _, a := range h.names {
			keys = append(keys, hostKey(a))
		}
	}
	t, err := table.With(live, nil)
	if err != nil {
		t = set.all // a domain has moved
	}
	cell.table.Store(t)
	s.demand.found(keys...)
	s.hostsWhenReady(cell, waiting)
}

// forgetHosts ends the subscriptions of a route configuration that goes.
func (s *Store) forgetHosts(cell *routeCell) {
	if cell.hosts == nil {
		return
	}
	for n, h := range cell.hosts.held {
		h.generation++
		for _, a := range h.names {
			s.demand.gone(hostKey(a))
		}
		s.forget(wire.TypeVirtualHost, n)
	}
	cell.hosts = nil
}

// sweepHosts drops virtual hosts that no request was for since the last two sweeps.
func (s *Store) sweepHosts() {
	for _, cell := range s.routes {
		if cell.hosts == nil {
			continue
		}
		var idle []string
		for n, h := range cell.hosts.held {
			touched := h.live == nil || h.live.Touched()
			if !touched && h.idle && s.demandedHost(h) {
				idle = append(idle, n)
			}
			h.idle = !touched
		}
		if len(idle) == 0 {
			continue
		}
		s.dropHosts(cell, idle)
		for _, n := range idle {
			s.forget(wire.TypeVirtualHost, n)
			delete(s.records, recordKey{wire.TypeVirtualHost, n})
		}
	}
}

// demandedHost tells whether some request has asked for a host: what the control
// plane sent by itself is its own to take away.
func (s *Store) demandedHost(h *heldHost) bool {
	return slices.ContainsFunc(h.names, func(n string) bool { return s.demand.asked(hostKey(n)) })
}

// named notes the clusters that virtual hosts name.
func (set *hostSet) named(out map[string]bool) {
	if set == nil {
		return
	}
	for _, h := range set.held {
		for _, list := range [][]string{h.clusters, h.pending} {
			for _, n := range list {
				out[n] = true
			}
		}
	}
}

// vhds says where virtual hosts come from, by the hash of its source.
type vhds struct {
	hash    string
	timeout time.Duration
}
