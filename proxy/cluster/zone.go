package cluster

import (
	"slices"

	"github.com/weftmesh/weft/proxy/filter/runtime"
)

// Zone-aware routing keeps requests in the zone of the proxy as far as that zone
// of the upstream cluster can take them, reckoned from how the proxies of this
// kind (the local cluster) and the upstream hosts are spread over zones. It is
// Envoy's, and like there it is for the first priority only.

// Place is a locality by name.
type Place struct{ Region, Zone, SubZone string }

func (l *Locality) place() Place { return Place{l.Region, l.Zone, l.SubZone} }

// neighbours are the hosts of the local cluster by place: what zone-aware routing
// reckons with. They are immutable and comparable by same.
type neighbours struct {
	places                   []neighbourhood
	hosts, excluded, serving int // of all places
}

type neighbourhood struct {
	place           Place
	hosts           int
	healthy, weight uint64
}

func newNeighbours(ms []member) *neighbours {
	n := &neighbours{}
	for i := range ms {
		m := &ms[i]
		if m.locality.Priority != 0 {
			continue
		}
		k := slices.IndexFunc(n.places, func(h neighbourhood) bool { return h.place == m.locality.place() })
		if k < 0 {
			k = len(n.places)
			n.places = append(n.places, neighbourhood{place: m.locality.place()})
		}
		n.hosts++
		n.places[k].hosts++
		if m.host.has(PendingActive | Excluded) {
			n.excluded++
		}
		l := m.host.level(m.endpoint)
		if l != levelUnhealthy {
			n.serving++
		}
		if l == levelHealthy {
			n.places[k].healthy++
			n.places[k].weight += uint64(m.weight())
		}
	}
	return n
}

func (n *neighbours) same(o *neighbours) bool {
	return o != nil && n.hosts == o.hosts && n.excluded == o.excluded && n.serving == o.serving && slices.Equal(n.places, o.places)
}

// at finds a place, zero: nobody is there.
func (n *neighbours) at(p Place) neighbourhood {
	for _, h := range n.places {
		if h.place == p {
			return h
		}
	}
	return neighbourhood{}
}

// panics tells whether too few of the local cluster serve.
func (n *neighbours) panics(percent float64) bool {
	count := n.hosts - n.excluded
	return count <= 0 && percent > 0 || count > 0 && 100*float64(n.serving)/float64(count) < percent
}

// meet takes in what the local cluster has become. All others reckon anew, later:
// the local cluster's lock is held.
func (m *Manager) meet(n *neighbours) {
	if n.same(m.neighbours.Swap(n)) {
		return
	}
	m.post(func() {
		m.mu.Lock()
		all := make([]*Cluster, 0, len(m.newest))
		for name, c := range m.newest {
			all = append(all, c)
			if cur := m.Get(name); cur != c && cur != nil {
				all = append(all, cur)
			}
		}
		m.mu.Unlock()
		for _, c := range all {
			c.mu.Lock()
			if c.zoned() && c.isReady {
				c.rebuildLocked()
			}
			c.mu.Unlock()
		}
	})
}

// LocalMembers is how many endpoints the local cluster has; 0 when there is none.
func (m *Manager) LocalMembers() int {
	c := m.Get(m.o.LocalCluster)
	if c == nil {
		return 0
	}
	return int(c.stats.MembershipTotal.Load())
}

// panicPercent is the share of its hosts below which a cluster takes all of them.
func (c *Cluster) panicPercent() float64 {
	if v := c.m.panicBelow.Load(); v != nil && v.IsInteger {
		return float64(min(v.Integer, 100))
	}
	return c.spec.LB.PanicPercent
}

// zoned tells whether zones may matter for the cluster.
func (c *Cluster) zoned() bool {
	switch c.spec.LB.Policy {
	case RoundRobin, LeastRequest, Random:
		return !c.spec.LB.LocalityWeighted && c.spec.Name != c.m.o.LocalCluster
	default:
		return false
	}
}

// zones are what a share chooses from by zone. The own zone is the first, if it
// has any hosts.
type zones struct {
	sets []set // of the places; without hosts: none there
	// own is how many of 10,000 requests stay in the own zone.
	own uint64
	// residual are sums of what the places can take beyond their own.
	residual []uint64
	percent  uint64
	share    *runtime.Key // instead of percent
	// panic: too few of the local cluster serve; fail: then nothing is served.
	panic, fail, direct bool
}

// area is the members of a priority at one place.
type area struct {
	place         Place
	members       []member // of the level that is asked for
	local, remote uint64   // shares of 10,000 of the local cluster and of the upstream's healthy hosts
	healthy, size uint64   // hosts, or their weights
}

// zones makes what a level of the first priority chooses from by zone; nil: zones do not matter.
func (b *builder) zones(ms []member, p *priority, l level) *zones {
	n := b.c.m.neighbours.Load()
	if n == nil || p.number != 0 || p.panic || !b.c.zoned() {
		return nil
	}
	spec := b.c.spec.LB.Zone
	if spec == nil {
		spec = &defaultZone
	}
	stats := b.c.stats
	if l == levelHealthy {
		stats.LBZoneRecalculate.Add(1)
	}
	own := *b.c.m.o.Place
	areas := areasOf(p, own, l, spec.ByWeight)
	switch {
	case len(areas) < 2 || len(n.places) < 2 && spec.ForceMin == 0:
		return nil
	case n.at(own).hosts == 0:
		stats.LBLocalNotOK.Add(1)
		return nil
	case uint64(len(p.members[levelHealthy])) < b.c.m.zoneLeast.Integer(spec.MinHosts):
		stats.LBZoneTooSmall.Add(1)
		return nil
	}
	reckon(areas, n, spec.ByWeight)
	z := &zones{
		percent: uint64(spec.Percent), share: b.c.m.zoneShare, panic: n.panics(b.c.panicPercent()), fail: b.c.spec.LB.FailOnPanic,
	}
	first := &areas[0]
	hasOwn := first.place == own
	z.direct = hasOwn && (first.remote > 0 && first.remote >= first.local || spec.ForceMin > 0 && first.healthy >= b.c.m.zoneForce.Integer(uint64(spec.ForceMin)))
	if hasOwn && first.local > 0 {
		z.own = first.remote * 10_000 / first.local
	}
	sum := uint64(0)
	for i, a := range areas {
		if a.remote > a.local && (i > 0 || !hasOwn) {
			sum += a.remote - a.local
		}
		z.residual = append(z.residual, sum)
		s := set{}
		if len(a.members) > 0 {
			s = b.set(a.members, nil)
		}
		z.sets = append(z.sets, s)
	}
	return z
}

// areasOf splits a priority by place; the own one comes first.
func areasOf(p *priority, own Place, l level, byWeight bool) (out []area) {
	for lv := range p.members {
		for _, m := range p.members[lv] {
			i := slices.IndexFunc(out, func(a area) bool { return a.place == m.locality.place() })
			if i < 0 {
				i = len(out)
				out = append(out, area{place: m.locality.place()})
			}
			if level(lv) == l {
				out[i].members = append(out[i].members, m)
			}
			if level(lv) == levelHealthy {
				out[i].healthy++
				out[i].size++
				if byWeight {
					out[i].size += uint64(m.weight()) - 1
				}
			}
		}
	}
	if i := slices.IndexFunc(out, func(a area) bool { return a.place == own }); i > 0 {
		out[0], out[i] = out[i], out[0]
	}
	return out
}

// reckon fills in the shares. Where the upstream has no healthy hosts, both are 0.
func reckon(areas []area, n *neighbours, byWeight bool) {
	size := func(h neighbourhood) uint64 {
		if byWeight {
			return h.weight
		}
		return h.healthy
	}
	var local, remote uint64
	for _, h := range n.places {
		local += size(h)
	}
	for i := range areas {
		remote += areas[i].size
	}
	for i := range areas {
		a := &areas[i]
		if a.healthy == 0 {
			continue
		}
		a.remote = 10_000 * a.size / remote
		a.local = 10_000 * size(n.at(a.place)) / max(local, 1)
	}
}

// choose chooses by zone; all is what holds without them. Nil: nothing is to be served.
func (z *zones) choose(s *Stats, key uint64, all *set) *set {
	r := mix(key ^ zoneSalt)
	if percent := z.share.Integer(z.percent); percent < 100 && scale(r, 100) >= percent {
		return all
	}
	if z.panic {
		s.LBLocalNotOK.Add(1)
		if z.fail {
			return nil
		}
		return all
	}
	at := &z.sets[z.at(s, mix(r))]
	if len(at.hosts) == 0 {
		return all
	}
	return at
}

// at is the place to go to.
func (z *zones) at(s *Stats, r uint64) int {
	if z.direct {
		s.LBZoneDirectly.Add(1)
		return 0
	}
	if scale(r, 10_000) < z.own {
		s.LBZoneSampled.Add(1)
		return 0
	}
	s.LBZoneCross.Add(1)
	r = mix(r)
	last := len(z.residual) - 1
	if z.residual[last] == 0 { // only by rounding
		s.LBZoneNoCapacity.Add(1)
		return int(scale(r, uint64(len(z.sets))))
	}
	n := scale(r, z.residual[last])
	i := 0
	for n >= z.residual[i] {
		i++
	}
	return i
}
