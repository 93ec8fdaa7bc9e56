package xds

import (
	"maps"
	"slices"
	"sync"

	"github.com/weftmesh/weft/wire"
)

// order is in which types are asked for when a stream begins: what is referred
// to before what refers to it.
var order = []string{
	wire.TypeRuntime, wire.TypeCluster, wire.TypeEndpoint, wire.TypeListener, wire.TypeScope, wire.TypeRoute, wire.TypeVirtualHost, wire.TypeSecret,
}

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
	// changed holds what has changed since the last snapshot: whatever the number
	// of names, a change costs what it is. fresh: all has.
	changed   map[string]struct{}
	fresh     bool
	forgotten []string
}

// set changes the state of a name.
func (s *subscription) set(name string, st nameState) {
	s.names[name] = st
	s.changed[name] = struct{}{}
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

// wanted is a copy of one subscription, or of what has changed of it.
type wanted struct {
	typeURL string
	all     bool
	// names are sorted and hold again; dropped are those not wanted any more.
	names, dropped, again []string
	// forgotten are resources that the Handler let go of.
	forgotten []string
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
		sub = &subscription{names: map[string]nameState{}, changed: map[string]struct{}{}}
		s.types[typeURL] = sub
		if !slices.Contains(s.list, typeURL) {
			s.list = append(s.list, typeURL)
		}
	}
	return sub
}

func (s *subscriptions) all(typeURL string) {
	s.mu.Lock()
	sub := s.getLocked(typeURL)
	sub.all, sub.fresh = true, true
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
			sub.set(n, isAgain)
		default:
			sub.set(n, isWanted)
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
			sub.set(n, isDropped)
		}
	}
	s.mu.Unlock()
	s.signal()
}

// forget drops what is known of resources that were not asked for by their names.
func (s *subscriptions) forget(typeURL string, names []string) {
	s.mu.Lock()
	sub := s.getLocked(typeURL)
	sub.forgotten = append(sub.forgotten, names...)
	s.mu.Unlock()
	s.signal()
}

// snapshot copies what is wanted, in the order to ask for it, and forgets what
// has been dropped: every name is reported as dropped once. whole: not only what
// has changed since the last one.
func (s *subscriptions) snapshot(whole bool) []wanted {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []wanted
	for _, t := range s.list {
		sub := s.types[t]
		if sub == nil {
			continue
		}
		w := wanted{typeURL: t, all: sub.all, forgotten: sub.forgotten}
		names := slices.Sorted(maps.Keys(sub.changed))
		if whole {
			names = slices.Sorted(maps.Keys(sub.names))
		} else if len(names) == 0 && len(w.forgotten) == 0 && !sub.fresh {
			continue
		}
		sub.changed, sub.fresh, sub.forgotten = map[string]struct{}{}, false, nil
		for _, n := range names {
			switch sub.names[n] {
			case isDropped:
				w.dropped = append(w.dropped, n)
				delete(sub.names, n)
				continue
			case 0: // was dropped, and that has been told
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
