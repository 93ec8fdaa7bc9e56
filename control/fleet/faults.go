package fleet

import (
	"slices"
	"strings"
	"unicode"
)

// faults are the rejections of one type that stand at a proxy. A consumer rejects
// a response as a whole and names in its text the resources that it minds; those
// stay rejected until a later version of them is taken, whatever happens to
// others. A text that names none stands until anything of the type is taken.
type faults struct {
	byName  map[string]fault
	unnamed fault
}

// fault is a rejection: its text, and of which versions of the mesh it was, those after
// the last one that the proxy has answered up to the one that went out.
type fault struct {
	text     string
	from, to uint64
}

func (f *faults) rejected(names []string, x fault) {
	// What has been refused before, and is refused again, was never taken.
	for _, n := range names {
		if old, ok := f.byName[n]; ok {
			x.from = min(x.from, old.from)
		}
	}
	if f.unnamed.text != "" {
		x.from = min(x.from, f.unnamed.from)
	}
	f.taken(names)
	found := false
	for _, n := range names {
		if mentions(x.text, n) {
			if f.byName == nil {
				f.byName = map[string]fault{}
			}
			f.byName[n], found = x, true
		}
	}
	if !found {
		f.unnamed = x
	}
}

// at is the text of a rejection that may be of what came with a version; "": none is.
func (f *faults) at(version uint64) string {
	var out []string
	for _, x := range f.byName {
		if x.from < version && version <= x.to {
			out = append(out, x.text)
		}
	}
	if x := f.unnamed; x.from < version && version <= x.to {
		out = append(out, x.text)
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), "; ")
}

// taken notes that the proxy has the newest version of these, or that they are gone.
func (f *faults) taken(names []string) {
	f.unnamed = fault{}
	for _, n := range names {
		delete(f.byName, n)
	}
}

// String is every text once.
func (f *faults) String() string {
	var out []string
	for _, x := range f.byName {
		out = append(out, x.text)
	}
	if f.unnamed.text != "" {
		out = append(out, f.unnamed.text)
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
