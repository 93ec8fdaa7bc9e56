package serve

import (
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/wire"
)

// Resource is one xDS resource. It is shared between streams and never changed.
type Resource struct {
	Name string
	// Version is a hash of the content.
	Version string
	Body    *anypb.Any
}

// State is everything that one consumer may hold. It is immutable.
type State struct {
	// Version grows with each change of the mesh.
	Version uint64
	// Sets by type URL.
	Sets map[string]*Set
}

// Set returns the resources of a type; an empty one for unknown types.
func (s *State) Set(url string) *Set {
	if set := s.Sets[url]; set != nil {
		return set
	}
	return &emptySet
}

var emptySet Set

// Set is the resources of one type.
type Set struct {
	list   []*Resource
	byName map[string]*Resource
}

// NewSet makes a Set of resources with distinct names; of two with the same
// name the first stays.
func NewSet(list []*Resource) *Set {
	s := &Set{list: make([]*Resource, 0, len(list)), byName: make(map[string]*Resource, len(list))}
	for _, r := range list {
		if s.byName[r.Name] == nil {
			s.byName[r.Name] = r
			s.list = append(s.list, r)
		}
	}
	return s
}

// List returns the resources in order; read-only.
func (s *Set) List() []*Resource { return s.list }

// Get returns a resource by name, or nil.
func (s *Set) Get(name string) *Resource { return s.byName[name] }

// order is the order in which types are served: make before break.
var order = []string{
	wire.TypeCluster, wire.TypeEndpoint, wire.TypeListener, wire.TypeRoute, wire.TypeSecret,
}

// ranked returns the subscribed types in serving order.
func ranked[T any](types map[string]T) []string {
	out := make([]string, 0, len(types))
	seen := make(map[string]bool, len(order))
	for _, url := range order {
		seen[url] = true
		if _, ok := types[url]; ok {
			out = append(out, url)
		}
	}
	for url := range types {
		if !seen[url] {
			out = append(out, url)
		}
	}
	return out
}
