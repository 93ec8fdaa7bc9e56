// Package fleet keeps the connected proxies up to date: for each it joins the
// newest snapshot with who the proxy is (scope), translates, and hands the
// result to its stream (serve).
//
// A proxy is woken only when something that it may ask for has changed. Proxies that
// get the same (scope.Group) are translated for once, and equal resources of others
// are one object in memory too. Who a proxy is, its
// token says; the node id must agree with it. On a listener that is opened for it
// (Plaintext) the node id alone says so; what is secret is not served there.
//
// The package decides nothing about content; it is the part of the control
// plane that knows which proxies exist and how far each one is.
package fleet

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/base/watch"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/serve"
	"github.com/weftmesh/weft/control/translate"
	"github.com/weftmesh/weft/wire"
)

// Snapshots is where snapshots come from.
type Snapshots interface {
	// Load returns the newest snapshot, nil before the first.
	Load() *model.Snapshot
	// Changed returns a channel that is closed when there is a newer one than
	// Load returned before the call.
	Changed() <-chan struct{}
}

// Fleet is all connected proxies. Make one with New and Run it.
type Fleet struct {
	snapshots Snapshots
	log       *slog.Logger
	metrics   *metrics
	events    *events
	moments   *moments
	blames    blames
	cache     *translate.Cache
	gate      *gate
	// Registrar, when set before Run, makes workloads of proxies that ask for it.
	Registrar Registrar
	// Judge, when set before Run, is told what becomes of patches.
	Judge Judge
	// onDemand: proxies whose workloads do not say otherwise ask for what they use.
	onDemand bool
	habits   Habits // nil: none
	idle     time.Duration

	// index is of the newest snapshot that was applied; nil before the first.
	index watch.Cell[*index]
	calm  atomic.Pointer[calm]

	mu       sync.Mutex
	sessions map[*session]struct{}
	entering map[*session]struct{} // those that have not been built once
	streams  map[model.Key]int     // sessions by identity
	opened   uint64                // sessions ever
	groups   map[scope.Group]*group
	// findings are what translation has said; stale: they are to be gathered again.
	findings []model.Finding
	stale    bool
}

// index is a snapshot, prepared for looking things up.
type index struct {
	*scope.Index
	byToken map[string]*model.Workload // by model.Workload.TokenHash
	// since is the oldest version with which a session has all that the snapshot before
	// brought for it, if the index has a Change; calm is that for the next one.
	since, calm uint64
}

// nextIndex prepares a snapshot; last is the index of the one before, or nil.
func nextIndex(last *index, s *model.Snapshot) *index {
	if last == nil {
		return &index{Index: scope.NewIndex(s), byToken: tokens(s), calm: s.Version}
	}
	out := &index{Index: last.Next(s), byToken: last.byToken, since: last.calm, calm: last.calm}
	if c := out.Change; c == nil || len(c.Workloads) > 0 {
		out.byToken, out.calm = tokens(s), s.Version
	}
	return out
}

func tokens(s *model.Snapshot) map[string]*model.Workload {
	out := make(map[string]*model.Workload, len(s.Workloads))
	for _, w := range s.Workloads {
		if w.TokenHash != "" {
			out[w.TokenHash] = w
		}
	}
	return out
}

// New makes a fleet that follows the snapshots. mode is the one of proxies whose
// workloads name none: wire.ModeEager or wire.ModeOnDemand.
func New(s Snapshots, mode string, log *slog.Logger) *Fleet {
	times := newMoments()
	return &Fleet{
		onDemand:  mode == wire.ModeOnDemand,
		snapshots: s,
		log:       log.With("component", "fleet"),
		metrics:   newMetrics(),
		events:    newEvents(times),
		moments:   times,
		cache:     translate.NewCache(),
		gate:      newGate(),
		sessions:  map[*session]struct{}{},
		entering:  map[*session]struct{}{},
		streams:   map[model.Key]int{},
		groups:    map[scope.Group]*group{},
		findings:  []model.Finding{},
		idle:      defaultIdle,
	}
}

// Run follows the snapshots until ctx ends.
func (f *Fleet) Run(ctx context.Context) error {
	defer f.events.stop()
	idle := time.NewTicker(f.idle / 4)
	defer idle.Stop()
	for {
		changed := f.snapshots.Changed()
		if s := f.snapshots.Load(); s != nil {
			f.apply(ctx, s)
		}
		select {
		case <-changed:
		case now := <-idle.C:
			f.sweep(now)
		case <-ctx.Done():
			return nil
		}
	}
}

// apply brings every session to the snapshot.
func (f *Fleet) apply(ctx context.Context, s *model.Snapshot) {
	last := f.index.Load()
	if last != nil && last.Snapshot.Version == s.Version {
		return
	}
	start := time.Now()
	push := f.events.begin(s, start)
	f.moments.published(s, start)
	// Sessions that open from here on are built with the new index, or are in
	// the list.
	idx := nextIndex(last, s)
	f.index.Store(idx)
	f.bring(ctx, idx, push)
	if idx.Change == nil {
		f.cache.Sweep(s)
	}
	f.metrics.snapshot(s)
	f.metrics.pushTime.Observe(time.Since(start).Seconds())
	push.sealed(append(slices.Clone(s.Findings), f.Findings()...))
}

func (f *Fleet) remove(p *session) {
	f.mu.Lock()
	delete(f.sessions, p)
	delete(f.entering, p)
	if f.streams[p.identity]--; f.streams[p.identity] == 0 {
		delete(f.streams, p.identity)
	}
	p.closed = true
	f.stale = f.stale || said(p.shared, p.own, p.used)
	f.leaveLocked(p)
	f.mu.Unlock()
	p.unregister()
	f.log.Info("disconnected", "proxy", p.id, "agent", p.proxy.Meta.Agent)
	if !p.proxy.Meta.Agent {
		f.metrics.connected.Dec()
		f.moments.lose(p.identity, time.Now())
		f.events.left(p)
	}
}

func findWorkload(s *model.Snapshot, k model.Key) *model.Workload {
	w, _ := s.Objects.Get(k).(*model.Workload)
	return w
}

// proxiesLocked lists the newest session of each proxy, and all of gRPC without one,
// in the order in which they came; agents are left out. A proxy that reconnects may
// have two; gRPC has one for each of a program's channels and servers.
func (f *Fleet) proxiesLocked() []*session {
	newest := map[model.Key]*session{}
	var out []*session
	for p := range f.sessions {
		switch old := newest[p.identity]; {
		case p.proxy.Meta.Agent:
		case p.proxy.Proxyless():
			out = append(out, p)
		case old == nil || old.number < p.number:
			newest[p.identity] = p
		}
	}
	out = slices.AppendSeq(out, maps.Values(newest))
	slices.SortFunc(out, func(a, b *session) int { return cmp.Compare(a.number, b.number) })
	return out
}

// Findings returns what translation has to say, each once; read-only.
func (f *Fleet) Findings() []model.Finding {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stale {
		f.findings, f.stale = f.gatherLocked(), false
	}
	return f.findings
}

func (f *Fleet) gatherLocked() []model.Finding {
	seen := map[model.Finding]bool{}
	out := []model.Finding{}
	add := func(list []model.Finding) {
		for _, x := range list {
			if !seen[x] {
				seen[x] = true
				out = append(out, x)
			}
		}
	}
	groups := map[*group]bool{}
	for _, p := range f.proxiesLocked() {
		if p.shared != nil && !groups[p.group] {
			groups[p.group] = true
			add(p.shared.Findings)
		}
		if p.own != nil {
			add(p.own.Findings)
		}
		if p.used != nil {
			add(p.used.Findings)
		}
	}
	return out
}

// Config returns what the proxy with that id, or that "name.namespace", should
// hold; nil when it is not connected.
func (f *Fleet) Config(proxy string) *serve.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out *serve.State
	for _, p := range f.proxiesLocked() {
		cur := p.state.Load()
		if cur == nil || p.id != proxy && p.name() != proxy {
			continue
		}
		if !p.proxy.Proxyless() {
			return cur.state
		}
		out = together(out, cur.state)
	}
	return out
}

// together is what two sessions of one workload hold. a may be nil.
func together(a, b *serve.State) *serve.State {
	if a == nil {
		return b
	}
	out := &serve.State{Version: max(a.Version, b.Version), Sets: maps.Clone(a.Sets)}
	for url, set := range b.Sets {
		out.Sets[url] = resource.NewSet(append(a.Sets[url].List(), set.List()...))
	}
	return out
}
