package metadata

import (
	"maps"
	"slices"

	"github.com/weftmesh/weft/proxy/filter"
)

// entry is constant metadata of a namespace.
type entry struct {
	namespace string
	value     map[string]any
	overwrite bool
}

type setFactory struct {
	filter.PassThrough
	entries []entry
	denied  *filter.Counter
}

// New implements filter.HTTPFactory. The filter has no state: one serves all streams.
func (f *setFactory) New(filter.Stream) filter.HTTPFilter { return f }

// RequestHeaders sets the metadata. A namespace that has some already is merged into, if
// that is allowed.
func (f *setFactory) RequestHeaders(s filter.Stream, _ *filter.Headers, _ bool) filter.Verdict {
	info := s.Info()
	for i := range f.entries {
		e := &f.entries[i]
		old, there := info.Metadata[e.namespace]
		switch {
		case !there:
			if info.Metadata == nil {
				info.Metadata = map[string]any{}
			}
			info.Metadata[e.namespace] = e.value // never changed in place
		case e.overwrite:
			m, _ := old.(map[string]any)
			info.Metadata[e.namespace] = merge(m, e.value)
		default:
			f.denied.Add(1)
		}
	}
	return filter.Continue
}

// merge lays b over a: maps are merged, lists joined, and otherwise the last one
// wins. Neither is changed.
func merge(a, b map[string]any) map[string]any {
	out := maps.Clone(a)
	if out == nil {
		out = map[string]any{}
	}
	for k, v := range b {
		switch v := v.(type) {
		case map[string]any:
			if old, ok := out[k].(map[string]any); ok {
				out[k] = merge(old, v)
				continue
			}
		case []any:
			if old, ok := out[k].([]any); ok {
				out[k] = append(slices.Clip(old), v...)
				continue
			}
		}
		out[k] = v
	}
	return out
}
