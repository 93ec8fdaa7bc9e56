package fleet

import (
	"maps"
	"slices"
	"strings"
	"unicode"
)

// faults are the rejections of one type that stand at a proxy. A consumer rejects
// a response as a whole and names in its text the resources that it minds; those
// stay rejected until a later version of them is taken, whatever happens to
// others. A text that names none stands until anything of the type is taken.
type faults struct {
	byName  map[string]*fault
	unnamed *fault // nil: none
}

// fault is a rejection: its text, and of which versions of the mesh it was, those after
// the last one that the proxy has answered up to the one that went out.
type fault struct {
	text     string
	from, to uint64
	// names are the resources that may be meant.
	names []string
}

// of tells whether a rejection may be of what came with a version.
func (x *fault) of(version uint64) bool { return x.from < version && version <= x.to }

// rejected notes that a response with these resources was refused. It was of the versions
// after from, up to to.
func (f *faults) rejected(names []string, text string, from, to uint64) {
	// What has been refused before, and is refused again, was never taken.
	for _, n := range names {
		if old := f.byName[n]; old != nil {
			from = min(from, old.from)
		}
	}
	if f.unnamed != nil {
		from = min(from, f.unnamed.from)
	}
	f.taken(names)
	found := false
	for _, n := range names {
		if mentions(text, n) {
			if f.byName == nil {
				f.byName = map[string]*fault{}
			}
			f.byName[n], found = &fault{text: text, from: from, to: to, names: []string{n}}, true
		}
	}
	if !found {
		f.unnamed = &fault{text: text, from: from, to: to, names: slices.Clone(names)}
	}
}

// all are the rejections that stand.
func (f *faults) all() []*fault {
	out := slices.Collect(maps.Values(f.byName))
	if f.unnamed != nil {
		out = append(out, f.unnamed)
	}
	return out
}

// taken notes that the proxy has the newest version of these, or that they are gone, and
// returns the rejections that no longer stand.
func (f *faults) taken(names []string) (gone []*fault) {
	if f.unnamed != nil {
		gone = append(gone, f.unnamed)
	}
	f.unnamed = nil
	for _, n := range names {
		if x := f.byName[n]; x != nil {
			gone = append(gone, x)
		}
		delete(f.byName, n)
	}
	return gone
}

// String is every text once.
func (f *faults) String() string {
	var out []string
	for _, x := range f.all() {
		out = append(out, x.text)
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), "; ")
}

// mentions tells whether a text has a resource's name in it, and not only as a
// part of a longer one.
func mentions(text, name string) bool {
	part := func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("_|.-", r) }
	for rest := text; name != ""; {
		before, after, ok := strings.Cut(rest, name)
		if !ok {
			return false
		}
		head, tail := []rune(before), []rune(after)
		if (len(head) == 0 || !part(head[len(head)-1])) && (len(tail) == 0 || !part(tail[0]) || tail[0] == '.' && len(tail) == 1) {
			return true
		}
		rest = rest[len(before)+1:]
	}
	return false
}
