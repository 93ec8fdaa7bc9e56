package declared

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/proxy/codec"
)

func appendInt(out []byte, n uint64) []byte {
	return strconv.AppendInt(out, int64(n), 10) //nolint:gosec // varints of negative numbers are so
}

// edit begins to change the message that out has from begin on.
func (c *conn) edit(out []byte, begin int) edit { return edit{conn: c, out: out, begin: begin} }

// Encode implements codec.Codec.
func (c *conn) Encode(out, raw []byte, from codec.Peer, id uint64, changes []codec.Change) ([]byte, error) {
	begin := len(out)
	if len(raw) < c.p.header {
		return out, errors.New("no message")
	}
	out = append(out, raw...)
	if !c.p.byID && len(changes) == 0 {
		return out, nil
	}
	fits := c.bounds(raw)
	if !fits {
		clear(c.spans[:])
	}
	e := c.edit(out, begin)
	k, _ := c.kind(raw, from)
	at := c.idOf(k)
	if !fits && (len(changes) > 0 || c.p.byID && at.part != whole) {
		return out[:begin], errParts // what is in no part cannot be changed there
	}
	if c.p.byID {
		e.set(at, value{n: id, number: true})
	}
	switch e.of = requests; k {
	case codec.Response:
		e.of = answers
	case codec.StreamOpen:
		e.of = streams
	}
	for i := range changes {
		e.change(&changes[i])
	}
	if cap(c.buf) > 4<<10 {
		c.buf = nil
	}
	if e.err != nil {
		return e.out[:begin], e.err
	}
	return e.out, nil
}

// change carries one change out, where the field lies: at a place of its own, or among the entries that are fields.
func (e *edit) change(ch *codec.Change) {
	e.name, e.val = append(e.name[:0], ch.Name...), append(e.val[:0], ch.Value...)
	v := value{text: e.val}
	switch {
	case ch.Name == ":authority":
		e.present(e.p.service, v)
		return
	case ch.Name == ":method":
		e.present(e.p.method, v)
		return
	case strings.HasPrefix(ch.Name, ":"):
		return
	}
	all := -1
	for i := range e.p.fields {
		f := &e.p.fields[i]
		if f.at.of&e.of == 0 {
			continue
		}
		if f.all {
			if all < 0 && e.there(&f.at) {
				all = i
			}
			continue
		}
		if f.name != ch.Name {
			continue
		}
		if ch.Remove {
			e.unset(&f.at)
		} else {
			e.set(&f.at, v)
		}
		return
	}
	if all >= 0 {
		e.among(&e.p.fields[all].at, v, ch.Remove)
	}
}

// present sets the place, of several, that has something.
func (e *edit) present(list []place, v value) {
	for i := range list {
		if list[i].of&e.of == 0 {
			continue
		}
		if was, ok := e.find(e.msg(), &list[i]); ok && (was.number || len(was.text) > 0) {
			e.set(&list[i], v)
			return
		}
	}
}

// there tells whether a message has what entries could be added to.
func (e *edit) there(p *place) bool {
	r := e.region(e.msg(), p)
	in := e.msg()[r.a:r.z]
	if p.format == protobuf {
		_, ok := protoMap(in, p.numbers)
		return ok && (len(p.numbers) > 1 || len(in) > 0)
	}
	return true
}

// among sets or takes away an entry whose name is in e.name.
func (e *edit) among(p *place, v value, remove bool) {
	r := e.region(e.msg(), p)
	switch p.format {
	case protobuf:
		if remove {
			e.mapAt(p.part, r, p.numbers, e.name, nil)
		} else {
			e.mapAt(p.part, r, p.numbers, e.name, &v)
		}
		return
	case jsonText:
		if path := append(slices.Clone(p.names), string(e.name)); remove {
			e.unsetJSON(p, path)
		} else {
			e.setJSON(p, path, v)
		}
		return
	}
	key := e.name
	if have, ok := e.p.parts[p.part].fold(e.msg()[r.a:r.z], key); ok {
		key = append(e.name[:0], have...) // the name keeps its case
		e.name = key
	}
	if remove {
		e.unsetEntry(p, key)
	} else {
		e.setEntry(p, key, v)
	}
}

// fold finds how an entry's name is written.
func (d *part) fold(b, key []byte) ([]byte, bool) {
	for i := 0; ; {
		e, ok := d.next(b, i)
		if !ok {
			return nil, false
		}
		if k := b[e.key.a:e.key.z]; len(k) == len(key) && strings.EqualFold(string(k), string(key)) {
			return k, true
		}
		i = e.all.z
	}
}

// Answer implements codec.Codec: the request's header, with empty parts, and then what is to be said.
func (c *conn) Answer(out []byte, m *codec.Message, a codec.Answer) []byte {
	begin := len(out)
	if m.Kind == codec.Heartbeat {
		out = append(out, m.Note...)
		if c.bounds(out[begin:]) {
			e := c.edit(out, begin)
			e.mark("heartbeatReply")
			return e.out
		}
		return out
	}
	e := c.frame(out, m.Note)
	stream := m.Kind == codec.StreamOpen
	status, text := c.p.status, c.p.text
	switch {
	case stream:
		status, text = c.p.streamStatus, c.p.streamText
		if !e.mark("streamReset") {
			e.mark("streamEnd")
		}
	case !e.mark("error"):
		e.mark("response")
	}
	if c.p.byID || stream {
		e.set(c.idOf(m.Kind), value{n: m.ID, number: true})
	}
	if code := c.code(a.Status); status != nil && (code.number || len(code.text) > 0) {
		e.set(status, value{text: code.text, n: code.n, number: code.number && !status.text})
	}
	e.val = append(e.val[:0], a.Text...)
	e.set(text, value{text: e.val})
	return e.out
}

// code is what the proxy's own answers have as status.
func (c *conn) code(status int) want {
	if w, ok := c.p.codes[status]; ok {
		return w
	}
	return c.p.other
}

// frame appends a message with that header and nothing in its parts.
func (c *conn) frame(out, header []byte) edit {
	p := c.p
	begin := len(out)
	if len(header) < p.header {
		out = append(out, make([]byte, p.header)...)
		copy(out[begin:], p.magic)
	} else {
		out = append(out, header[:p.header]...)
	}
	for i := range p.parts {
		d := &p.parts[i]
		c.spans[i] = span{len(out) - begin, len(out) - begin}
		if d.length != nil {
			d.length.write(out[begin:], uint64(max(0, -d.length.adjust))) //nolint:gosec // not negative
		}
		if d.prefix != nil {
			out, _ = d.prefix.append(out, max(0, -d.prefix.adjust))
			c.spans[i] = span{len(out) - begin, len(out) - begin}
		}
	}
	if p.fixed > 0 {
		out = append(out, make([]byte, max(0, p.fixed-(len(out)-begin)))...)
		if n := len(p.parts); n > 0 {
			c.spans[n-1].z = p.fixed
		}
	}
	out = append(out, p.delim...)
	if p.length != nil {
		p.length.write(out[begin:], uint64(max(0, len(out)-begin-p.length.adjust))) //nolint:gosec // not negative
	}
	return c.edit(out, begin)
}

// mark makes the message one of a kind; false: the protocol has no such kind.
func (e *edit) mark(kind string) bool {
	for i := range e.p.kinds {
		if k := &e.p.kinds[i]; k.name == kind {
			e.set(e.p.typ, value{text: k.values[0].text, n: k.values[0].n, number: k.values[0].number && !e.p.typ.text})
			return true
		}
	}
	for i := range e.p.refine {
		r := &e.p.refine[i]
		if r.name != kind {
			continue
		}
		e.mark(baseOf(kind))
		e.set(&r.at, value{text: r.values[0].text, n: r.values[0].n, number: r.values[0].number && !r.at.text})
		return true
	}
	return false
}

// baseOf is the kind that a refinement makes another.
func baseOf(kind string) string {
	switch kind {
	case "streamReset":
		return "streamEnd"
	case "error", "heartbeatReply":
		return "response"
	}
	return "request"
}

// Reset implements codec.Resetter.
func (c *streamConn) Reset(out []byte, id uint64) []byte {
	e := c.frame(out, nil)
	if !e.mark("streamReset") && !e.mark("streamEnd") {
		return out
	}
	e.set(c.p.streamID, value{n: id, number: true})
	return e.out
}
