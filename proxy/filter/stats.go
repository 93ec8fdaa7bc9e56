package filter

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
)

// Counter only goes up.
type Counter struct{ atomic.Uint64 }

// Gauge goes up and down.
type Gauge struct{ atomic.Int64 }

// Stats are the statistics of filters, by Envoy's names. They outlive the
// configurations that use them: an update does not begin to count anew.
// Counters are looked up while a configuration is parsed, not per request. A nil
// Stats hands out counters that nobody reads.
type Stats struct {
	mu sync.Mutex
	by map[statKey]any // *Counter or *Gauge
}

// statKey is a name in the parts that Prometheus needs: "http", the connection
// manager's prefix, "csrf.request_valid".
type statKey struct{ scope, name, stat string }

// Counter returns the counter of that name, made when there is none.
func (s *Stats) Counter(scope, name, stat string) *Counter {
	return statOf[Counter](s, scope, name, stat)
}

// Gauge returns the gauge of that name, made when there is none.
func (s *Stats) Gauge(scope, name, stat string) *Gauge { return statOf[Gauge](s, scope, name, stat) }

func statOf[T any](s *Stats, scope, name, stat string) *T {
	if s == nil {
		return new(T)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	k := statKey{scope, name, stat}
	if v, ok := s.by[k].(*T); ok {
		return v
	}
	v := new(T)
	if s.by == nil {
		s.by = map[statKey]any{}
	}
	s.by[k] = v
	return v
}

// Each calls visit for all, in the order of their names.
func (s *Stats) Each(visit func(scope, name, stat string, value uint64, gauge bool)) {
	s.mu.Lock()
	keys := make([]statKey, 0, len(s.by))
	values := make(map[statKey]any, len(s.by))
	for k, v := range s.by {
		keys = append(keys, k)
		values[k] = v
	}
	s.mu.Unlock()
	slices.SortFunc(keys, func(a, b statKey) int {
		return cmp.Or(cmp.Compare(a.scope, b.scope), cmp.Compare(a.name, b.name), cmp.Compare(a.stat, b.stat))
	})
	for _, k := range keys {
		switch v := values[k].(type) {
		case *Counter:
			visit(k.scope, k.name, k.stat, v.Load(), false)
		case *Gauge:
			visit(k.scope, k.name, k.stat, uint64(max(v.Load(), 0)), true)
		}
	}
}
