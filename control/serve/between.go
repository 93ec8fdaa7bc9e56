package serve

import (
	"cmp"
	"slices"
	"time"

	"github.com/weftmesh/weft/control/resource"
)

const (
	// settleTime is how long a consumer has to be silent, with everything answered, to
	// be taken for one that has carried out what it was handed.
	settleTime = 100 * time.Millisecond
	// crossTime bounds how long a consumer is left with what lies between.
	crossTime = 2 * time.Second
)

// lead returns what the consumer is handed next on the way from what it holds.
func (t *worldType) lead(s *State, held, next *resource.Resource) *resource.Resource {
	if s.Between == nil {
		return next
	}
	b := s.Between(t.url, held, next)
	if b == nil {
		delete(t.between, next.Name)
		return next
	}
	if len(t.between) == 0 {
		t.between, t.since = map[string]*resource.Resource{}, time.Now()
	}
	t.between[next.Name] = b
	return b
}

// onTheWay puts what the consumer is handed for a while in the place of what comes next.
func (t *worldType) onTheWay(s *State, list []*resource.Resource) {
	if s.Between == nil {
		return
	}
	for i, r := range list {
		at, held := slices.BinarySearchFunc(t.holds, r.Name, func(h *resource.Resource, n string) int { return cmp.Compare(h.Name, n) })
		switch b := t.between[r.Name]; {
		case b != nil:
			list[i] = b
		case held && t.holds[at].Version != r.Version:
			list[i] = t.lead(s, t.holds[at], r)
		}
	}
}

// cross has the consumer handed what comes next, once it has carried out what lies
// between: asked for what that names, and taken it.
func (w *world) cross(t *worldType) {
	if len(t.between) == 0 {
		return
	}
	now := time.Now()
	silent := now.Sub(w.asked) >= settleTime && !slices.ContainsFunc(w.types, func(x *worldType) bool { return x.busy })
	if silent || now.Sub(t.since) >= crossTime {
		t.between, t.seen = nil, nil // so that all of it is looked at
	}
}
