package fleet

import (
	"context"
	"runtime"
	"slices"
	"sync"
)

// gate bounds how many new streams are translated for at once: when all proxies come
// back together, each is served soon instead of all late, and pushes go on between
// them. Those that come back with what they had are let in first: they cost little,
// and most get nothing.
type gate struct {
	mu     sync.Mutex
	free   int
	queues [2][]chan struct{} // who comes back, and who is new
}

func newGate() *gate { return &gate{free: runtime.GOMAXPROCS(0)} }

// enter waits for a place, which leave gives back. It fails with ctx's error.
func (g *gate) enter(ctx context.Context, resumes bool) error {
	queue := 1
	if resumes {
		queue = 0
	}
	g.mu.Lock()
	if g.free > 0 {
		g.free--
		g.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	g.queues[queue] = append(g.queues[queue], turn)
	g.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	i := slices.Index(g.queues[queue], turn)
	if i >= 0 {
		g.queues[queue] = slices.Delete(g.queues[queue], i, i+1)
	}
	g.mu.Unlock()
	if i < 0 {
		g.leave() // its turn came just now: it is the next one's
	}
	return ctx.Err()
}

// leave lets the next one in.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, q := range g.queues {
		if len(q) > 0 {
			close(q[0])
			g.queues[i] = q[1:]
			return
		}
	}
	g.free++
}
