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
	ladder          // its priorities are numbered through
	rungs    []rung // of levels
}

type part struct {
	cluster *Cluster
	view    *view
}

// rung is a priority of a cluster.
type rung struct {
	cluster *Cluster
	number  uint32
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
	for _, p := range a.parts {
		for _, w := range p.view.levels {
			a.rungs = append(a.rungs, rung{p.cluster, w.number})
			w.number, w.panic = uint32(len(a.levels)), false
			a.levels = append(a.levels, w)
		}
	}
	loads := divide(a.levels, c.panicPercent())
	for i, l := range loads {
		a.tiers = append(a.tiers, tier{l[0], i, levelHealthy}, tier{l[1], i, levelDegraded})
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
	key := p.Random
	if p.HasHash {
		key = p.Hash
	}
	i := a.choose(p, key)
	if i < 0 {
		c.stats.UpstreamCxNoneHealthy.Add(1)
		return nil, filter.FlagNoHealthyUpstream
	}
	t := a.tiers[i]
	r := a.rungs[t.at]
	v := r.cluster.view.Load()
	if v.subsets != nil {
		v = v.subsets.find(r.cluster, p.Subset)
	}
	if i := v.of(r.number, t.level); i >= 0 {
		if h := v.shares[i].pick(r.cluster, p, p.key(r.cluster)); h != nil {
			return h, 0
		}
	}
	r.cluster.stats.UpstreamCxNoneHealthy.Add(1)
	return nil, filter.FlagNoHealthyUpstream
}
