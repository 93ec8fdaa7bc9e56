// Package watch holds a value that many read and wait for: state and a changed
// signal, not an event queue. Readers that are slow see the newest value and
// skip those between.
//
// A stored value must not be changed afterwards. The package has no history and
// no deltas; whoever needs them compares what it had with what it got.
package watch

import "sync"

// Cell holds the newest value of type T. The zero Cell is empty and ready.
// All methods may be called from any goroutine.
type Cell[T any] struct {
	mu      sync.Mutex
	value   T
	version uint64
	changed chan struct{} // closed by the next Store; made by the first who waits
}

// NewCell returns a cell that holds v already.
func NewCell[T any](v T) *Cell[T] {
	return &Cell[T]{value: v, version: 1}
}

// Store replaces the value and wakes everybody who waits.
func (c *Cell[T]) Store(v T) {
	c.mu.Lock()
	c.value = v
	c.version++
	ch := c.changed
	c.changed = nil
	c.mu.Unlock()
	if ch != nil {
		close(ch)
	}
}

// Load returns the newest value, or T's zero value when nothing was stored yet.
func (c *Cell[T]) Load() T {
	v, _ := c.Get()
	return v
}

// Get returns the newest value and how many times the cell was stored to; 0
// means never.
func (c *Cell[T]) Get() (v T, version uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.value, c.version
}

// Changed returns a channel that is closed by the next Store. To miss nothing,
// take the channel first and Load after it:
//
//	for {
//		changed := cell.Changed()
//		use(cell.Load())
//		select {
//		case <-changed:
//		case <-ctx.Done():
//			return ctx.Err()
//		}
//	}
func (c *Cell[T]) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	return c.changed
}
