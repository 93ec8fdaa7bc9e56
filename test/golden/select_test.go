package golden

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	yamlv3 "go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/control/translate"
)

// selection says what of a proxy's resources is looked at:
//
//	PROXY TYPE/NAME [PATH]
//
// NAME is a pattern (path.Match, in which a slash is nothing special). What several resources
// give is a mapping by their names. The path "names" stands for these alone.
//
// A path leads through the resource's JSON:
//
//	a.b      the field b of the field a, in a list of each element
//	a[p]     elements of the list a whose name is like the pattern p, or fields of a mapping
//	a[k=p]   elements whose field at the path k is like p, or has an element like it
//	..a      every field a below, however deep, equal ones once
//	{a, b}   what is at these paths, at the end of a path
//
// What is not there is null.
type selection struct{ proxy, kind, name, path string }

func parseSelection(text string) (selection, error) {
	parts := strings.SplitN(text, " ", 3)
	if len(parts) < 2 {
		return selection{}, errors.New("want PROXY TYPE/NAME [PATH]")
	}
	kind, name, ok := strings.Cut(parts[1], "/")
	if !ok || !slices.ContainsFunc(types, func(ty struct{ short, url string }) bool { return ty.short == kind }) {
		return selection{}, fmt.Errorf("%q: want TYPE/NAME", parts[1])
	}
	return selection{parts[0], kind, name, strings.Join(parts[2:], "")}, nil
}

// of is what it selects.
func (s selection) of(r *translate.Resources) (any, error) {
	var found []*resource.Resource
	for _, ty := range types {
		for _, x := range r.Of(ty.url) {
			if ty.short == s.kind && like(s.name, x.Name) && x.Body != nil {
				found = append(found, x)
			}
		}
	}
	if s.path == "names" {
		names := []any{}
		for _, x := range found {
			names = append(names, x.Name)
		}
		return names, nil
	}
	byName := map[string]any{}
	for _, x := range found {
		v, err := plain(x)
		if err == nil {
			v, err = follow(v, s.path)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", x.Name, err)
		}
		if len(found) == 1 {
			return v, nil
		}
		byName[x.Name] = v
	}
	if len(found) == 0 {
		return nil, nil
	}
	return byName, nil
}

// like matches a name with a pattern in which slashes are nothing special.
func like(pattern, name string) bool {
	flat := strings.NewReplacer("/", "\x00", "[", `\[`)
	ok, err := path.Match(flat.Replace(pattern), strings.ReplaceAll(name, "/", "\x00"))
	return err == nil && ok
}

// plain is a resource as JSON has it. Types are called by their last name.
func plain(r *resource.Resource) (any, error) {
	m, err := r.Body.UnmarshalNew()
	if err != nil {
		return nil, err
	}
	raw, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	shorten(v)
	return v, nil
}

func shorten(v any) {
	switch v := v.(type) {
	case map[string]any:
		if s, ok := v["@type"].(string); ok {
			v["@type"] = s[strings.LastIndexByte(s, '.')+1:]
		}
		for _, x := range v {
			shorten(x)
		}
	case []any:
		for _, x := range v {
			shorten(x)
		}
	}
}

// many are several results of one step.
type many []any

// follow is what a path leads to.
func follow(v any, steps string) (any, error) {
	v, err := walk(v, strings.TrimSpace(steps))
	if m, ok := v.(many); ok {
		if len(m) == 0 {
			return nil, err
		}
		if len(m) == 1 {
			return m[0], err
		}
		return []any(m), err
	}
	return v, err
}

func walk(v any, steps string) (any, error) {
	if m, ok := v.(many); ok {
		return m.each(func(x any) (any, error) { return walk(x, steps) })
	}
	switch {
	case steps == "" || v == nil:
		return v, nil
	case strings.HasPrefix(steps, ".."):
		name, rest := field(steps[2:])
		return walk(below(v, name), rest)
	case steps[0] == '.':
		return walk(v, steps[1:])
	case steps[0] == '{':
		return project(v, steps)
	case steps[0] == '[':
		end := strings.IndexByte(steps, ']')
		if end < 0 {
			return nil, fmt.Errorf("%s: no ]", steps)
		}
		chosen, err := choose(v, steps[1:end])
		if err != nil {
			return nil, err
		}
		return walk(chosen, steps[end+1:])
	}
	name, rest := field(steps)
	switch x := v.(type) {
	case map[string]any:
		return walk(x[name], rest)
	case []any:
		return elements(x, steps)
	}
	return nil, fmt.Errorf("%s: there are no fields in %v", steps, v)
}

// field takes the name of a field off a path.
func field(steps string) (name, rest string) {
	if i := strings.IndexAny(steps, ".[{"); i >= 0 {
		return steps[:i], steps[i:]
	}
	return steps, ""
}

// elements are what a path leads to from each element of a list.
func elements(list []any, steps string) (any, error) {
	out := []any{}
	for _, x := range list {
		v, err := follow(x, steps)
		if err != nil {
			return nil, err
		}
		if v != nil {
			out = append(out, v)
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

// each joins the results, equal ones once.
func (m many) each(f func(any) (any, error)) (any, error) {
	out := many{}
	for _, x := range m {
		v, err := f(x)
		if err != nil {
			return nil, err
		}
		list, ok := v.(many)
		if !ok {
			list = many{v}
		}
		for _, v := range list {
			if v != nil && !slices.ContainsFunc(out, func(y any) bool { return reflect.DeepEqual(v, y) }) {
				out = append(out, v)
			}
		}
	}
	return out, nil
}

// below are the fields of a name anywhere in a value, not in each other.
func below(v any, name string) many {
	var out many
	switch v := v.(type) {
	case map[string]any:
		for _, k := range sortedKeys(v) {
			if k == name {
				out = append(out, v[k])
			} else {
				out = append(out, below(v[k], name)...)
			}
		}
	case []any:
		for _, x := range v {
			out = append(out, below(x, name)...)
		}
	}
	return out
}

// choose are the elements, or fields, that are like a pattern.
func choose(v any, pattern string) (any, error) {
	key, value, ok := strings.Cut(pattern, "=")
	if !ok {
		key, value = "name", pattern
	}
	out := many{}
	switch v := v.(type) {
	case map[string]any:
		for _, k := range sortedKeys(v) {
			if like(value, k) {
				out = append(out, v[k])
			}
		}
	case []any:
		for _, x := range v {
			is, err := follow(x, key)
			if err != nil {
				return nil, err
			}
			list, ok := is.([]any)
			if !ok {
				list = []any{is}
			}
			if slices.ContainsFunc(list, func(y any) bool { return y != nil && like(value, fmt.Sprint(y)) }) {
				out = append(out, x)
			}
		}
	}
	return out, nil
}

// project is a mapping of what is at several paths.
func project(v any, steps string) (any, error) {
	if !strings.HasSuffix(steps, "}") {
		return nil, fmt.Errorf("%s: want } at the end", steps)
	}
	if list, ok := v.([]any); ok {
		return elements(list, steps)
	}
	out := map[string]any{}
	for _, p := range apart(steps[1 : len(steps)-1]) {
		x, err := follow(v, p)
		if err != nil {
			return nil, err
		}
		if x != nil {
			out[p] = x
		}
	}
	return out, nil
}

// apart are the paths of a projection, which may hold projections.
func apart(list string) (paths []string) {
	depth, from := 0, 0
	for i, c := range list + "," {
		switch c {
		case '{':
			depth++
		case '}':
			depth--
		case ',':
			if depth == 0 {
				paths = append(paths, strings.TrimSpace(list[from:i]))
				from = i + 1
			}
		}
	}
	return paths
}

// flowWidth is how long a value may be to stand in one line.
const flowWidth = 120

// yamlNode is a value, in one line where it is short.
func yamlNode(v any) *yamlv3.Node {
	n := &yamlv3.Node{}
	switch v := v.(type) {
	case map[string]any:
		n.Kind = yamlv3.MappingNode
		for _, k := range sortedKeys(v) {
			key := &yamlv3.Node{}
			key.SetString(k)
			n.Content = append(n.Content, key, yamlNode(v[k]))
		}
	case []any:
		n.Kind = yamlv3.SequenceNode
		for _, x := range v {
			n.Content = append(n.Content, yamlNode(x))
		}
	case json.Number:
		n.Kind, n.Value = yamlv3.ScalarNode, v.String()
	default:
		if err := n.Encode(v); err != nil {
			panic(err) // JSON has nothing that YAML cannot say
		}
	}
	if n.Kind != yamlv3.ScalarNode {
		if raw, err := json.Marshal(v); err == nil && len(raw) <= flowWidth {
			n.Style = yamlv3.FlowStyle
		}
	}
	return n
}

// yamlText is a node as a file has it.
func yamlText(t *testing.T, n *yamlv3.Node) string {
	t.Helper()
	var b bytes.Buffer
	e := yamlv3.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(n); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// sameValue tells whether two nodes say the same, however it is written.
func sameValue(t *testing.T, a, b *yamlv3.Node) bool {
	t.Helper()
	var x, y any
	if err := errors.Join(a.Decode(&x), b.Decode(&y)); err != nil {
		t.Fatal(err)
	}
	return reflect.DeepEqual(x, y)
}
