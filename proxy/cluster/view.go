package cluster

import (
	"math"
	"math/bits"
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/proxy/cluster/balance"
)

// view is an immutable picture of a cluster's hosts, ready to choose from.
type view struct {
	hosts []*Host
	ladder
	shares []share // of the tiers, in their order
	drop   uint64  // requests whose number is below it are dropped

	subsets *subsets // of the whole cluster, when it has some
}

// dropAll is a view's drop that drops all.
const dropAll = math.MaxUint64

// share is what a tier chooses from: a priority's healthy or its degraded hosts,
// or in a panic all.
type share struct {
	panic bool
	localities
	zones *zones // nil: where the proxy stands does not matter
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
	zoneSalt     = 0x7a6f6e657a6f6e65
)

// mix is the finaliser of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// key is the hash of a request where the policy wants one, else a random number.
func (p *Pick) key(c *Cluster) uint64 {
	if p.HasHash && (c.spec.LB.Policy == RingHash || c.spec.LB.Policy == Maglev) {
		return p.Hash
	}
	return p.Random
}

// pick chooses a host, nil: there is none.
func (v *view) pick(c *Cluster, p *Pick) *Host {
	key := p.key(c)
	i := v.choose(p, key)
	if i < 0 {
		if c.spec.LB.FailOnPanic && slices.ContainsFunc(v.levels, func(w weights) bool { return w.panic }) {
			c.stats.LBHealthyPanic.Add(1)
		}
		return nil
	}
	return v.shares[i].pick(c, p, key)
}

// pick chooses a host of a share, nil: there is none.
func (s *share) pick(c *Cluster, p *Pick, key uint64) *Host {
	if s.panic {
		c.stats.LBHealthyPanic.Add(1)
	}
	l := s.locality(key)
	if s.zones != nil {
		l = s.zones.choose(c.stats, key, l)
	}
	if l == nil {
		return nil
	}
	var h *Host
	for try := 0; ; try++ {
		h = l.hosts[l.by.Pick(key, try)]
		if try >= p.Tries || !p.passesOver(h) {
			return h
		}
	}
}

// passesOver tells whether another host is better.
func (p *Pick) passesOver(h *Host) bool {
	if slices.Contains(p.Avoid, h) {
		return true
	}
	for _, omit := range p.Omit {
		has := true
		for k, v := range omit {
			has = has && h.Endpoint().Labels[k] == v
		}
		if has {
			return true
		}
	}
	return false
}

func (l *localities) locality(key uint64) *set {
	if len(l.upTo) == 0 {
		if len(l.sets) == 0 {
			return nil
		}
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

// Peek is the host that round robin will choose after n others; nil: that is not
// known, as with any other way of choosing.
func (c *Cluster) Peek(n int) *Host {
	v := c.view.Load()
	if v.subsets != nil || len(v.tiers) == 0 {
		return nil
	}
	i := v.choose(&Pick{}, 0)
	if i < 0 || v.shares[i].zones != nil || len(v.shares[i].sets) != 1 {
		return nil
	}
	s := &v.shares[i].sets[0]
	r, ok := s.by.(interface{ Peek(n int) int })
	if !ok {
		return nil
	}
	return s.hosts[r.Peek(n)]
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
