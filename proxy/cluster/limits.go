package cluster

import (
	"sync/atomic"
	"time"
)

// Resource is what a circuit breaker limits.
type Resource uint8

// Resources.
const (
	Connections Resource = iota
	Pending
	Requests
	Retries
	resources
)

// Limits are the circuit breakers of one priority. They count on when the
// cluster is replaced by one of the same name.
type Limits struct {
	current  [resources]atomic.Int64
	most     [resources]atomic.Int64
	budget   atomic.Pointer[RetryBudget]
	perHost  atomic.Int64           // connections; 0: no limit
	show     atomic.Bool            // how much is left
	recent   atomic.Pointer[window] // requests of the budget's interval; nil: there is none
	overflow [resources]*Counter
}

func newLimits(s *Stats) *Limits {
	return &Limits{overflow: [resources]*Counter{
		Connections: &s.UpstreamCxOverflow,
		Pending:     &s.UpstreamRqPendingOverflow,
		Requests:    &s.UpstreamRqPendingOverflow,
		Retries:     &s.UpstreamRqRetryOverflow,
	}}
}

// set makes b the limits.
func (l *Limits) set(b *Breakers) {
	for r, n := range [resources]uint32{b.Connections, b.Pending, b.Requests, b.Retries} {
		l.most[r].Store(int64(n))
	}
	l.show.Store(b.ShowRemaining)
	l.perHost.Store(int64(b.PerHost))
	budget := b.Budget
	l.budget.Store(budget)
	switch w := l.recent.Load(); {
	case budget == nil || budget.Interval <= 0:
		l.recent.Store(nil)
	case w == nil || w.length != budget.Interval:
		l.recent.Store(newWindow(budget.Interval))
	}
}

// Acquire takes one, false: the limit is reached (and the overflow counted).
func (l *Limits) Acquire(r Resource) bool {
	most := l.Max(r)
	for {
		n := l.current[r].Load()
		if n >= most {
			l.overflow[r].Add(1)
			return false
		}
		if l.current[r].CompareAndSwap(n, n+1) {
			if r == Requests {
				if w := l.recent.Load(); w != nil {
					w.add(time.Now())
				}
			}
			return true
		}
	}
}

// AcquireConnection takes a connection to h, false: the limit is reached, of all of
// them or of that host's.
func (l *Limits) AcquireConnection(h *Host) bool {
	if most := l.perHost.Load(); most > 0 && h.stats.CxActive.Load() >= most {
		l.overflow[Connections].Add(1)
		return false
	}
	return l.Acquire(Connections)
}

// Release gives one back.
func (l *Limits) Release(r Resource) { l.current[r].Add(-1) }

// Open tells whether the next Acquire would fail.
func (l *Limits) Open(r Resource) bool { return l.current[r].Load() >= l.Max(r) }

// Current is how many are taken.
func (l *Limits) Current(r Resource) int64 { return l.current[r].Load() }

// Max is the limit as it is now: a retry budget follows the active requests.
func (l *Limits) Max(r Resource) int64 {
	if r == Retries {
		if b := l.budget.Load(); b != nil {
			active := l.current[Requests].Load() + l.current[Pending].Load()
			if w := l.recent.Load(); w != nil {
				active = w.count(time.Now())
			}
			return max(int64(b.MinConcurrency), int64(b.Percent/100*float64(active)))
		}
	}
	return l.most[r].Load()
}
