package translate

import (
	"cmp"
	"slices"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/control/scope"
)

// Resources is everything that one proxy gets.
type Resources struct {
	// ByType has the resources of each type URL (wire.TypeListener …), sorted by name.
	ByType map[string][]*resource.Resource
}

// Of returns the resources of one type, sorted by name.
func (r *Resources) Of(typeURL string) []*resource.Resource { return r.ByType[typeURL] }

// Get returns one resource by name.
func (r *Resources) Get(typeURL, name string) (*resource.Resource, bool) {
	list := r.ByType[typeURL]
	i, ok := slices.BinarySearchFunc(list, name, func(x *resource.Resource, n string) int { return cmp.Compare(x.Name, n) })
	if !ok {
		return nil, false
	}
	return list[i], true
}

// Translate makes everything that the proxy of the view gets, from nothing. A proxy
// on demand gets it before it asks for anything.
func Translate(v *scope.View) (*Resources, []model.Finding) { return TranslateAsked(v, Ask{}) }

// TranslateAsked is Translate for a proxy on demand that asks for something.
func TranslateAsked(v *scope.View, ask Ask) (*Resources, []model.Finding) {
	c := NewCache()
	return c.Translate(v, c.Shared(v, nil), ask)
}

// Translate is TranslateAsked with what the view's group shares.
func (c *Cache) Translate(v *scope.View, shared *Shared, ask Ask) (*Resources, []model.Finding) {
	own := c.Own(v, nil)
	var f findings
	f.add(shared.Findings...)
	f.add(own.Findings...)
	sets := own.Sets(shared)
	if v.Proxy.OnDemand {
		used := c.Demand(v, nil).Used(own, ask, nil)
		f.add(used.Findings...)
		sets = used.Sets(shared)
	}
	out := &Resources{ByType: map[string][]*resource.Resource{}}
	for url, set := range sets {
		out.ByType[url] = set.List()
	}
	return out, f.list
}

// findings collects each Finding once: several chains may stumble over one fault.
type findings struct {
	seen map[model.Finding]bool
	list []model.Finding
}

func (f *findings) add(list ...model.Finding) {
	for _, x := range list {
		if f.seen[x] {
			continue
		}
		if f.seen == nil {
			f.seen = map[model.Finding]bool{}
		}
		f.seen[x] = true
		f.list = append(f.list, x)
	}
}

func (f *findings) one(x model.Finding) { f.add(x) }
