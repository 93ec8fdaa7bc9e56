// Package metric holds the newest numbers that conditions of limits are made of: of workloads and of services, each
// until its time is up, and the service by which anybody pushes them (Metric Discovery, wire/metric.proto).
//
// It keeps no history and computes nothing: what a number means for a set of limits is control/limiter's to say. What is
// kept is bounded; what is too much is refused.
package metric

import (
	"errors"
	"math"
	"slices"
	"sync"
	"time"
)

// Subject is whom a number is about: a workload by its name, or a service by its host and a subset of it.
type Subject struct {
	Namespace, Workload string
	Service, Set        string
}

const (
	// most bounds the numbers that are kept.
	most = 200_000
	// Usual is how long a number counts whose reporter does not say.
	Usual    = 10 * time.Second
	shortest = time.Second
	longest  = time.Hour
)

// Store holds numbers. Make one with NewStore; all methods may be called by any goroutine.
type Store struct {
	now func() time.Time

	mu      sync.Mutex
	values  map[Subject]map[string]value
	count   int
	changed chan struct{} // closed by the next change
	wanted  []string
	asked   chan struct{} // closed when wanted changes
}

type value struct {
	v     float64
	until time.Time
}

// NewStore returns an empty store.
func NewStore() *Store {
	return &Store{now: time.Now, values: map[Subject]map[string]value{}, changed: make(chan struct{}), asked: make(chan struct{})}
}

// errFull is answered when there are too many numbers.
var errFull = errors.New("there are too many numbers already")

// Set keeps a number.
func (s *Store) Set(of Subject, name string, v float64, ttl time.Duration) error {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return errors.New("value: is not finite")
	}
	if ttl == 0 {
		ttl = Usual
	}
	ttl = min(max(ttl, shortest), longest)
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.values[of]
	old, there := m[name]
	if !there && s.count >= most {
		s.sweep()
		if s.count >= most {
			return errFull
		}
		m = s.values[of]
	}
	if m == nil {
		m = map[string]value{}
		s.values[of] = m
	}
	now := s.now()
	if !there {
		s.count++
	}
	m[name] = value{v, now.Add(ttl)}
	if !there || old.v != v || old.until.Before(now) {
		close(s.changed)
		s.changed = make(chan struct{})
	}
	return nil
}

// sweep forgets what is out of date. It is called with mu held.
func (s *Store) sweep() {
	now := s.now()
	for of, m := range s.values {
		for name, v := range m {
			if v.until.Before(now) {
				delete(m, name)
				s.count--
			}
		}
		if len(m) == 0 {
			delete(s.values, of)
		}
	}
}

// Sweep forgets what is out of date.
func (s *Store) Sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep()
}

// Get is a number that is not out of date.
func (s *Store) Get(of Subject, name string) (float64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.values[of][name]
	return v.v, ok && !v.until.Before(s.now())
}

// Changed returns a channel that is closed when a number changes.
func (s *Store) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// Want says which numbers are asked for, sorted.
func (s *Store) Want(names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Equal(names, s.wanted) {
		return
	}
	s.wanted = names
	close(s.asked)
	s.asked = make(chan struct{})
}

// Wanted is what Want said last, and a channel that is closed when it says otherwise.
func (s *Store) Wanted() ([]string, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wanted, s.asked
}
