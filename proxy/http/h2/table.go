package h2

import (
	"iter"
	"math/bits"
	"slices"
)

// Table finds things by the id of their stream: open addressing. The ids of the streams of
// one connection follow each other, and multiplied by the golden ratio they lie far
// from each other, so that nearly all are found at once. The zero value is empty. Id 0 is no stream.
type Table[T any] struct {
	slots []slot[T] // a power of two of them, at most half in use
	shift uint8     // 32 less its logarithm
	used  int
}

type slot[T any] struct {
	id uint32 // 0: free
	v  *T
}

// minSlots is what a table begins with.
const minSlots = 8

// home is the slot where an id belongs; the lowest bit only says who began the stream.
func (t *Table[T]) home(id uint32) int { return int(id >> 1 * 0x9e3779b1 >> t.shift) }

// Len is the number of entries.
func (t *Table[T]) Len() int { return t.used }

// Get returns the entry of an id, or nil.
func (t *Table[T]) Get(id uint32) *T {
	if t.used == 0 {
		return nil
	}
	for i := t.home(id); ; i = (i + 1) & (len(t.slots) - 1) {
		switch s := &t.slots[i]; s.id {
		case id:
			return s.v
		case 0:
			return nil
		}
	}
}

// Put adds an entry, or replaces it.
func (t *Table[T]) Put(id uint32, v *T) {
	if 2*(t.used+1) > len(t.slots) {
		old := t.slots
		t.slots, t.used = make([]slot[T], max(2*len(old), minSlots)), 0
		t.shift = uint8(33 - bits.Len(uint(len(t.slots))))
		for _, s := range old {
			if s.id != 0 {
				t.Put(s.id, s.v)
			}
		}
	}
	i := t.home(id)
	for t.slots[i].id != 0 && t.slots[i].id != id {
		i = (i + 1) & (len(t.slots) - 1)
	}
	if t.slots[i].id == 0 {
		t.used++
	}
	t.slots[i] = slot[T]{id, v}
}

// Delete removes an entry, and moves up those behind it that would not be found any more.
func (t *Table[T]) Delete(id uint32) {
	if t.used == 0 {
		return
	}
	mask := len(t.slots) - 1
	free := t.home(id)
	for t.slots[free].id != id {
		if t.slots[free].id == 0 {
			return
		}
		free = (free + 1) & mask
	}
	t.used--
	for i := (free + 1) & mask; t.slots[i].id != 0; i = (i + 1) & mask {
		// It may move if its home is not between the free slot and its own.
		if (i-t.home(t.slots[i].id))&mask >= (i-free)&mask {
			t.slots[free] = t.slots[i]
			free = i
		}
	}
	t.slots[free] = slot[T]{}
}

// Clear removes all.
func (t *Table[T]) Clear() {
	clear(t.slots)
	t.used = 0
}

// All yields the entries in the order of their ids. They are those that there were at
// the beginning, without those that have been removed meanwhile.
func (t *Table[T]) All() iter.Seq2[uint32, *T] {
	return func(yield func(uint32, *T) bool) {
		ids := make([]uint32, 0, t.used)
		for i := range t.slots {
			if id := t.slots[i].id; id != 0 {
				ids = append(ids, id)
			}
		}
		slices.Sort(ids)
		for _, id := range ids {
			if v := t.Get(id); v != nil && !yield(id, v) {
				return
			}
		}
	}
}
