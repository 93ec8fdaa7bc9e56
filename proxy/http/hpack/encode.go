package hpack

import (
	"hash/maphash"
	"strconv"
)

// maxIndexed bounds the values that are given a place in the table.
const maxIndexed = 512

// Encoder encodes the header blocks of one direction of a connection. The zero value is ready.
type Encoder struct {
	table table
	// slots finds entries by name and value: open addressing, the numbers of entries plus
	// one. Those of entries that are gone stay until it is made anew.
	slots *[slotCount]uint32
	used  int

	resized bool // the limit has changed since the last block
	lower   bool // and was lower than it is now
	limit   int
}

const (
	slotCount = 256
	// slotsMost leaves room, so that the way to an entry is short. A table holds no more
	// than half of it.
	slotsMost = slotCount * 3 / 4
)

var seed = maphash.MakeSeed()

// SetLimit takes the size of the table that the peer permits. The next block says it.
func (e *Encoder) SetLimit(n uint32) {
	limit := int(min(n, TableSize))
	e.lower = e.resized && (e.lower || e.limit < limit)
	e.resized, e.limit = true, limit
}

// Begin appends what a block has to begin with. When the limit was lower meanwhile (RFC 7541
// 4.2) the table begins anew: some decoders take a second change only while
// their table is empty.
func (e *Encoder) Begin(out []byte) []byte {
	if !e.resized {
		return out
	}
	if e.lower {
		out = e.resize(out, 0)
	}
	e.resized, e.lower = false, false
	return e.resize(out, e.limit)
}

func (e *Encoder) resize(out []byte, n int) []byte {
	e.table.resize(n)
	return appendInteger(out, 0x20, 5, n)
}

// Field appends a field.
func (e *Encoder) Field(out []byte, name, value string) []byte {
	static, again := known(name)
	if again {
		if i := staticValue(static, value); i != 0 {
			return append(out, 0x80|i)
		}
		if len(value) < maxIndexed && len(name)+len(value)+overhead <= e.table.max() {
			return e.repeated(out, static, name, value)
		}
	}
	if static != 0 {
		out = appendInteger(out, 0, 4, int(static))
	} else {
		out = append(out, 0)
		out = appendText(out, name)
	}
	return appendText(out, value)
}

// repeated appends a field by its index, or inserts it.
func (e *Encoder) repeated(out []byte, static uint8, name, value string) []byte {
	if e.slots == nil {
		e.slots = new([slotCount]uint32)
	}
	t := &e.table
	i := place(name, value)
	for ; e.slots[i%slotCount] != 0; i++ {
		age := t.inserted - e.slots[i%slotCount] // the newest is 0
		if int64(age) >= int64(t.live) {
			continue
		}
		if f := t.entry(int(age) + 1); t.value(f) == value && t.name(f) == name {
			return appendInteger(out, 0x80, 7, staticCount+1+int(age))
		}
	}
	t.add(entry{static: static}, name, value)
	e.note(i, t.inserted)
	if static != 0 {
		out = appendInteger(out, 0x40, 6, int(static))
	} else {
		out = append(out, 0x40)
		out = appendText(out, name)
	}
	return appendText(out, value)
}

func place(name, value string) uint64 { return maphash.String(seed, value) + uint64(len(name)) }

// note puts an entry's number into a slot that is free.
func (e *Encoder) note(i uint64, number uint32) {
	e.slots[i%slotCount] = number
	if e.used++; e.used < slotsMost {
		return
	}
	clear(e.slots[:])
	e.used = e.table.live
	for k := e.table.live; k > 0; k-- {
		f := e.table.entry(k)
		i := place(e.table.name(f), e.table.value(f))
		for e.slots[i%slotCount] != 0 {
			i++
		}
		e.slots[i%slotCount] = e.table.inserted - uint32(k) + 1
	}
}

// Status appends the pseudo header of a response.
func (e *Encoder) Status(out []byte, status int) []byte {
	switch status {
	case 200:
		return append(out, 0x80|8)
	case 204:
		return append(out, 0x80|9)
	case 304:
		return append(out, 0x80|11)
	case 404:
		return append(out, 0x80|13)
	case 500:
		return append(out, 0x80|14)
	}
	var buf [20]byte
	digits := strconv.AppendInt(buf[:0], int64(status), 10)
	out = append(out, 8, byte(len(digits)))
	return append(out, digits...)
}

// appendInteger appends n with a prefix of so many bits, below the bits of first.
func appendInteger(out []byte, first byte, prefix, n int) []byte {
	most := 1<<prefix - 1
	if n < most {
		return append(out, first|byte(n))
	}
	out = append(out, first|byte(most))
	for n -= most; n >= 0x80; n >>= 7 {
		out = append(out, byte(n)|0x80)
	}
	return append(out, byte(n))
}

func appendText(out []byte, s string) []byte {
	return append(appendInteger(out, 0, 7, len(s)), s...)
}
