package udp

import (
	"io"
	"sync"

	"github.com/weftmesh/weft/proxy/cluster"
)

// slot is where sessions hang at their hosts.
var slot = new(byte)

// hostSessions ends sessions when their host goes.
type hostSessions struct {
	mu sync.Mutex
	// Guarded by mu.
	all    map[*session]struct{}
	closed bool
}

func sessionsOf(h *cluster.Host) *hostSessions {
	if hs, ok := h.Attached(slot).(*hostSessions); ok {
		return hs
	}
	return h.Attach(slot, func() io.Closer { return &hostSessions{all: map[*session]struct{}{}} }).(*hostSessions)
}

// add has s end with the host; false: the host has gone.
func (hs *hostSessions) add(s *session) bool {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if !hs.closed {
		hs.all[s] = struct{}{}
	}
	return !hs.closed
}

func (hs *hostSessions) remove(s *session) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	delete(hs.all, s)
}

// Close ends the sessions: the host has gone.
func (hs *hostSessions) Close() error {
	hs.mu.Lock()
	hs.closed = true
	all := hs.all
	hs.all = nil
	hs.mu.Unlock()
	for s := range all {
		s.end()
	}
	return nil
}
