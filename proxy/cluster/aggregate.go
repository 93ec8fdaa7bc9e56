package cluster

import (
	"slices"

	"github.com/weftmesh/weft/proxy/filter"
)

// An aggregate cluster puts the priorities of other clusters one after the other
// and divides the load among them all, as if they were one cluster's; who gets it
// then chooses the host in its own way.

// aggregate is what an aggregate cluster chooses from. It is made anew when a
// request finds that it is not true any more.
type aggregate struct {
	clusters *map[string]*Cluster // the manager's, when it was made
	parts    []part
	shares   []aggregateShare
}

type part struct {
	cluster *Cluster
	view    *view
}

// aggregateShare is the part of the load that a priority of a cluster gets.
type aggregateShare struct {
	upTo, priority, own uint32 // own: the priority within the cluster
	cluster             *Cluster
}

// isTrue tells whether nothing has changed.
func (a *aggregate) isTrue(c *Cluster) bool {
	if a == nil || a.clusters != c.m.current.Load() {
		return false
	}
	for i := range a.parts {
		if a.parts[i].cluster.view.Load() != a.parts[i].view {
			return false
		}
	}
	return true
}

// collect finds the clusters by name; one that is an aggregate itself stands for
// its own. Those that do not exist (yet) are left out.
func (a *aggregate) collect(names, path []string) {
	for _, name := range names {
		switch c := (*a.clusters)[name]; {
		case c == nil || slices.Contains(path, name):
		case c.spec.Type == Aggregate:
			a.collect(c.spec.Clusters, append(path[:len(path):len(path)], name))
		default:
			a.parts = append(a.parts, part{c, c.view.Load()})
		}
	}
}

func newAggregate(c *Cluster) *aggregate {
	a := &aggregate{clusters: c.m.current.Load()}
	a.collect(c.spec.Clusters, []string{c.spec.Name})
	var ps []*priority
	var of []*Cluster
	for _, p := range a.parts {
		for _, w := range p.view.levels {
			ps, of = append(ps, &priority{weights: w}), append(of, p.cluster)
		}
	}
	loads, _ := divide(ps, c.spec.LB.PanicPercent)
	upTo := uint32(0)
	for i, l := range loads {
		if n := l[0] + l[1]; n > 0 {
			upTo += n
			a.shares = append(a.shares, aggregateShare{upTo, uint32(i), ps[i].number, of[i]})
		}
	}
	return a
}

// pickAggregate chooses a priority of a cluster, and lets that choose the host.
func (c *Cluster) pickAggregate(p *Pick) (*Host, filter.ResponseFlags) {
	a := c.aggregate.Load()
	if !a.isTrue(c) {
		a = newAggregate(c)
		c.aggregate.Store(a)
	}
	s := a.share(p)
	if s == nil {
		c.stats.UpstreamCxNoneHealthy.Add(1)
		return nil, filter.FlagNoHealthyUpstream
	}
	v := s.cluster.view.Load()
	if v.subsets != nil {
		v = v.subsets.find(s.cluster, p.Subset)
	}
	key := p.key(s.cluster)
	if h := v.in(s.own, key).pick(s.cluster, p, key); h != nil {
		return h, 0
	}
	s.cluster.stats.UpstreamCxNoneHealthy.Add(1)
	return nil, filter.FlagNoHealthyUpstream
}

// share chooses by load, leaving out priorities to skip if others remain.
func (a *aggregate) share(p *Pick) *aggregateShare {
	key := p.Random
	if p.HasHash {
		key = p.Hash
	}
	r := mix(key ^ prioritySalt)
	for _, skip := range [...]uint32{p.SkipPriorities, 0} {
		total, before := uint32(0), uint32(0)
		for i := range a.shares {
			if skip&(1<<(a.shares[i].priority&31)) == 0 {
				total += a.shares[i].upTo - before
			}
			before = a.shares[i].upTo
		}
		if total == 0 {
			continue
		}
		n := uint32(scale(r, uint64(total)))
		before = 0
		for i := range a.shares {
			s := &a.shares[i]
			load := s.upTo - before
			before = s.upTo
			if skip&(1<<(s.priority&31)) != 0 {
				continue
			}
			if n < load {
				return s
			}
			n -= load
		}
	}
	return nil
}

// in is the share of one priority; of its healthy and degraded hosts by their load.
func (v *view) in(priority uint32, key uint64) *share {
	var total, before uint32
	for i := range v.shares {
		if v.shares[i].priority == priority {
			total += v.shares[i].upTo - before
		}
		before = v.shares[i].upTo
	}
	if total == 0 {
		return &noShare
	}
	n := uint32(scale(mix(key^aggregateSalt), uint64(total)))
	before = 0
	for i := range v.shares {
		s := &v.shares[i]
		load := s.upTo - before
		before = s.upTo
		if s.priority != priority {
			continue
		}
		if n < load {
			return s
		}
		n -= load
	}
	return &noShare
}

var noShare share
