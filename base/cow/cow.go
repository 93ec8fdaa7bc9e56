// Package cow has a map that is copied to be changed, at a cost that follows the
// change: a small map of what is different lies over a large one that versions
// share, until it has grown too large to be copied each time.
//
// A Map is immutable and may be read by any goroutine. Reading costs one more
// look-up than a plain map does. It keeps no order.
package cow

import "maps"

// Map is an immutable map. The zero Map is empty.
type Map[K comparable, V any] struct {
	base, over map[K]V
	gone       map[K]struct{} // of base
}

// Of makes a map, which must not be changed any more.
func Of[K comparable, V any](m map[K]V) Map[K, V] { return Map[K, V]{base: m} }

// Get returns the value of a key, or the zero value.
func (m Map[K, V]) Get(k K) V {
	v, _ := m.Find(k)
	return v
}

// Find returns the value of a key, and whether it is there.
func (m Map[K, V]) Find(k K) (v V, ok bool) {
	if v, ok = m.over[k]; ok {
		return v, true
	}
	if _, gone := m.gone[k]; gone {
		return v, false
	}
	v, ok = m.base[k]
	return v, ok
}

// Len is the number of keys.
func (m Map[K, V]) Len() int {
	n := len(m.base) - len(m.gone)
	for k := range m.over {
		if _, there := m.base[k]; !there {
			n++
		} else if _, gone := m.gone[k]; gone {
			n++
		}
	}
	return n
}

// All yields every key and its value, in no order.
func (m Map[K, V]) All(yield func(K, V) bool) {
	for k, v := range m.over {
		if !yield(k, v) {
			return
		}
	}
	for k, v := range m.base {
		_, covered := m.over[k]
		_, gone := m.gone[k]
		if !covered && !gone && !yield(k, v) {
			return
		}
	}
}

// most bounds the map that is copied at each change, beside a share of the whole.
const most = 64

// With returns a map in which some keys have other values and some are gone.
func (m Map[K, V]) With(set map[K]V, gone ...K) Map[K, V] {
	if len(set)+len(gone) == 0 {
		return m
	}
	out := Map[K, V]{base: m.base, over: make(map[K]V, len(m.over)+len(set)), gone: make(map[K]struct{}, len(m.gone)+len(gone))}
	maps.Copy(out.over, m.over)
	maps.Copy(out.gone, m.gone)
	for _, k := range gone {
		delete(out.over, k)
		if _, there := m.base[k]; there {
			out.gone[k] = struct{}{}
		}
	}
	maps.Copy(out.over, set)
	if n := len(out.over) + len(out.gone); n > most && n*n > len(m.base) {
		whole := make(map[K]V, len(m.base)+len(out.over))
		for k, v := range out.All {
			whole[k] = v
		}
		return Of(whole)
	}
	return out
}
