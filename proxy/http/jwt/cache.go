package jwt

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"
)

// ways is how many tokens share a set.
const ways = 8

// cache holds tokens that were verified. A look-up takes no lock and no memory.
// It is a set of small sets, by hash; of a full one the token goes that was
// not used lately.
type cache struct {
	seed maphash.Seed
	mask uint64
	sets []set
	most int // bytes of a token
}

type set struct {
	slots [ways]atomic.Pointer[cached]
	hand  atomic.Uint32
}

type cached struct {
	t    *token
	used atomic.Bool
}

// Envoy's defaults.
const (
	defaultCacheSize = 100
	defaultTokenSize = 4096
)

// newCache makes room for at least size tokens, none of which is longer than most bytes.
func newCache(size, most int) *cache {
	if size == 0 {
		size = defaultCacheSize
	}
	if most == 0 {
		most = defaultTokenSize
	}
	n := uint64(1) << bits.Len64(uint64((size+ways-1)/ways-1))
	return &cache{seed: maphash.MakeSeed(), mask: n - 1, sets: make([]set, n), most: most}
}

func (c *cache) set(raw string) *set { return &c.sets[maphash.String(c.seed, raw)&c.mask] }

// get returns a token that was verified; nil: none.
func (c *cache) get(raw string) *token {
	s := c.set(raw)
	for i := range s.slots {
		if e := s.slots[i].Load(); e != nil && e.t.raw == raw {
			if !e.used.Load() {
				e.used.Store(true)
			}
			return e.t
		}
	}
	return nil
}

// put keeps a token, whose raw text must be the cache's own.
func (c *cache) put(t *token) {
	if len(t.raw) > c.most {
		return
	}
	s, e := c.set(t.raw), &cached{t: t}
	for i := range s.slots { // an older verification of the same token
		if old := s.slots[i].Load(); old != nil && old.t.raw == t.raw {
			s.slots[i].CompareAndSwap(old, e)
			return
		}
	}
	for i := range s.slots {
		if s.slots[i].CompareAndSwap(nil, e) {
			return
		}
	}
	for range 2 * ways {
		i := s.hand.Add(1) % ways
		if old := s.slots[i].Load(); !old.used.Swap(false) && s.slots[i].CompareAndSwap(old, e) {
			return
		}
	}
}
