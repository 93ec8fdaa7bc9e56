package translate

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/scope"
)

// Resource is one xDS resource, marshalled.
type Resource struct {
	Name string
	// Version is a hash of the content, in hex.
	Version string
	Body    *anypb.Any
}

// Resources is everything that one proxy gets.
type Resources struct {
	// ByType has the resources of each type URL (wire.TypeListener …), sorted by name.
	ByType map[string][]Resource
}

// Of returns the resources of one type, sorted by name.
func (r *Resources) Of(typeURL string) []Resource { return r.ByType[typeURL] }

// Get returns one resource by name.
func (r *Resources) Get(typeURL, name string) (Resource, bool) {
	list := r.ByType[typeURL]
	i, ok := slices.BinarySearchFunc(list, name, func(x Resource, n string) int { return cmp.Compare(x.Name, n) })
	if !ok {
		return Resource{}, false
	}
	return list[i], true
}

// Translate makes everything that the proxy of the view gets.
func Translate(v *scope.View) (*Resources, []model.Finding) {
	return &Resources{ByType: map[string][]Resource{}}, nil
}

// pack marshals a message into a resource. Marshalling is deterministic within
// one binary, which is all that versions need: they are compared by the control
// plane that made them, and a new binary only sends once more.
func pack(name, typeURL string, m proto.Message) Resource {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic("BUG: translate: " + name + ": " + err.Error())
	}
	return Resource{
		Name:    name,
		Version: strconv.FormatUint(xxhash.Sum64(raw), 16),
		Body:    &anypb.Any{TypeUrl: typeURL, Value: raw},
	}
}
