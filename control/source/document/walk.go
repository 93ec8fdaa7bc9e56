package document

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/weftmesh/weft/control/model"
)

// walker compares a tree of YAML nodes with a Shape, collects what is wrong,
// remembers where each field stands, and builds the value in terms of JSON.
type walker struct {
	doc    *Document
	offset int // lines before the document's text
	budget int // nodes that may still be visited: aliases can multiply them
	depth  int
}

// Bounds of one document. The largest real resources have some ten thousand nodes.
const (
	maxNodes = 200_000
	maxDepth = 60
)

// spot is a node and its path.
type spot struct {
	node *yaml.Node
	path string
}

func (w *walker) fail(at spot, code, remedy, format string, args ...any) {
	w.doc.bad = true
	w.say(at, model.Finding{Severity: model.Error, Code: code, Message: fmt.Sprintf(format, args...), Remedy: remedy})
}

// say reports a Finding about a spot.
func (w *walker) say(at spot, f model.Finding) {
	f.Object, f.Origin, f.Field = w.doc.Key, w.doc.Origin, at.path
	f.Origin.Line = at.node.Line + w.offset
	w.doc.findings = append(w.doc.findings, f)
}

// value checks one node. ok is false when there is no usable value: null or bad.
func (w *walker) value(n *yaml.Node, s *Shape, path string) (v any, ok bool) {
	n = resolve(n)
	if n == nil || isNull(n) {
		return nil, false
	}
	if !w.enter(n, path) {
		return nil, false
	}
	defer func() { w.depth-- }()
	w.doc.Lines.Set(path, n.Line+w.offset)
	switch s.Type {
	case Object:
		return w.object(n, s, path)
	case Map:
		return w.mapping(n, s, path)
	case List:
		return w.list(n, s, path)
	case Any:
		return w.free(n, path)
	}
	if n.Kind != yaml.ScalarNode {
		w.fail(spot{n, path}, CodeType, "", "must be %s, got %s", s.expects(), describe(n))
		return nil, false
	}
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		w.doc.styles[path] = true
	}
	return w.scalar(n, s, path)
}

func (w *walker) enter(n *yaml.Node, path string) bool {
	w.budget--
	if w.budget == 0 {
		w.fail(spot{n, path}, CodeValue, "split it, or use fewer aliases", "the document has too many values")
	}
	if w.budget <= 0 {
		return false
	}
	if w.depth++; w.depth > maxDepth {
		w.depth--
		w.budget = 0 // an alias that holds itself ends here once, not once per path
		w.fail(spot{n, path}, CodeValue, "", "the document is nested too deeply")
		return false
	}
	return true
}

func (w *walker) object(n *yaml.Node, s *Shape, path string) (any, bool) {
	if n.Kind != yaml.MappingNode {
		w.fail(spot{n, path}, CodeType, listHint(n, s), "must be a mapping with fields such as %s, got %s", examples(s), describe(n))
		return nil, false
	}
	out := make(map[string]any, len(n.Content)/2)
	w.pairs(n, path, func(key, val *yaml.Node) {
		name := key.Value
		at := Join(path, name)
		f := s.field(name)
		if f == nil {
			w.fail(spot{key, at}, CodeField, suggestField(name, s), "unknown field")
			return
		}
		if !w.obey(val, f, at) {
			return
		}
		if v, ok := w.value(val, f.Shape, at); ok {
			out[name] = v
			// A mapping is where its key is, not where its first field is.
			w.doc.Lines.Set(at, key.Line+w.offset)
		}
	})
	for _, group := range s.OneOf {
		var set []string
		for _, name := range group {
			if _, ok := out[name]; ok {
				set = append(set, name)
			}
		}
		if len(set) > 1 {
			for _, name := range set[1:] {
				delete(out, name)
			}
			w.fail(spot{n, path}, CodeValue, "keep one", "only one of %s may be set, got %s", strings.Join(group, ", "), strings.Join(set, " and "))
		}
	}
	return out, true
}

// obey carries out the rule of a field that is written; false: drop the field.
func (w *walker) obey(val *yaml.Node, f *Field, at string) bool {
	r := f.Rule
	if r.Refuse == "" && r.Ignore == "" {
		return !r.Quiet
	}
	if v := resolve(val); v == nil || isZero(v) {
		return false
	}
	if r.Refuse != "" {
		w.fail(spot{val, at}, CodeRefused, r.Refuse, "is not carried out by Weft")
	} else {
		w.say(spot{val, at}, model.Finding{Severity: model.Warning, Code: CodeIgnored, Message: "has no effect here", Remedy: r.Ignore})
	}
	return false
}

func (w *walker) mapping(n *yaml.Node, s *Shape, path string) (any, bool) {
	if n.Kind != yaml.MappingNode {
		w.fail(spot{n, path}, CodeType, "write \"key: value\" lines", "must be a mapping, got %s", describe(n))
		return nil, false
	}
	out := make(map[string]any, len(n.Content)/2)
	w.pairs(n, path, func(key, val *yaml.Node) {
		at := Join(path, key.Value)
		if s.IntKeys {
			if p, err := strconv.ParseUint(key.Value, 10, 16); err != nil || p == 0 {
				w.fail(spot{key, at}, CodeType, "write a number", "the key must be a port from 1 to 65535, got %q", key.Value)
				return
			}
		}
		v, ok := w.value(val, s.Elem, at)
		switch {
		case ok:
			out[key.Value] = v
			w.doc.Lines.Set(at, key.Line+w.offset)
		case isNull(resolve(val)) && s.Elem.Type == Object:
			out[key.Value] = map[string]any{} // "x-user:" means the same as "x-user: {}"
		case isNull(resolve(val)) && s.Elem.Type == String:
			w.fail(spot{val, at}, CodeType, `write "" if it is meant to be empty`, "has no value")
		}
	})
	return out, true
}

func (w *walker) list(n *yaml.Node, s *Shape, path string) (any, bool) {
	if n.Kind != yaml.SequenceNode {
		w.fail(spot{n, path}, CodeType, "begin each element with \"- \"", "must be a list, got %s", describe(n))
		return nil, false
	}
	out := make([]any, 0, len(n.Content))
	for i, e := range n.Content {
		at := At(path, i)
		v, ok := w.value(e, s.Elem, at)
		if !ok && isNull(resolve(e)) {
			if s.Elem.Type != Object {
				w.fail(spot{e, at}, CodeType, "remove the \"-\" or give it a value", "must be %s, got nothing", s.Elem.expects())
			}
			v, ok = s.Elem.zero(), true
		}
		if !ok {
			v = s.Elem.zero() // so that those after it keep their numbers
		}
		out = append(out, v)
	}
	return out, true
}

// pairs calls f for each key of a mapping once, merges ("<<") resolved, and
// reports keys that are written twice or are no names.
func (w *walker) pairs(n *yaml.Node, path string, f func(key, val *yaml.Node)) {
	seen := make(map[string]int, len(n.Content)/2)
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := resolve(n.Content[i]), n.Content[i+1]
		if key == nil || key.Kind != yaml.ScalarNode {
			w.fail(spot{n.Content[i], path}, CodeType, "", "a key must be a name, got %s", describe(key))
			continue
		}
		if key.ShortTag() == "!!merge" {
			merges = append(merges, val)
			continue
		}
		if line, dup := seen[key.Value]; dup {
			w.fail(spot{key, Join(path, key.Value)}, CodeTwice, "keep one", "is written twice, first in line %d", line+w.offset)
			continue
		}
		seen[key.Value] = key.Line
		f(key, val)
	}
	for _, m := range merges {
		w.merge(m, path, seen, f, 0)
	}
}

func (w *walker) merge(m *yaml.Node, path string, seen map[string]int, f func(key, val *yaml.Node), depth int) {
	m = resolve(m)
	if depth > 4 || m == nil {
		return
	}
	switch m.Kind {
	case yaml.SequenceNode:
		for _, e := range m.Content {
			w.merge(e, path, seen, f, depth+1)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(m.Content); i += 2 {
			key := resolve(m.Content[i])
			if key == nil || key.Kind != yaml.ScalarNode {
				continue
			}
			if key.ShortTag() == "!!merge" {
				w.merge(m.Content[i+1], path, seen, f, depth+1)
				continue
			}
			if _, there := seen[key.Value]; !there {
				seen[key.Value] = key.Line
				f(key, m.Content[i+1])
			}
		}
	default:
		w.fail(spot{m, path}, CodeType, "", "<< must refer to a mapping, got %s", describe(m))
	}
}

// free converts what has no shape.
func (w *walker) free(n *yaml.Node, path string) (any, bool) {
	switch n.Kind {
	case yaml.MappingNode:
		return w.mapping(n, &Shape{Type: Map, Elem: &Shape{Type: Any}}, path)
	case yaml.SequenceNode:
		return w.list(n, &Shape{Type: List, Elem: &Shape{Type: Any}}, path)
	}
	switch n.ShortTag() {
	case "!!int":
		var i int64
		if n.Decode(&i) == nil {
			return i, true
		}
	case "!!float":
		if f, ok := finite(n); ok {
			return f, true
		}
	case "!!bool":
		var b bool
		if n.Decode(&b) == nil {
			return b, true
		}
	}
	return n.Value, true
}

// resolve follows an alias; nil when it leads nowhere.
func resolve(n *yaml.Node) *yaml.Node {
	for range 8 {
		if n == nil || n.Kind != yaml.AliasNode {
			return n
		}
		n = n.Alias
	}
	return nil
}

func isNull(n *yaml.Node) bool {
	return n == nil || n.Kind == 0 || n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// isZero tells whether a node says nothing more than absence would.
func isZero(n *yaml.Node) bool {
	return isNull(n) || n.Kind == yaml.ScalarNode && (n.Value == "" || n.Value == "false" || n.Value == "0") ||
		n.Kind == yaml.SequenceNode && len(n.Content) == 0
}
