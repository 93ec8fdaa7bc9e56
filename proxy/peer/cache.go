package peer

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/weftmesh/weft/proxy/filter"
)

// maxCached bounds the peers that a Cache remembers, as Istio's proxies do.
const maxCached = 500

// Cache decodes what peers say in headers once per peer. The zero value decodes
// no additional labels. It is safe for concurrent use.
type Cache struct {
	// Additional are labels to keep beside the canonical ones. Set before use.
	Additional []string

	read atomic.Pointer[map[string]entry]
	mu   sync.Mutex // serialises growth
}

// entry is what a value meant when a peer of an id sent it.
type entry struct {
	value string
	peer  *filter.Peer
}

// Decode returns who a value describes; nil: it is not readable. id may be
// empty: then nothing is remembered. The strings are not kept. For a value that
// is known it takes no lock and allocates nothing.
func (c *Cache) Decode(id, value string) *filter.Peer {
	// Fast path.
	if m := c.read.Load(); m != nil {
		if e, ok := (*m)[id]; ok && e.value == value {
			return e.peer
		}
	}
	return c.decode(id, value)
}

func (c *Cache) decode(id, value string) *filter.Peer {
	p := decodeHeader(value, c.Additional)
	if id == "" || p == nil {
		return p
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	next := map[string]entry{}
	// A full cache begins anew: who is still there comes back with its next request.
	if old := c.read.Load(); old != nil && len(*old) < maxCached {
		next = maps.Clone(*old)
	}
	next[strings.Clone(id)] = entry{strings.Clone(value), p}
	c.read.Store(&next)
	return p
}
