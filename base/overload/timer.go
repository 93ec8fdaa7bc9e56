package overload

import "time"

// Timer is a time that ReduceTimeouts makes shorter.
type Timer uint8

// Timers.
const (
	ConnectionIdle Timer = iota // of clients' HTTP connections without requests
	StreamIdle                  // of clients' requests
	Handshake                   // of clients' transport sockets
	ConnectionLife              // of clients' HTTP connections
	timers
)

// Minimum is what is left of a timer when ReduceTimeouts is taken whole: Share (0 to
// 1) of what is configured, or where that is 0, Least, or what is configured if that is less.
type Minimum struct {
	Least time.Duration
	Share float64
}

func (m *Minimum) of(d time.Duration) time.Duration {
	if m.Share > 0 {
		return time.Duration(min(m.Share, 1) * float64(d))
	}
	return min(m.Least, d)
}

// Scaled is the time d that is configured for a timer, as it is at this time.
func (s *State) Scaled(t Timer, d time.Duration) time.Duration {
	if s == nil || s.minima[t] == nil {
		return d
	}
	least := s.minima[t].of(d)
	return least + (d-least)*time.Duration(full-s.values[ReduceTimeouts].Load())/full
}

// Due is when to look again at a timer of d that began at since: when it expires or,
// where that may become sooner, before. now has to be at or after since.
func (s *State) Due(t Timer, since time.Time, d time.Duration, now time.Time) time.Time {
	if s == nil || s.minima[t] == nil {
		return since.Add(d)
	}
	least := s.minima[t].of(d)
	if first := since.Add(least); now.Before(first) {
		return first
	}
	end := since.Add(s.Scaled(t, d))
	// Pressure is polled, and so are the timers that it may shorten, the longer the less.
	if again := now.Add(min(max((d-least)/16, s.interval), 10*time.Second)); again.Before(end) {
		return again
	}
	return end
}
