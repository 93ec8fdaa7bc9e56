package thrift

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/wire/thriftidl"
)

// wireTypes are the types of both protocols.
var wireTypes = map[thriftidl.Kind]struct{ binary, compact byte }{
	thriftidl.Bool: {2, 1}, thriftidl.Byte: {3, 3}, thriftidl.I16: {6, 4}, thriftidl.I32: {typeI32, 5}, thriftidl.I64: {10, 6}, thriftidl.Double: {4, 7},
	thriftidl.String: {typeString, 8}, thriftidl.Binary: {typeString, 8}, thriftidl.UUID: {16, 13}, thriftidl.List: {15, 9}, thriftidl.Set: {14, 10},
	thriftidl.Map: {13, 11}, thriftidl.StructKind: {12, 12}, thriftidl.EnumKind: {typeI32, 5},
}

func wireType(t *thriftidl.Type, compact bool) byte {
	if compact {
		return wireTypes[t.Kind].compact
	}
	return wireTypes[t.Kind].binary
}

// writer writes JSON's values as Thrift's. Its first error stays.
type writer struct {
	out     []byte
	compact bool
	err     error
}

func (w *writer) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

// head begins a message with number 0.
func (w *writer) head(name string, oneWay bool) {
	typ := byte(typeCall)
	if oneWay {
		typ = typeOneWay
	}
	if w.compact {
		w.out = append(w.out, 0x82, typ<<5|1, 0)
		w.out = append(binary.AppendUvarint(w.out, uint64(len(name))), name...)
		return
	}
	w.out = append(w.out, 0x80, 1, 0, typ)
	w.bytes([]byte(name))
	w.out = append(w.out, 0, 0, 0, 0)
}

// bytes writes what has a length before it.
func (w *writer) bytes(b []byte) {
	w.size(len(b))
	w.out = append(w.out, b...)
}

func (w *writer) size(n int) {
	if w.compact {
		w.out = binary.AppendUvarint(w.out, uint64(n)) //nolint:gosec // not negative
	} else {
		w.out = binary.BigEndian.AppendUint32(w.out, uint32(n)) //nolint:gosec // a body is bounded
	}
}

// structure writes the fields that an object has.
func (w *writer) structure(s *thriftidl.Struct, values map[string]any, depth int) {
	if depth > maxDepth {
		w.fail("%v", errDeep)
		return
	}
	known, last := 0, int16(0)
	fields := s.Fields
	if w.compact { // small steps are cheap
		fields = slices.Clone(fields)
		slices.SortFunc(fields, func(a, b thriftidl.Field) int { return int(a.ID) - int(b.ID) })
	}
	for i := range fields {
		f := &fields[i]
		v, there := values[f.Name]
		if there {
			known++
		}
		if v == nil {
			if f.Required {
				w.fail("%s.%s is required", s.Name, f.Name)
			}
			continue
		}
		w.fieldHead(f, v, &last)
		if w.compact && f.Type.Kind == thriftidl.Bool {
			continue // its head says it
		}
		if w.value(f.Type, v, depth); w.err != nil && depth == 0 && !strings.HasPrefix(w.err.Error(), f.Name) {
			w.err = fmt.Errorf("%s: %w", f.Name, w.err)
		}
	}
	if known != len(values) {
		for k := range values {
			if !slices.ContainsFunc(s.Fields, func(f thriftidl.Field) bool { return f.Name == k }) {
				w.fail("%s has no %q", s.Name, k)
			}
		}
	}
	if s.Union && known != 1 {
		w.fail("%s is a union: give it one of its fields", s.Name)
	}
	w.out = append(w.out, 0)
}

func (w *writer) fieldHead(f *thriftidl.Field, v any, last *int16) {
	typ := wireType(f.Type, w.compact)
	if !w.compact {
		w.out = binary.BigEndian.AppendUint16(append(w.out, typ), uint16(f.ID)) //nolint:gosec // two's complement
		return
	}
	if f.Type.Kind == thriftidl.Bool && !w.boolean(v) {
		typ = 2
	}
	if d := int(f.ID) - int(*last); d > 0 && d <= 15 {
		w.out = append(w.out, byte(d)<<4|typ)
	} else {
		w.out = binary.AppendVarint(append(w.out, typ), int64(f.ID))
	}
	*last = f.ID
}

func (w *writer) boolean(v any) bool {
	switch x := v.(type) {
	case bool:
		return x
	case string:
		if b, err := strconv.ParseBool(x); err == nil {
			return b
		}
	}
	w.fail("want true or false, got %s", shown(v))
	return false
}

// value writes one value.
func (w *writer) value(t *thriftidl.Type, v any, depth int) {
	if w.err != nil {
		return
	}
	switch t.Kind {
	case thriftidl.Bool:
		switch b := w.boolean(v); {
		case b:
			w.out = append(w.out, 1)
		case w.compact:
			w.out = append(w.out, 2)
		default:
			w.out = append(w.out, 0)
		}
	case thriftidl.Byte, thriftidl.I16, thriftidl.I32, thriftidl.I64, thriftidl.EnumKind:
		w.integer(t, v)
	case thriftidl.Double:
		w.double(v)
	case thriftidl.String, thriftidl.Binary, thriftidl.UUID:
		w.text(t, v)
	case thriftidl.StructKind:
		if m, ok := v.(map[string]any); ok {
			w.structure(t.Struct, m, depth+1)
		} else {
			w.fail("want an object for %s, got %s", t.Struct.Name, shown(v))
		}
	default:
		w.container(t, v, depth+1)
	}
}

// shown is a value in an error.
func shown(v any) string {
	b, err := json.Marshal(v)
	if err != nil || len(b) > 60 {
		return "something else"
	}
	return string(b)
}

var bits = map[thriftidl.Kind]int{thriftidl.Byte: 8, thriftidl.I16: 16, thriftidl.I32: 32, thriftidl.I64: 64, thriftidl.EnumKind: 32}

func (w *writer) integer(t *thriftidl.Type, v any) {
	text := ""
	switch x := v.(type) {
	case json.Number:
		text = x.String()
	case string:
		if text = x; t.Enum != nil {
			if n, ok := t.Enum.Numbers[x]; ok {
				text = strconv.Itoa(int(n))
			}
		}
	}
	n, err := strconv.ParseInt(text, 10, bits[t.Kind])
	if err != nil {
		what := fmt.Sprintf("a whole number of %d bits", bits[t.Kind])
		if t.Enum != nil {
			what = "a name or number of " + t.Enum.Name
		}
		w.fail("want %s, got %s", what, shown(v))
		return
	}
	switch {
	case t.Kind == thriftidl.Byte:
		w.out = append(w.out, byte(n)) //nolint:gosec // two's complement
	case w.compact:
		w.out = binary.AppendVarint(w.out, n)
	case t.Kind == thriftidl.I16:
		w.out = binary.BigEndian.AppendUint16(w.out, uint16(n)) //nolint:gosec // two's complement
	case t.Kind == thriftidl.I64:
		w.out = binary.BigEndian.AppendUint64(w.out, uint64(n)) //nolint:gosec // two's complement
	default:
		w.out = binary.BigEndian.AppendUint32(w.out, uint32(n)) //nolint:gosec // two's complement
	}
}

func (w *writer) double(v any) {
	text, _ := v.(string)
	if n, ok := v.(json.Number); ok {
		text = n.String()
	}
	x, err := strconv.ParseFloat(text, 64)
	if err != nil {
		w.fail("want a number, got %s", shown(v))
		return
	}
	if w.compact {
		w.out = binary.LittleEndian.AppendUint64(w.out, math.Float64bits(x))
	} else {
		w.out = binary.BigEndian.AppendUint64(w.out, math.Float64bits(x))
	}
}

// text writes strings, binaries (base64) and UUIDs.
func (w *writer) text(t *thriftidl.Type, v any) {
	s, ok := v.(string)
	if !ok {
		w.fail("want a text, got %s", shown(v))
		return
	}
	switch t.Kind {
	case thriftidl.Binary:
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			w.fail("want base64: %v", err)
		}
		w.bytes(b)
	case thriftidl.UUID:
		b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
		if err != nil || len(b) != 16 {
			w.fail("want a UUID, got %s", shown(v))
		}
		w.out = append(w.out, b...)
	default:
		w.bytes([]byte(s))
	}
}

// container writes lists, sets and maps.
func (w *writer) container(t *thriftidl.Type, v any, depth int) {
	if depth > maxDepth {
		w.fail("%v", errDeep)
		return
	}
	elem := wireType(t.Elem, w.compact)
	if t.Kind == thriftidl.Map {
		keys, values := w.pairs(t, v)
		w.mapHead(wireType(t.Key, w.compact), elem, len(keys))
		for i := range keys {
			w.value(t.Key, keys[i], depth)
			w.value(t.Elem, values[i], depth)
		}
		return
	}
	list, ok := v.([]any)
	if !ok {
		w.fail("want an array, got %s", shown(v))
		return
	}
	switch {
	case !w.compact:
		w.out = append(w.out, elem)
		w.size(len(list))
	case len(list) < 15:
		w.out = append(w.out, byte(len(list))<<4|elem)
	default:
		w.out = append(w.out, 0xf0|elem)
		w.size(len(list))
	}
	for _, x := range list {
		w.value(t.Elem, x, depth)
	}
}

func (w *writer) mapHead(key, elem byte, n int) {
	switch {
	case !w.compact:
		w.out = append(w.out, key, elem)
		w.size(n)
	default:
		if w.size(n); n > 0 {
			w.out = append(w.out, key<<4|elem)
		}
	}
}

// named: keys of the type are written as the names of an object.
func named(t *thriftidl.Type) bool {
	switch t.Kind {
	case thriftidl.StructKind, thriftidl.List, thriftidl.Set, thriftidl.Map:
		return false
	}
	return true
}

// pairs are an object's, or those of an array of {"key": …, "value": …}.
func (w *writer) pairs(t *thriftidl.Type, v any) (keys, values []any) {
	switch x := v.(type) {
	case map[string]any:
		if named(t.Key) {
			for k, e := range x {
				keys, values = append(keys, k), append(values, e)
			}
			return keys, values
		}
	case []any:
		for _, e := range x {
			m, ok := e.(map[string]any)
			if !ok || len(m) != 2 || m["key"] == nil || m["value"] == nil {
				w.fail(`want {"key": …, "value": …}, got %s`, shown(e))
				return nil, nil
			}
			keys, values = append(keys, m["key"]), append(values, m["value"])
		}
		return keys, values
	}
	w.fail("want an object, or an array of keys and values, got %s", shown(v))
	return nil, nil
}
