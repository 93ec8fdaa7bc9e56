package model

import (
	"encoding/binary"
	"maps"
	"slices"
)

// Lines are the lines of fields by their path ("spec.http[0].route[0].weight"). The
// zero value is empty. A mesh holds them for every field of every object, and asks
// for few: Pack makes them small.
type Lines struct {
	open map[string]int
	// packed is, for each path in order: how many bytes it shares with the one
	// before, the rest of it after its length, and the line, numbers as varints.
	packed string
}

// Set notes the line of a field. It is for whoever reads the text, before Pack.
func (l *Lines) Set(path string, line int) {
	if l.open == nil {
		l.open = map[string]int{}
	}
	l.open[path] = line
}

// Equal tells whether two have the same lines; both are packed, or neither is.
func (l Lines) Equal(other Lines) bool {
	return l.packed == other.packed && maps.Equal(l.open, other.open)
}

// Pack returns the same lines, read-only, in a tenth of the memory.
func (l Lines) Pack() Lines {
	if l.open == nil {
		return l
	}
	var b []byte
	before := ""
	for _, path := range slices.Sorted(maps.Keys(l.open)) {
		shared := 0
		for shared < len(before) && shared < len(path) && before[shared] == path[shared] {
			shared++
		}
		b = binary.AppendUvarint(b, uint64(shared))
		b = binary.AppendUvarint(b, uint64(len(path)-shared))
		b = append(b, path[shared:]...)
		b = binary.AppendUvarint(b, uint64(l.open[path]))
		before = path
	}
	return Lines{packed: string(b)}
}

// unpack returns all lines by path.
func (l Lines) unpack() map[string]int {
	if l.packed == "" {
		return l.open
	}
	out := map[string]int{}
	var path []byte
	number := func(rest []byte) (int, []byte) {
		n, size := binary.Uvarint(rest)
		return int(n), rest[size:]
	}
	for rest := []byte(l.packed); len(rest) > 0; {
		var shared, more, line int
		shared, rest = number(rest)
		more, rest = number(rest)
		path = append(path[:shared], rest[:more]...)
		line, rest = number(rest[more:])
		out[string(path)] = line
	}
	return out
}

// Has tells whether a field is written.
func (l Lines) Has(field string) bool {
	_, ok := l.unpack()[field]
	return ok
}

// Line returns the line of a field, or of its nearest parent that is written; 0
// when there is none.
func (l Lines) Line(field string) int {
	all := l.unpack()
	for f := field; f != "" && len(all) > 0; f = Parent(f) {
		if n, ok := all[f]; ok {
			return n
		}
	}
	return 0
}
