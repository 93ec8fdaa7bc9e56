package overload

import "sync/atomic"

// quota is a resource of which there is a fixed amount.
type quota struct {
	limit  int64
	taken  atomic.Int64
	failed atomic.Uint64
}

// CountsConnections tells whether there is a bound on connections. It does not change.
func (s *State) CountsConnections() bool { return s != nil && s.connections != nil }

// TakeConnection asks for one more connection; whoever got it gives it back with
// GiveConnection. Without a bound there is always one.
func (s *State) TakeConnection() bool {
	if !s.CountsConnections() {
		return true
	}
	q := s.connections
	if q.taken.Add(1) > q.limit {
		q.taken.Add(-1)
		q.failed.Add(1)
		return false
	}
	return true
}

// KeepConnection counts a connection that another process has admitted, past the
// bound where it must.
func (s *State) KeepConnection() {
	if s.CountsConnections() {
		s.connections.taken.Add(1)
	}
}

// GiveConnection gives a connection back.
func (s *State) GiveConnection() {
	if s.CountsConnections() {
		s.connections.taken.Add(-1)
	}
}
