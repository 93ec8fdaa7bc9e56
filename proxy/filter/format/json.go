package format

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/weftmesh/weft/proxy/filter"
)

// JSON is a compiled JSON value whose strings are formats. It is immutable.
type JSON struct {
	value     *Format
	raw       []byte // of what is no string
	list      []JSON
	members   []member
	kind      jsonKind
	omitEmpty bool
}

type jsonKind uint8

const (
	jsonRaw jsonKind = iota
	jsonFormat
	jsonList
	jsonObject
)

// member is one of an object, by its name with quotes and colon.
type member struct {
	name  []byte
	value JSON
}

// CompileJSON compiles v: objects, lists, and scalars as encoding/json has
// them. What there is not becomes null; with omitEmpty the member is left out.
// Members come sorted by name.
func CompileJSON(v any, o Options, omitEmpty bool) (*JSON, error) {
	// Within a longer text what is missing shows as in text formats.
	if o.Missing = "-"; omitEmpty {
		o.Missing = ""
	}
	j, err := compileJSON(v, o, omitEmpty)
	return &j, err
}

func compileJSON(v any, o Options, omitEmpty bool) (j JSON, err error) {
	switch v := v.(type) {
	case string:
		j.kind = jsonFormat
		j.value, err = Compile(v, o)
		return j, err
	case map[string]any:
		j.kind, j.omitEmpty = jsonObject, omitEmpty
		for _, name := range slices.Sorted(maps.Keys(v)) {
			in, err := compileJSON(v[name], o, omitEmpty)
			if err != nil {
				return j, fmt.Errorf("member %q: %w", name, err)
			}
			j.members = append(j.members, member{append(AppendQuoted(nil, name), ':'), in})
		}
		return j, nil
	case []any:
		j.kind = jsonList
		for i, e := range v {
			in, err := compileJSON(e, o, omitEmpty)
			if err != nil {
				return j, fmt.Errorf("[%d]: %w", i, err)
			}
			j.list = append(j.list, in)
		}
		return j, nil
	}
	j.raw, err = json.Marshal(v)
	return j, err
}

// Append appends the value.
func (j *JSON) Append(dst []byte, i *filter.Info) []byte {
	out, ok := j.append(dst, i)
	switch {
	case ok, j.kind == jsonObject: // of the whole, at least the braces
		return out
	}
	return append(out[:len(dst)], "null"...)
}

func (j *JSON) append(dst []byte, i *filter.Info) ([]byte, bool) {
	switch j.kind {
	case jsonFormat:
		return j.value.AppendJSON(dst, i)
	case jsonList:
		dst = append(dst, '[')
		for n := range j.list {
			if n > 0 {
				dst = append(dst, ',')
			}
			dst = j.list[n].Append(dst, i)
		}
		return append(dst, ']'), true
	case jsonObject:
		return j.appendObject(dst, i)
	}
	return append(dst, j.raw...), true
}

// appendObject tells with false that all members were left out.
func (j *JSON) appendObject(dst []byte, i *filter.Info) ([]byte, bool) {
	dst = append(dst, '{')
	first := true
	for n := range j.members {
		m := &j.members[n]
		at := len(dst)
		if !first {
			dst = append(dst, ',')
		}
		dst = append(dst, m.name...)
		out, ok := m.value.append(dst, i)
		switch {
		case ok:
			dst = out
		case j.omitEmpty:
			dst = dst[:at]
			continue
		default:
			dst = append(out[:len(dst)], "null"...)
		}
		first = false
	}
	return append(dst, '}'), !first || !j.omitEmpty
}
