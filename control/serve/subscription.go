package serve

import (
	"cmp"
	"slices"

	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/weftmesh/weft/control/resource"
)

// deltaType is what the consumer of a delta stream subscribes to of one type, and
// has of it.
type deltaType struct {
	url      string
	wildcard bool
	list     holding
	// The difference to seen has been sent, but for the names in todo. nil: nothing
	// has, or everything has to be looked at again.
	seen *resource.Set
	todo []string
	// answered: there has been a first response.
	answered bool
	pending  *unanswered
}

// unanswered is a response that the consumer has not answered yet.
type unanswered struct {
	nonce uint64
	up    []*resource.Resource
	gone  []string
}

func (u *unanswered) names() []string {
	out := make([]string, 0, len(u.up)+len(u.gone))
	for _, r := range u.up {
		out = append(out, r.Name)
	}
	return append(out, u.gone...)
}

// newDeltaType is the subscription that a first request of a type makes.
func newDeltaType(r *discoverypb.DeltaDiscoveryRequest) *deltaType {
	t := &deltaType{url: r.GetTypeUrl(), wildcard: len(r.GetResourceNamesSubscribe()) == 0}
	for name, version := range r.GetInitialResourceVersions() {
		t.list = append(t.list, entry{&resource.Resource{Name: name, Version: version}, held})
	}
	slices.SortFunc(t.list, func(a, b entry) int { return cmp.Compare(a.resource.Name, b.resource.Name) })
	return t
}

// subscribe adds names; those of which the consumer says no version are sent even
// if they were before. set is what there is now.
func (t *deltaType) subscribe(names []string, versions map[string]string, set *resource.Set) {
	if len(names) == 0 {
		return
	}
	if slices.Contains(names, "*") {
		t.wildcard, t.seen = true, nil
		names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == "*" })
	}
	if len(versions) == 0 {
		t.list = t.list.add(names, subscribed|forced, set)
	} else {
		t.list = t.list.add(names, subscribed, set)
		for _, name := range names {
			if versions[name] == "" {
				t.list.at(name).mark |= forced
			}
		}
	}
	t.later(names)
}

func (t *deltaType) unsubscribe(names []string) {
	for _, name := range names {
		if name == "*" {
			t.wildcard, t.seen = false, nil
			continue
		}
		if i, ok := t.list.find(name); ok {
			e := &t.list[i]
			if e.mark &^= subscribed | forced; !t.wildcard || !e.has(held) {
				t.list = slices.Delete(t.list, i, i+1)
			}
			t.later([]string{name})
		}
	}
}

// force sends a name again that the consumer subscribes to.
func (t *deltaType) force(name string) {
	if e := t.list.at(name); e != nil && e.has(subscribed) {
		e.mark |= forced
		t.later([]string{name})
	}
}

// later has names looked at in the next diff.
func (t *deltaType) later(names []string) {
	if t.seen != nil {
		t.todo = append(t.todo, names...)
	}
}

// difference is what a consumer lacks, sorted by name; what it asked for and there
// is not; and what it should drop.
type difference struct {
	up              []*resource.Resource
	absent, removed []string
}

func (x *difference) empty() bool { return len(x.up)+len(x.absent)+len(x.removed) == 0 }

// gone is every name that there is not.
func (x *difference) gone() []string {
	out := slices.Concat(x.absent, x.removed)
	slices.Sort(out)
	return out
}

// compare adds one name: what the consumer has of it, and what there is.
func (x *difference) compare(t *deltaType, e *entry, r *resource.Resource) {
	var m mark
	if e != nil {
		m = e.mark
	}
	switch {
	case r != nil:
		if (t.wildcard || m.has(subscribed)) && (!m.has(held) || m.has(forced) || e.resource.Version != r.Version) {
			x.up = append(x.up, r)
		}
	case m.has(subscribed) && (m.has(forced) || !m.has(held|absent)):
		// A name that was asked for and does not exist is answered at once.
		x.absent = append(x.absent, e.resource.Name)
	case m.has(held):
		x.removed = append(x.removed, e.resource.Name)
	}
}

// diff is what has to go out to bring the consumer to the set. It is taken for
// sent: what the caller leaves goes to later.
func (t *deltaType) diff(set *resource.Set) difference {
	var x difference
	if names, ok := set.Since(t.seen); ok && t.seen != nil {
		if names = t.due(names); len(names) > few {
			slices.Sort(names)
			names = slices.Compact(names)
		}
		for _, name := range names {
			x.compare(t, t.list.at(name), set.Get(name))
		}
	} else {
		x.whole(t, set)
	}
	slices.SortFunc(x.up, func(a, b *resource.Resource) int { return cmp.Compare(a.Name, b.Name) })
	x.up = slices.CompactFunc(x.up, func(a, b *resource.Resource) bool { return a == b })
	slices.Sort(x.absent)
	x.absent = slices.Compact(x.absent)
	slices.Sort(x.removed)
	x.removed = slices.Compact(x.removed)
	t.seen, t.todo = set, nil
	return x
}

// due joins names to those that are to be looked at anyway.
func (t *deltaType) due(names []string) []string {
	if len(t.todo) == 0 {
		return names
	}
	return slices.Concat(t.todo, names)
}

// whole compares all names of both sides, which are sorted alike.
func (x *difference) whole(t *deltaType, set *resource.Set) {
	i := 0
	for r := range set.All() {
		for ; i < len(t.list) && t.list[i].resource.Name < r.Name; i++ {
			x.compare(t, &t.list[i], nil)
		}
		if i < len(t.list) && t.list[i].resource.Name == r.Name {
			x.compare(t, &t.list[i], r)
			i++
		} else {
			x.compare(t, nil, r)
		}
	}
	for ; i < len(t.list); i++ {
		x.compare(t, &t.list[i], nil)
	}
}

// upToDate tells whether the consumer has answered, and has everything of the set.
func (t *deltaType) upToDate(set *resource.Set) bool {
	if t.pending != nil {
		return false
	}
	names, ok := set.Since(t.seen)
	if t.seen == nil || !ok {
		var x difference
		x.whole(t, set)
		return x.empty()
	}
	var x difference
	for _, list := range [][]string{t.todo, names} {
		for _, name := range list {
			if x.compare(t, t.list.at(name), set.Get(name)); !x.empty() {
				return false
			}
		}
	}
	return true
}
