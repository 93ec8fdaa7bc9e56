package resource

import (
	"cmp"
	"iter"
	"slices"
	"sync/atomic"
)

// remembered is how many changes a Layer knows of at most; a small one knows fewer, for
// all of it is soon looked at, and each successor has a copy of what is known.
const remembered = 64

// Layer is resources sorted by name. It is immutable; nil is an empty one.
type Layer struct {
	list []*Resource
	id   uint64
	// changes lead here, the newest last.
	changes []change
}

// change is what made another layer of one.
type change struct {
	from  uint64
	names []string
}

// ids tell layers apart.
var ids atomic.Uint64

// NewLayer makes a layer of resources in any order; of two with the same name the
// first stays.
func NewLayer(list []*Resource) *Layer {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b *Resource) int { return cmp.Compare(a.Name, b.Name) })
	list = slices.CompactFunc(list, func(a, b *Resource) bool { return a.Name == b.Name })
	return &Layer{list: slices.Clip(list), id: ids.Add(1)}
}

// Get returns a resource by name, or nil.
func (l *Layer) Get(name string) *Resource {
	if l == nil {
		return nil
	}
	if i, ok := find(l.list, name); ok {
		return l.list[i]
	}
	return nil
}

// List returns the resources sorted by name; read-only.
func (l *Layer) List() []*Resource {
	if l == nil {
		return nil
	}
	return l.list
}

// With returns a layer in which some resources are new, or others than before, and
// names are gone. A resource that has the version that was there before is none: l
// itself is returned when nothing is different.
func (l *Layer) With(upserts []*Resource, gone []string) *Layer {
	if l == nil {
		l = &Layer{id: ids.Add(1)}
	}
	var names []string
	out := slices.Clone(l.list)
	for _, r := range upserts {
		at, there := find(out, r.Name)
		switch {
		case !there:
			out = slices.Insert(out, at, r)
		case out[at].Version == r.Version:
			continue
		default:
			out[at] = r
		}
		names = append(names, r.Name)
	}
	for _, name := range gone {
		if at, there := find(out, name); there {
			out = slices.Delete(out, at, at+1)
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return l
	}
	return l.next(out, names)
}

func find(list []*Resource, name string) (int, bool) {
	return slices.BinarySearchFunc(list, name, func(r *Resource, n string) int { return cmp.Compare(r.Name, n) })
}

// Become returns a layer of the resources, which are as for NewLayer, as a
// successor of l: what has the version that it had stays the same object.
func (l *Layer) Become(list []*Resource) *Layer {
	next := NewLayer(list)
	if l == nil {
		return next
	}
	var names []string
	i := 0
	for j, r := range next.list {
		for ; i < len(l.list) && l.list[i].Name < r.Name; i++ {
			names = append(names, l.list[i].Name)
		}
		if i < len(l.list) && l.list[i].Name == r.Name {
			if l.list[i].Version == r.Version {
				next.list[j] = l.list[i]
			} else {
				names = append(names, r.Name)
			}
			i++
			continue
		}
		names = append(names, r.Name)
	}
	for ; i < len(l.list); i++ {
		names = append(names, l.list[i].Name)
	}
	if len(names) == 0 {
		return l
	}
	return l.next(next.list, names)
}

func (l *Layer) next(list []*Resource, names []string) *Layer {
	known := l.changes[max(0, len(l.changes)+1-min(remembered, 4+len(list)/4)):]
	return &Layer{list: list, id: ids.Add(1), changes: append(known[:len(known):len(known)], change{l.id, names})}
}

// since returns the names that may differ from an older layer; not ok when that is
// not known.
func (l *Layer) since(old *Layer) (names []string, ok bool) {
	if l == old {
		return nil, true
	}
	if l == nil || old == nil {
		return nil, false
	}
	for i := len(l.changes) - 1; i >= 0; i-- {
		if l.changes[i].from != old.id {
			continue
		}
		if i == len(l.changes)-1 {
			return l.changes[i].names, true
		}
		for _, c := range l.changes[i:] {
			names = append(names, c.names...)
		}
		return names, true
	}
	return nil, false
}

// Set is the resources of one type that a consumer may hold: what it has in common
// with others, and its own. It is immutable; nil is an empty one.
type Set struct{ common, own *Layer }

// NewSet makes a set of resources in any order; of two with the same name the
// first stays.
func NewSet(list []*Resource) *Set { return &Set{common: NewLayer(list)} }

// Compose makes a set of two layers, each of which may be nil. A name that both
// have means the common one.
func Compose(common, own *Layer) *Set {
	taken := func(r *Resource) bool { return common.Get(r.Name) != nil }
	if slices.ContainsFunc(own.List(), taken) {
		own = NewLayer(slices.DeleteFunc(slices.Clone(own.list), taken))
	}
	return &Set{common, own}
}

// Get returns a resource by name, or nil.
func (s *Set) Get(name string) *Resource {
	if s == nil {
		return nil
	}
	if r := s.common.Get(name); r != nil {
		return r
	}
	return s.own.Get(name)
}

// Len is the number of resources.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return len(s.common.List()) + len(s.own.List())
}

// All yields the resources sorted by name.
func (s *Set) All() iter.Seq[*Resource] {
	return func(yield func(*Resource) bool) {
		if s == nil {
			return
		}
		a, b := s.common.List(), s.own.List()
		for len(a)+len(b) > 0 {
			from := &a
			if len(a) == 0 || len(b) > 0 && b[0].Name < a[0].Name {
				from = &b
			}
			if !yield((*from)[0]) {
				return
			}
			*from = (*from)[1:]
		}
	}
}

// List returns the resources sorted by name.
func (s *Set) List() []*Resource { return slices.AppendSeq(make([]*Resource, 0, s.Len()), s.All()) }

// Same tells whether two sets are of the same layers, which they are when nothing
// has changed.
func (s *Set) Same(other *Set) bool {
	if s == nil || other == nil {
		return s.Len()+other.Len() == 0
	}
	return s == other || s.common == other.common && s.own == other.own
}

// Since returns the names that may differ from an older set, some perhaps twice;
// not ok when that is not known, and everything has to be looked at.
func (s *Set) Since(old *Set) (names []string, ok bool) {
	if s == old {
		return nil, true
	}
	if s == nil || old == nil {
		return nil, false
	}
	names, ok = s.common.since(old.common)
	if !ok || s.own == old.own {
		return names, ok
	}
	own, ok := s.own.since(old.own)
	if !ok {
		// Own layers are small: all names of both will do.
		for _, r := range slices.Concat(s.own.List(), old.own.List()) {
			own = append(own, r.Name)
		}
	}
	return slices.Concat(names, own), true
}
