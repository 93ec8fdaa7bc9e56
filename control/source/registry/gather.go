package registry

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// Gather follows each service of a list that changes by a function of its own, for registries that are asked about
// every service alone. Make one with NewGather.
type Gather struct {
	ctx    context.Context
	to     Sink
	follow func(ctx context.Context, name string, tell func(Service)) error
	fail   context.CancelCauseFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	running map[string]context.CancelFunc
	waiting map[string]bool // not told yet
	whole   bool            // Complete was called
}

// NewGather returns a Gather. follow runs for each service until its context ends; what it returns otherwise ends all, by fail.
func NewGather(ctx context.Context, to Sink, fail context.CancelCauseFunc, follow func(ctx context.Context, name string, tell func(Service)) error) *Gather {
	return &Gather{ctx: ctx, to: to, follow: follow, fail: fail, running: map[string]context.CancelFunc{}, waiting: map[string]bool{}}
}

// Set says which services there are. The Sink is told Complete once all of the first list were told of, and whenever one has gone.
func (g *Gather) Set(names []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	there := make(map[string]bool, len(names))
	for _, n := range names {
		there[n] = true
		if g.running[n] != nil {
			continue
		}
		ctx, end := context.WithCancel(g.ctx)
		g.running[n], g.waiting[n] = end, true
		g.wg.Go(func() {
			if err := g.follow(ctx, n, func(s Service) { g.tell(ctx, n, s) }); err != nil && ctx.Err() == nil {
				g.fail(err)
			}
		})
	}
	gone := false
	for n, end := range g.running {
		if !there[n] {
			end()
			delete(g.running, n)
			delete(g.waiting, n)
			gone = true
		}
	}
	if gone || !g.whole {
		g.complete()
	}
}

func (g *Gather) tell(ctx context.Context, name string, s Service) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if ctx.Err() != nil {
		return // it is not among the services any more
	}
	g.to.Service(s)
	delete(g.waiting, name)
	if !g.whole {
		g.complete()
	}
}

func (g *Gather) complete() {
	if g.whole = g.whole || len(g.waiting) == 0; g.whole {
		g.to.Complete(slices.Collect(maps.Keys(g.running)))
	}
}

// Wait waits until all functions have ended.
func (g *Gather) Wait() { g.wg.Wait() }
