package zookeeper

import (
	"context"
	"errors"
	"sync"

	"github.com/go-zookeeper/zk"
)

// walk follows nodes by watches, one goroutine each, until one of them fails.
type walk struct {
	conn *zk.Conn
	ctx  context.Context
	fail context.CancelCauseFunc
	wg   sync.WaitGroup

	mu      sync.Mutex
	pending int    // nodes that were not read yet
	whole   func() // called once, when all were
}

// begin counts a node that is about to be followed.
func (w *walk) begin() {
	w.mu.Lock()
	w.pending++
	w.mu.Unlock()
}

// read notes that a node was read for the first time, and what it leads to begun.
func (w *walk) read() {
	w.mu.Lock()
	w.pending--
	var f func()
	if w.pending == 0 {
		f, w.whole = w.whole, nil
	}
	w.mu.Unlock()
	if f != nil {
		f()
	}
}

// children calls f with the names below a node, none where it is not there, now and after each change.
func (w *walk) children(ctx context.Context, path string, f func(names []string)) {
	w.follow(ctx, path, func() (<-chan zk.Event, error) {
		names, _, news, err := w.conn.ChildrenW(path)
		if err == nil {
			f(names)
		}
		return news, err
	}, func() { f(nil) })
}

// data calls f with the content of a node, nil where it is not there, now and after each change.
func (w *walk) data(ctx context.Context, path string, f func(data []byte)) {
	w.follow(ctx, path, func() (<-chan zk.Event, error) {
		data, _, news, err := w.conn.GetW(path)
		if err == nil {
			f(data)
		}
		return news, err
	}, func() { f(nil) })
}

// follow reads a node again whenever its watch fires.
func (w *walk) follow(ctx context.Context, path string, read func() (<-chan zk.Event, error), gone func()) {
	w.begin()
	w.wg.Go(func() {
		once := sync.OnceFunc(w.read)
		defer once()
		for ctx.Err() == nil {
			news, err := read()
			if errors.Is(err, zk.ErrNoNode) {
				var there bool
				if there, _, news, err = w.conn.ExistsW(path); err == nil {
					if there {
						continue // just now
					}
					gone()
				}
			}
			if err != nil {
				w.fail(err)
				return
			}
			once()
			select {
			case e := <-news:
				if e.Err != nil {
					w.fail(e.Err)
					return
				}
			case <-ctx.Done():
			}
		}
	})
}

// below keeps something going for each name of a list, and ends it with the name.
type below struct {
	ctx   context.Context
	start func(ctx context.Context, name string)
	ends  map[string]context.CancelFunc
}

// set goes on with these names; gone are those that are not among them any more.
func (b *below) set(names []string) (gone []string) {
	there := make(map[string]bool, len(names))
	for _, n := range names {
		there[n] = true
		if b.ends[n] == nil {
			ctx, end := context.WithCancel(b.ctx)
			b.ends[n] = end
			b.start(ctx, n)
		}
	}
	for n, end := range b.ends {
		if !there[n] {
			end()
			delete(b.ends, n)
			gone = append(gone, n)
		}
	}
	return gone
}

func newBelow(ctx context.Context, start func(ctx context.Context, name string)) *below {
	return &below{ctx: ctx, start: start, ends: map[string]context.CancelFunc{}}
}
