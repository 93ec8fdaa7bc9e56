package format

import (
	"fmt"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
)

// state compiles FILTER_STATE(key:PLAIN) and FILTER_STATE(key:TYPED), which is the default
// and writes strings as JSON does; FILTER_STATE(key:FIELD:name) is a field of an object.
func (c command) state() (value, error) {
	key, form, _ := strings.Cut(c.args, ":")
	if key == "" {
		return nil, fmt.Errorf("format command %%%s%% needs the object's key", c.name)
	}
	switch form {
	case "PLAIN":
		return func(dst []byte, i *filter.Info) ([]byte, bool) { return appendObject(dst, i.Object(key)) }, nil
	case "", "TYPED":
		return func(dst []byte, i *filter.Info) ([]byte, bool) {
			if j, ok := i.Object(key).(interface{ AppendJSON([]byte) []byte }); ok {
				return j.AppendJSON(dst), true
			}
			at := len(dst)
			dst, ok := appendObject(dst, i.Object(key))
			if !ok {
				return dst, false
			}
			return quote(dst, at), true
		}, nil
	}
	if field, ok := strings.CutPrefix(form, "FIELD:"); ok && field != "" {
		return func(dst []byte, i *filter.Info) ([]byte, bool) {
			all, _ := i.Object(key).(filter.Fields)
			v, ok := all[field]
			return append(dst, v...), ok
		}, nil
	}
	return nil, fmt.Errorf("format command %%%s(%s)%%: the form %q is not supported: want PLAIN, TYPED or FIELD:name", c.name, c.args, form)
}

// appendObject appends an object of filter state, false: it has no form as text.
func appendObject(dst []byte, v any) ([]byte, bool) {
	switch v := v.(type) {
	case string:
		return append(dst, v...), true
	case fmt.Stringer:
		return append(dst, v.String()...), true
	}
	return dst, false
}
