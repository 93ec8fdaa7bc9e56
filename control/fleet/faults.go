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
	byName  map[string]string
	unnamed string
}

func (f *faults) rejected(names []string, text string) {
	f.taken(names)
	found := false
	for _, n := range names {
		if mentions(text, n) {
			if f.byName == nil {
				f.byName = map[string]string{}
			}
			f.byName[n], found = text, true
		}
	}
	if !found {
		f.unnamed = text
	}
}

// taken notes that the proxy has the newest version of these, or that they are gone.
func (f *faults) taken(names []string) {
	f.unnamed = ""
	for _, n := range names {
		delete(f.byName, n)
	}
}

// String is every text once.
func (f *faults) String() string {
	var out []string
	for _, text := range f.byName {
		out = append(out, text)
	}
	if f.unnamed != "" {
		out = append(out, f.unnamed)
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
