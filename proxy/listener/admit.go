package listener

import (
	"math"
	"net"
	"sync/atomic"

	"github.com/weftmesh/weft/base/overload"
)

// admit tells whether a connection that a socket has accepted may stay, and counts it:
// by the bound on all, by the load, by its listener's bound, in Envoy's order. If not, it is closed.
func (m *Manager) admit(l *active, nc net.Conn) (seat, bool) {
	s := seat{m: m, stats: l.stats}
	if !m.seatAmongAll(l, &s) {
		nc.Close()
		l.stats.GlobalOverflow.Add(1)
		return s, false
	}
	var over *atomic.Uint64
	switch {
	case !l.BypassOverload && (m.overload.Shed(overload.AtAccept) || m.overload.Hit(overload.RejectConnections)):
		over = &l.stats.OverloadRejects
	case l.MaxConns != nil && uint64(l.stats.open.Load()) >= l.MaxConns.Integer(math.MaxUint64):
		over = &l.stats.Overflow
	default:
		l.stats.open.Add(1)
		m.accepted.Add(1)
		return s, true
	}
	if s.taken {
		m.overload.GiveConnection()
	}
	nc.Close()
	over.Add(1) // whoever sees it can take it that the connection is closed
	return s, false
}

func (m *Manager) seatAmongAll(l *active, s *seat) bool {
	switch {
	case l.IgnoreMax:
		return true
	case m.overload.CountsConnections():
		s.taken = m.overload.TakeConnection()
		return s.taken
	}
	return uint64(m.accepted.Load()) < m.maxConns.Integer(math.MaxUint64)
}

// keep counts a connection that another process has admitted: it is not asked again
// whether it may stay, and those that come after it find its seat taken.
func (m *Manager) keep(l *active) seat {
	s := seat{m: m, stats: l.stats}
	if !l.IgnoreMax && m.overload.CountsConnections() {
		m.overload.KeepConnection()
		s.taken = true
	}
	l.stats.open.Add(1)
	m.accepted.Add(1)
	return s
}

// seat is what an accepted connection takes up of what is bounded. The zero value takes nothing.
type seat struct {
	m     *Manager
	stats *Stats // of the listener that it counts for
	taken bool   // of the overload manager's
}

// move makes the connection another listener's.
func (s *seat) move(to *Stats) {
	if s.m != nil {
		s.stats.open.Add(-1)
		to.open.Add(1)
		s.stats = to
	}
}

// free gives it back.
func (s *seat) free() {
	if s.m == nil {
		return
	}
	if s.taken {
		s.m.overload.GiveConnection()
	}
	s.m.accepted.Add(-1)
	s.stats.open.Add(-1) // last: whoever sees it finds all seats free
}
