package declared

import (
	"bytes"
	"strconv"

	"github.com/weftmesh/weft/proxy/filter"
)

// whole stands for the message in place.part.
const whole = -1

// how a place is said.
type how uint8

const (
	allOf how = iota // the part
	atOffset
	atKey // or tag
	atPath
	atWord
)

// place is where something lies.
type place struct {
	part    int
	format  format
	how     how
	off     int // or a word's index
	size    int
	little  bool
	text    bool
	mask    uint64
	key     []byte
	numbers []int
	names   []string
	of      of
}

// of says in which messages a place is.
type of uint8

const (
	requests of = 1 << iota
	answers
	streams
)

var ofs = map[string]of{"": requests | answers, "requests": requests, "answers": answers, "streams": streams}

// field is something that rules see.
type field struct {
	name string
	all  bool
	at   place
}

// wide tells whether any number that the proxy may give fits in.
func (p *place) wide() bool {
	switch {
	case p.mask != 0 || p.how == atWord || p.how == allOf:
		return false
	case p.how == atOffset && p.text:
		return p.size >= 10
	case p.how == atOffset || p.format == tlv && p.size > 0:
		return p.size >= 4
	}
	return true
}

// value is what lies at a place: text, or a number. Bytes are the message's, or the connection's until the next look.
type value struct {
	text   []byte
	n      uint64
	number bool
}

// is tells whether a value is one of some.
func (v value) is(list []want) bool {
	for i := range list {
		if v.same(&list[i]) {
			return true
		}
	}
	return false
}

func (v value) same(w *want) bool {
	if v.number {
		return w.number && v.n == w.n
	}
	return bytes.Equal(v.text, w.text)
}

// num is the value as a number.
func (v value) num() (uint64, bool) {
	if v.number {
		return v.n, true
	}
	return digits(v.text)
}

// span is from a up to z.
type span struct{ a, z int }

// bounds finds the parts of a whole message; false: they do not fit.
func (c *conn) bounds(b []byte) bool {
	p := c.p
	at, end := p.header, len(b)-len(p.delim)
	if at > end {
		return false
	}
	for i := range p.parts {
		d := &p.parts[i]
		n := end - at
		var l *number
		switch {
		case d.length != nil:
			l = d.length
		case d.prefix != nil:
			if at+d.prefix.size > end {
				return false
			}
			c.prefix = *d.prefix
			c.prefix.off = at
			l = &c.prefix
			at += d.prefix.size
		}
		if l != nil {
			v, ok := l.read(b)
			if !ok || v > uint64(len(b)) {
				return false
			}
			n = int(v) + l.adjust //nolint:gosec // it is at most the message's size
		}
		if n < 0 || at+n > end {
			return false
		}
		c.spans[i] = span{at, at + n}
		at += n
	}
	return true
}

// region is the part that a place is in, of a message whose bounds are known.
func (c *conn) region(b []byte, p *place) span {
	if p.part == whole {
		return span{0, len(b) - len(c.p.delim)}
	}
	return c.spans[p.part]
}

// find looks a place up. The bounds of b are known.
func (c *conn) find(b []byte, p *place) (value, bool) {
	r := c.region(b, p)
	in := b[r.a:r.z]
	switch p.how {
	case allOf:
		return value{text: in}, len(in) > 0
	case atOffset:
		if p.off+p.size > len(in) {
			return value{}, false
		}
		return p.fixed(in[p.off : p.off+p.size])
	case atWord:
		w, ok := word(in, c.p.parts[p.part].separator, p.off)
		return value{text: in[w.a:w.z]}, ok
	case atKey:
		e, ok := c.p.parts[p.part].entry(in, p.key)
		if !ok {
			return value{}, false
		}
		v := in[e.value.a:e.value.z]
		if p.format == tlv && p.size > 0 && !p.text {
			return value{n: unsigned(v, p.little), number: true}, len(v) == p.size
		}
		return value{text: v}, true
	}
	if p.format == protobuf {
		return findProto(in, p.numbers)
	}
	s, ok := findJSON(in, p.names)
	if !ok {
		return value{}, false
	}
	return c.jsonValue(in[s.a:s.z])
}

// fixed reads what lies at an offset.
func (p *place) fixed(b []byte) (value, bool) {
	if p.text {
		b = trim(b)
		return value{text: b}, len(b) > 0
	}
	n := unsigned(b, p.little)
	if p.mask != 0 {
		n &= p.mask
	}
	return value{n: n, number: true}, true
}

// first looks up the first of some places that has something.
func (c *conn) first(b []byte, list []place, in of) (value, bool) {
	for i := range list {
		if list[i].of&in == 0 {
			continue
		}
		if v, ok := c.find(b, &list[i]); ok && (v.number || len(v.text) > 0) {
			return v, true
		}
	}
	return value{}, false
}

// keep copies a value into the fields' memory.
func keep(h *filter.Headers, v value) string {
	if v.number {
		return h.Kept(strconv.AppendInt(h.Buffer(), int64(v.n), 10)) //nolint:gosec // varints of negative numbers are so
	}
	return h.Keep(v.text)
}

// word finds the nth word.
func word(b, separator []byte, n int) (span, bool) {
	at := 0
	for {
		end := bytes.Index(b[at:], separator)
		if end < 0 {
			end = len(b)
		} else {
			end += at
		}
		if end > at { // several separators in a row are one
			if n == 0 {
				return span{at, end}, true
			}
			n--
		}
		if end == len(b) {
			return span{}, false
		}
		at = end + len(separator)
	}
}

// entry is one of lines, pairs or tlv: all of it, its name and its value.
type entry struct{ all, key, value span }

// next reads the entry at i; false: there is none, or it is broken.
func (d *part) next(b []byte, i int) (e entry, ok bool) {
	if i >= len(b) {
		return e, false
	}
	if d.format == lines {
		end, next := len(b), len(b)
		if n := bytes.Index(b[i:], d.separator); n >= 0 {
			end, next = i+n, i+n+len(d.separator)
		}
		e = entry{all: span{i, next}, key: span{i, end}, value: span{end, end}}
		if n := bytes.Index(b[i:end], d.assign); n >= 0 {
			e.key.z, e.value = i+n, span{i + n + len(d.assign), end}
		}
		return e, true
	}
	e.all.a, e.key = i, span{i, i + d.keyLen.size}
	if e.key.z > len(b) {
		return e, false
	}
	at := e.key.z
	if d.format == pairs {
		n := unsigned(b[i:at], d.keyLen.little)
		if n > uint64(len(b)-at) {
			return e, false
		}
		e.key = span{at, at + int(n)} //nolint:gosec // bounded
		at = e.key.z
	}
	if at+d.valueLn.size > len(b) {
		return e, false
	}
	n := unsigned(b[at:at+d.valueLn.size], d.valueLn.little)
	at += d.valueLn.size
	if n > uint64(len(b)-at) {
		return e, false
	}
	e.value = span{at, at + int(n)} //nolint:gosec // bounded
	e.all.z = e.value.z
	return e, true
}

// entry finds the entry of a name or tag.
func (d *part) entry(b, key []byte) (e entry, ok bool) {
	for i := 0; ; i = e.all.z {
		if e, ok = d.next(b, i); !ok {
			return e, false
		}
		if bytes.Equal(b[e.key.a:e.key.z], key) {
			return e, true
		}
	}
}
