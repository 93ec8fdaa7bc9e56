package xds

import (
	"maps"
	"slices"
	"sync"

	"github.com/weftmesh/weft/wire"
)

// order is in which types are asked for when a stream begins: what is referred
// to before what refers to it.
var order = []string{wire.TypeCluster, wire.TypeEndpoint, wire.TypeListener, wire.TypeRoute, wire.TypeSecret}

// subscriptions is what is wanted, and a signal that it changed.
type subscriptions struct {
	wake chan struct{} // one slot

	mu    sync.Mutex
	types map[string]*subscription
	list  []string // types in the order to ask for them
}

type subscription struct {
	all   bool
	names map[string]nameState
}

// nameState is what has to become of a name.
type nameState uint8

const (
	isWanted nameState = iota + 1
	isDropped
	// isAgain: dropped and wanted again before the server heard of the drop.
	// It has to send the resource again.
	isAgain
)

// wanted is a copy of one subscription.
type wanted struct {
	typeURL string
	all     bool
	// names are sorted and hold again; dropped are those not wanted any more.
	names, dropped, again []string
}

func newSubscriptions() *subscriptions {
	return &subscriptions{
		wake: make(chan struct{}, 1), types: map[string]*subscription{}, list: slices.Clone(order),
	}
}

// changed returns the signal: one slot, so that many changes wake once.
func (s *subscriptions) changed() <-chan struct{} { return s.wake }

func (s *subscriptions) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// wants tells whether a resource is wanted.
func (s *subscriptions) wants(typeURL, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := s.types[typeURL]
	if sub == nil {
		return false
	}
	st := sub.names[name]
	return sub.all || st == isWanted || st == isAgain
}

func (s *subscriptions) getLocked(typeURL string) *subscription {
	sub := s.types[typeURL]
	if sub == nil {
		sub = &subscription{names: map[string]nameState{}}
		s.types[typeURL] = sub
		if !slices.Contains(s.list, typeURL) {
			s.list = append(s.list, typeURL)
		}
	}
	return sub
}

func (s *subscriptions) all(typeURL string) {
	s.mu.Lock()
	s.getLocked(typeURL).all = true
	s.mu.Unlock()
	s.signal()
}

func (s *subscriptions) add(typeURL string, names []string) {
	s.mu.Lock()
	sub := s.getLocked(typeURL)
	for _, n := range names {
		switch sub.names[n] {
		case isWanted, isAgain:
		case isDropped:
			sub.names[n] = isAgain
		default:
			sub.names[n] = isWanted
		}
	}
	s.mu.Unlock()
	s.signal()
}

func (s *subscriptions) remove(typeURL string, names []string) {
	s.mu.Lock()
	sub := s.getLocked(typeURL)
	for _, n := range names {
		if sub.names[n] != 0 {
			sub.names[n] = isDropped
		}
	}
	s.mu.Unlock()
	s.signal()
}

// snapshot copies what is wanted, in the order to ask for it, and forgets what
// has been dropped: every name is reported as dropped once.
func (s *subscriptions) snapshot() []wanted {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []wanted
	for _, t := range s.list {
		sub := s.types[t]
		if sub == nil {
			continue
		}
		w := wanted{typeURL: t, all: sub.all}
		for _, n := range slices.Sorted(maps.Keys(sub.names)) {
			switch sub.names[n] {
			case isDropped:
				w.dropped = append(w.dropped, n)
				delete(sub.names, n)
				continue
			case isAgain:
				w.again = append(w.again, n)
				sub.names[n] = isWanted
			}
			w.names = append(w.names, n)
		}
		out = append(out, w)
	}
	return out
}
