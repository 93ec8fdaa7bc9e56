package serve

import (
	"slices"

	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/wire"
)

// State is everything that one consumer may hold. It is immutable.
type State struct {
	// Version grows with each change of the mesh.
	Version uint64
	// Sets by type URL.
	Sets map[string]*resource.Set
	// Whole: state-of-the-world responses have everything of their type, so that what they leave
	// out is gone. Else only those of listeners and clusters do, as Envoy's protocol has it.
	Whole bool
	// Between, when set, is asked what a consumer of a state-of-the-world stream is
	// handed for a while between what it holds and what comes next; nil: nothing.
	Between func(typeURL string, held, next *resource.Resource) *resource.Resource
}

// Set returns the resources of a type; an empty set for unknown types.
func (s *State) Set(url string) *resource.Set { return s.Sets[url] }

// order is the order in which types are served: make before break. Others come
// after them.
var order = []string{
	wire.TypeCluster, wire.TypeEndpoint, wire.TypeListener, wire.TypeRoute, wire.TypeVirtualHost, wire.TypeSecret,
}

// rank is a type's place in the order.
func rank(url string) int {
	if i := slices.Index(order, url); i >= 0 {
		return i
	}
	return len(order)
}
