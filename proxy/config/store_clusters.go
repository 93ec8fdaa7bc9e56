package config

import (
	"context"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/weftmesh/weft/proxy/cluster"
	"github.com/weftmesh/weft/proxy/xds"
	"github.com/weftmesh/weft/wire"
)

// removedGrace is how long a removed cluster stays while routes still name it:
// the control plane may send the routes after the removal.
const removedGrace = 5 * time.Second

// linger is how long a cluster stays after the last route that names it: a
// request that was routed by the former table has yet to look it up.
const linger = time.Second

func (s *Store) applyClusters(u xds.Update) (rejected []xds.Rejection) {
	decoded := make([]*clusterConfig, 0, len(u.Set))
	for _, r := range u.Set {
		c, err := s.opt.Decoder.openCluster(r)
		if err != nil {
			rejected = append(rejected, xds.Rejection{Name: r.Name, Err: err})
			continue
		}
		decoded = append(decoded, c)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	rejected = append(rejected, s.addClusters(decoded, false)...)
	for _, n := range u.Removed {
		if h := s.clusters[n]; h != nil && !h.static {
			h.removed = true
			s.await(waitKey{wire.TypeCluster, n}, removedGrace, nil)
		} else {
			s.demand.absent(waitKey{wire.TypeCluster, n})
		}
	}
	for _, r := range rejected {
		if s.clusters[r.Name] == nil {
			s.demand.absent(waitKey{wire.TypeCluster, r.Name})
		}
	}
	if s.gate == gateShut {
		s.gate = gateWaiting
		s.waitGate(decoded)
	}
	s.progressLocked()
	return rejected
}

// openCluster decodes a resource.
func (d *Decoder) openCluster(r xds.Resource) (*clusterConfig, error) {
	m := &clusterv3.Cluster{}
	if err := open(r.Body, m); err != nil {
		return nil, err
	}
	c, err := d.decodeCluster(m)
	if err != nil {
		return nil, err
	}
	c.spec.Version = contentHash(m)
	return c, nil
}

// addClusters takes decoded clusters in. Those that need nothing go to the
// manager as one batch.
func (s *Store) addClusters(list []*clusterConfig, static bool) (rejected []xds.Rejection) {
	var batch []*heldCluster
	for _, c := range list {
		c.spec.Static = static
		h := s.clusters[c.spec.Name]
		if h == nil {
			h = &heldCluster{}
			s.clusters[c.spec.Name] = h
		}
		h.removed, h.static, h.unnamed = false, static, time.Time{}
		s.arrived(waitKey{wire.TypeCluster, c.spec.Name})
		old := h.next
		h.next = c
		s.refCluster(c)
		s.unrefCluster(old)
		if s.haveSecrets(c.secrets) {
			batch = append(batch, h)
		}
	}
	return s.enterBatch(batch)
}

// enterBatch tries all at once, and one by one when one of them is bad.
func (s *Store) enterBatch(batch []*heldCluster) (rejected []xds.Rejection) {
	specs := make([]*cluster.Spec, len(batch))
	for i, h := range batch {
		specs[i] = h.next.spec
	}
	if len(batch) == 0 {
		return nil
	}
	if err := s.opt.Clusters.Update(specs, nil); err == nil {
		for _, h := range batch {
			s.entered(h)
		}
		return nil
	}
	for _, h := range batch {
		name := h.next.spec.Name
		if err := s.enter(h); err != nil {
			s.unrefCluster(h.next)
			h.next = nil
			if h.active == nil {
				delete(s.clusters, name)
			}
			rejected = append(rejected, xds.Rejection{Name: name, Err: err})
		}
	}
	return rejected
}

// refCluster subscribes to what a cluster refers to.
func (s *Store) refCluster(c *clusterConfig) {
	if c.eds != "" {
		h := s.endpoints[c.eds]
		if h == nil {
			h = &heldEndpoints{}
			s.endpoints[c.eds] = h
		}
		if h.refs++; h.refs == 1 {
			s.subscribe(wire.TypeEndpoint, c.eds)
		}
		if !h.arrived {
			service := c.eds
			s.await(waitKey{wire.TypeEndpoint, service}, c.edsTimeout, func() {
				if err := s.opt.Clusters.SetEndpoints(service, nil); err != nil {
					s.opt.Log.Error("endpoints: cannot be set", "service", service, "error", err)
				}
			})
		}
	}
	s.refSecrets(c.secrets)
}

func (s *Store) unrefCluster(c *clusterConfig) {
	if c == nil {
		return
	}
	if h := s.endpoints[c.eds]; h != nil {
		if h.refs--; h.refs == 0 {
			delete(s.endpoints, c.eds)
			s.arrived(waitKey{wire.TypeEndpoint, c.eds})
			s.opt.Clusters.ForgetEndpoints(c.eds)
			s.unsubscribe(wire.TypeEndpoint, c.eds)
		}
	}
	s.unrefSecrets(c.secrets)
}

// dropRemoved removes the clusters that the control plane took away and that
// no route names any more.
func (s *Store) dropRemoved() {
	var named map[string]bool
	var gone []string
	for n, h := range s.clusters {
		if !h.removed {
			continue
		}
		if named == nil {
			named = s.namedClusters()
		}
		switch {
		case s.gaveUp(waitKey{wire.TypeCluster, n}):
			gone = append(gone, n)
		case named[n]:
			h.unnamed = time.Time{}
		case h.unnamed.IsZero():
			h.unnamed = time.Now()
			time.AfterFunc(linger, func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.progressLocked()
			})
		case time.Since(h.unnamed) >= linger:
			gone = append(gone, n)
		}
	}
	s.removeClusters(gone)
}

func (s *Store) removeClusters(gone []string) {
	if len(gone) == 0 {
		return
	}
	if err := s.opt.Clusters.Update(nil, gone); err != nil {
		s.opt.Log.Error("clusters: cannot be removed", "error", err)
	}
	s.activity.Add(1)
	for _, n := range gone {
		h := s.clusters[n]
		s.unrefCluster(h.active)
		s.unrefCluster(h.next)
		s.arrived(waitKey{wire.TypeCluster, n})
		delete(s.clusters, n)
		delete(s.ready, n)
		s.demand.gone(waitKey{wire.TypeCluster, n})
	}
}

// namedClusters are those that routes and listeners in effect name.
func (s *Store) namedClusters() map[string]bool {
	out := map[string]bool{}
	for _, c := range s.routes {
		for _, n := range c.clusters {
			out[n] = true
		}
		for _, n := range c.pending {
			out[n] = true
		}
		c.hosts.named(out)
	}
	for _, h := range s.clusters {
		if h.active != nil && !h.removed {
			for _, n := range h.active.spec.Clusters {
				out[n] = true
			}
		}
	}
	for _, h := range s.listeners {
		for _, c := range []*listenerConfig{h.active, h.next} {
			if c == nil {
				continue
			}
			for _, n := range c.clusters {
				out[n] = true
			}
		}
	}
	return out
}

// waitGate opens the gate when the first clusters are ready.
func (s *Store) waitGate(first []*clusterConfig) {
	names := make([]string, len(first))
	for i, c := range first {
		names[i] = c.spec.Name
	}
	s.await(waitKey{wire.TypeCluster, "*"}, defaultFetchTimeout, func() { s.gate = gateOpen })
	s.whenReady(names, func() {
		if s.gate == gateWaiting {
			s.gate = gateReady
			s.arrived(waitKey{wire.TypeCluster, "*"})
		}
	})
}

// whenReady calls then, with the lock, when clusters are ready or have failed
// to get so in time. Names that are not known are not waited for.
func (s *Store) whenReady(names []string, then func()) {
	var waiting []string
	for _, n := range names {
		if h := s.clusters[n]; h != nil && h.active != nil && !s.ready[n] {
			waiting = append(waiting, n)
		}
	}
	if len(waiting) == 0 {
		then()
		return
	}
	if s.ctx == nil {
		s.early = append(s.early, func() { s.whenReady(names, then) })
		return
	}
	ctx := s.ctx
	s.wg.Go(func() {
		wctx, cancel := context.WithTimeout(ctx, defaultFetchTimeout)
		missing := s.opt.Clusters.WaitReady(wctx, waiting...)
		cancel()
		if ctx.Err() != nil {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		late := make(map[string]bool, len(missing))
		for _, n := range missing {
			late[n] = true
		}
		for _, n := range waiting {
			if !late[n] && s.clusters[n] != nil {
				s.ready[n] = true
			}
		}
		then()
		s.progressLocked()
	})
}

func (s *Store) applyEndpoints(u xds.Update) (rejected []xds.Rejection) {
	for _, r := range u.Set {
		m := &endpointv3.ClusterLoadAssignment{}
		err := open(r.Body, m)
		var e *cluster.Endpoints
		if err == nil {
			e, err = decodeEndpoints(m, false)
		}
		if err == nil {
			err = s.setEndpoints(r.Name, e)
		}
		if err != nil {
			rejected = append(rejected, xds.Rejection{Name: r.Name, Err: err})
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range u.Removed {
		// As Envoy does, endpoints that were there stay until their cluster
		// goes: the removal may arrive before what replaces the cluster.
		if h := s.endpoints[n]; h == nil || h.arrived {
			continue
		}
		s.arrived(waitKey{wire.TypeEndpoint, n})
		if err := s.opt.Clusters.SetEndpoints(n, nil); err != nil {
			s.opt.Log.Error("endpoints: cannot be removed", "service", n, "error", err)
		}
	}
	s.progressLocked()
	return rejected
}

func (s *Store) setEndpoints(service string, e *cluster.Endpoints) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.endpoints[service]
	if h == nil {
		return nil // unsubscribed meanwhile
	}
	h.arrived = true
	s.arrived(waitKey{wire.TypeEndpoint, service})
	return s.opt.Clusters.SetEndpoints(service, e)
}

func (s *Store) subscribe(typeURL, name string) {
	if s.ads != nil {
		s.ads.Subscribe(typeURL, name)
	}
}

func (s *Store) unsubscribe(typeURL, name string) {
	if s.ads != nil {
		s.ads.Unsubscribe(typeURL, name)
	}
}
