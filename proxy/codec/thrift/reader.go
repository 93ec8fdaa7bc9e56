package thrift

import (
	"encoding/binary"
	"errors"
)

// Types of the binary protocol that are needed by name.
const (
	typeString = 11
	typeI32    = 8
)

const maxDepth = 64

var (
	errType = errors.New("a value of a type that Thrift does not have")
	errDeep = errors.New("values are nested more than 64 deep")
)

// reader walks over values of either protocol. bad: the bytes are not enough; fault: no bytes would help.
type reader struct {
	b       []byte
	i       int
	compact bool
	bad     bool
	fault   error
}

func (r *reader) bytes(n int) []byte {
	if n < 0 || n > len(r.b)-r.i {
		r.bad, r.i = true, len(r.b)
		return nil
	}
	r.i += n
	return r.b[r.i-n : r.i]
}

func (r *reader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) varint() uint64 {
	v, n := binary.Uvarint(r.b[r.i:])
	if n <= 0 {
		r.bad, r.i = true, len(r.b)
		return 0
	}
	r.i += n
	return v
}

// wrong ends the walk for good.
func (r *reader) wrong(err error) {
	if r.fault == nil && !r.bad {
		r.fault = err
	}
	r.bad, r.i = true, len(r.b)
}

// field reads the head of a field; type 0 is the end of the struct. last is the id of the field before.
func (r *reader) field(last int16) (typ byte, id int16) {
	if !r.compact {
		typ = r.byte()
		if typ == 0 {
			return 0, 0
		}
		if b := r.bytes(2); b != nil {
			id = int16(binary.BigEndian.Uint16(b)) //nolint:gosec // two's complement
		}
		return typ, id
	}
	c := r.byte()
	if c == 0 {
		return 0, 0
	}
	if d := c >> 4; d != 0 {
		return c & 0xf, last + int16(d)
	}
	v := r.varint()
	return c & 0xf, int16(v>>1) ^ -int16(v&1) //nolint:gosec // zigzag
}

// exceptionType reads the type of a TApplicationException.
func (r *reader) exceptionType() uint32 {
	var last int16
	for !r.bad {
		typ, id := r.field(last)
		if typ == 0 {
			break
		}
		last = id
		if id == 2 {
			if r.compact {
				return uint32(r.varint() >> 1) //nolint:gosec // an enumeration
			}
			return r.uint32()
		}
		r.skip(typ)
	}
	return 0
}
