// Package fleet keeps the connected proxies up to date: for each it joins the
// newest snapshot with who the proxy is (scope), translates, and hands the
// result to its stream (serve).
//
// A proxy is woken only when something that it may ask for has changed. Equal
// resources of different proxies are one object in memory. Who a proxy is, its
// token says; the node id must agree with it.
//
// The package decides nothing about content; it is the part of the control
// plane that knows which proxies exist and how far each one is.
package fleet

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/base/watch"
	"github.com/weftmesh/weft/control/model"
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

// admission is how long a new stream waits for its workload to become known:
// a proxy may be quicker than the news of it.
const admission = 5 * time.Second

// Fleet is all connected proxies. Make one with New and Run it.
type Fleet struct {
	snapshots Snapshots
	log       *slog.Logger
	metrics   *metrics
	events    *events

	// index is of the newest snapshot that was applied; nil before the first.
	index watch.Cell[*index]

	mu       sync.Mutex
	sessions map[*session]struct{}
	opened   uint64 // sessions ever
	shared   shared
}

// index is a snapshot, prepared for looking things up.
type index struct {
	*scope.Index
	byToken map[string]*model.Workload // by model.Workload.TokenHash
}

func newIndex(s *model.Snapshot) *index {
	idx := &index{Index: scope.NewIndex(s), byToken: make(map[string]*model.Workload, len(s.Workloads))}
	for _, w := range s.Workloads {
		if w.TokenHash != "" {
			idx.byToken[w.TokenHash] = w
		}
	}
	return idx
}

// New makes a fleet that follows the snapshots.
func New(s Snapshots, log *slog.Logger) *Fleet {
	return &Fleet{
		snapshots: s,
		log:       log.With("component", "fleet"),
		metrics:   newMetrics(),
		events:    newEvents(),
		sessions:  map[*session]struct{}{},
		shared:    shared{},
	}
}

// Run follows the snapshots until ctx ends.
func (f *Fleet) Run(ctx context.Context) error {
	defer f.events.stop()
	for {
		changed := f.snapshots.Changed()
		if s := f.snapshots.Load(); s != nil {
			f.apply(ctx, s)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// apply brings every session to the snapshot.
func (f *Fleet) apply(ctx context.Context, s *model.Snapshot) {
	if old := f.index.Load(); old != nil && old.Snapshot.Version == s.Version {
		return
	}
	start := time.Now()
	push := f.events.begin(s, start)
	// Sessions that open from here on are built with the new index, or are in
	// the list.
	idx := newIndex(s)
	f.index.Store(idx)
	f.mu.Lock()
	sessions := slices.Collect(maps.Keys(f.sessions))
	f.mu.Unlock()
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, p := range sessions {
		g.Go(func() error {
			if ctx.Err() == nil {
				f.build(p, idx, push)
			}
			return nil
		})
	}
	_ = g.Wait()
	f.metrics.snapshot(s)
	f.metrics.pushTime.Observe(time.Since(start).Seconds())
	push.sealed(append(slices.Clone(s.Findings), f.Findings()...))
}

// build translates for one session. When something is different for it, push
// (nil: that of a new session, which nobody waits for) awaits the proxy's answer.
func (f *Fleet) build(p *session, idx *index, push *push) {
	p.building.Lock()
	defer p.building.Unlock()
	if p.built >= idx.Snapshot.Version {
		return
	}
	p.built = idx.Snapshot.Version
	proxy := p.proxy
	proxy.Workload = findWorkload(idx.Snapshot, p.identity)
	resources, findings := translate.Translate(scope.Build(idx.Index, proxy))
	f.mu.Lock()
	defer f.mu.Unlock()
	if p.closed {
		return
	}
	p.findings = findings
	p.publish(&serve.State{Version: p.built, Sets: f.shared.sets(resources)}, push)
}

// Open implements serve.Backend.
func (f *Fleet) Open(ctx context.Context, node *corev3.Node) (serve.Session, error) {
	id, err := wire.ParseNodeID(node.GetId())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	meta, err := wire.ParseNodeMetadata(node.GetMetadata())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	w, err := f.Authenticate(ctx)
	if err != nil {
		return nil, err
	}
	if w.Namespace != id.Namespace || w.Name != id.Name {
		return nil, status.Errorf(codes.PermissionDenied,
			"node id says %s/%s, the token is that of %s/%s: give each proxy its own bootstrap", id.Namespace, id.Name, w.Namespace, w.Name)
	}
	p := newSession(f, node.GetId(), scope.Proxy{ID: id, Meta: meta}, w.Key)
	f.mu.Lock()
	f.opened++
	p.number = f.opened
	f.sessions[p] = struct{}{}
	f.mu.Unlock()
	if !meta.Agent {
		f.metrics.connected.Inc()
	}
	f.build(p, f.index.Load(), nil)
	f.log.Info("connected", "proxy", p.id, "agent", meta.Agent, "engine", meta.Engine)
	return p, nil
}

// Authenticate tells which workload the caller of a gRPC method is, by the
// bearer token in its metadata. It waits a short while for one that is not known yet.
func (f *Fleet) Authenticate(ctx context.Context) (*model.Workload, error) {
	hash, err := tokenHash(ctx)
	if err != nil {
		return nil, err
	}
	wait, cancel := context.WithTimeout(ctx, admission)
	defer cancel()
	for {
		changed := f.index.Changed()
		idx := f.index.Load()
		if idx != nil && idx.byToken[hash] != nil {
			return idx.byToken[hash], nil
		}
		select {
		case <-changed:
			continue
		case <-wait.Done():
		}
		switch {
		case ctx.Err() != nil:
			return nil, status.FromContextError(ctx.Err()).Err()
		case idx == nil:
			return nil, status.Error(codes.Unavailable, "the control plane has no configuration yet")
		}
		return nil, status.Error(codes.Unauthenticated, "the token belongs to no workload of this mesh: restart the proxy, or the mesh that started it")
	}
}

func (f *Fleet) remove(p *session) {
	f.mu.Lock()
	delete(f.sessions, p)
	p.closed = true
	f.shared.release(p.state.Load().state)
	f.mu.Unlock()
	f.log.Info("disconnected", "proxy", p.id, "agent", p.proxy.Meta.Agent)
	if !p.proxy.Meta.Agent {
		f.metrics.connected.Dec()
		f.events.left(p)
	}
}

func findWorkload(s *model.Snapshot, k model.Key) *model.Workload {
	w, _ := s.Objects[k].(*model.Workload)
	return w
}

// proxiesLocked lists the newest session of each proxy, in the order in which
// they came; agents are left out. A proxy that reconnects may have two.
func (f *Fleet) proxiesLocked() []*session {
	newest := map[model.Key]*session{}
	for p := range f.sessions {
		if old := newest[p.identity]; !p.proxy.Meta.Agent && (old == nil || old.number < p.number) {
			newest[p.identity] = p
		}
	}
	return slices.SortedFunc(maps.Values(newest), func(a, b *session) int { return cmp.Compare(a.number, b.number) })
}

// Findings returns what translation has to say, each once.
func (f *Fleet) Findings() []model.Finding {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := map[model.Finding]bool{}
	out := []model.Finding{}
	for _, p := range f.proxiesLocked() {
		for _, x := range p.findings {
			if !seen[x] {
				seen[x] = true
				out = append(out, x)
			}
		}
	}
	return out
}

// Config returns what the proxy with that id, or that "name.namespace", should
// hold; nil when it is not connected.
func (f *Fleet) Config(proxy string) *serve.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.proxiesLocked() {
		if cur := p.state.Load(); cur != nil && (p.id == proxy || p.name() == proxy) {
			return cur.state
		}
	}
	return nil
}

var _ serve.Backend = (*Fleet)(nil)
