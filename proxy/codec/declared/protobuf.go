package declared

import "encoding/binary"

// Types on protobuf's wire.
const (
	wireVarint = 0
	wire64     = 1
	wireBytes  = 2
	wire32     = 5
)

// protoField is one field of a message in protobuf: all of it, and its value (of bytes: without their length).
type protoField struct {
	number, wire int
	all, value   span
}

// nextProto reads the field at i; false: there is none, or it is broken.
func nextProto(b []byte, i int) (f protoField, ok bool) {
	if i >= len(b) {
		return f, false
	}
	tag, n := binary.Uvarint(b[i:])
	if n <= 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
		return f, false
	}
	f.number, f.wire, f.all.a = int(tag>>3), int(tag&7), i //nolint:gosec // bounded
	i += n
	size := 0
	switch f.wire {
	case wireVarint:
		if _, size = binary.Uvarint(b[i:]); size <= 0 {
			return f, false
		}
	case wire64:
		size = 8
	case wire32:
		size = 4
	case wireBytes:
		l, n := binary.Uvarint(b[i:])
		if n <= 0 || l > uint64(len(b)) {
			return f, false
		}
		i += n
		size = int(l) //nolint:gosec // bounded
	default:
		return f, false // groups
	}
	if size > len(b)-i {
		return f, false
	}
	f.value = span{i, i + size}
	f.all.z = f.value.z
	return f, true
}

// lastProto finds the last field of a number, which is the one that counts.
func lastProto(b []byte, number int) (last protoField, found bool) {
	for i := 0; ; {
		f, ok := nextProto(b, i)
		if !ok {
			return last, found
		}
		if f.number == number {
			last, found = f, true
		}
		i = f.all.z
	}
}

// findProto follows a path.
func findProto(b []byte, path []int) (value, bool) {
	for i, n := range path {
		f, ok := lastProto(b, n)
		if !ok {
			return value{}, false
		}
		in := b[f.value.a:f.value.z]
		if i < len(path)-1 {
			if f.wire != wireBytes {
				return value{}, false
			}
			b = in
			continue
		}
		if f.wire == wireBytes {
			return value{text: in}, true
		}
		return value{n: protoNumber(in, f.wire), number: true}, true
	}
	return value{}, false
}

func protoNumber(b []byte, wire int) uint64 {
	if wire == wireVarint {
		n, _ := binary.Uvarint(b)
		return n
	}
	return unsigned(b, true)
}

// protoMap finds the message that the map at a path is in.
func protoMap(b []byte, path []int) (span, bool) {
	r := span{0, len(b)}
	for _, n := range path[:len(path)-1] {
		f, ok := lastProto(b[r.a:r.z], n)
		if !ok || f.wire != wireBytes {
			return span{}, false
		}
		r = span{r.a + f.value.a, r.a + f.value.z}
	}
	return r, true
}

// mapEntry reads the name and the value of an entry of a map; false: it is none of text.
func mapEntry(b []byte, f protoField) (key, val []byte, ok bool) {
	if f.wire != wireBytes {
		return nil, nil, false
	}
	in := b[f.value.a:f.value.z]
	for i := 0; ; {
		e, more := nextProto(in, i)
		if !more {
			return key, val, key != nil
		}
		if e.wire == wireBytes && e.number == 1 {
			key = in[e.value.a:e.value.z]
		}
		if e.wire == wireBytes && e.number == 2 {
			val = in[e.value.a:e.value.z]
		}
		i = e.all.z
	}
}

// appendProto appends a field that is reached by a path.
func appendProto(out []byte, path []int, v value) []byte {
	var sizes [9]int // of what is below each step
	n := len(path)
	sizes[n-1] = sizeValue(v)
	for i := n - 2; i >= 0; i-- {
		sizes[i] = sizeTag(path[i+1]) + sizes[i+1]
		if i+1 < n-1 || !v.number {
			sizes[i] += sizeVarint(uint64(sizes[i+1])) //nolint:gosec // a size
		}
	}
	for i, number := range path {
		last := i == n-1
		if last && v.number {
			out = binary.AppendUvarint(out, uint64(number)<<3|wireVarint) //nolint:gosec // positive
			return binary.AppendUvarint(out, v.n)
		}
		out = binary.AppendUvarint(out, uint64(number)<<3|wireBytes) //nolint:gosec // positive
		out = binary.AppendUvarint(out, uint64(sizes[i]))            //nolint:gosec // a size
	}
	return append(out, v.text...)
}

func sizeValue(v value) int {
	if v.number {
		return sizeVarint(v.n)
	}
	return len(v.text)
}

func sizeTag(number int) int { return sizeVarint(uint64(number) << 3) } //nolint:gosec // positive

func sizeVarint(v uint64) (n int) {
	for n = 1; v >= 0x80; n++ {
		v >>= 7
	}
	return n
}
