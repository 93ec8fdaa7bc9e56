package wasm

import (
	"encoding/binary"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/weftmesh/weft/proxy/filter/cel"
)

// property is an attribute in the ABI's form.
func (v *vm) property(path []string) (string, bool) {
	if value, ok := v.core.about(path); ok {
		return value, true
	}
	x, here := v.subject()
	if x == nil || !here {
		return "", false
	}
	i := x.s.Info()
	switch path[0] {
	case "listener_direction": // as Envoy counts them
		n := uint64(1)
		if i.Conn != nil && i.Conn.Outbound {
			n = 2
		}
		return form(int64(n)) //nolint:gosec // 1 or 2
	case "cluster_name":
		return i.Upstream.Cluster, i.Upstream.Cluster != ""
	case "route_name":
		return i.RouteName, true
	case "route_metadata":
		return walk(i.RouteMetadata, path[1:])
	case "metadata":
		if len(path) > 1 && path[1] == "filter_metadata" {
			return walk(i.Metadata, path[2:])
		}
		return walk(i.Metadata, path[1:])
	case "filter_state":
		if len(path) == 1 {
			return "", false
		}
	}
	if value, ok := i.FilterState["wasm."+joinPath(path)].(string); ok {
		return value, true
	}
	root, there := cel.Attribute(i, path[0])
	if !there {
		return "", false
	}
	return walk(root, path[1:])
}

func joinPath(path []string) string {
	out := path[0]
	for _, p := range path[1:] {
		out += "." + p
	}
	return out
}

// walk follows a path into nested maps.
func walk(v any, path []string) (string, bool) {
	for _, key := range path {
		switch m := v.(type) {
		case map[string]any:
			v = m[key]
		case map[string]string:
			s, ok := m[key]
			if !ok {
				return "", false
			}
			v = s
		default:
			return "", false
		}
	}
	return form(v)
}

// form is a value as the ABI has it: numbers, durations and times are eight bytes, little end first.
func form(v any) (string, bool) {
	number := func(n uint64) (string, bool) { return string(binary.LittleEndian.AppendUint64(nil, n)), true }
	switch v := v.(type) {
	case nil:
		return "", false
	case string:
		return v, true
	case bool:
		if v {
			return "\x01", true
		}
		return "\x00", true
	case int64:
		return number(uint64(v)) //nolint:gosec // its bits
	case uint64:
		return number(v)
	case float64:
		return number(math.Float64bits(v))
	case time.Duration:
		return number(uint64(v)) //nolint:gosec // its bits
	case time.Time:
		return number(uint64(v.UnixNano())) //nolint:gosec // its bits
	case map[string]string:
		return string(encode(len(v), sorted(v))), true
	case map[string]any:
		text := map[string]string{}
		for k, x := range v {
			if s, ok := form(x); ok {
				text[k] = s
			}
		}
		return string(encode(len(text), sorted(text))), true
	}
	return fmt.Sprint(v), true
}

func sorted(m map[string]string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}
