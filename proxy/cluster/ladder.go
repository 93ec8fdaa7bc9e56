package cluster

// ladder divides load among priorities, of which the first takes all that it
// can: those of a cluster, or those of all clusters of an aggregate. It is immutable.
type ladder struct {
	levels []weights // of the priorities, in their order
	tiers  []tier    // in the order in which load is spilled over
}

// tier is a priority's part of the load that goes to its hosts of one level, or
// in a panic to all of them. It may be 0: a retry can still be sent there.
type tier struct {
	load  uint32
	at    int // of levels
	level level
}

// weights is what the loads are computed from.
type weights struct {
	number uint32
	weight [3]float64 // by level: hosts, or their weights
	over   float64    // overprovisioning, as a factor
	hosts  int
	panic  bool // there are too few available hosts
}

// percent is the share of a level in what counts.
func (p *weights) percent(l level) float64 {
	total := p.weight[0] + p.weight[1] + p.weight[2]
	if total == 0 {
		return 0
	}
	return 100 * p.weight[l] / total
}

// available is how much of the load the hosts of a level can take, in percent.
func (p *weights) available(l level) int { return min(100, int(p.over*p.percent(l))) }

// divide divides the load among priorities as Envoy does: a priority counts as
// whole while its available share times the overprovisioning factor reaches
// 100 %; what is missing spills over to the next. It notes which are in a panic; when
// all are, the loads (of level 0) follow the hosts.
func divide(ps []weights, panicPercent float64) (loads [][2]uint32) {
	available := 0
	for i := range ps {
		available += ps[i].available(levelHealthy) + ps[i].available(levelDegraded)
	}
	panics := 0
	for i := range ps {
		if p := &ps[i]; available < 100 && p.percent(levelHealthy)+p.percent(levelDegraded) < panicPercent {
			p.panic = true
			panics++
		}
	}
	if panics < len(ps) {
		return spread(ps, 0)
	}
	loads = make([][2]uint32, len(ps))
	for i := range ps {
		loads[i][0] = uint32(ps[i].hosts)
	}
	return loads
}

// spread divides 100 among the priorities that are not in skip; nil: nothing of
// them is available.
func spread(ps []weights, skip uint64) (loads [][2]uint32) {
	available, health := 0, make([][2]int, len(ps))
	for i := range ps {
		if skip&bit(ps[i].number) != 0 {
			continue
		}
		for l := range health[i] {
			health[i][l] = ps[i].available(level(l))
			available += health[i][l]
		}
	}
	if available == 0 {
		return nil
	}
	loads = make([][2]uint32, len(ps))
	left, norm, first := 100, min(available, 100), -1
	for l := range 2 {
		for i := range ps {
			if health[i][l] > 0 && first < 0 {
				first = 2*i + l
			}
			n := min(left, health[i][l]*100/norm)
			loads[i][l] = uint32(n)
			left -= n
		}
	}
	loads[first/2][first%2] += uint32(left) // what rounding has left over
	return loads
}

// bit is a priority's in a set of them.
func bit(priority uint32) uint64 { return 1 << (priority & 63) }

// serves tells whether load goes anywhere.
func (l *ladder) serves() bool {
	for i := range l.tiers {
		if l.tiers[i].load > 0 {
			return true
		}
	}
	return false
}

// choose chooses a tier by load, -1: none has any. A retry has priorities to skip;
// when nothing else is left, there is nothing to skip any more. p is told which
// priority it is.
func (l *ladder) choose(p *Pick, key uint64) int {
	if len(l.tiers) == 1 && l.tiers[0].load > 0 && p.SkipPriorities == 0 {
		p.Priority = l.levels[0].number
		return 0
	}
	r := mix(key ^ prioritySalt)
	var loads [][2]uint32
	if p.SkipPriorities != 0 {
		if loads = spread(l.levels, p.SkipPriorities); loads == nil {
			p.SkipPriorities = 0
		}
	}
	i := l.draw(r, loads)
	if i >= 0 {
		p.Priority = l.levels[l.tiers[i].at].number
	}
	return i
}

// draw chooses a tier by load, or by other loads by priority and level, when given.
func (l *ladder) draw(r uint64, other [][2]uint32) int {
	load := func(t *tier) uint32 {
		if other != nil {
			return other[t.at][t.level]
		}
		return t.load
	}
	total := uint32(0)
	for i := range l.tiers {
		total += load(&l.tiers[i])
	}
	n := uint32(scale(r, uint64(total)))
	for i := range l.tiers {
		w := load(&l.tiers[i])
		if n < w {
			return i
		}
		n -= w
	}
	return -1
}

// of finds the tier of a priority's level, -1: there is none.
func (l *ladder) of(priority uint32, lv level) int {
	for i := range l.tiers {
		if t := &l.tiers[i]; t.level == lv && l.levels[t.at].number == priority {
			return i
		}
	}
	return -1
}
