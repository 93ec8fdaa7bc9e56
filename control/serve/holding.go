package serve

import (
	"cmp"
	"slices"

	"github.com/weftmesh/weft/control/resource"
)

// mark is what is known of one name.
type mark uint8

const (
	subscribed mark = 1 << iota // asked for by name
	held                        // the consumer has the entry's version
	absent                      // the consumer was told that there is none
	forced                      // to be sent even if it is held
)

func (m mark) has(x mark) bool { return m&x != 0 }

// entry is a name that a consumer asks for or has. The name is that of a resource,
// most often the one that is shared anyway: with thousands of names on hundreds of
// streams a string each would be most of what a control plane holds.
type entry struct {
	resource *resource.Resource
	mark
}

// holding is entries sorted by name.
type holding []entry

func (h holding) find(name string) (int, bool) {
	return slices.BinarySearchFunc(h, name, func(e entry, n string) int { return cmp.Compare(e.resource.Name, n) })
}

// at returns the entry of a name, or nil.
func (h holding) at(name string) *entry {
	if i, ok := h.find(name); ok {
		return &h[i]
	}
	return nil
}

// few is up to how many entries are put in one by one.
const few = 16

// add makes entries for names, as far as there are none, and marks all of them.
// set says how resources of these names are called already.
func (h holding) add(names []string, m mark, set *resource.Set) holding {
	var fresh holding
	for _, name := range names {
		if e := h.at(name); e != nil {
			e.mark |= m
			continue
		}
		r := set.Get(name)
		if r == nil {
			r = &resource.Resource{Name: name}
		}
		fresh = append(fresh, entry{r, m})
	}
	return h.merge(fresh)
}

// merge puts in entries of names that are not there, in any order.
func (h holding) merge(fresh holding) holding {
	slices.SortFunc(fresh, func(a, b entry) int { return cmp.Compare(a.resource.Name, b.resource.Name) })
	fresh = slices.CompactFunc(fresh, func(a, b entry) bool { return a.resource.Name == b.resource.Name })
	if len(h) == 0 {
		return fresh
	}
	if len(fresh) <= few {
		for _, e := range fresh {
			i, _ := h.find(e.resource.Name)
			h = slices.Insert(h, i, e)
		}
		return h
	}
	out := make(holding, 0, len(h)+len(fresh))
	for len(h) > 0 && len(fresh) > 0 {
		from := &h
		if fresh[0].resource.Name < h[0].resource.Name {
			from = &fresh
		}
		out = append(out, (*from)[0])
		*from = (*from)[1:]
	}
	return append(append(out, h...), fresh...)
}

// sent notes resources that the consumer now has, sorted by name.
func (h holding) sent(list []*resource.Resource) holding {
	if len(h) == 0 {
		h = make(holding, 0, len(list))
	}
	var fresh holding
	for i, j := 0, 0; i < len(list); i++ {
		r := list[i]
		if len(list) <= few {
			j, _ = h.find(r.Name)
		} else {
			for j < len(h) && h[j].resource.Name < r.Name {
				j++
			}
		}
		if j < len(h) && h[j].resource.Name == r.Name {
			h[j].resource = r
			h[j].mark = h[j].mark&subscribed | held
			continue
		}
		fresh = append(fresh, entry{r, held})
	}
	return h.merge(fresh)
}

// gone notes names of which the consumer was told that there are none.
func (h holding) gone(names []string) holding {
	drop := 0
	for _, name := range names {
		if e := h.at(name); e != nil && e.has(subscribed) {
			e.mark = subscribed | absent
		} else if e != nil {
			e.mark = 0
			drop++
		}
	}
	if drop == 0 {
		return h
	}
	return slices.DeleteFunc(h, func(e entry) bool { return e.mark == 0 })
}
