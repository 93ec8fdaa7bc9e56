package dubbo

import (
	"encoding/binary"
	"errors"
	"strings"
)

// reader walks over values of Hessian 2 (serialization 2.0 draft) without making anything of
// them: it knows where each ends. Strings may be read.
type reader struct {
	b []byte
	i int
	// fields counts those of the class definitions that have come, by their numbers.
	fields []int
	depth  int
	bad    error
	buf    []byte // of a string in chunks
}

var (
	errShort = errors.New("the body ends within a value")
	errValue = errors.New("the body has a value that is not Hessian 2")
	errDeep  = errors.New("values are nested more than 2000 deep")
)

// maxDepth is more than what people write, and less than what would be much stack.
const maxDepth = 2000

func (r *reader) reset(b []byte) { *r = reader{b: b, fields: r.fields[:0], buf: r.buf[:0]} }

func (r *reader) fail(err error) {
	if r.bad == nil {
		r.bad = err
	}
	r.i = len(r.b)
}

// next takes a byte; 0 after a fault.
func (r *reader) next() byte {
	if r.i >= len(r.b) {
		r.fail(errShort)
		return 0
	}
	c := r.b[r.i]
	r.i++
	return c
}

func (r *reader) peek() byte {
	if r.i >= len(r.b) {
		r.fail(errShort)
		return 0
	}
	return r.b[r.i]
}

func (r *reader) over(n int) {
	if n < 0 || n > len(r.b)-r.i {
		r.fail(errShort)
		return
	}
	r.i += n
}

func (r *reader) uint16() int { return int(r.next())<<8 | int(r.next()) }

// notASCII are the bits that are in some of eight bytes which are not all ASCII.
const notASCII = 0x8080808080808080

// chars goes over n UTF-16 units and returns their bytes.
func (r *reader) chars(n int) []byte {
	begin := r.i
	for n >= 8 && len(r.b)-r.i >= 8 && binary.LittleEndian.Uint64(r.b[r.i:])&notASCII == 0 {
		r.i += 8
		n -= 8
	}
	for n > 0 && r.bad == nil {
		switch c := r.next(); {
		case c < 0x80:
		case c&0xe0 == 0xc0:
			r.over(1)
		case c&0xf0 == 0xe0:
			r.over(2)
		default:
			r.over(3)
			n-- // a pair of surrogates
		}
		n--
	}
	if r.bad != nil {
		return nil
	}
	return r.b[begin:r.i]
}

// str reads a string, or null, which is empty. It is valid until the next call where it came in chunks.
func (r *reader) str() []byte {
	switch c := r.next(); {
	case c <= 0x1f:
		return r.chars(int(c))
	case c >= 0x30 && c <= 0x33:
		return r.chars(int(c-0x30)<<8 | int(r.next()))
	case c == 'S':
		return r.chars(r.uint16())
	case c == 'R':
		r.buf = append(r.buf[:0], r.chars(r.uint16())...)
		for r.bad == nil {
			switch d := r.next(); {
			case d == 'R':
				r.buf = append(r.buf, r.chars(r.uint16())...)
				continue
			case d == 'S':
				r.buf = append(r.buf, r.chars(r.uint16())...)
			case d <= 0x1f:
				r.buf = append(r.buf, r.chars(int(d))...)
			case d >= 0x30 && d <= 0x33:
				r.buf = append(r.buf, r.chars(int(d-0x30)<<8|int(r.next()))...)
			default:
				r.fail(errValue)
			}
			return r.buf
		}
	case c == 'N':
	default:
		r.fail(errValue)
	}
	return nil
}

// isStr tells whether the next value is a string.
func (r *reader) isStr() bool {
	c := r.peek()
	return c <= 0x1f || c >= 0x30 && c <= 0x33 || c == 'S' || c == 'R'
}

// integer reads an int.
func (r *reader) integer() int {
	switch c := r.next(); {
	case c >= 0x80 && c <= 0xbf:
		return int(c) - 0x90
	case c >= 0xc0 && c <= 0xcf:
		return (int(c)-0xc8)<<8 | int(r.next())
	case c >= 0xd0 && c <= 0xd7:
		return (int(c)-0xd4)<<16 | r.uint16()
	case c == 'I':
		return int(int32(uint32(r.uint16())<<16 | uint32(r.uint16()))) //nolint:gosec // 16 bits each
	}
	r.fail(errValue)
	return 0
}

// typ goes over the type of a list or map: a name, or the number of one that came before.
func (r *reader) typ() {
	if r.isStr() {
		r.str()
		return
	}
	r.integer()
}

// many goes over n values; over all up to the end mark when n is negative.
func (r *reader) many(n int) {
	if n > len(r.b)-r.i { // each has a byte
		r.fail(errShort)
		return
	}
	for ; r.bad == nil && n != 0; n-- {
		if n < 0 && r.peek() == 'Z' {
			r.next()
			return
		}
		r.skip()
	}
}

// skip goes over one value.
func (r *reader) skip() {
	if r.depth++; r.depth > maxDepth {
		r.fail(errDeep)
	}
	c := r.peek()
	switch {
	case r.bad != nil:
	case r.isStr():
		r.str()
	case c >= 0x20 && c <= 0x2f || c >= 0x34 && c <= 0x37 || c == 'A' || c == 'B':
		r.binary()
	case c >= 0x80 && c <= 0xd7 || c == 'I':
		r.integer()
	case c >= 0xd8: // long in 1 byte, or in 2
		r.next()
		if c >= 0xf0 {
			r.over(1)
		}
	default:
		r.next()
		r.rest(c)
	}
	r.depth--
}

// rest goes over what is behind the first byte of a value.
func (r *reader) rest(c byte) {
	switch {
	case c >= 0x38 && c <= 0x3f: // long
		r.over(2)
	case c >= 0x60 && c <= 0x6f:
		r.object(int(c - 0x60))
	case c >= 0x70 && c <= 0x77:
		r.typ()
		r.many(int(c - 0x70))
	case c >= 0x78 && c <= 0x7f:
		r.many(int(c - 0x78))
	default:
		r.single(c)
	}
}

// single goes over values whose first byte says all about their kind.
func (r *reader) single(c byte) {
	switch c {
	case 'N', 'T', 'F', 0x5b, 0x5c: // null, true, false, 0.0, 1.0
	case 0x5d:
		r.over(1)
	case 0x5e:
		r.over(2)
	case 0x4b, 0x59, 0x5f: // date in minutes, long of 32 bits, double of thousandths
		r.over(4)
	case 'D', 'L', 0x4a:
		r.over(8)
	case 'H':
		r.many(-1)
	case 'M', 0x55:
		r.typ()
		r.many(-1)
	case 'V':
		r.typ()
		r.many(r.integer())
	case 0x57:
		r.many(-1)
	case 0x58:
		r.many(r.integer())
	case 'Q':
		r.integer()
	case 'O':
		r.object(r.integer())
	case 'C':
		r.class()
		r.skip() // the value itself follows
	default:
		r.fail(errValue)
	}
}

// class notes a class definition.
func (r *reader) class() {
	r.str()
	n := r.integer()
	if n < 0 || n > len(r.b)-r.i {
		r.fail(errValue)
		return
	}
	for range n {
		r.str()
	}
	r.fields = append(r.fields, n)
}

func (r *reader) object(class int) {
	if class < 0 || class >= len(r.fields) {
		r.fail(errValue)
		return
	}
	r.many(r.fields[class])
}

func (r *reader) binary() {
	for r.bad == nil {
		switch c := r.next(); {
		case c >= 0x20 && c <= 0x2f:
			r.over(int(c - 0x20))
		case c >= 0x34 && c <= 0x37:
			r.over(int(c-0x34)<<8 | int(r.next()))
		case c == 'B':
			r.over(r.uint16())
		case c == 'A':
			r.over(r.uint16())
			continue
		default:
			r.fail(errValue)
		}
		return
	}
}

// appendStr appends a string. A character that is cut off at its end would swallow what comes behind: it becomes
// question marks.
func appendStr(out []byte, s string) []byte {
	if w := whole(s); w < len(s) {
		s = s[:w] + strings.Repeat("?", len(s)-w)
	}
	n := units(s)
	switch {
	case n <= 0x1f:
		out = append(out, byte(n))
	case n < 1024:
		out = append(out, 0x30+byte(n>>8), byte(n))
	default:
		const most = 0x7fff
		for n > most {
			cut, left := 0, most
			for left > 1 { // at the border of a rune
				k := runeLen(s[cut])
				left -= units(s[cut : cut+k])
				cut += k
			}
			k := units(s[:cut])
			out = append(append(out, 'R', byte(k>>8), byte(k)), s[:cut]...)
			s = s[cut:]
			n -= k
		}
		out = append(out, 'S', byte(n>>8), byte(n))
	}
	return append(out, s...)
}

// whole is how many bytes of s are whole characters, as readers count them.
func whole(s string) (n int) {
	for n < len(s) {
		k := runeLen(s[n])
		if n+k > len(s) {
			break
		}
		n += k
	}
	return n
}

// units counts UTF-16 units.
func units(s string) (n int) {
	for i := 0; i < len(s); {
		k := runeLen(s[i])
		if n++; k == 4 {
			n++
		}
		i += k
	}
	return n
}

func runeLen(c byte) int {
	switch {
	case c < 0xc0:
		return 1
	case c < 0xe0:
		return 2
	case c < 0xf0:
		return 3
	}
	return 4
}
