package filter

import (
	"iter"
	"strconv"
	"strings"
	"unsafe"
)

// Field is one header field. Name is lower case. Both strings may lie in the
// arena of their Headers: they are valid until its Reset, strings.Clone what
// must live longer.
type Field struct{ Name, Value string }

// Headers is the head of a request or response, or trailers, of any HTTP
// version. The pseudo headers of HTTP/2 are plain fields of the struct; ":path"
// and the like are understood by Lookup for rules that use those names.
//
// A Headers is reused for many messages: Reset keeps the memory, so that the
// steady state allocates nothing. It is not safe for concurrent use.
type Headers struct {
	// Method, Scheme, Authority, Path (with query) and Protocol (of extended
	// CONNECT, or the Upgrade token) are a request's.
	Method, Scheme, Authority, Path, Protocol string
	// Status is a response's.
	Status int

	fields []Field
	arena  []byte
	// spellings are names as the peer wrote them, where that is to be kept.
	spellings []string
	spelling  Spelling
}

// Reset empties h and keeps its memory. Strings taken from it become invalid.
func (h *Headers) Reset() {
	clear(h.fields)
	clear(h.spellings)
	*h = Headers{fields: h.fields[:0], arena: h.arena[:0], spellings: h.spellings[:0]}
}

// Keep copies s into the arena.
func (h *Headers) Keep(s []byte) string {
	if len(s) == 0 {
		return ""
	}
	n := len(h.arena)
	h.arena = append(h.arena, s...)
	return unsafe.String(&h.arena[n], len(s))
}

// KeepString copies s into the arena.
func (h *Headers) KeepString(s string) string {
	if s == "" {
		return ""
	}
	n := len(h.arena)
	h.arena = append(h.arena, s...)
	return unsafe.String(&h.arena[n], len(s))
}

// Buffer lends the arena to append to, and Kept makes a string of what was
// appended: for values that are built piece by piece. Nothing else may be
// called on h between the two.
func (h *Headers) Buffer() []byte { return h.arena }

// Kept takes the lent arena back.
func (h *Headers) Kept(b []byte) string {
	n := len(h.arena)
	h.arena = b
	if len(b) == n {
		return ""
	}
	return unsafe.String(&b[n], len(b)-n)
}

// keepLower copies s into the arena in lower case.
func (h *Headers) keepLower(s []byte) string {
	n := len(h.arena)
	h.arena = append(h.arena, s...)
	kept := h.arena[n:]
	for i, c := range kept {
		if 'A' <= c && c <= 'Z' {
			kept[i] = c + 'a' - 'A'
		}
	}
	if len(kept) == 0 {
		return ""
	}
	return unsafe.String(&kept[0], len(kept))
}

// AddBytes appends a field from a codec's buffer: both parts are copied, the
// name is lower-cased.
func (h *Headers) AddBytes(name, value []byte) {
	h.fields = append(h.fields, Field{h.keepLower(name), h.Keep(value)})
}

// Add appends a field. name must be lower case; the strings are not copied.
func (h *Headers) Add(name, value string) {
	h.fields = append(h.fields, Field{name, value})
}

// Set replaces all fields of that name by one, at the place of the first.
func (h *Headers) Set(name, value string) {
	if strings.HasPrefix(name, ":") {
		h.setPseudo(name, value)
		return
	}
	for i := range h.fields {
		if h.fields[i].Name == name {
			h.fields[i].Value = value
			h.delFrom(i+1, name)
			return
		}
	}
	h.Add(name, value)
}

func (h *Headers) setPseudo(name, value string) {
	switch name {
	case ":method":
		h.Method = value
	case ":scheme":
		h.Scheme = value
	case ":authority":
		h.Authority = value
	case ":path":
		h.Path = value
	case ":protocol":
		h.Protocol = value
	case ":status":
		if n, err := strconv.Atoi(value); err == nil {
			h.Status = n
		}
	}
}

// Del removes all fields of that name.
func (h *Headers) Del(name string) { h.delFrom(0, name) }

func (h *Headers) delFrom(i int, name string) {
	kept := h.fields[:i]
	for _, f := range h.fields[i:] {
		if f.Name != name {
			kept = append(kept, f)
		}
	}
	clear(h.fields[len(kept):])
	h.fields = kept
}

// Lookup returns the first value of a field, or of a pseudo header.
func (h *Headers) Lookup(name string) (string, bool) {
	if len(name) > 0 && name[0] == ':' {
		return h.pseudo(name)
	}
	for i := range h.fields {
		if h.fields[i].Name == name {
			return h.fields[i].Value, true
		}
	}
	return "", false
}

func (h *Headers) pseudo(name string) (string, bool) {
	var v string
	switch name {
	case ":method":
		v = h.Method
	case ":scheme":
		v = h.Scheme
	case ":authority":
		v = h.Authority
	case ":path":
		v = h.Path
	case ":protocol":
		v = h.Protocol
	case ":status":
		if h.Status != 0 {
			v = strconv.Itoa(h.Status)
		}
	}
	return v, v != ""
}

// Get returns the first value of a field, or "".
func (h *Headers) Get(name string) string {
	v, _ := h.Lookup(name)
	return v
}

// Has tells whether there is such a field.
func (h *Headers) Has(name string) bool {
	_, ok := h.Lookup(name)
	return ok
}

// Joined returns all values of a field joined by ",", as matchers see them. It
// allocates only when there are several.
func (h *Headers) Joined(name string) (string, bool) {
	first, ok := h.Lookup(name)
	if !ok || name[0] == ':' {
		return first, ok
	}
	n := 0
	for i := range h.fields {
		if h.fields[i].Name == name {
			n++
		}
	}
	if n == 1 {
		return first, true
	}
	more := make([]string, 0, n)
	for v := range h.Values(name) {
		more = append(more, v)
	}
	return strings.Join(more, ","), true
}

// Values yields the values of all fields of that name, in order.
func (h *Headers) Values(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range h.fields {
			if h.fields[i].Name == name && !yield(h.fields[i].Value) {
				return
			}
		}
	}
}

// Len is the number of fields, pseudo headers not counted.
func (h *Headers) Len() int { return len(h.fields) }

// At returns the i-th field; for hot loops.
func (h *Headers) At(i int) Field { return h.fields[i] }

// Size is how many bytes names and values have, and how many fields there are; pseudo
// headers are counted.
func (h *Headers) Size() (bytes, fields int) {
	for _, p := range [...]string{":method", ":scheme", ":authority", ":path", ":protocol", ":status"} {
		if p == ":status" {
			if h.Status != 0 {
				bytes, fields = bytes+len(p)+3, fields+1
			}
		} else if v, ok := h.pseudo(p); ok {
			bytes, fields = bytes+len(p)+len(v), fields+1
		}
	}
	for i := range h.fields {
		bytes += len(h.fields[i].Name) + len(h.fields[i].Value)
	}
	return bytes, fields + len(h.fields)
}

// CopyFrom makes h a deep copy of o.
func (h *Headers) CopyFrom(o *Headers) {
	h.Reset()
	h.Method, h.Scheme = strings.Clone(o.Method), strings.Clone(o.Scheme)
	h.Authority, h.Path = strings.Clone(o.Authority), strings.Clone(o.Path)
	h.Protocol, h.Status = strings.Clone(o.Protocol), o.Status
	for _, f := range o.fields {
		h.fields = append(h.fields, Field{strings.Clone(f.Name), strings.Clone(f.Value)})
	}
	h.spelling = o.spelling
	for _, s := range o.spellings {
		h.spellings = append(h.spellings, strings.Clone(s))
	}
}
