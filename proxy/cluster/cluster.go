package cluster

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/proxy/filter"
)

// Cluster is one version of a cluster.
type Cluster struct {
	// Set at construction.
	m       *Manager
	spec    *Spec
	stats   *Stats
	limits  [2]*Limits
	outlier atomic.Pointer[Outlier] // nil: no detection
	known   map[string][]netip.Addr // addresses that a predecessor has resolved
	cache   *DNSCache               // of a DynamicForward
	ready   chan struct{}

	// view is what Pick reads.
	view atomic.Pointer[view]
	orig originals
	// forwards are the hosts of a DynamicForward by the authorities of requests.
	forwards atomic.Pointer[map[string]*Host]
	// aggregate is what an aggregate cluster has last put together.
	aggregate atomic.Pointer[aggregate]
	// flagged: a host has been detected and Run told about it.
	flagged atomic.Bool
	// stale: the view is to be made anew and Run has been told about it.
	stale atomic.Bool

	mu sync.Mutex
	// Guarded by mu.
	endpoints *Endpoints // nil: none yet
	members   []member
	byKey     map[hostKey]*Host
	names     map[string]*lookup // of DNS clusters
	isReady   bool
	closed    bool
	sweep     *time.Timer // of outlier detection
	slow      *time.Timer // of slow start
	cleanup   *time.Timer // of original destinations
	stop      func()      // ends discovery; nil: there is none
	merge     *time.Timer // of what health checks find
	reweigh   *time.Timer // by reported load
	looked    time.Time   // when that was last worked in
	ejected   int
	// thresholds are mean and threshold of success rates, external and local.
	thresholds [2][2]float64
	unchecked  int // hosts whose first health check is waited for
}

// member is a host as part of the present endpoints.
type member struct {
	host     *Host
	endpoint *Endpoint
	locality *Locality
}

// Name of the cluster.
func (c *Cluster) Name() string { return c.spec.Name }

// StatName is the name in statistics.
func (c *Cluster) StatName() string {
	if c.spec.AltStatName != "" {
		return c.spec.AltStatName
	}
	return c.spec.Name
}

// Spec as it was given; read only.
func (c *Cluster) Spec() *Spec { return c.spec }

// Ready is closed when the cluster has its first endpoints, or none are to be had.
func (c *Cluster) Ready() <-chan struct{} { return c.ready }

// Stats of the cluster; they go on over replacements of the same name.
func (c *Cluster) Stats() *Stats { return c.stats }

// Limits are the circuit breakers of a priority.
func (c *Cluster) Limits(p Priority) *Limits { return c.limits[p] }

// Hosts yields all hosts, for admin pages.
func (c *Cluster) Hosts(yield func(*Host) bool) {
	switch c.spec.Type {
	case OriginalDst:
		c.orig.each(yield)
		return
	case DynamicForward:
		c.mu.Lock()
		hosts := slices.Collect(maps.Values(c.byKey))
		c.mu.Unlock()
		slices.SortFunc(hosts, func(a, b *Host) int { return strings.Compare(a.String(), b.String()) })
		for _, h := range hosts {
			if !yield(h) {
				return
			}
		}
		return
	default:
	}
	for _, h := range c.view.Load().hosts {
		if !yield(h) {
			return
		}
	}
}

// newCluster makes a cluster without endpoints; m.mu need not be held.
func newCluster(m *Manager, s *Spec) *Cluster {
	c := &Cluster{m: m, spec: s, ready: make(chan struct{}), byKey: map[hostKey]*Host{}}
	c.view.Store(&view{})
	c.thresholds = [2][2]float64{{unknownRate, unknownRate}, {unknownRate, unknownRate}}
	return c
}

// start gives the cluster its endpoints, as far as they are known.
func (c *Cluster) start() {
	if o := c.outlier.Load(); o != nil && (o.SuccessRate != nil || o.FailurePercentage != nil) {
		c.mu.Lock()
		c.armSweepLocked()
		c.mu.Unlock()
	}
	switch c.spec.Type {
	case Static:
		c.setEndpoints(c.spec.Endpoints)
	case StrictDNS, LogicalDNS:
		c.startDNS()
	case OriginalDst:
		c.mu.Lock()
		c.readyLocked()
		c.armCleanupLocked()
		c.mu.Unlock()
	case DynamicForward:
		c.cache.join(c)
		c.mu.Lock()
		c.readyLocked()
		c.after(&c.cleanup, 5*time.Minute, c.sweepAddresses)
		c.mu.Unlock()
	case Aggregate:
		c.mu.Lock()
		c.readyLocked()
		c.mu.Unlock()
	case Discovered:
		c.startDiscovery()
	case EDS: // SetEndpoints
	}
}

// readyLocked notes the first endpoints.
func (c *Cluster) readyLocked() {
	if !c.isReady {
		c.isReady = true
		close(c.ready)
		c.m.post(c.m.settle)
	}
}

// setEndpoints replaces the endpoints; hosts that stay keep their connections.
// Those that have gone are for the caller to close, outside of all locks.
func (c *Cluster) setEndpoints(e *Endpoints) (gone []*Host) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.UpdateAttempt.Add(1)
	gone = c.setEndpointsLocked(e)
	c.stats.UpdateSuccess.Add(1)
	return gone
}

func (c *Cluster) setEndpointsLocked(e *Endpoints) (gone []*Host) {
	if c.closed {
		return nil
	}
	if e == nil || len(e.Localities) == 0 {
		c.stats.UpdateEmpty.Add(1)
	}
	if e == nil {
		e = &Endpoints{}
	}
	c.endpoints = e
	kept := make(map[hostKey]*Host, len(c.byKey))
	changed := false
	former := c.members
	c.members = nil
	for i := range e.Localities {
		l := &e.Localities[i]
		for k := range l.Endpoints {
			ep := &l.Endpoints[k]
			key := c.keyOf(ep)
			if kept[key] != nil {
				continue // named twice: the first counts
			}
			h := c.byKey[key]
			if h == nil {
				h = newHost(c, key, ep)
				c.startCheckLocked(h)
				c.watchLoadLocked(h)
				changed = true
			}
			h.desc.Store(&description{ep, l})
			h.flag(PendingRemoval, false)
			kept[key] = h
			c.members = append(c.members, member{h, ep, l})
		}
	}
	for key, h := range c.byKey {
		switch {
		case kept[key] != nil:
		case c.stays(h):
			kept[key] = h
			h.flag(PendingRemoval, true)
			m := former[slices.IndexFunc(former, func(m member) bool { return m.host == h })]
			m.locality = e.like(m.locality)
			c.members = append(c.members, m)
		default:
			gone = append(gone, h)
			c.leaveLocked(h)
		}
	}
	if changed || len(gone) > 0 {
		c.stats.MembershipChange.Add(1)
	}
	c.byKey = kept
	if c.spec.LB.Load != nil {
		c.weighLocked(time.Now())
		c.armWeighLocked()
	}
	c.rebuildLocked()
	if c.unchecked == 0 {
		c.readyLocked()
	}
	return gone
}

// like is the locality of e with the name and the priority of another's, or that one.
func (e *Endpoints) like(l *Locality) *Locality {
	for i := range e.Localities {
		if n := &e.Localities[i]; n.Region == l.Region && n.Zone == l.Zone && n.SubZone == l.SubZone && n.Priority == l.Priority {
			return n
		}
	}
	return l
}

// rebuildLocked publishes a new view of the members.
func (c *Cluster) rebuildLocked() {
	if c.closed {
		return
	}
	b := builder{c: c, now: time.Now(), endpoints: c.endpoints}
	v := b.build(c.members)
	c.view.Store(v)
	c.stats.MembershipTotal.Store(int64(len(v.hosts)))
	c.stats.MembershipHealthy.Store(int64(b.healthy))
	c.stats.MembershipDegraded.Store(int64(b.degraded))
	c.stats.MembershipExcluded.Store(int64(b.excluded))
	if c.m.o.LocalCluster == c.spec.Name && c.m.o.Place != nil {
		c.m.meet(newNeighbours(c.members))
	}
	if b.warming {
		c.armSlowLocked()
	}
	if c.spec.CloseOnChange {
		c.m.post(func() {
			for _, h := range v.hosts {
				h.drain()
			}
		})
	}
}

// armSlowLocked rebuilds soon, while hosts are in their slow start.
func (c *Cluster) armSlowLocked() {
	step := max(c.spec.LB.SlowStart.Window/20, 100*time.Millisecond)
	c.after(&c.slow, step, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.rebuildLocked()
	})
}

// after arms a timer whose function runs on Run's goroutine; mu is held.
func (c *Cluster) after(t **time.Timer, d time.Duration, f func()) {
	if *t != nil {
		(*t).Stop()
	}
	*t = time.AfterFunc(d, func() { c.m.post(f) })
}

// close ends the cluster's work; those who hold it may still use its hosts.
func (c *Cluster) close() {
	c.mu.Lock()
	c.closed = true
	for _, t := range []*time.Timer{c.sweep, c.slow, c.cleanup, c.merge, c.reweigh} {
		if t != nil {
			t.Stop()
		}
	}
	for _, l := range c.names {
		if l.timer != nil {
			l.timer.Stop()
		}
	}
	if c.stop != nil {
		c.stop()
	}
	var hosts []*Host
	for _, h := range c.byKey {
		hosts = append(hosts, h)
		c.leaveLocked(h)
	}
	c.mu.Unlock()
	if c.cache != nil {
		c.cache.leave(c)
	}
	c.orig.each(func(h *Host) bool {
		hosts = append(hosts, h)
		return true
	})
	closeHosts(hosts)
}

// transport finds the entry of Spec.Transports for an endpoint, -1: Spec.TLS.
func (c *Cluster) transport(e *Endpoint) int {
	return slices.IndexFunc(c.spec.Transports, func(t Transport) bool {
		for k, v := range t.Labels {
			if got, ok := e.TransportLabels[k]; !ok || got != v {
				return false
			}
		}
		return true
	})
}

// Pick is what is known about a request when a host is chosen.
type Pick struct {
	// Random is drawn by the caller; a retry needs a new one.
	Random uint64
	// Hash and HasHash serve consistent hashing (route.Entry.Hash).
	Hash    uint64
	HasHash bool
	// Subset is a filter.SubsetKey.
	Subset string
	// Authority names the host for a DynamicForward.
	Authority string
	// Dst is the original destination.
	Dst netip.AddrPort
	// Override is the host to take if it can serve; Strict: or none.
	Override netip.AddrPort
	Strict   bool
	// Avoid are hosts to pass over, as long as Tries further choices find another.
	Avoid []*Host
	Tries int
	// Omit likewise passes over hosts that have all the labels of one of these.
	Omit []map[string]string
	// SkipPriorities is a bit set of priorities to pass over if others can
	// serve; Pick empties it when they cannot.
	SkipPriorities uint64
	// Priority is the one that Pick has chosen; an aggregate cluster's are numbered through.
	Priority uint32
}

// Drop tells whether the control plane wants a request with that random number to
// be dropped: the flag says why, 0 means that it goes on.
func (c *Cluster) Drop(random uint64) filter.ResponseFlags {
	switch v := c.view.Load(); {
	case v.drop == dropAll:
		c.stats.UpstreamRqDropOverload.Add(1)
		return filter.FlagUnconditionalDropOverload
	case mix(random^dropSalt) >= v.drop:
		return 0
	default:
		c.stats.UpstreamRqDropOverload.Add(1)
		return filter.FlagDropOverload
	}
}

// DropCategory is what requests that Drop drops are counted as.
func (c *Cluster) DropCategory() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.endpoints == nil {
		return ""
	}
	return c.endpoints.DropCategory
}

// Pick chooses a host; an aggregate cluster's is another cluster's. A nil host
// comes with the flag that says why.
func (c *Cluster) Pick(p *Pick) (*Host, filter.ResponseFlags) {
	switch c.spec.Type {
	case OriginalDst:
		return c.pickOriginal(p)
	case Aggregate:
		return c.pickAggregate(p)
	case DynamicForward:
		return c.pickForward(p)
	case Discovered:
		return c.pickDiscovered(p)
	default:
	}
	v := c.view.Load()
	if p.Override.IsValid() {
		if h := v.at(p.Override); h != nil {
			return h, 0
		}
		if p.Strict {
			return nil, filter.FlagNoHealthyUpstream
		}
	}
	if v.subsets != nil {
		v = v.subsets.find(c, p.Subset)
	}
	if h := v.pick(c, p); h != nil {
		return h, 0
	}
	c.stats.UpstreamCxNoneHealthy.Add(1)
	return nil, filter.FlagNoHealthyUpstream
}
