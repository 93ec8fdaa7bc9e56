package cluster

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/proxy/cluster/balance"
)

// builder makes views of members.
type builder struct {
	c         *Cluster
	now       time.Time
	endpoints *Endpoints

	// Found on the way.
	healthy, degraded, excluded int
	warming                     bool // some host is in its slow start

	inSubset bool // locality weights are another matter there
}

// build makes the view of a cluster with its subsets.
func (b *builder) build(ms []member) *view {
	v := b.view(ms)
	for i := range ms {
		if ms[i].host.has(PendingActive | Excluded) {
			b.excluded++
		}
		switch b.level(&ms[i]) {
		case levelHealthy:
			b.healthy++
		case levelDegraded:
			b.degraded++
		}
	}
	if b.endpoints != nil && b.endpoints.DropPercent > 0 {
		v.drop = dropAll
		if part := b.endpoints.DropPercent / 100; part < 1 {
			v.drop = uint64(part * (math.MaxUint64 - 1024))
		}
	}
	if b.c.spec.LB.Subsets == nil {
		return v
	}
	return b.subsets(v, ms)
}

// level is how far a host can be used.
type level uint8

const (
	levelHealthy level = iota
	levelDegraded
	levelUnhealthy
)

func (b *builder) level(m *member) level { return m.host.level(m.endpoint) }

func (h *Host) level(e *Endpoint) level {
	if h.Ejected() || h.has(FailedActive|Excluded) {
		return levelUnhealthy
	}
	switch e.Health {
	case Unknown, Healthy:
		if h.has(DegradedActive) {
			return levelDegraded
		}
		return levelHealthy
	case Degraded:
		return levelDegraded
	default:
		return levelUnhealthy
	}
}

// priority is a priority's hosts.
type priority struct {
	weights
	members [3][]member // by level
}

func (p *priority) all() []member {
	return slices.Concat(p.members[levelHealthy], p.members[levelDegraded], p.members[levelUnhealthy])
}

// in counts the members of a locality.
func (p *priority) in(l *Locality) (n int) {
	for _, ms := range p.members {
		for i := range ms {
			if ms[i].locality == l {
				n++
			}
		}
	}
	return n
}

// view makes the view of some members.
func (b *builder) view(ms []member) *view {
	v := &view{hosts: make([]*Host, 0, len(ms))}
	var ps []*priority
	weighted := b.endpoints != nil && b.endpoints.WeightedPriorityHealth
	over := 1.4
	if b.endpoints != nil && b.endpoints.Overprovisioning > 0 {
		over = float64(b.endpoints.Overprovisioning) / 100
	}
	for _, m := range ms {
		v.hosts = append(v.hosts, m.host)
		i := slices.IndexFunc(ps, func(p *priority) bool { return p.number == m.locality.Priority })
		if i < 0 {
			i = len(ps)
			ps = append(ps, &priority{weights: weights{number: m.locality.Priority, over: over}})
		}
		l, w := b.level(&m), 1.0
		if weighted {
			w = float64(m.weight())
		}
		ps[i].members[l] = append(ps[i].members[l], m)
		ps[i].hosts++
		if !m.host.has(PendingActive | Excluded) {
			ps[i].weight[l] += w
		}
	}
	slices.SortFunc(ps, func(a, b *priority) int { return cmp.Compare(a.number, b.number) })
	b.share(v, ps)
	return v
}

// share divides the load among the priorities.
func (b *builder) share(v *view, ps []*priority) {
	for _, p := range ps {
		v.levels = append(v.levels, p.weights)
	}
	loads := divide(v.levels, b.c.panicPercent())
	for i, p := range ps {
		p.panic = v.levels[i].panic
		for _, l := range []level{levelHealthy, levelDegraded} {
			t := tier{at: i, level: l}
			if loads != nil {
				t.load = loads[i][l]
			}
			b.add(v, p, t)
		}
	}
}

// add makes a tier of one level of a priority, unless it has no hosts.
func (b *builder) add(v *view, p *priority, t tier) {
	ms := p.members[t.level]
	if p.panic {
		if b.c.spec.LB.FailOnPanic || t.load == 0 && t.level != levelHealthy {
			return
		}
		ms = p.all()
	}
	ls := b.localities(ms, p)
	if ls.sets == nil {
		return
	}
	v.tiers = append(v.tiers, t)
	v.shares = append(v.shares, share{panic: p.panic, localities: ls, zones: b.zones(ms, p, t.level)})
}

// localities makes the balancers of a level's members.
func (b *builder) localities(ms []member, p *priority) (out localities) {
	lb := &b.c.spec.LB
	if len(ms) == 0 {
		return out
	}
	if !lb.LocalityWeighted || b.inSubset && !lb.Subsets.LocalityAware {
		out.sets = []set{b.set(ms, nil)}
		return out
	}
	var order []*Locality
	parts := map[*Locality][]member{}
	for _, m := range ms {
		if parts[m.locality] == nil {
			order = append(order, m.locality)
		}
		parts[m.locality] = append(parts[m.locality], m)
	}
	effective := map[*Locality]float64{}
	for _, l := range order {
		effective[l] = b.effectiveWeight(l, len(parts[l]), p)
		if b.inSubset && lb.Subsets.ScaleLocality {
			effective[l] *= float64(p.in(l)) / float64(max(len(l.Endpoints), 1))
		}
	}
	if lb.Policy == RingHash || lb.Policy == Maglev {
		// One ring over all localities: their weights are in the hosts'.
		ms = slices.DeleteFunc(slices.Clone(ms), func(m member) bool { return effective[m.locality] == 0 })
		if len(ms) > 0 {
			out.sets = []set{b.set(ms, effective)}
		}
		return out
	}
	var sum uint64
	for _, l := range order {
		if w := uint64(effective[l] * 10_000); w > 0 {
			sum += w
			out.upTo = append(out.upTo, sum)
			out.sets = append(out.sets, b.set(parts[l], nil))
		}
	}
	return out
}

// effectiveWeight lessens a locality's weight by what of it is not available,
// beyond overprovisioning.
func (b *builder) effectiveWeight(l *Locality, usable int, p *priority) float64 {
	if p.panic {
		return float64(l.Weight)
	}
	over := 1.4
	if b.endpoints != nil && b.endpoints.Overprovisioning > 0 {
		over = float64(b.endpoints.Overprovisioning) / 100
	}
	return float64(l.Weight) * min(1, over*float64(usable)/float64(p.in(l)))
}

// set makes the balancer of some members. effective, when given, are weights of localities
// to be worked into those of hosts.
func (b *builder) set(ms []member, effective map[*Locality]float64) set {
	s := set{hosts: make([]*Host, len(ms))}
	weights := make([]uint64, len(ms))
	inLocality := map[*Locality]uint64{}
	for i := range ms {
		s.hosts[i], weights[i] = ms[i].host, uint64(ms[i].weight())
		inLocality[ms[i].locality] += weights[i]
	}
	for i := range ms {
		if effective != nil {
			l := ms[i].locality
			weights[i] = max(1, uint64(effective[l]*1e6*float64(weights[i])/float64(inLocality[l])))
		}
	}
	if b.c.spec.LB.Load != nil {
		lessen(weights)
	}
	b.slowStart(ms, weights)
	lb := &b.c.spec.LB
	switch lb.Policy {
	case LeastRequest:
		active := actives(ms)
		s.by = balance.LeastRequest(weights, active, balance.Least{
			Choices: int(orDefault(lb.Choices, 2)), FullScan: lb.FullScan, Bias: lb.Bias,
		})
	case RingHash:
		s.by = balance.Ring(weights, hashKeys(ms, lb), balance.RingSize{
			Min: orDefault(lb.MinRing, 1024), Max: orDefault(lb.MaxRing, 8<<20), Murmur: lb.Murmur,
		})
	case Maglev:
		s.by = balance.Maglev(weights, hashKeys(ms, lb), orDefault(lb.TableSize, 65537))
	case Random:
		s.by = balance.Random(weights)
	default:
		s.by = balance.RoundRobin(weights, rand.Uint64()) //nolint:gosec // only a place to start
	}
	if lb.BalanceFactor > 0 && (lb.Policy == RingHash || lb.Policy == Maglev) {
		s.by = balance.Bounded(s.by, weights, balance.Load{
			Active: actives(ms), Total: &b.c.stats.UpstreamRqActive.Int64, Factor: lb.BalanceFactor,
		})
	}
	return s
}

// actives are the counts of active requests.
func actives(ms []member) []*atomic.Int64 {
	out := make([]*atomic.Int64, len(ms))
	for i := range ms {
		out[i] = &ms[i].host.stats.RqActive.Int64
	}
	return out
}

func orDefault[T uint32 | uint64](v, d T) T {
	if v == 0 {
		return d
	}
	return v
}

func hashKeys(ms []member, lb *LB) []string {
	keys := make([]string, len(ms))
	for i := range ms {
		e := ms[i].endpoint
		switch {
		case e.HashKey != "":
			keys[i] = e.HashKey
		case lb.HashHostname && e.Hostname != "":
			keys[i] = e.Hostname
		default:
			keys[i] = ms[i].host.String()
		}
	}
	return keys
}

// slowStart lessens the weights of young hosts.
func (b *builder) slowStart(ms []member, weights []uint64) {
	s := b.c.spec.LB.SlowStart
	if s == nil || s.Window <= 0 || b.c.spec.LB.Policy != RoundRobin && b.c.spec.LB.Policy != LeastRequest {
		return
	}
	least, aggression := s.MinPercent/100, s.Aggression
	if least == 0 {
		least = 0.1
	}
	if aggression == 0 {
		aggression = 1
	}
	for i := range ms {
		age := b.now.Sub(ms[i].host.since)
		if age >= s.Window {
			weights[i] *= 1000
			continue
		}
		b.warming = true
		part := math.Pow(max(age.Seconds(), 1)/max(s.Window.Seconds(), 1), 1/aggression)
		weights[i] = max(1, uint64(float64(weights[i])*1000*min(1, max(least, part))))
	}
}
