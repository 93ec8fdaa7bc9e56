package wasm

import (
	"encoding/binary"
	"iter"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
)

// Results of host functions.
const (
	ok             = 0
	notFound       = 1
	badArgument    = 2
	serialization  = 3
	badMemory      = 6
	empty          = 7
	casMismatch    = 8
	internal       = 10
	unimplemented  = 12
	actionContinue = 0
)

// Maps of headers.
const (
	requestHeaders = iota
	requestTrailers
	responseHeaders
	responseTrailers
	grpcInitial
	grpcTrailing
	callHeaders
	callTrailers
)

// Buffers.
const (
	requestBody  = 0
	responseBody = 1
	callBody     = 4
	vmConfig     = 6
	pluginConfig = 7
)

// pseudo are the names of a head's first fields, in the order in which plug-ins see them.
var pseudo = [...]string{":authority", ":path", ":method", ":scheme", ":protocol", ":status"}

// fields yields all fields of a head, pseudo headers first.
func fields(h *filter.Headers) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, name := range pseudo {
			if v, ok := h.Lookup(name); ok && !yield(name, v) {
				return
			}
		}
		for i := range h.Len() {
			if f := h.At(i); !yield(f.Name, f.Value) {
				return
			}
		}
	}
}

// count is how many fields there are.
func count(h *filter.Headers) (n int) {
	if h != nil {
		for range fields(h) {
			n++
		}
	}
	return n
}

// encode is a map as the ABI has it: their number, the lengths of all, then names and values, each ended by a zero.
func encode(n int, pairs iter.Seq2[string, string]) []byte {
	out := binary.LittleEndian.AppendUint32(nil, uint32(n)) //nolint:gosec // bounded by a head's size
	for name, value := range pairs {
		out = binary.LittleEndian.AppendUint32(out, uint32(len(name)))  //nolint:gosec // as above
		out = binary.LittleEndian.AppendUint32(out, uint32(len(value))) //nolint:gosec // as above
	}
	for name, value := range pairs {
		out = append(append(append(append(out, name...), 0), value...), 0)
	}
	return out
}

// decode reads such a map; not ok when it is none. Names are made lower case.
func decode(b []byte) (out []filter.Field, valid bool) {
	if len(b) == 0 {
		return nil, true
	}
	if len(b) < 4 {
		return nil, false
	}
	n := int(binary.LittleEndian.Uint32(b))
	if n < 0 || n > (len(b)-4)/8 {
		return nil, false
	}
	sizes, rest := b[4:4+8*n], b[4+8*n:]
	take := func(at int) (string, bool) {
		size := int(binary.LittleEndian.Uint32(sizes[at:]))
		if size < 0 || size >= len(rest) {
			return "", false
		}
		s := string(rest[:size])
		rest = rest[size+1:]
		return s, true
	}
	for i := range n {
		name, a := take(8 * i)
		value, b := take(8*i + 4)
		if !a || !b {
			return nil, false
		}
		out = append(out, filter.Field{Name: strings.ToLower(name), Value: value})
	}
	return out, true
}
