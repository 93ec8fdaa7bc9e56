package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weftmesh/weft/base/backoff"
)

// DNSCacheSpec describes a cache of the names that requests bring. 0 is Envoy's default.
type DNSCacheSpec struct {
	// Name: specs with one name share a cache, and must be equal.
	Name string
	// DNS.Refresh 0: 60 s.
	DNS DNS
	// MinRefresh is the least time to live; 0: 5 s.
	MinRefresh time.Duration
	// HostTTL is how long a name stays that nobody asks for; 0: 5 min.
	HostTTL time.Duration
	// MaxHosts 0: 1024. MaxPending requests wait for answers; 0: 1024.
	MaxHosts, MaxPending uint32
	// Timeout of a query; 0: 5 s.
	Timeout time.Duration
	// NoRefreshOnFailure forgets a name that cannot be resolved.
	NoRefreshOnFailure bool
	// Ahead are names to resolve before anybody asks.
	Ahead []string
}

func (s DNSCacheSpec) withDefaults() DNSCacheSpec {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&s.DNS.Refresh, 60*time.Second)
	def(&s.MinRefresh, 5*time.Second)
	def(&s.HostTTL, 5*time.Minute)
	def(&s.Timeout, resolveTimeout)
	s.MaxHosts, s.MaxPending = orDefault(s.MaxHosts, 1024), orDefault(s.MaxPending, 1024)
	return s
}

// DNSCacheStats count a cache; names are Envoy's.
type DNSCacheStats struct {
	QueryAttempt, QuerySuccess, QueryFailure, QueryTimeout           Counter
	AddressChanged, HostAdded, HostRemoved, HostOverflow, RqOverflow Counter
	NumHosts                                                         Gauge
}

// DNSCache resolves names as requests ask for them, and keeps them fresh while
// they do. Clusters that use it are told of changes.
type DNSCache struct {
	m     *Manager
	spec  DNSCacheSpec
	stats DNSCacheStats

	mu sync.Mutex
	// Guarded by mu.
	entries map[string]*cachedName
	users   map[*Cluster]bool
	pending uint32
}

type cachedName struct {
	name    string
	addrs   []netip.Addr
	tried   bool
	used    time.Time
	waiting []func(bool)
	failing backoff.Backoff
	timer   *time.Timer
}

// Resolution is what is known of a name.
type Resolution uint8

// Resolutions.
const (
	// Resolved: there are addresses.
	Resolved Resolution = iota
	// Resolving: the function that was given will be called.
	Resolving
	// Unresolved: there are none.
	Unresolved
	// CacheFull: there are too many names.
	CacheFull
	// TooManyPending: too many requests wait for answers.
	TooManyPending
)

// CheckDNSCache refuses a spec that differs from another one of its name.
func (m *Manager) CheckDNSCache(s *DNSCacheSpec) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, err := m.dnsCacheLocked(s)
	return err
}

func (m *Manager) dnsCacheLocked(s *DNSCacheSpec) (*DNSCache, error) {
	if m.o.Resolver == nil {
		return nil, errors.New("there is no resolver for names")
	}
	full := s.withDefaults()
	if d := m.caches[s.Name]; d != nil {
		switch {
		case d.spec.equal(&full):
			return d, nil
		case d.inUse():
			return nil, fmt.Errorf("dns_cache_config.name: %q has other settings elsewhere; one name has one cache", s.Name)
		}
	}
	d := &DNSCache{m: m, spec: full, entries: map[string]*cachedName{}, users: map[*Cluster]bool{}}
	m.caches[s.Name] = d
	return d, nil
}

func (d *DNSCache) inUse() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.users) > 0
}

func (s *DNSCacheSpec) equal(o *DNSCacheSpec) bool {
	a, b := *s, *o
	a.Ahead, b.Ahead = nil, nil
	return fmt.Sprint(a) == fmt.Sprint(b) && slices.Equal(s.Ahead, o.Ahead)
}

// DNSCaches yields the statistics of all caches by their names.
func (m *Manager) DNSCaches(yield func(name string, s *DNSCacheStats) bool) {
	m.mu.Lock()
	caches := make([]*DNSCache, 0, len(m.caches))
	for _, d := range m.caches {
		caches = append(caches, d)
	}
	m.mu.Unlock()
	slices.SortFunc(caches, func(a, b *DNSCache) int { return strings.Compare(a.spec.Name, b.spec.Name) })
	for _, d := range caches {
		if !yield(d.spec.Name, &d.stats) {
			return
		}
	}
}

// Each yields the statistics by Envoy's names.
func (s *DNSCacheStats) Each(yield func(name string, k StatKind, v uint64) bool) {
	_ = yield("dns_query_attempt", KindCounter, s.QueryAttempt.Load()) && yield("dns_query_success", KindCounter, s.QuerySuccess.Load()) &&
		yield("dns_query_failure", KindCounter, s.QueryFailure.Load()) && yield("dns_query_timeout", KindCounter, s.QueryTimeout.Load()) &&
		yield("host_address_changed", KindCounter, s.AddressChanged.Load()) && yield("host_added", KindCounter, s.HostAdded.Load()) &&
		yield("host_removed", KindCounter, s.HostRemoved.Load()) && yield("host_overflow", KindCounter, s.HostOverflow.Load()) &&
		yield("dns_rq_pending_overflow", KindCounter, s.RqOverflow.Load()) && yield("num_hosts", KindGauge, uint64(max(s.NumHosts.Load(), 0)))
}

// join makes c a user of the cache.
func (d *DNSCache) join(c *Cluster) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.users[c] = true
	for _, name := range d.spec.Ahead {
		if d.entries[name] == nil {
			d.addLocked(name)
		}
	}
}

// leave ends that. Without users nothing is kept fresh.
func (d *DNSCache) leave(c *Cluster) {
	d.mu.Lock()
	delete(d.users, c)
	var waiting []func(bool)
	if len(d.users) == 0 {
		for name, e := range d.entries {
			if e.timer != nil {
				e.timer.Stop()
			}
			waiting = append(waiting, e.waiting...)
			delete(d.entries, name)
		}
		d.pending = 0
		d.stats.NumHosts.Store(0)
	}
	d.mu.Unlock()
	for _, f := range waiting {
		f(false)
	}
}

func (d *DNSCache) addLocked(name string) *cachedName {
	name = strings.Clone(name) // it may be a request's
	e := &cachedName{
		name: name, used: time.Now(), failing: backoff.Backoff{Min: d.spec.DNS.FailureBase, Max: d.spec.DNS.FailureMax},
	}
	if e.failing.Min <= 0 {
		e.failing.Min = d.spec.DNS.Refresh
	}
	e.failing.Max = max(e.failing.Max, e.failing.Min)
	d.entries[name] = e
	d.stats.HostAdded.Add(1)
	d.stats.NumHosts.Add(1)
	d.query(e)
	return e
}

// resolve looks a name up; done is called later, on another goroutine, when Resolving is returned.
func (d *DNSCache) resolve(name string, done func(bool)) Resolution {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.entries[name]
	switch {
	case e != nil && len(e.addrs) > 0:
		return Resolved
	case e != nil && e.tried:
		return Unresolved
	case d.pending >= d.spec.MaxPending:
		d.stats.RqOverflow.Add(1)
		return TooManyPending
	case e == nil && len(d.entries) >= int(d.spec.MaxHosts):
		d.stats.HostOverflow.Add(1)
		return CacheFull
	case e == nil:
		e = d.addLocked(name)
	}
	d.pending++
	e.waiting = append(e.waiting, done)
	return Resolving
}

// addresses are those of a name, nil: none known.
func (d *DNSCache) addresses(name string) []netip.Addr {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.entries[name]; e != nil {
		return e.addrs
	}
	return nil
}

func (d *DNSCache) query(e *cachedName) {
	d.stats.QueryAttempt.Add(1)
	started := d.m.work(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, d.spec.Timeout)
		defer cancel()
		a, err := d.m.o.Resolver(ctx, e.name, d.spec.DNS.Family)
		if ctx.Err() != nil {
			d.stats.QueryTimeout.Add(1)
		}
		d.answered(e, a, err)
	})
	if !started {
		e.tried = true
	}
}

// answered takes an answer. A failure does not take addresses away.
func (d *DNSCache) answered(e *cachedName, a Answer, err error) {
	d.mu.Lock()
	if d.entries[e.name] != e {
		d.mu.Unlock()
		return
	}
	addrs := filterFamily(a.Addrs, d.spec.DNS.Family)
	wait := d.spec.DNS.Refresh
	changed := false
	e.tried = true
	if err != nil || len(addrs) == 0 {
		d.stats.QueryFailure.Add(1)
		wait = e.failing.Next()
		if d.spec.NoRefreshOnFailure && len(e.addrs) == 0 {
			d.removeLocked(e)
			wait = 0
		}
	} else {
		d.stats.QuerySuccess.Add(1)
		e.failing.Reset()
		if a.TTL > 0 {
			wait = max(a.TTL, d.spec.MinRefresh)
		}
		if changed = !sameAddrs(e.addrs, addrs); changed {
			e.addrs = addrs
			d.stats.AddressChanged.Add(1)
		}
	}
	if wait > 0 {
		e.timer = time.AfterFunc(wait, func() { d.again(e) })
	}
	ok, waiting, users := len(e.addrs) > 0, e.waiting, d.usersLocked()
	e.waiting = nil
	d.pending -= uint32(len(waiting))
	d.mu.Unlock()
	if changed {
		for _, c := range users {
			c.moved(e.name, addrs)
		}
	}
	for _, f := range waiting {
		f(ok)
	}
}

// sameAddrs ignores the order: servers rotate their answers.
func sameAddrs(a, b []netip.Addr) bool {
	if len(a) != len(b) {
		return false
	}
	for _, x := range a {
		if !slices.Contains(b, x) {
			return false
		}
	}
	return true
}

func (d *DNSCache) usersLocked() []*Cluster {
	users := make([]*Cluster, 0, len(d.users))
	for c := range d.users {
		users = append(users, c)
	}
	return users
}

func (d *DNSCache) removeLocked(e *cachedName) {
	delete(d.entries, e.name)
	d.stats.HostRemoved.Add(1)
	d.stats.NumHosts.Add(-1)
}

// again asks anew for a name that is in use, and forgets one that is not.
func (d *DNSCache) again(e *cachedName) {
	d.mu.Lock()
	if d.entries[e.name] != e {
		d.mu.Unlock()
		return
	}
	users := d.usersLocked()
	d.mu.Unlock()
	used := slices.Contains(d.spec.Ahead, e.name)
	for _, c := range users {
		used = c.uses(e.name) || used
	}
	now := time.Now()
	d.mu.Lock()
	if used {
		e.used = now
	}
	gone := now.Sub(e.used) >= d.spec.HostTTL && d.entries[e.name] == e
	if gone {
		d.removeLocked(e)
	}
	d.mu.Unlock()
	if !gone {
		d.query(e)
		return
	}
	for _, c := range users {
		c.moved(e.name, nil)
	}
}
