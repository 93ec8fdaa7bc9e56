package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/base/stream"
	"github.com/weftmesh/weft/proxy/cluster/health"
	"github.com/weftmesh/weft/proxy/filter/runtime"
	"github.com/weftmesh/weft/proxy/transport"
)

// Answer of a Resolver. TTL 0: unknown.
type Answer struct {
	Addrs []netip.Addr
	TTL   time.Duration
}

// Resolver looks a name up. No addresses and no error means that it has none.
type Resolver func(ctx context.Context, name string, f Family) (Answer, error)

// Options of a Manager.
type Options struct {
	Dialer transport.Dialer
	// Resolver nil: DNS clusters are refused.
	Resolver Resolver
	// Serve makes a stream of a connected socket, with that high water mark (0: the
	// usual one); nil: transport.Serve.
	Serve func(nc net.Conn, high int) stream.Conn
	// LocalCluster names the cluster that this proxy is an endpoint of, and Place is
	// where it stands; without either, zone-aware routing has no effect.
	LocalCluster string
	Place        *Place
	// Runtime has what overrides the clusters' configuration (upstream.zone_routing.…,
	// upstream.healthy_panic_threshold, circuit_breakers.…, outlier_detection.…); nil:
	// nothing does.
	Runtime *runtime.Store
	// Buckets are the upper bounds of a histogram's buckets, ascending, by its whole name; nil, or a nil
	// answer: DefaultBuckets.
	Buckets func(stat string) []float64
	// Inner connects to internal listeners; nil: there are none.
	Inner func(ctx context.Context, to Inner) (net.Conn, error)
	// Ejections is the log of outlier detection; nil: there is none.
	Ejections *health.Log
	// Log nil: silent.
	Log *slog.Logger
}

// Manager holds the clusters.
type Manager struct {
	// Set at construction.
	o    Options
	life context.Context //nolint:containedctx // bounds connections being made, which begin in callbacks
	end  context.CancelFunc
	wake chan struct{}

	zoneShare, zoneLeast, zoneForce, panicBelow *runtime.Key

	// neighbours are what the local cluster has last shown; nil: nothing.
	neighbours atomic.Pointer[neighbours]
	// current is what Get reads.
	current atomic.Pointer[map[string]*Cluster]

	mu sync.Mutex
	// Guarded by mu.
	newest  map[string]*Cluster // by name; differs from current while it warms
	shared  map[string]*shared
	eds     map[string]*Endpoints  // by service name
	caches  map[string]*DNSCache   // by name
	stale   map[string]*time.Timer // by service name
	service map[string][]*Cluster  // EDS clusters by service name
	// What the runtime says about limits and outlier detection.
	overrides, outlierOverrides overrides

	qmu sync.Mutex
	// Guarded by qmu.
	queue  []func()
	closed bool
	busy   sync.WaitGroup // dials and queries; Add under qmu while not closed
}

// shared is what goes on when a cluster is replaced.
type shared struct {
	stats  Stats
	limits [2]*Limits
}

// NewManager returns a Manager without clusters. Connections being made end with ctx.
func NewManager(ctx context.Context, o Options) *Manager {
	if o.Serve == nil {
		o.Serve = func(nc net.Conn, high int) stream.Conn { return transport.Serve(nc, transport.Options{High: high}) }
	}
	life, end := context.WithCancel(ctx)
	m := &Manager{
		o: o, life: life, end: end, wake: make(chan struct{}, 1),
		zoneShare: o.Runtime.Key("upstream.zone_routing.enabled"), zoneLeast: o.Runtime.Key("upstream.zone_routing.min_cluster_size"),
		zoneForce:  o.Runtime.Key("upstream.zone_routing.force_local_zone.min_size"),
		panicBelow: o.Runtime.Key("upstream.healthy_panic_threshold"),
		newest:     map[string]*Cluster{}, shared: map[string]*shared{},
		eds: map[string]*Endpoints{}, caches: map[string]*DNSCache{}, stale: map[string]*time.Timer{}, service: map[string][]*Cluster{},
	}
	m.current.Store(&map[string]*Cluster{})
	m.overrides, m.outlierOverrides = o.Runtime.Under(breakerKeys), o.Runtime.Under(outlierKeys)
	o.Runtime.Watch(func() { m.post(m.override) })
	return m
}

// Run does what takes time until ctx ends: resolves names, sweeps outliers,
// closes what is no longer used. On return all hosts are closed.
func (m *Manager) Run(ctx context.Context) error {
	for {
		m.qmu.Lock()
		queue := m.queue
		m.queue = nil
		m.qmu.Unlock()
		for _, f := range queue {
			f()
		}
		select {
		case <-m.wake:
		case <-ctx.Done():
			m.shutdown()
			return nil
		}
	}
}

func (m *Manager) shutdown() {
	m.qmu.Lock()
	m.closed = true
	m.qmu.Unlock()
	m.end()
	m.mu.Lock()
	for _, t := range m.stale {
		t.Stop()
	}
	all := slices.Collect(maps.Values(*m.current.Load()))
	for name, c := range m.newest {
		if (*m.current.Load())[name] != c {
			all = append(all, c)
		}
	}
	m.mu.Unlock()
	for _, c := range all {
		c.close()
	}
	m.busy.Wait()
}

// post has f run on Run's goroutine.
func (m *Manager) post(f func()) {
	m.qmu.Lock()
	m.queue = append(m.queue, f)
	m.qmu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// work runs f on a goroutine that shutdown waits for; false: it is too late.
func (m *Manager) work(f func(ctx context.Context)) bool {
	m.qmu.Lock()
	defer m.qmu.Unlock()
	if m.closed {
		return false
	}
	m.busy.Go(func() { f(m.life) })
	return true
}

// Get returns a cluster, nil: unknown. A cluster that is replaced stays usable
// for those who hold it.
func (m *Manager) Get(name string) *Cluster { return (*m.current.Load())[name] }

// Update adds, replaces and removes clusters; nothing is changed on an error,
// which names cluster and field. A replacement takes over when it is ready;
// until then its predecessor serves.
func (m *Manager) Update(set []*Spec, remove []string) error {
	for _, s := range set {
		if err := m.check(s); err != nil {
			return fmt.Errorf("cluster %q: %w", s.Name, err)
		}
	}
	m.mu.Lock()
	var old []*Cluster
	for _, s := range set {
		if c := m.addLocked(s); c != nil {
			old = append(old, c)
		}
	}
	next := maps.Clone(*m.current.Load())
	for _, name := range remove {
		if c := m.newest[name]; c != nil {
			old = append(old, c)
			m.leaveLocked(c)
			if cur := next[name]; cur != c && cur != nil {
				old = append(old, cur)
				m.leaveLocked(cur)
			}
			delete(m.newest, name)
			delete(m.shared, name)
			delete(next, name)
		}
	}
	old = append(old, m.publishLocked(next)...)
	m.mu.Unlock()
	for _, c := range old {
		c.close()
	}
	return nil
}

// addLocked makes the newest version of a cluster. It returns a former one that
// was still warming and is not needed any more.
func (m *Manager) addLocked(s *Spec) (unused *Cluster) {
	before := m.newest[s.Name]
	if before != nil && before.spec.Version != "" && before.spec.Version == s.Version {
		return nil
	}
	sh := m.shared[s.Name]
	if sh == nil {
		sh = &shared{}
		sh.limits = [2]*Limits{newLimits(&sh.stats), newLimits(&sh.stats)}
		m.shared[s.Name] = sh
	}
	c := newCluster(m, s)
	c.stats, c.limits = &sh.stats, sh.limits
	c.stats.track(c.StatName(), s.Track, m.o.Buckets)
	c.obeyLocked()
	m.newest[s.Name] = c
	if s.Type == DynamicForward {
		c.cache = m.caches[s.Cache.Name]
	}
	if s.Type == EDS {
		name := c.serviceName()
		m.service[name] = append(m.service[name], c)
		if e, ok := m.eds[name]; ok {
			c.setEndpoints(e)
		}
	}
	if before != nil {
		c.inherit(before)
		if m.Get(s.Name) != before {
			m.leaveLocked(before)
			unused = before
		}
	}
	c.start()
	return unused
}

// publishLocked makes next the clusters that Get sees, with all newest versions
// that are ready or have no predecessor. It returns those that are replaced.
func (m *Manager) publishLocked(next map[string]*Cluster) (old []*Cluster) {
	for name, c := range m.newest {
		cur := next[name]
		switch {
		case cur == c:
		case cur == nil:
			next[name] = c
		case c.hasStarted():
			next[name] = c
			old = append(old, cur)
			m.leaveLocked(cur)
		}
	}
	m.current.Store(&next)
	return old
}

// settle publishes replacements that have become ready.
func (m *Manager) settle() {
	m.mu.Lock()
	waiting := false
	for name, c := range m.newest {
		waiting = waiting || m.Get(name) != c && c.hasStarted()
	}
	var old []*Cluster
	if waiting {
		old = m.publishLocked(maps.Clone(*m.current.Load()))
	}
	m.mu.Unlock()
	for _, c := range old {
		c.close()
	}
}

// leaveLocked ends the supply of endpoints.
func (m *Manager) leaveLocked(c *Cluster) {
	if c.spec.Type != EDS {
		return
	}
	name := c.serviceName()
	left := slices.DeleteFunc(m.service[name], func(o *Cluster) bool { return o == c })
	if len(left) == 0 {
		delete(m.service, name)
		return
	}
	m.service[name] = left
}

func (c *Cluster) serviceName() string {
	if c.spec.ServiceName != "" {
		return c.spec.ServiceName
	}
	return c.spec.Name
}

func (c *Cluster) hasStarted() bool {
	select {
	case <-c.ready:
		return true
	default:
		return false
	}
}

// SetEndpoints gives the endpoints of EDS clusters with that service name; nil
// when the control plane says there are none such. They may come before the cluster.
func (m *Manager) SetEndpoints(service string, e *Endpoints) error {
	if e != nil {
		if err := e.check(false); err != nil {
			return fmt.Errorf("endpoints of %q: %w", service, err)
		}
	}
	m.mu.Lock()
	m.eds[service] = e
	m.armStaleLocked(service, e)
	var gone []*Host
	for _, c := range m.service[service] {
		gone = append(gone, c.setEndpoints(e)...)
	}
	m.mu.Unlock()
	closeHosts(gone)
	m.settle()
	return nil
}

// armStaleLocked takes endpoints away when they have not been sent again in time.
func (m *Manager) armStaleLocked(service string, e *Endpoints) {
	if t := m.stale[service]; t != nil {
		t.Stop()
		delete(m.stale, service)
	}
	if e == nil || e.StaleAfter <= 0 {
		return
	}
	m.stale[service] = time.AfterFunc(e.StaleAfter, func() {
		m.post(func() {
			m.mu.Lock()
			current := m.eds[service] == e
			if current {
				for _, c := range m.service[service] {
					c.stats.AssignmentStale.Add(1)
				}
			}
			m.mu.Unlock()
			if current {
				_ = m.SetEndpoints(service, &Endpoints{}) // none cannot be wrong
			}
		})
	})
}

// ForgetEndpoints drops what SetEndpoints keeps for clusters to come.
func (m *Manager) ForgetEndpoints(service string) {
	m.mu.Lock()
	delete(m.eds, service)
	m.armStaleLocked(service, nil)
	m.mu.Unlock()
}

// WaitReady waits until the newest versions of these clusters have endpoints (or have
// failed to get any). It returns the names of those that have not when ctx ends.
func (m *Manager) WaitReady(ctx context.Context, names ...string) (missing []string) {
	for _, name := range names {
		m.mu.Lock()
		c := m.newest[name]
		m.mu.Unlock()
		if c == nil {
			missing = append(missing, name)
			continue
		}
		select {
		case <-c.ready:
		case <-ctx.Done():
			if !c.hasStarted() {
				missing = append(missing, name)
			}
		}
	}
	m.settle()
	return missing
}

// Clusters yields all clusters in the order of their names, for admin pages.
func (m *Manager) Clusters(yield func(*Cluster) bool) {
	all := *m.current.Load()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if !yield(all[name]) {
			return
		}
	}
}
