package oracle

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Difference is one place in which two forms are not the same. A side that has nothing
// there is empty.
type Difference struct {
	Path         string
	Istiod, Weft string
}

// String is for people.
func (d Difference) String() string {
	side := func(s string) string {
		if s == "" {
			return "nothing"
		}
		if len(s) > 400 {
			s = s[:400] + "…"
		}
		return s
	}
	return fmt.Sprintf("%s\n      istiod: %s\n      weft:   %s", d.Path, side(d.Istiod), side(d.Weft))
}

// Compare lists where forms differ, in the order of the paths. What only one of them
// has is one difference, however much it is.
func Compare(istiod, weft *Form) []Difference {
	var out []Difference
	for path, v := range istiod.leaves {
		if w, ok := weft.leaves[path]; ok && v != w {
			out = append(out, Difference{path, v, w})
		}
	}
	for path, text := range only(istiod, weft) {
		out = append(out, Difference{path, text, ""})
	}
	for path, text := range only(weft, istiod) {
		out = append(out, Difference{path, "", text})
	}
	for path, order := range istiod.order {
		a, b := inBoth(order, weft.order[path]), inBoth(weft.order[path], order)
		if !slices.Equal(a, b) {
			out = append(out, Difference{join(path, "@order"), strings.Join(a, " "), strings.Join(b, " ")})
		}
	}
	slices.SortFunc(out, func(a, b Difference) int { return cmp.Compare(a.Path, b.Path) })
	return out
}

// inBoth are the keys of a that b has too.
func inBoth(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(k string) bool { return !slices.Contains(b, k) })
}

// only are the parts of a that b has not, each at the shortest path that b has not.
func only(a, b *Form) map[string]string {
	places := map[string]bool{"": true}
	for path := range b.leaves {
		for p := path; !places[p]; p = parent(p) {
			places[p] = true
		}
	}
	parts := map[string][]string{}
	for _, path := range slices.Sorted(maps.Keys(a.leaves)) {
		if places[path] {
			continue // a leaf there, or a place with leaves below
		}
		at := path
		for !places[parent(at)] {
			at = parent(at)
		}
		text := a.leaves[path]
		if at != path {
			text = strings.TrimPrefix(path, at+Separator) + "=" + text
		}
		parts[at] = append(parts[at], text)
	}
	out := map[string]string{}
	for at, list := range parts {
		out[at] = strings.Join(list, "; ")
	}
	return out
}

func parent(path string) string {
	i := strings.LastIndex(path, Separator)
	return path[:max(i, 0)]
}
