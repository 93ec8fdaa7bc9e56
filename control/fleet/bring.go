package fleet

import (
	"context"
	"maps"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/weftmesh/weft/control/scope"
)

// calm says that between two versions sessions were passed by that had nothing to get.
type calm struct{ from, to uint64 }

// reached is the version that has been looked at for a session that was built last with
// another one.
func (c *calm) reached(seen uint64) uint64 {
	if c == nil || seen < c.from {
		return seen
	}
	return max(seen, c.to)
}

// bring brings the sessions to an index: all of them, or where nothing but endpoints of
// services and what is in force of limits has changed those that get them. It is called by one goroutine at a time.
func (f *Fleet) bring(ctx context.Context, idx *index, push *push) {
	if c := idx.Change; c == nil || len(c.Workloads) > 0 {
		f.mu.Lock()
		sessions := slices.Collect(maps.Keys(f.sessions))
		f.mu.Unlock()
		f.buildAll(ctx, sessions, idx, push)
		f.different()
	} else {
		// What a group gets, one member finds out for all.
		f.mu.Lock()
		sessions := slices.Collect(maps.Keys(f.entering))
		for _, g := range f.groups {
			for p := range g.members {
				sessions = append(sessions, p)
				break
			}
		}
		f.mu.Unlock()
		f.buildAll(ctx, sessions, idx, push)
		f.buildAll(ctx, slices.Concat(f.different(), f.users(idx.Change), f.limited(idx)), idx, push)
	}
	if ctx.Err() == nil {
		f.calm.Store(&calm{idx.calm, idx.Snapshot.Version})
	}
}

// different are the members of groups that get something else than when they were asked
// for last.
func (f *Fleet) different() (out []*session) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, g := range f.groups {
		if now := g.present(); !now.Same(g.told) {
			g.told = now
			out = slices.AppendSeq(out, maps.Keys(g.members))
		}
	}
	return out
}

// users are the sessions whose proxies use a service that has changed.
func (f *Fleet) users(c *scope.Change) (out []*session) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, g := range f.groups {
		for _, s := range c.Services {
			out = slices.AppendSeq(out, maps.Keys(g.users[s.New.Host]))
		}
	}
	return out
}

// limited are the sessions whose proxies have limits that have changed.
func (f *Fleet) limited(idx *index) (out []*session) {
	if len(idx.Change.Limits) == 0 {
		return nil
	}
	f.mu.Lock()
	sessions := slices.Collect(maps.Keys(f.sessions))
	f.mu.Unlock()
	for _, p := range sessions {
		p.building.Lock()
		proxy := p.proxy
		proxy.Workload = p.workload
		p.building.Unlock()
		if idx.Limited(&proxy) {
			out = append(out, p)
		}
	}
	return out
}

// few sessions are built by the goroutine that brings them.
const few = 16

func (f *Fleet) buildAll(ctx context.Context, list []*session, idx *index, push *push) {
	one := func(part []*session) {
		for _, p := range part {
			if ctx.Err() == nil {
				f.build(p, idx, push)
			}
		}
	}
	if len(list) <= few {
		one(list)
		return
	}
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for part := range slices.Chunk(list, 1+len(list)/(4*runtime.GOMAXPROCS(0))) {
		g.Go(func() error {
			one(part)
			return nil
		})
	}
	_ = g.Wait()
}
