// Package fleet keeps the connected proxies up to date: for each it joins the
// newest snapshot with who the proxy is (scope), translates, and hands the
// result to its stream (serve).
//
// A proxy is woken only when something that it holds has changed. Equal
// resources of different proxies are one object in memory. Who a proxy is, its
// token says; the node id must agree with it.
//
// The package decides nothing about content; it is the part of the control
// plane that knows which proxies exist and how far each one is.
package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

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

	index atomic.Pointer[scope.Index]
	// ready is closed when there is a first index.
	ready chan struct{}

	mu       sync.Mutex
	sessions map[*session]struct{}
	// interned shares equal resources between proxies.
	interned map[internKey]*serve.Resource
	// said are the findings of translation by proxy id.
	said map[string][]model.Finding
}

type internKey struct{ url, name, version string }

// New makes a fleet that follows the snapshots.
func New(s Snapshots, log *slog.Logger) *Fleet {
	return &Fleet{
		snapshots: s,
		log:       log.With("component", "fleet"),
		metrics:   newMetrics(),
		events:    newEvents(),
		ready:     make(chan struct{}),
		sessions:  map[*session]struct{}{},
		interned:  map[internKey]*serve.Resource{},
		said:      map[string][]model.Finding{},
	}
}

// Run follows the snapshots until ctx ends.
func (f *Fleet) Run(ctx context.Context) error {
	for {
		changed := f.snapshots.Changed()
		if s := f.snapshots.Load(); s != nil {
			f.apply(s)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// apply brings every session to the snapshot.
func (f *Fleet) apply(s *model.Snapshot) {
	if old := f.index.Load(); old != nil && old.Snapshot.Version == s.Version {
		return
	}
	start := time.Now()
	idx := scope.NewIndex(s)
	first := f.index.Swap(idx) == nil
	if first {
		close(f.ready)
	}
	f.mu.Lock()
	sessions := slices.Collect(maps.Keys(f.sessions))
	f.mu.Unlock()
	push := f.events.begin(s, start)
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, p := range sessions {
		g.Go(func() error {
			if f.build(p, idx) && !p.proxy.Meta.Agent {
				push.awaits(p.id)
			}
			return nil
		})
	}
	_ = g.Wait()
	f.prune()
	f.metrics.snapshot(s)
	f.metrics.pushTime.Observe(time.Since(start).Seconds())
	push.sealed()
}

// build translates for one session and tells whether its state changed.
func (f *Fleet) build(p *session, idx *scope.Index) bool {
	p.building.Lock()
	defer p.building.Unlock()
	if old := p.state.Load(); old != nil && old.state.Version >= idx.Snapshot.Version {
		return false
	}
	proxy := p.proxy
	proxy.Workload = findWorkload(idx.Snapshot, p.identity)
	resources, findings := translate.Translate(scope.Build(idx, proxy))
	sets := make(map[string]*serve.Set, len(resources.ByType))
	f.mu.Lock()
	if !p.proxy.Meta.Agent {
		f.said[p.id] = findings
	}
	for url, list := range resources.ByType {
		sets[url] = serve.NewSet(f.internLocked(url, list))
	}
	f.mu.Unlock()
	return p.publish(&serve.State{Version: idx.Snapshot.Version, Sets: sets})
}

func (f *Fleet) internLocked(url string, list []translate.Resource) []*serve.Resource {
	out := make([]*serve.Resource, len(list))
	for i, r := range list {
		key := internKey{url, r.Name, r.Version}
		known := f.interned[key]
		if known == nil {
			known = &serve.Resource{Name: r.Name, Version: r.Version, Body: r.Body}
			f.interned[key] = known
		}
		out[i] = known
	}
	return out
}

// prune forgets interned resources that nobody holds any more.
func (f *Fleet) prune() {
	f.mu.Lock()
	defer f.mu.Unlock()
	used := make(map[internKey]*serve.Resource, len(f.interned))
	for p := range f.sessions {
		cur := p.state.Load()
		if cur == nil {
			continue
		}
		for url, set := range cur.state.Sets {
			for _, r := range set.List() {
				used[internKey{url, r.Name, r.Version}] = r
			}
		}
	}
	f.interned = used
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
	f.sessions[p] = struct{}{}
	f.mu.Unlock()
	if !meta.Agent {
		f.metrics.connected.Inc()
	}
	f.build(p, f.index.Load())
	f.log.Info("connected", "agent", meta.Agent, "proxy", p.id, "engine", meta.Engine)
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
		changed := f.snapshots.Changed()
		if s := f.snapshots.Load(); s != nil {
			for _, w := range s.Workloads {
				if w.TokenHash == hash {
					return f.admitted(wait, w)
				}
			}
		}
		select {
		case <-changed:
		case <-wait.Done():
			return nil, status.Error(codes.Unauthenticated, "the token belongs to no workload of this mesh: restart the proxy, or the mesh that started it")
		}
	}
}

// admitted waits until the fleet has an index, so that a session can be built.
func (f *Fleet) admitted(ctx context.Context, w *model.Workload) (*model.Workload, error) {
	select {
	case <-f.ready:
		return w, nil
	case <-ctx.Done():
		return nil, status.Error(codes.Unavailable, "the control plane has no configuration yet")
	}
}

func (f *Fleet) remove(p *session) {
	f.mu.Lock()
	delete(f.sessions, p)
	if !p.proxy.Meta.Agent {
		delete(f.said, p.id)
	}
	f.mu.Unlock()
	if p.proxy.Meta.Agent {
		return
	}
	f.metrics.connected.Dec()
	f.events.left(p.id)
	f.log.Info("proxy disconnected", "proxy", p.id)
}

func findWorkload(s *model.Snapshot, k model.Key) *model.Workload {
	w, _ := s.Objects[k].(*model.Workload)
	return w
}

// Findings returns what translation has to say, each once.
func (f *Fleet) Findings() []model.Finding {
	f.mu.Lock()
	defer f.mu.Unlock()
	seen := map[model.Finding]bool{}
	var out []model.Finding
	for _, id := range slices.Sorted(maps.Keys(f.said)) {
		for _, x := range f.said[id] {
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
	for p := range f.sessions {
		if (p.id == proxy || p.name() == proxy) && !p.proxy.Meta.Agent {
			if cur := p.state.Load(); cur != nil {
				return cur.state
			}
		}
	}
	return nil
}

// sanity: a *Fleet is a serve.Backend.
var _ serve.Backend = (*Fleet)(nil)

// String names a proxy in messages.
func (p *session) name() string { return fmt.Sprintf("%s.%s", p.proxy.ID.Name, p.proxy.ID.Namespace) }
