package cluster

import (
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
)

// originals are the hosts of an OriginalDst cluster, made as they are asked for.
// Lookups go to an immutable map; new ones to a small map behind a lock, which
// is merged into the first when lookups miss it too often.
type originals struct {
	known atomic.Pointer[map[netip.AddrPort]*Host]

	mu     sync.Mutex
	fresh  map[netip.AddrPort]*Host // guarded by mu; not in known
	misses int                      // guarded by mu
}

func (o *originals) get(addr netip.AddrPort, make func(netip.AddrPort) *Host) *Host {
	if m := o.known.Load(); m != nil {
		if h := (*m)[addr]; h != nil {
			return h
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if m := o.known.Load(); m != nil { // merged meanwhile
		if h := (*m)[addr]; h != nil {
			return h
		}
	}
	h := o.fresh[addr]
	if h == nil {
		h = make(addr)
		if o.fresh == nil {
			o.fresh = map[netip.AddrPort]*Host{}
		}
		o.fresh[addr] = h
	}
	if o.misses++; o.misses > len(o.fresh) {
		o.mergeLocked()
	}
	return h
}

func (o *originals) mergeLocked() {
	all := map[netip.AddrPort]*Host{}
	if m := o.known.Load(); m != nil {
		all = maps.Clone(*m)
	}
	maps.Copy(all, o.fresh)
	o.known.Store(&all)
	o.fresh, o.misses = nil, 0
}

// each yields all hosts.
func (o *originals) each(yield func(*Host) bool) {
	o.mu.Lock()
	o.mergeLocked()
	all := *o.known.Load()
	o.mu.Unlock()
	for _, h := range all {
		if !yield(h) {
			return
		}
	}
}

// unused takes out the hosts that nobody asked for since the last call and
// that have no connection.
func (o *originals) unused() (gone []*Host, left int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.mergeLocked()
	all := maps.Clone(*o.known.Load())
	maps.DeleteFunc(all, func(_ netip.AddrPort, h *Host) bool {
		if h.used.Swap(false) || h.stats.CxActive.Load() > 0 || h.stats.RqActive.Load() > 0 {
			return false
		}
		gone = append(gone, h)
		return true
	})
	if len(gone) > 0 {
		o.known.Store(&all)
	}
	return gone, len(all)
}

// pickOriginal sends to where the client wanted to go.
func (c *Cluster) pickOriginal(p *Pick) (*Host, filter.ResponseFlags) {
	dst := p.Dst
	if c.spec.Original.Port != 0 {
		dst = netip.AddrPortFrom(dst.Addr(), c.spec.Original.Port)
	}
	if !dst.IsValid() || dst.Port() == 0 {
		c.stats.UpstreamCxNoneHealthy.Add(1)
		return nil, filter.FlagNoHealthyUpstream
	}
	h := c.orig.get(dst, c.newOriginal)
	if !h.used.Load() {
		h.used.Store(true)
	}
	return h, 0
}

func (c *Cluster) newOriginal(addr netip.AddrPort) *Host {
	e := &Endpoint{Addr: addr}
	h := newHost(c, c.keyOf(e), e)
	h.used.Store(true)
	c.stats.MembershipChange.Add(1)
	c.stats.MembershipTotal.Add(1)
	c.stats.MembershipHealthy.Add(1)
	return h
}

func (c *Cluster) armCleanupLocked() {
	d := c.spec.Original.Cleanup
	if d <= 0 {
		d = 5 * time.Second
	}
	c.after(&c.cleanup, d, c.cleanUp)
}

// cleanUp forgets original destinations that are not used. On Run's goroutine.
func (c *Cluster) cleanUp() {
	gone, left := c.orig.unused()
	c.stats.MembershipTotal.Store(int64(left))
	c.stats.MembershipHealthy.Store(int64(left))
	c.mu.Lock()
	if !c.closed {
		c.armCleanupLocked()
	}
	c.mu.Unlock()
	closeHosts(gone)
}
