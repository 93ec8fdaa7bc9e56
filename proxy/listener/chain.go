package listener

import (
	"sync"

	"github.com/weftmesh/weft/proxy/filter"
)

// chain is a filter chain at work, with its connections.
type chain struct {
	*FilterChain
	stats *Stats

	mu sync.Mutex
	// Guarded by mu.
	conns    tracked // the head of a ring
	n        int
	draining bool
	empty    func() // called once when draining and no connection is left
}

// tracked is a connection in the ring of its chain.
type tracked struct {
	cut        func() // closes it under its owner, with a reset. Any goroutine.
	prev, next *tracked
}

func newChain(fc *FilterChain, stats *Stats) *chain {
	c := &chain{FilterChain: fc, stats: stats}
	c.conns.prev, c.conns.next = &c.conns, &c.conns
	return c
}

// readsSNI tells whether a filter of the chain wants to know the server's name.
func (c *chain) readsSNI() bool {
	for _, f := range c.Filters {
		if _, ok := f.(filter.SNIReader); ok {
			return true
		}
	}
	return false
}

// enter adds a connection, unless the chain is being drained.
func (c *chain) enter(t *tracked) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining {
		return false
	}
	t.prev, t.next = c.conns.prev, &c.conns
	t.prev.next, t.next.prev = t, t
	c.n++
	return true
}

// handed replaces how a connection is cut, once a host serves it.
func (c *chain) handed(t *tracked, cut func()) {
	c.mu.Lock()
	t.cut = cut
	c.mu.Unlock()
}

func (c *chain) leave(t *tracked) {
	c.mu.Lock()
	t.prev.next, t.next.prev = t.next, t.prev
	c.n--
	var empty func()
	if c.n == 0 {
		empty, c.empty = c.empty, nil
	}
	c.mu.Unlock()
	if empty != nil {
		empty()
	}
}

func (c *chain) isDraining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining
}

// beginDrain lets no more connections in. empty is called when the last has
// left, but not if there is none (idle). ok is false the second time.
func (c *chain) beginDrain(empty func()) (idle, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining {
		return false, false
	}
	c.draining = true
	if c.n > 0 {
		c.empty = empty
	}
	return c.n == 0, true
}

// cut closes what is left. The sockets are closed under their owners, who see
// an error and clean up.
func (c *chain) cut() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for t := c.conns.next; t != &c.conns; t = t.next {
		t.cut()
		n++
	}
	return n
}
