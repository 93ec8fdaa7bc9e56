package dubbo

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"time"
)

// maxJSON bounds what a message becomes: one value may be referred to many times.
const maxJSON = 8 << 20

var errLarge = errors.New("a value is more than 8 MiB of JSON")

// printer writes values of Hessian 2 as JSON. Objects and maps are objects, dates RFC 3339, bytes base64; a
// name that is no string is the text that it has in JSON. A value inside of itself is null.
type printer struct {
	reader
	classes [][]string
	seen    []span // lists, maps and objects in the order in which they begin
	out     []byte
}

// span is where a value is in the output; to is 0 while it is being written.
type span struct{ from, to int }

// value writes one.
func (p *printer) value() {
	if p.depth++; p.depth > maxDepth {
		p.fail(errDeep)
	}
	if len(p.out) > maxJSON {
		p.fail(errLarge)
	}
	if c := p.peek(); p.bad == nil {
		switch {
		case p.isStr():
			p.text(p.str())
		case c >= 0x20 && c <= 0x2f || c >= 0x34 && c <= 0x37 || c == 'A' || c == 'B':
			p.bytes()
		case c >= 0x80 && c <= 0xd7 || c == 'I':
			p.number(int64(p.integer()))
		case c >= 0xd8 || c >= 0x38 && c <= 0x3f || c == 0x59 || c == 'L':
			p.number(p.long())
		default:
			p.next()
			p.other(c)
		}
	}
	p.depth--
}

func (p *printer) text(s []byte) {
	b, _ := json.Marshal(string(s))
	p.out = append(p.out, b...)
}

func (p *printer) number(n int64) { p.out = strconv.AppendInt(p.out, n, 10) }

// long reads one in any of its forms.
func (p *printer) long() int64 {
	switch c := p.next(); {
	case c >= 0xd8 && c <= 0xef:
		return int64(c) - 0xe0
	case c >= 0xf0:
		return (int64(c)-0xf8)<<8 | int64(p.next())
	case c >= 0x38 && c <= 0x3f:
		return (int64(c)-0x3c)<<16 | int64(p.uint16())
	case c == 0x59:
		return int64(p.int32())
	}
	return p.int64()
}

func (p *printer) int32() int32 { return int32(p.fixed(4)) } //nolint:gosec // its 32 bits
func (p *printer) int64() int64 { return int64(p.fixed(8)) } //nolint:gosec // its 64 bits

// fixed reads a number of n bytes.
func (p *printer) fixed(n int) (v uint64) {
	for range n {
		v = v<<8 | uint64(p.next())
	}
	return v
}

func (p *printer) double(f float64) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		p.out = append(p.out, "null"...)
		return
	}
	b, _ := json.Marshal(f)
	p.out = append(p.out, b...)
}

func (p *printer) date(ms int64) {
	p.text([]byte(time.UnixMilli(ms).UTC().Format(time.RFC3339Nano)))
}

// bytes are those of all chunks.
func (p *printer) bytes() {
	var all []byte
	for last := false; !last && p.bad == nil; {
		n := 0
		switch c := p.next(); {
		case c >= 0x20 && c <= 0x2f:
			n, last = int(c-0x20), true
		case c >= 0x34 && c <= 0x37:
			n, last = int(c-0x34)<<8|int(p.next()), true
		case c == 'B':
			n, last = p.uint16(), true
		case c == 'A':
			n = p.uint16()
		default:
			p.fail(errValue)
		}
		begin := p.i
		if p.over(n); p.bad == nil {
			all = append(all, p.b[begin:p.i]...)
		}
	}
	p.text([]byte(base64.StdEncoding.EncodeToString(all)))
}

// other writes a value behind its first byte.
func (p *printer) other(c byte) {
	switch {
	case c >= 0x60 && c <= 0x6f:
		p.object(int(c - 0x60))
	case c >= 0x70 && c <= 0x77:
		p.typ()
		p.list(int(c - 0x70))
	case c >= 0x78 && c <= 0x7f:
		p.list(int(c - 0x78))
	default:
		p.single(c)
	}
}

func (p *printer) single(c byte) {
	switch c {
	case 'N':
		p.out = append(p.out, "null"...)
	case 'T':
		p.out = append(p.out, "true"...)
	case 'F':
		p.out = append(p.out, "false"...)
	case 0x5b, 0x5c:
		p.double(float64(c - 0x5b))
	case 0x5d:
		p.double(float64(int8(p.next()))) //nolint:gosec // its 8 bits
	case 0x5e:
		p.double(float64(int16(p.uint16()))) //nolint:gosec // its 16 bits
	case 0x5f:
		p.double(float64(p.int32()) * 0.001)
	case 'D':
		p.double(math.Float64frombits(p.fixed(8)))
	case 0x4a:
		p.date(p.int64())
	case 0x4b:
		p.date(int64(p.int32()) * 60_000)
	default:
		p.compound(c)
	}
}

func (p *printer) compound(c byte) {
	switch c {
	case 'H':
		p.entries()
	case 'M':
		p.typ()
		p.entries()
	case 0x55:
		p.typ()
		p.list(-1)
	case 'V':
		p.typ()
		p.list(p.integer())
	case 0x57:
		p.list(-1)
	case 0x58:
		p.list(p.integer())
	case 'Q':
		p.again(p.integer())
	case 'O':
		p.object(p.integer())
	case 'C':
		p.define()
		p.value()
	default:
		p.fail(errValue)
	}
}

// begin notes a value that may be referred to, and end that it is whole.
func (p *printer) begin(open byte) (n int) {
	p.seen = append(p.seen, span{from: len(p.out)})
	p.out = append(p.out, open)
	return len(p.seen) - 1
}

func (p *printer) end(n int, end byte) {
	p.out = append(p.out, end)
	p.seen[n].to = len(p.out)
}

// again writes a value that was there before.
func (p *printer) again(n int) {
	if n < 0 || n >= len(p.seen) {
		p.fail(errValue)
		return
	}
	if s := p.seen[n]; s.to > 0 {
		p.out = append(p.out, p.out[s.from:s.to]...)
		return
	}
	p.out = append(p.out, "null"...)
}

// list writes n values, all up to the end mark when n is negative.
func (p *printer) list(n int) {
	if n > len(p.b)-p.i {
		p.fail(errShort)
		return
	}
	at := p.begin('[')
	for i := 0; p.bad == nil && i != n; i++ {
		if n < 0 && p.peek() == 'Z' {
			p.next()
			break
		}
		if i > 0 {
			p.out = append(p.out, ',')
		}
		p.value()
	}
	p.end(at, ']')
}

func (p *printer) entries() {
	at := p.begin('{')
	for i := 0; p.bad == nil && p.peek() != 'Z'; i++ {
		if i > 0 {
			p.out = append(p.out, ',')
		}
		name := len(p.out)
		if p.value(); p.bad == nil && p.out[name] != '"' {
			text := bytes.Clone(p.out[name:])
			p.out = p.out[:name]
			p.text(text)
		}
		p.out = append(p.out, ':')
		p.value()
	}
	p.next()
	p.end(at, '}')
}

// define reads a class.
func (p *printer) define() {
	p.str()
	n := p.integer()
	if n < 0 || n > len(p.b)-p.i {
		p.fail(errValue)
		return
	}
	fields := make([]string, n)
	for i := range fields {
		fields[i] = string(p.str())
	}
	p.classes = append(p.classes, fields)
}

func (p *printer) object(class int) {
	if class < 0 || class >= len(p.classes) {
		p.fail(errValue)
		return
	}
	at := p.begin('{')
	for i, name := range p.classes[class] {
		if p.bad != nil {
			break
		}
		if i > 0 {
			p.out = append(p.out, ',')
		}
		p.text([]byte(name))
		p.out = append(p.out, ':')
		p.value()
	}
	p.end(at, '}')
}

// appendJSON appends a value of JSON in Hessian 2: objects are maps, whole numbers ints or longs, others doubles.
func appendJSON(out []byte, d *json.Decoder) ([]byte, error) {
	t, err := d.Token()
	if err != nil {
		return out, err
	}
	switch v := t.(type) {
	case nil:
		return append(out, 'N'), nil
	case bool:
		if v {
			return append(out, 'T'), nil
		}
		return append(out, 'F'), nil
	case string:
		return appendStr(out, v), nil
	case json.Number:
		return appendNumber(out, v)
	case json.Delim:
		if v == '{' {
			return appendMap(out, d)
		}
		return appendList(out, d)
	}
	return out, errValue
}

func appendNumber(out []byte, v json.Number) ([]byte, error) {
	if n, err := v.Int64(); err == nil {
		if int64(int32(n)) == n { //nolint:gosec // that is the question
			return appendInt(out, int(n)), nil
		}
		return binary.BigEndian.AppendUint64(append(out, 'L'), uint64(n)), nil //nolint:gosec // its 64 bits
	}
	f, err := v.Float64()
	return binary.BigEndian.AppendUint64(append(out, 'D'), math.Float64bits(f)), err
}

func appendInt(out []byte, n int) []byte {
	if n >= -16 && n <= 47 {
		return append(out, byte(0x90+n)) //nolint:gosec // so few
	}
	return binary.BigEndian.AppendUint32(append(out, 'I'), uint32(n)) //nolint:gosec // its 32 bits
}

func appendMap(out []byte, d *json.Decoder) ([]byte, error) {
	out = append(out, 'H')
	for d.More() {
		for range 2 { // the name, which is a string, and what it names
			var err error
			if out, err = appendJSON(out, d); err != nil {
				return out, err
			}
		}
	}
	_, err := d.Token()
	return append(out, 'Z'), err
}

// appendList appends elements up to the end of an array that has begun. Its length stands before them.
func appendList(out []byte, d *json.Decoder) ([]byte, error) {
	var list []byte
	n := 0
	for ; d.More(); n++ {
		var err error
		if list, err = appendJSON(list, d); err != nil {
			return out, err
		}
	}
	_, err := d.Token()
	return append(appendInt(append(out, 0x58), n), list...), err
}
