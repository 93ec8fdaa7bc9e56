package declared

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
)

var errFit = errors.New("a changed field does not fit into the message")

// edit is a message that is being changed: out from begin on.
type edit struct {
	*conn
	out   []byte
	begin int
	of    of // which places are in it
	err   error
}

func (e *edit) msg() []byte { return e.out[e.begin:] }

// splice puts other bytes in the place of some of the message's, and corrects the lengths around a part.
func (e *edit) splice(part, at, cut int, put []byte) {
	at += e.begin
	delta := len(put) - cut
	if delta > 0 {
		e.out = slices.Grow(e.out, delta)
	}
	n := len(e.out)
	if delta > 0 {
		e.out = e.out[:n+delta]
	}
	copy(e.out[at+len(put):], e.out[at+cut:n])
	e.out = e.out[:n+delta]
	copy(e.out[at:], put)
	if delta != 0 {
		e.resize(part, delta)
	}
}

// resize corrects the lengths of a part and of the message.
func (e *edit) resize(part, delta int) {
	p, b := e.p, e.msg()
	if p.fixed > 0 {
		e.err = errFit
		return
	}
	e.add(p.length, 0, b, delta)
	if part == whole {
		return
	}
	d := &p.parts[part]
	e.add(d.length, 0, b, delta)
	if d.prefix != nil {
		e.add(d.prefix, e.spans[part].a-d.prefix.size, b, delta)
	}
	e.spans[part].z += delta
	for i := part + 1; i < len(p.parts); i++ {
		e.spans[i].a += delta
		e.spans[i].z += delta
	}
}

func (e *edit) add(l *number, off int, b []byte, delta int) {
	if l == nil {
		return
	}
	at := *l
	at.off += off
	v, _ := at.read(b)
	if n := int(v) + delta; n < 0 || !at.write(b, uint64(n)) { //nolint:gosec // a size
		e.err = errFit
	}
}

// set writes a value to a place; what cannot be written there is left out.
func (e *edit) set(p *place, v value) {
	if p == nil || e.err != nil {
		return
	}
	if len(e.p.delim) > 0 && p.format != jsonText && bytes.Contains(v.text, e.p.delim) {
		return // it would end the message
	}
	r := e.region(e.msg(), p)
	switch p.how {
	case allOf:
		e.splice(p.part, r.a, r.z-r.a, e.textOf(v))
	case atOffset:
		if p.off+p.size <= r.z-r.a {
			p.write(e.msg()[r.a+p.off:r.a+p.off+p.size], v, e)
		}
	case atKey:
		e.setEntry(p, p.key, v)
	case atPath:
		if p.format == protobuf {
			e.protoAt(p.part, r, p.numbers, v)
		} else {
			e.setJSON(p, p.names, v)
		}
	}
}

// textOf is a value in characters, in memory that the next use of it takes.
func (e *edit) textOf(v value) []byte {
	if !v.number {
		return v.text
	}
	e.put = appendInt(e.put[:0], v.n)
	return e.put
}

// write puts a value into the bytes of an offset.
func (p *place) write(b []byte, v value, e *edit) {
	if p.text {
		text := e.textOf(v)
		if len(text) > len(b) {
			return // it would lose its end
		}
		n := copy(b, text)
		if _, isNumber := digits(text); isNumber {
			copy(b[len(b)-n:], text)
			fill(b[:len(b)-n], '0')
			return
		}
		fill(b[n:], ' ')
		return
	}
	n, ok := v.num()
	if !ok {
		return
	}
	if p.mask != 0 {
		n = unsigned(b, p.little)&^p.mask | n&p.mask
	}
	l := number{size: p.size, little: p.little}
	was := unsigned(b, p.little)
	if !l.write(b, n) {
		l.write(b, was)
	}
}

func fill(b []byte, x byte) {
	for i := range b {
		b[i] = x
	}
}

// setEntry writes an entry of lines, pairs or tlv.
func (e *edit) setEntry(p *place, key []byte, v value) {
	d, r := &e.p.parts[p.part], e.region(e.msg(), p)
	in := e.msg()[r.a:r.z]
	text := e.textOf(v)
	if d.format == tlv && p.size > 0 && !p.text {
		n, ok := v.num()
		l := number{size: p.size, little: p.little}
		e.put = append(e.put[:0], make([]byte, p.size)...)
		if text = e.put; !ok || !l.write(text, n) {
			return
		}
	}
	have, found := d.entry(in, key)
	if !found {
		have.all = span{len(in), len(in)}
	}
	if cap(e.buf) < 64 {
		e.buf = make([]byte, 0, 256)
	}
	b, ok := d.append(e.buf[:0], in, have.all, key, text)
	e.buf = b
	if ok {
		e.splice(p.part, r.a+have.all.a, have.all.z-have.all.a, b)
	}
}

// append appends an entry that is to be where at is; false: it cannot be written so.
func (d *part) append(out, in []byte, at span, key, text []byte) ([]byte, bool) {
	if d.format == lines {
		if bytes.Contains(text, d.separator) || bytes.Contains(key, d.assign) {
			return out, false
		}
		if at.a > 0 && !bytes.HasSuffix(in[:at.a], d.separator) {
			out = append(out, d.separator...)
		}
		out = append(append(append(out, key...), d.assign...), text...)
		if at.z > at.a && !bytes.HasSuffix(in[:at.z], d.separator) {
			return out, true // it had none
		}
		return append(out, d.separator...), true
	}
	ok := true
	if d.format == pairs {
		out, ok = d.keyLen.append(out, len(key))
	}
	out = append(out, key...)
	out, fits := d.valueLn.append(out, len(text))
	return append(out, text...), ok && fits
}

func (n *number) append(out []byte, v int) ([]byte, bool) {
	at := len(out)
	out = append(out, "\x00\x00\x00\x00\x00\x00\x00\x00"[:n.size]...)
	return out, n.write(out[at:], uint64(v)) //nolint:gosec // a size
}

// protoAt writes the field of protobuf that path leads to in a message, in place of the one that is there and of its type, or
// at the end; and returns by how much the message has grown.
func (e *edit) protoAt(part int, r span, path []int, v value) int {
	in := e.msg()[r.a:r.z]
	f, found := lastProto(in, path[0])
	if len(path) > 1 && found && f.wire == wireBytes {
		delta := e.protoAt(part, span{r.a + f.value.a, r.a + f.value.z}, path[1:], v)
		return delta + e.relength(part, r.a, f, delta)
	}
	if len(path) == 1 && found {
		if v.number != (f.wire != wireBytes) {
			if v.number {
				v = value{text: e.textOf(v)}
			} else if n, ok := digits(v.text); ok {
				v = value{n: n, number: true}
			} else {
				return 0 // no text has room in a number
			}
		}
		if f.wire == wire32 || f.wire == wire64 {
			l := number{size: f.value.z - f.value.a, little: true}
			if l.write(in[f.value.a:f.value.z], v.n) {
				return 0
			}
			e.err = errFit
			return 0
		}
	}
	at := span{r.z, r.z}
	if found && len(path) == 1 {
		at = span{r.a + f.all.a, r.a + f.all.z}
	}
	e.buf = appendProto(e.buf[:0], path, v)
	delta := len(e.buf) - (at.z - at.a)
	e.splice(part, at.a, at.z-at.a, e.buf)
	return delta
}

// relength corrects the length of a message in protobuf that has grown; base is where that which f is in begins.
func (e *edit) relength(part, base int, f protoField, delta int) int {
	if delta == 0 {
		return 0
	}
	size := f.value.z - f.value.a
	var now [10]byte
	n := binary.PutUvarint(now[:], uint64(size+delta)) //nolint:gosec // a size
	head := sizeTagAt(e.msg()[base+f.all.a:])
	old := f.value.a - f.all.a - head
	e.splice(part, base+f.all.a+head, old, now[:n])
	return n - old
}

// sizeTagAt is how long the tag is that b begins with.
func sizeTagAt(b []byte) int {
	_, n := binary.Uvarint(b)
	return n
}

// setJSON writes a member: in place of the one that is there, or as the last of its object.
func (e *edit) setJSON(p *place, path []string, v value) {
	r := e.region(e.msg(), p)
	in := e.msg()[r.a:r.z]
	if s, ok := findJSON(in, path); ok {
		word := v.number || in[s.a] != '"' && isWord(v.text)
		e.buf = appendJSON(e.buf[:0], e.textOf(v), word)
		e.splice(p.part, r.a+s.a, s.z-s.a, e.buf)
		return
	}
	have := 0 // how many steps of the path are there
	obj := span{blank(in, 0), len(in)}
	for have < len(path)-1 {
		m, ok := memberOf(in, obj.a, path[have])
		if !ok {
			break
		}
		obj = m.value
		have++
	}
	b := e.buf[:0]
	at := obj.z
	empty := obj.a >= len(in)
	if !empty {
		if in[obj.a] != '{' {
			return
		}
		if at = skipJSON(in, obj.a) - 1; at < 0 {
			return
		}
		if blank(in, obj.a+1) < at {
			b = append(b, ',')
		}
	} else {
		b = append(b, '{')
	}
	for i := have; i < len(path); i++ {
		b = append(appendJSON(b, path[i], false), ':')
		if i < len(path)-1 {
			b = append(b, '{')
		}
	}
	b = appendJSON(b, e.textOf(v), v.number)
	for i := have; i < len(path)-1; i++ {
		b = append(b, '}')
	}
	if empty {
		b = append(b, '}')
	}
	e.buf = b
	e.splice(p.part, r.a+at, 0, b)
}

// isWord tells whether text may stand in JSON without quotes.
func isWord(b []byte) bool {
	if string(b) == "true" || string(b) == "false" {
		return true
	}
	_, ok := digits(b)
	return ok && (len(b) == 1 || b[0] != '0')
}

// mapAt writes an entry of the map that path leads to, or takes it away (v nil), and returns by how much the message has grown.
func (e *edit) mapAt(part int, r span, path []int, key []byte, v *value) int {
	in := e.msg()[r.a:r.z]
	e.buf = e.buf[:0]
	if len(path) > 1 {
		f, found := lastProto(in, path[0])
		if !found || f.wire != wireBytes {
			return 0
		}
		delta := e.mapAt(part, span{r.a + f.value.a, r.a + f.value.z}, path[1:], key, v)
		return delta + e.relength(part, r.a, f, delta)
	}
	at, found := span{r.z, r.z}, false
	for i := 0; ; {
		f, ok := nextProto(in, i)
		if !ok {
			break
		}
		if k, _, ok := mapEntry(in, f); ok && f.number == path[0] && bytes.EqualFold(k, key) {
			key, at, found = k, span{r.a + f.all.a, r.a + f.all.z}, true // the name keeps its case
		}
		i = f.all.z
	}
	if v == nil && !found {
		return 0
	}
	if v != nil {
		size := 2 + sizeVarint(uint64(len(key))) + len(key) + sizeVarint(uint64(len(v.text))) + len(v.text)
		e.buf = binary.AppendUvarint(e.buf, uint64(path[0])<<3|wireBytes) //nolint:gosec // positive
		e.buf = binary.AppendUvarint(e.buf, uint64(size))                 //nolint:gosec // positive
		e.buf = append(binary.AppendUvarint(append(e.buf, 1<<3|wireBytes), uint64(len(key))), key...)
		e.buf = append(binary.AppendUvarint(append(e.buf, 2<<3|wireBytes), uint64(len(v.text))), v.text...)
	}
	delta := len(e.buf) - (at.z - at.a)
	e.splice(part, at.a, at.z-at.a, e.buf)
	return delta
}

// unset takes away what is at a place, where that can be.
func (e *edit) unset(p *place) {
	if p == nil || e.err != nil {
		return
	}
	switch {
	case p.how == atKey:
		e.unsetEntry(p, p.key)
	case p.how == atPath && p.format == protobuf:
		e.unsetProto(p.part, e.region(e.msg(), p), p.numbers)
	case p.how == atPath:
		e.unsetJSON(p, p.names)
	}
}

func (e *edit) unsetEntry(p *place, key []byte) {
	r := e.region(e.msg(), p)
	if have, ok := e.p.parts[p.part].entry(e.msg()[r.a:r.z], key); ok {
		e.splice(p.part, r.a+have.all.a, have.all.z-have.all.a, nil)
	}
}

func (e *edit) unsetProto(part int, r span, path []int) int {
	f, found := lastProto(e.msg()[r.a:r.z], path[0])
	switch {
	case !found:
		return 0
	case len(path) > 1 && f.wire == wireBytes:
		delta := e.unsetProto(part, span{r.a + f.value.a, r.a + f.value.z}, path[1:])
		return delta + e.relength(part, r.a, f, delta)
	}
	e.splice(part, r.a+f.all.a, f.all.z-f.all.a, nil)
	return f.all.a - f.all.z
}

func (e *edit) unsetJSON(p *place, path []string) {
	r := e.region(e.msg(), p)
	in := e.msg()[r.a:r.z]
	obj, ok := findJSON(in, path[:len(path)-1])
	if !ok {
		return
	}
	m, ok := memberOf(in, obj.a, path[len(path)-1])
	if !ok {
		return
	}
	a, z := m.key.a, m.value.z
	if n := blank(in, z); n < len(in) && in[n] == ',' {
		z = n + 1
	} else {
		for n := a - 1; n > obj.a; n-- {
			if in[n] == ',' {
				a = n
				break
			}
		}
	}
	e.splice(p.part, r.a+a, z-a, nil)
}
