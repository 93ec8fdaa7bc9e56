package cluster

import (
	"math/bits"
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/proxy/cluster/balance"
)

// view is an immutable picture of a cluster's hosts, ready to choose from.
type view struct {
	hosts  []*Host
	shares []share
	drop   uint64 // requests whose number is below it are dropped

	// Of the whole cluster, when it has subsets.
	subsets  map[string]*view
	fallback *view // nil: none
	panicAny *view // nil: none
}

// share is the part of the load that a priority gets, with its healthy or its
// degraded hosts, or in a panic with all.
type share struct {
	upTo     uint32 // sum of the loads up to this one; 100 or, in a total panic, of all
	priority uint32
	panic    bool
	localities
}

// localities of a share: with locality weights one balancer each, else one for all.
type localities struct {
	upTo []uint64 // sums of the weights; nil: one
	sets []set
}

// set is a balancer with the hosts that its indices mean.
type set struct {
	hosts []*Host
	by    balance.Balancer
}

// Salts make independent numbers of the one that a Pick brings.
const (
	dropSalt     = 0x6d65736864726f70
	prioritySalt = 0x7072696f72697479
	localitySalt = 0x6c6f63616c697479
)

// mix is the finaliser of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// subset finds the view of a subset key, or what stands in for it.
func (v *view) subset(c *Cluster, key string) *view {
	if s := v.subsets[key]; s != nil && len(s.shares) > 0 {
		return s
	}
	c.stats.LBSubsetsFallback.Add(1)
	if v.fallback != nil && len(v.fallback.shares) > 0 {
		return v.fallback
	}
	if v.panicAny != nil {
		return v.panicAny
	}
	return &noView
}

var noView view

// pick chooses a host, nil: there is none.
func (v *view) pick(c *Cluster, p *Pick) *Host {
	if len(v.shares) == 0 {
		return nil
	}
	key := p.Random
	if p.HasHash && (c.spec.LB.Policy == RingHash || c.spec.LB.Policy == Maglev) {
		key = p.Hash
	}
	s := v.share(key, p.SkipPriorities)
	if s.panic {
		c.stats.LBHealthyPanic.Add(1)
	}
	l := s.locality(key)
	if l == nil {
		return nil
	}
	var h *Host
	for try := 0; ; try++ {
		h = l.hosts[l.by.Pick(key, try)]
		if try >= p.Tries || !slices.Contains(p.Avoid, h) {
			return h
		}
	}
}

// share chooses by load, leaving out priorities to skip if others remain.
func (v *view) share(key uint64, skip uint32) *share {
	last := &v.shares[len(v.shares)-1]
	if len(v.shares) == 1 {
		return last
	}
	r := mix(key ^ prioritySalt)
	if skip != 0 {
		if s := v.shareWithout(r, skip); s != nil {
			return s
		}
	}
	n := uint32(scale(r, uint64(last.upTo)))
	for i := range v.shares {
		if n < v.shares[i].upTo {
			return &v.shares[i]
		}
	}
	return last
}

func (v *view) shareWithout(r uint64, skip uint32) *share {
	var total, before uint32
	for i := range v.shares {
		if s := &v.shares[i]; skip&(1<<(s.priority&31)) == 0 {
			total += s.upTo - before
		}
		before = v.shares[i].upTo
	}
	if total == 0 {
		return nil
	}
	n := uint32(scale(r, uint64(total)))
	before = 0
	for i := range v.shares {
		s := &v.shares[i]
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
	return nil
}

func (l *localities) locality(key uint64) *set {
	if l.upTo == nil {
		return &l.sets[0]
	}
	last := len(l.upTo) - 1
	n := scale(mix(key^localitySalt), l.upTo[last])
	for i := range last {
		if n < l.upTo[i] {
			return &l.sets[i]
		}
	}
	return &l.sets[last]
}

// at finds a host that can serve by its address, nil: there is none.
func (v *view) at(addr netip.AddrPort) *Host {
	for _, h := range v.hosts {
		if h.Addr() == addr && h.Healthy() {
			return h
		}
	}
	return nil
}

// scale maps 64 random bits onto [0, n).
func scale(random, n uint64) uint64 {
	hi, _ := bits.Mul64(random, n)
	return hi
}
