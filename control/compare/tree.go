package compare

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/control/translate/pb"
)

// differ compares trees of JSON and collects the differences.
type differ struct {
	changes []Change
	by      string // of the part at hand
}

func (d *differ) add(c Change) {
	c.By = d.by
	d.changes = append(d.changes, c)
}

// compare adds the differences between two values at a path.
func (d *differ) compare(path string, old, now any) {
	if reflect.DeepEqual(old, now) {
		return
	}
	switch a := old.(type) {
	case map[string]any:
		if b, ok := now.(map[string]any); ok && a["@type"] == b["@type"] {
			d.maps(path, a, b)
			return
		}
	case []any:
		if b, ok := now.([]any); ok {
			d.lists(path, a, b)
			return
		}
	}
	d.add(Change{Path: path, Kind: Changed, Old: old, New: now})
}

func (d *differ) maps(path string, a, b map[string]any) {
	by := d.by
	if t := title(b); t != "" {
		d.by = t
	} else if t := title(a); t != "" {
		d.by = t
	}
	keys := map[string]bool{}
	for k := range a {
		keys[k] = true
	}
	for k := range b {
		keys[k] = true
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		at := k
		if path != "" {
			at = path + "." + k
		}
		old, was := a[k]
		now, is := b[k]
		switch {
		case !was:
			d.add(Change{Path: at, Kind: Added, New: now})
		case !is:
			d.add(Change{Path: at, Kind: Removed, Old: old})
		default:
			d.compare(at, old, now)
		}
	}
	d.by = by
}

// title is the object that a part's metadata names.
func title(m map[string]any) string {
	config, _ := get(m, "metadata", "filterMetadata", "istio", "config").(string)
	return pb.ConfigTitle(config)
}

func get(v any, path ...string) any {
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[p]
	}
	return v
}

// lists compares elements of the same name, where all have one; else those that a
// longest common subsequence leaves over, in their order.
func (d *differ) lists(path string, a, b []any) {
	x, y := names(a), names(b)
	if x != nil && y != nil {
		d.named(path, a, b, x, y)
		return
	}
	i, j := 0, 0
	for _, m := range append(common(a, b), [2]int{len(a), len(b)}) {
		for i < m[0] && j < m[1] {
			d.element(index(path, j, b[j]), a[i], b[j])
			i, j = i+1, j+1
		}
		for ; i < m[0]; i++ {
			d.element(index(path, i, a[i]), a[i], nil)
		}
		for ; j < m[1]; j++ {
			d.element(index(path, j, b[j]), nil, b[j])
		}
		i, j = m[0]+1, m[1]+1
	}
}

// element compares elements of which one may be missing.
func (d *differ) element(path string, old, now any) {
	by := d.by
	for _, v := range []any{old, now} {
		if m, ok := v.(map[string]any); ok && title(m) != "" {
			d.by = title(m)
		}
	}
	switch {
	case old == nil:
		d.add(Change{Path: path, Kind: Added, New: now})
	case now == nil:
		d.add(Change{Path: path, Kind: Removed, Old: old})
	default:
		d.compare(path, old, now)
	}
	d.by = by
}

func (d *differ) named(path string, a, b []any, x, y []string) {
	for i, n := range x {
		at := path + "[" + n + "]"
		if j := slices.Index(y, n); j >= 0 {
			d.element(at, a[i], b[j])
		} else {
			d.element(at, a[i], nil)
		}
	}
	for j, n := range y {
		if !slices.Contains(x, n) {
			d.element(path+"["+n+"]", nil, b[j])
		}
	}
	kept := func(list, other []string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(n string) bool { return !slices.Contains(other, n) })
	}
	if before, after := kept(x, y), kept(y, x); !slices.Equal(before, after) {
		d.add(Change{Path: path, Kind: Moved, Old: before, New: after})
	}
}

// index is the path of an element; that of a filter chain, which has no name of its
// own, says what it is for.
func index(path string, i int, v any) string {
	at := strconv.Itoa(i)
	if m, ok := get(v, "filterChainMatch").(map[string]any); ok {
		for _, field := range []string{"destinationPort", "transportProtocol", "serverNames"} {
			if x := m[field]; x != nil {
				at += fmt.Sprint(" ", x)
			}
		}
	}
	return path + "[" + at + "]"
}

// names are those of all elements of a list; nil when some have none, or two the same.
func names(list []any) []string {
	out := make([]string, len(list))
	seen := map[string]bool{}
	for i, v := range list {
		n := nameOf(v)
		if n == "" || seen[n] {
			return nil
		}
		seen[n] = true
		out[i] = n
	}
	return out
}

// nameOf is what an element of a list is known by.
func nameOf(v any) string {
	if n, ok := get(v, "name").(string); ok && n != "" {
		return n
	}
	if a := get(v, "endpoint", "address", "socketAddress"); a != nil {
		return fmt.Sprintf("%v:%v", get(a, "address"), get(a, "portValue"))
	}
	if get(v, "lbEndpoints") != nil {
		at := "no locality"
		if l, ok := get(v, "locality").(map[string]any); ok && len(l) > 0 {
			at = strings.TrimRight(fmt.Sprintf("%s/%s/%s", word(l, "region"), word(l, "zone"), word(l, "subZone")), "/")
		}
		if p := get(v, "priority"); p != nil {
			at += fmt.Sprintf(" priority %v", p)
		}
		return at
	}
	return ""
}

func word(m map[string]any, field string) string {
	s, _ := m[field].(string)
	return s
}

// most bounds the table of a longest common subsequence.
const most = 4 << 20

// common are the pairs of indices of a longest common subsequence of two lists; where
// these are too long for it, of what they begin with.
func common(a, b []any) (out [][2]int) {
	x, y := texts(a), texts(b)
	head := 0
	for head < len(x) && head < len(y) && x[head] == y[head] {
		out = append(out, [2]int{head, head})
		head++
	}
	x, y = x[head:], y[head:]
	if len(x)*len(y) > most {
		return out
	}
	lengths := make([][]int, len(x)+1)
	for i := range lengths {
		lengths[i] = make([]int, len(y)+1)
	}
	for i := len(x) - 1; i >= 0; i-- {
		for j := len(y) - 1; j >= 0; j-- {
			if x[i] == y[j] {
				lengths[i][j] = lengths[i+1][j+1] + 1
			} else {
				lengths[i][j] = max(lengths[i+1][j], lengths[i][j+1])
			}
		}
	}
	for i, j := 0, 0; i < len(x) && j < len(y); {
		switch {
		case x[i] == y[j]:
			out = append(out, [2]int{head + i, head + j})
			i, j = i+1, j+1
		case lengths[i+1][j] >= lengths[i][j+1]:
			i++
		default:
			j++
		}
	}
	return out
}

func texts(list []any) []string {
	out := make([]string, len(list))
	for i, v := range list {
		raw, err := json.Marshal(v)
		if err != nil {
			panic("BUG: what was read as JSON cannot be written: " + err.Error())
		}
		out[i] = string(raw)
	}
	return out
}
