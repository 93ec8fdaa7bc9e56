package cluster

import (
	"slices"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
)

// subsets are the parts of a cluster's hosts by labels, each a view of its own.
type subsets struct {
	byKey     map[string]*view // by filter.SubsetKey
	selectors []selector       // those that have a fallback of their own
	fallback  *view            // nil: none
	panicAny  *view            // nil: none
}

// selector is what a request with labels of these names falls back to.
type selector struct {
	names []string // sorted
	keep  []string // sorted; nil: view
	view  *view    // nil: nothing
}

// subsets makes the view of a cluster whose hosts are chosen by labels; all is
// the view of all of them.
func (b *builder) subsets(all *view, ms []member) *view {
	spec := b.c.spec.LB.Subsets
	out := &subsets{byKey: map[string]*view{}}
	b.inSubset = true
	byDefault := func() *view {
		return b.view(slices.DeleteFunc(slices.Clone(ms), func(m member) bool { return !m.has(spec.Default) }))
	}
	of := func(f Fallback) *view {
		switch f {
		case AnyEndpoint:
			return all
		case DefaultSubset:
			return byDefault()
		default:
			return nil
		}
	}
	out.fallback = of(spec.Fallback)
	if spec.PanicAny {
		out.panicAny = all
	}
	parts := map[string][]member{}
	single := 0
	for i := range spec.Selectors {
		s := &spec.Selectors[i]
		for _, m := range ms {
			for _, key := range m.keys(s.Names, spec.ListAsAny) {
				if s.Single && len(parts[key]) > 0 {
					single++
					continue
				}
				if !slices.ContainsFunc(parts[key], func(o member) bool { return o.host == m.host }) {
					parts[key] = append(parts[key], m)
				}
			}
		}
		if s.Fallback != nil {
			own := selector{names: slices.Sorted(slices.Values(s.Names)), view: of(*s.Fallback)}
			if *s.Fallback == KeysSubset {
				own.keep = slices.Sorted(slices.Values(s.Keep))
			}
			out.selectors = append(out.selectors, own)
		}
	}
	for key, part := range parts {
		out.byKey[key] = b.view(part)
	}
	b.countSubsets(len(parts), single)
	return &view{hosts: all.hosts, ladder: ladder{levels: all.levels}, drop: all.drop, subsets: out}
}

func (b *builder) countSubsets(n, duplicates int) {
	s := b.c.stats
	before := s.LBSubsetsActive.Load()
	s.LBSubsetsActive.Store(int64(n))
	s.LBSubsetsDuplicate.Store(int64(duplicates))
	if d := int64(n) - before; d > 0 {
		s.LBSubsetsCreated.Add(uint64(d))
	} else {
		s.LBSubsetsRemoved.Add(uint64(-d))
	}
}

// keys are the subsets of one selector that a member is in: none when it lacks a
// label, several when a label is a list that counts as any of its items.
func (m *member) keys(names []string, lists bool) []string {
	combos := []map[string]string{{}}
	for _, n := range names {
		values := m.endpoint.Lists[n]
		if v, ok := m.endpoint.Labels[n]; ok {
			values = []string{v}
		} else if !lists {
			values = nil
		}
		var next []map[string]string
		for _, c := range combos {
			for _, v := range values {
				more := map[string]string{n: v}
				for k, o := range c {
					more[k] = o
				}
				next = append(next, more)
			}
		}
		combos = next
	}
	keys := make([]string, len(combos))
	for i, c := range combos {
		keys[i] = filter.SubsetKey(c)
	}
	return keys
}

func (m *member) has(labels map[string]string) bool {
	for k, v := range labels {
		if got, ok := m.endpoint.Labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// find finds the view of a subset key, or what stands in for it.
func (s *subsets) find(c *Cluster, key string) *view {
	if v := s.byKey[key]; v != nil && key != "" {
		c.stats.LBSubsetsSelected.Add(1)
		return v
	}
	for i := range s.selectors {
		if sel := &s.selectors[i]; sel.matches(key) {
			return s.own(c, sel, key)
		}
	}
	if s.fallback != nil && len(s.fallback.hosts) > 0 {
		c.stats.LBSubsetsFallback.Add(1)
		if s.panicAny == nil || s.fallback.serves() {
			return s.fallback
		}
	}
	if s.panicAny != nil {
		c.stats.LBSubsetsFallbackPanic.Add(1)
		return s.panicAny
	}
	return &noView
}

var noView view

// own is what a selector with a fallback of its own leads to.
func (s *subsets) own(c *Cluster, sel *selector, key string) *view {
	if sel.keep == nil {
		if sel.view == nil {
			return &noView
		}
		c.stats.LBSubsetsFallback.Add(1)
		return sel.view
	}
	var buf [256]byte
	less := buf[:0]
	for rest := key; rest != ""; {
		var name, value string
		name, rest, _ = strings.Cut(rest, "\x00")
		value, rest, _ = strings.Cut(rest, "\x00")
		if slices.Contains(sel.keep, name) {
			less = append(append(append(append(less, name...), 0), value...), 0)
		}
	}
	if v := s.byKey[string(less)]; v != nil {
		c.stats.LBSubsetsSelected.Add(1)
		return v
	}
	return s.find(c, string(less)) // with fewer labels each time
}

// matches tells whether a key has exactly the selector's label names.
func (s *selector) matches(key string) bool {
	for _, n := range s.names {
		if len(key) <= len(n) || key[:len(n)] != n || key[len(n)] != 0 {
			return false
		}
		_, key, _ = strings.Cut(key[len(n)+1:], "\x00")
	}
	return key == ""
}
