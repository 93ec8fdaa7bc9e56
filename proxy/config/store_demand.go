package config

import (
	"context"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
	"github.com/weftmesh/weft/wire"
)

// AskCluster asks for a cluster. It is found when it is ready to be used.
func (s *Store) AskCluster(name string, timeout time.Duration, wake func(filter.Outcome)) (filter.Outcome, func() bool) {
	return s.demand.ask(waitKey{wire.TypeCluster, name}, timeout, wake)
}

// AskRoutes asks for the routes of an on-demand scope.
func (s *Store) AskRoutes(name string, wake func(filter.Outcome)) (filter.Outcome, func() bool) {
	return s.demand.ask(waitKey{wire.TypeRoute, name}, defaultFetchTimeout, wake)
}

// clusterEntered tells those who asked for a cluster when it is ready.
func (s *Store) clusterEntered(name string) {
	k := waitKey{wire.TypeCluster, name}
	if s.demand.asked(k) {
		s.whenReady([]string{name}, func() { s.demand.found(k) })
	}
}

// sweepUntil drops now and then what came on demand and is not used, until ctx ends.
func (s *Store) sweepUntil(ctx context.Context) {
	tick := time.NewTicker(max(s.opt.DemandIdle/2, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.sweep()
		case <-ctx.Done():
			return
		}
	}
}

func (s *Store) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.demand.sweep()
	s.sweepHosts()
	s.sweepClusters()
}

// sweepClusters drops clusters on demand that no route names and that nobody
// used since the last sweep.
func (s *Store) sweepClusters() {
	found := s.demand.foundOf(wire.TypeCluster)
	if len(found) == 0 {
		return
	}
	named := s.namedClusters()
	uses := make(map[string]uint64, len(found))
	var idle []string
	for _, n := range found {
		h := s.clusters[n]
		if h == nil || h.static || h.next != nil {
			continue
		}
		now, busy := s.opt.Clusters.Activity(n)
		before, seen := s.uses[n]
		uses[n] = now
		if seen && before == now && !busy && !named[n] {
			idle = append(idle, n)
			delete(uses, n)
		}
	}
	s.uses = uses
	s.removeClusters(idle)
	for _, n := range idle {
		s.forget(wire.TypeCluster, n)
		delete(s.records, recordKey{wire.TypeCluster, n})
	}
}

func (s *Store) forget(typeURL, name string) {
	if s.ads != nil {
		s.ads.Forget(typeURL, name)
	}
}
