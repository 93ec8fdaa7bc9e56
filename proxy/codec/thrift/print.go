package thrift

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strconv"

	"github.com/weftmesh/weft/wire/thriftidl"
)

// printer writes Thrift's values as JSON.
type printer struct {
	reader
	out []byte
}

// failed is what was wrong with the bytes.
func (p *printer) failed() error {
	if p.fault != nil {
		return p.fault
	}
	if p.bad {
		return errShort
	}
	return nil
}

// text writes a text in quotes.
func (p *printer) text(s []byte) {
	b, err := json.Marshal(string(s))
	if err != nil {
		p.wrong(err)
		return
	}
	p.out = append(p.out, b...)
}

// message is that of a TApplicationException.
func (p *printer) message() (text []byte) {
	var last int16
	for !p.bad {
		typ, id := p.field(last)
		if typ == 0 {
			break
		}
		last = id
		if id == 1 && typ == wireType(&thriftidl.Type{Kind: thriftidl.String}, p.compact) {
			text = p.bytes(p.length())
			continue
		}
		p.skip(typ)
	}
	return text
}

// fits tells whether a type of the wire is that of a field.
func (p *printer) fits(typ byte, t *thriftidl.Type) bool {
	want := wireType(t, p.compact)
	return typ == want || p.compact && t.Kind == thriftidl.Bool && typ == 2
}

// length is that of a text, or how many values there are.
func (p *printer) length() int {
	if p.compact {
		return int(min(p.varint(), 1<<31)) //nolint:gosec // bounded
	}
	return int(int32(p.uint32())) //nolint:gosec // bytes refuses what is negative
}

// value writes a value, which has the type typ on the wire.
func (p *printer) value(t *thriftidl.Type, typ byte, inField bool, depth int) {
	if depth > maxDepth {
		p.wrong(errDeep)
		return
	}
	switch t.Kind {
	case thriftidl.Bool:
		b := typ == 1
		if !inField || !p.compact {
			b = p.byte() == 1
		}
		p.out = strconv.AppendBool(p.out, b)
	case thriftidl.Byte, thriftidl.I16, thriftidl.I32, thriftidl.I64:
		p.out = strconv.AppendInt(p.out, p.integer(t), 10)
	case thriftidl.EnumKind:
		n := p.integer(t)
		if name, ok := t.Enum.Names[int32(n)]; ok { //nolint:gosec // it is one
			p.text([]byte(name))
		} else {
			p.out = strconv.AppendInt(p.out, n, 10)
		}
	case thriftidl.Double:
		p.double()
	case thriftidl.String:
		p.text(p.bytes(p.length()))
	case thriftidl.Binary:
		p.text([]byte(base64.StdEncoding.EncodeToString(p.bytes(p.length()))))
	case thriftidl.UUID:
		p.uuid()
	case thriftidl.StructKind:
		p.structure(t.Struct, depth+1)
	case thriftidl.Map:
		p.dictionary(t, depth+1)
	default:
		p.list(t, depth+1)
	}
}

func (p *printer) integer(t *thriftidl.Type) int64 {
	switch {
	case t.Kind == thriftidl.Byte:
		return int64(int8(p.byte())) //nolint:gosec // two's complement
	case p.compact:
		v := p.varint()
		return int64(v>>1) ^ -int64(v&1) //nolint:gosec // zigzag
	case t.Kind == thriftidl.I16:
		if b := p.bytes(2); b != nil {
			return int64(int16(binary.BigEndian.Uint16(b))) //nolint:gosec // two's complement
		}
	case t.Kind == thriftidl.I64:
		if b := p.bytes(8); b != nil {
			return int64(binary.BigEndian.Uint64(b)) //nolint:gosec // two's complement
		}
	default:
		return int64(int32(p.uint32())) //nolint:gosec // two's complement
	}
	return 0
}

// double writes a number; those that JSON has not are texts.
func (p *printer) double() {
	b := p.bytes(8)
	if b == nil {
		return
	}
	x := math.Float64frombits(binary.BigEndian.Uint64(b))
	if p.compact {
		x = math.Float64frombits(binary.LittleEndian.Uint64(b))
	}
	if math.IsNaN(x) || math.IsInf(x, 0) {
		p.text([]byte(strconv.FormatFloat(x, 'g', -1, 64)))
		return
	}
	p.out = strconv.AppendFloat(p.out, x, 'g', -1, 64)
}

func (p *printer) uuid() {
	b := p.bytes(16)
	if b == nil {
		return
	}
	h := hex.EncodeToString(b)
	p.text([]byte(h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]))
}

// structure writes the fields that the IDL knows.
func (p *printer) structure(s *thriftidl.Struct, depth int) {
	p.out = append(p.out, '{')
	var last int16
	first := true
	for !p.bad {
		typ, id := p.field(last)
		if typ == 0 {
			break
		}
		last = id
		i := slices.IndexFunc(s.Fields, func(f thriftidl.Field) bool { return f.ID == id })
		if i < 0 || !p.fits(typ, s.Fields[i].Type) {
			p.skip(typ)
			continue
		}
		if !first {
			p.out = append(p.out, ',')
		}
		first = false
		p.text([]byte(s.Fields[i].Name))
		p.out = append(p.out, ':')
		p.value(s.Fields[i].Type, typ, true, depth)
	}
	p.out = append(p.out, '}')
}

var errOther = errors.New("a value of another type than the IDL says")

// many checks the head of a container.
func (p *printer) many(n int) bool {
	if n < 0 || n > len(p.b)-p.i { // each has a byte at least
		p.bad, p.i = true, len(p.b)
	}
	return !p.bad
}

func (p *printer) list(t *thriftidl.Type, depth int) {
	var typ byte
	n := 0
	if p.compact {
		c := p.byte()
		if typ, n = c&0xf, int(c>>4); n == 15 {
			n = p.length()
		}
	} else {
		typ = p.byte()
		n = p.length()
	}
	if !p.many(n) {
		return
	}
	if n > 0 && !p.fits(typ, t.Elem) {
		p.wrong(errOther)
		return
	}
	p.out = append(p.out, '[')
	for i := 0; i < n && !p.bad; i++ {
		if i > 0 {
			p.out = append(p.out, ',')
		}
		p.value(t.Elem, typ, false, depth)
	}
	p.out = append(p.out, ']')
}

// dictionary writes a map as an object, or as an array of keys and values where keys are none that an object can have.
func (p *printer) dictionary(t *thriftidl.Type, depth int) {
	var key, elem byte
	n := 0
	if p.compact {
		if n = p.length(); n > 0 {
			c := p.byte()
			key, elem = c>>4, c&0xf
		}
	} else {
		key, elem = p.byte(), p.byte()
		n = p.length()
	}
	if !p.many(n) {
		return
	}
	if n > 0 && (!p.fits(key, t.Key) || !p.fits(elem, t.Elem)) {
		p.wrong(errOther)
		return
	}
	signs := "[]"
	if named(t.Key) {
		signs = "{}"
	}
	p.out = append(p.out, signs[0])
	for i := 0; i < n && !p.bad; i++ {
		if i > 0 {
			p.out = append(p.out, ',')
		}
		if named(t.Key) {
			p.name(t.Key, key, depth)
			p.out = append(p.out, ':')
			p.value(t.Elem, elem, false, depth)
			continue
		}
		p.out = append(p.out, `{"key":`...)
		p.value(t.Key, key, false, depth)
		p.out = append(p.out, `,"value":`...)
		p.value(t.Elem, elem, false, depth)
		p.out = append(p.out, '}')
	}
	p.out = append(p.out, signs[1])
}

// name writes a key of an object: in quotes, whatever it is.
func (p *printer) name(t *thriftidl.Type, typ byte, depth int) {
	at := len(p.out)
	p.value(t, typ, false, depth)
	if len(p.out) > at && p.out[at] != '"' {
		plain := string(p.out[at:])
		p.out = strconv.AppendQuote(p.out[:at], plain)
	}
}
