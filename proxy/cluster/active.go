package cluster

import (
	"context"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/proxy/cluster/health"
)

// Active health checks ask each host in turn, on a goroutine per host. What an
// answer means follows Envoy: a host starts out failed, its first answer counts
// at once, later ones when there are enough in a row; an answer that says "no"
// in so many words counts at once too.

// Flag is a reason not to use a host, or to use it less.
type Flag uint32

// Flags that are kept with a host.
const (
	// FailedActive: active health checks fail.
	FailedActive Flag = 1 << iota
	// DegradedActive: the host asked for less work in a health check.
	DegradedActive
	// PendingRemoval: the endpoint has gone, and the host is still healthy.
	PendingRemoval
	// PendingActive: the host has not been checked yet and does not count.
	PendingActive
	// Excluded: the host asked to be taken out.
	Excluded
	// ActiveTimeout: the last check was not answered in time.
	ActiveTimeout
)

func (h *Host) has(f Flag) bool { return Flag(h.flags.Load())&f != 0 }

func (h *Host) flag(f Flag, on bool) (changed bool) {
	if on {
		return Flag(h.flags.Or(uint32(f)))&f != f
	}
	return Flag(h.flags.And(^uint32(f)))&f != 0
}

// HealthFlags are the host's flags as Envoy prints them; "healthy" when there are none.
func (h *Host) HealthFlags() string {
	var b strings.Builder
	eds := h.desc.Load().endpoint.Health
	for _, f := range [...]struct {
		name string
		set  bool
	}{
		{"/failed_active_hc", h.has(FailedActive)},
		{"/failed_outlier_check", h.Ejected()},
		{"/failed_eds_health", eds == Unhealthy || eds == Draining || eds == Timeout},
		{"/degraded_active_hc", h.has(DegradedActive)},
		{"/degraded_eds_health", eds == Degraded},
		{"/pending_dynamic_removal", h.has(PendingRemoval)},
		{"/pending_active_hc", h.has(PendingActive)},
		{"/excluded_via_immediate_hc_fail", h.has(Excluded)},
		{"/active_hc_timeout", h.has(ActiveTimeout)},
		{"/eds_status_draining", eds == Draining},
	} {
		if f.set {
			b.WriteString(f.name)
		}
	}
	if b.Len() == 0 {
		return "healthy"
	}
	return b.String()
}

// checker checks one host.
type checker struct {
	// Set at construction.
	c    *Cluster
	h    *Host
	spec *health.Spec
	stop context.CancelFunc

	// The goroutine's.
	checked      bool // there has been an answer
	good, bad    uint32
	lastPassed   bool
	changePended bool
}

// startCheckLocked begins to check a new host.
func (c *Cluster) startCheckLocked(h *Host) {
	if c.spec.Health == nil || h.Endpoint().NoCheck {
		return
	}
	h.flag(FailedActive, true)
	if c.spec.IgnoreNewHosts {
		h.flag(PendingActive, true)
	}
	if !c.isReady {
		c.unchecked++
		h.awaited = true
	}
	ctx, cancel := context.WithCancel(c.m.life)
	k := &checker{c: c, h: h, spec: c.spec.Health, stop: cancel}
	h.checker = k
	if !c.m.work(func(context.Context) { k.run(ctx) }) {
		cancel()
	}
}

// stopCheckLocked ends the checks of a host that goes.
func (c *Cluster) stopCheckLocked(h *Host) {
	if h.checker == nil {
		return
	}
	h.checker.stop()
	h.checker = nil
	if !h.has(FailedActive) {
		c.stats.HealthHealthy.Add(-1)
	}
	if h.has(DegradedActive) {
		c.stats.HealthDegraded.Add(-1)
	}
	c.firstCheckLocked(h)
}

// firstCheckLocked notes that h need not be waited for any longer.
func (c *Cluster) firstCheckLocked(h *Host) {
	if h.awaited {
		h.awaited = false
		c.unchecked--
	}
}

// lookAgain has the view made anew soon: many hosts may change at a time. mu is held.
func (c *Cluster) lookAgain() {
	if !c.stale.CompareAndSwap(false, true) {
		return
	}
	if wait := c.spec.MergeWindow - time.Since(c.looked); wait > 0 && c.isReady {
		c.after(&c.merge, wait, c.look)
		return
	}
	c.m.post(c.look)
}

// look makes the view of what checks have found. On Run's goroutine.
func (c *Cluster) look() {
	c.stale.Store(false)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looked = time.Now()
	c.rebuildLocked()
	if c.endpoints != nil && c.unchecked == 0 {
		c.readyLocked()
	}
}

// dropLocked takes out a host whose endpoint went while it was healthy.
func (c *Cluster) dropLocked(h *Host) []*Host {
	c.members = slices.DeleteFunc(slices.Clone(c.members), func(m member) bool { return m.host == h })
	maps.DeleteFunc(c.byKey, func(_ hostKey, o *Host) bool { return o == h })
	c.leaveLocked(h)
	c.stats.MembershipChange.Add(1)
	return []*Host{h}
}

// leaveLocked ends what the cluster does for a host that goes.
func (c *Cluster) leaveLocked(h *Host) {
	c.forgetEjectionLocked(h)
	c.stopCheckLocked(h)
	if h.load.stop != nil {
		h.load.stop()
	}
}

// stays tells whether a host whose endpoint has gone is kept until checks fail.
func (c *Cluster) stays(h *Host) bool {
	if c.spec.Health == nil || c.spec.IgnoreHealthOnRemoval || h.checker == nil || h.has(FailedActive) {
		return false
	}
	switch h.Endpoint().Health {
	case Unhealthy, Draining, Timeout:
		return false
	}
	return true
}

func (k *checker) run(ctx context.Context) {
	e := k.h.Endpoint()
	name := e.HealthName
	if name == "" {
		name = k.c.spec.Name
		switch {
		case k.spec.HTTP != nil && k.spec.HTTP.Host != "":
			name = k.spec.HTTP.Host
		case k.spec.GRPC != nil && k.spec.GRPC.Authority != "":
			name = k.spec.GRPC.Authority
		}
	}
	probe := k.spec.New(k.dial, name)
	defer probe.Close()
	wait := time.Duration(0)
	if j := k.spec.InitialJitter; j > 0 {
		wait = rand.N(j) //nolint:gosec // jitter
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		k.c.stats.HealthAttempt.Add(1)
		ask, cancel := context.WithTimeout(ctx, k.spec.Timeout)
		a := probe.Ask(ask)
		cancel()
		if ctx.Err() != nil {
			return
		}
		k.take(a)
		t.Reset(k.wait())
	}
}

// dial connects to where the host is to be checked.
func (k *checker) dial(ctx context.Context) (net.Conn, error) {
	e := *k.h.Endpoint()
	if e.HealthAddr.IsValid() {
		e.Addr, e.More, e.Path = e.HealthAddr, nil, ""
	} else if e.HealthPort != 0 {
		e.Addr = netip.AddrPortFrom(e.Addr.Addr(), e.HealthPort)
		more := make([]netip.AddrPort, len(e.More))
		for i, a := range e.More {
			more[i] = netip.AddrPortFrom(a.Addr(), e.HealthPort)
		}
		e.More = more
	}
	t := k.h.tls
	if len(k.spec.TransportLabels) > 0 {
		t = k.c.spec.TLS
		if i := k.c.transport(&Endpoint{TransportLabels: k.spec.TransportLabels}); i >= 0 {
			t = k.c.spec.Transports[i].TLS
		}
	}
	o := DialOptions{check: &e, checkTLS: t}
	o.ALPN = k.spec.ALPN
	nc, err := k.c.connect(ctx, k.h, &o)
	if err != nil {
		return nil, err
	}
	return nc, nil
}

// take works an answer in.
func (k *checker) take(a health.Answer) {
	c, h := k.c, k.h
	c.mu.Lock()
	if h.checker != k || c.closed {
		c.mu.Unlock()
		return
	}
	if a.Verified {
		c.stats.HealthVerifyCluster.Add(1)
	}
	changed := h.flag(PendingActive, false)
	if h.flag(Excluded, a.Exclude) {
		changed = true
	}
	k.changePended = false
	before, degraded := h.has(FailedActive), h.has(DegradedActive)
	if k.lastPassed = a.Result == health.Passed; k.lastPassed {
		changed = k.passedLocked(a) || changed
	} else {
		changed = k.failedLocked(a) || changed
	}
	first := !k.checked
	k.checked = true
	c.firstCheckLocked(h)
	failed := h.has(FailedActive)
	var gone []*Host
	if failed && h.has(PendingRemoval) {
		gone = c.dropLocked(h)
		changed = true
	}
	if changed || !c.isReady && c.unchecked == 0 {
		c.lookAgain()
	}
	c.mu.Unlock()
	closeHosts(gone)
	if failed && !before {
		h.fail()
	}
	k.log(a, before, degraded, first)
}

// passedLocked works a good answer in. It tells whether the host's use changes.
func (k *checker) passedLocked(a health.Answer) (changed bool) {
	c, h := k.c, k.h
	c.stats.HealthSuccess.Add(1)
	k.bad = 0
	if h.has(FailedActive) {
		if k.good++; !k.checked || k.good >= k.spec.HealthyThreshold {
			h.flag(FailedActive|ActiveTimeout, false)
			c.stats.HealthHealthy.Add(1)
			changed = true
		} else {
			k.changePended = true
		}
	}
	if h.flag(DegradedActive, a.Degraded) {
		changed = true
		if a.Degraded {
			c.stats.HealthDegraded.Add(1)
		} else {
			c.stats.HealthDegraded.Add(-1)
		}
	}
	if !h.has(FailedActive) && h.Ejected() && c.outlier.Load() != nil && !c.outlier.Load().KeepOnHealthy {
		c.unejectLocked(h, time.Now())
		changed = true
	}
	return changed
}

func (k *checker) failedLocked(a health.Answer) (changed bool) {
	c, h := k.c, k.h
	c.stats.HealthFailure.Add(1)
	network := a.Result != health.Failed
	if network {
		c.stats.HealthNetworkFailure.Add(1)
	}
	k.good = 0
	if !h.has(FailedActive) {
		k.bad++
		if !network && !a.Retriable || k.bad >= k.spec.UnhealthyThreshold {
			h.flag(FailedActive, true)
			c.stats.HealthHealthy.Add(-1)
			changed = true
		} else {
			k.changePended = true
		}
	}
	if h.has(FailedActive) && a.Result == health.TimedOut {
		h.flag(ActiveTimeout, true)
	}
	return changed
}

// wait is the time to the next question.
func (k *checker) wait() time.Duration {
	s, d := k.spec, k.spec.Interval
	or := func(v, def time.Duration) time.Duration {
		if v > 0 {
			return v
		}
		return def
	}
	unhealthy := or(s.Unhealthy, s.Interval)
	noTraffic := or(s.NoTraffic, 60*time.Second)
	switch used := k.c.stats.UpstreamCxTotal.Load() > 0; {
	case !used && k.lastPassed:
		d = or(s.NoTrafficHealthy, noTraffic)
	case !used:
		d = noTraffic
	case k.lastPassed && k.changePended:
		d = or(s.HealthyEdge, s.Interval)
	case k.lastPassed:
	case k.changePended:
		d = or(s.UnhealthyEdge, unhealthy)
	default:
		d = unhealthy
	}
	if part := d * time.Duration(s.JitterPercent) / 100; part > 0 {
		d += rand.N(part) //nolint:gosec // jitter
	}
	if s.IntervalJitter > 0 {
		d += rand.N(s.IntervalJitter) //nolint:gosec // jitter
	}
	return max(d, time.Millisecond)
}

// log writes what an answer has changed.
func (k *checker) log(a health.Answer, failedBefore, degradedBefore, first bool) {
	if k.spec.Log == nil {
		return
	}
	h := k.h
	l, ep := h.Locality(), h.Endpoint()
	event := func(set func(*health.Event)) {
		e := &health.Event{
			Type: k.spec.Kind(), Host: health.AddressOf(ep.Addr, ep.Path), Cluster: k.c.spec.Name,
			Locality: health.Locality{Region: l.Region, Zone: l.Zone, SubZone: l.SubZone},
		}
		set(e)
		k.spec.Log.Write(e)
	}
	switch degraded := h.has(DegradedActive); {
	case degraded && !degradedBefore:
		event(func(e *health.Event) { e.Degraded = &struct{}{} })
	case !degraded && degradedBefore:
		event(func(e *health.Event) { e.NoDegraded = &struct{}{} })
	}
	failed := h.has(FailedActive)
	switch {
	case failedBefore && !failed:
		event(func(e *health.Event) { e.Add = &health.First{First: first} })
	case !failedBefore && failed:
		event(func(e *health.Event) { e.Eject = &health.Eject{Type: a.Result.Word()} })
	}
	switch {
	case a.Result == health.Passed && k.spec.LogSuccesses:
		event(func(e *health.Event) { e.Success = &health.First{First: first} })
	case a.Result != health.Passed && (first || k.spec.LogFailures):
		event(func(e *health.Event) {
			e.Failure = &health.Failure{Type: a.Result.Word(), First: first, Status: a.Status}
		})
	}
}
