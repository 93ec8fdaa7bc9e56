package inject

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Operation is one of a JSON patch (RFC 6902).
type Operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// MarshalJSON keeps a value that is empty: an operation that adds needs one.
func (o Operation) MarshalJSON() ([]byte, error) {
	m := map[string]any{"op": o.Op, "path": o.Path}
	if o.Op != "remove" {
		m["value"] = o.Value
	}
	return json.Marshal(m)
}

// Patch is what makes after of before. Only what is different is touched, and elements
// of lists that stay are changed in their place, so that fields survive which a newer
// Kubernetes has and this program does not know.
func Patch(before, after *corev1.Pod) ([]Operation, error) {
	a, err := treeOf(before)
	if err != nil {
		return nil, err
	}
	b, err := treeOf(after)
	if err != nil {
		return nil, err
	}
	var out []Operation
	patchMap(&out, "", a, b)
	return out, nil
}

func patchMap(out *[]Operation, at string, a, b map[string]any) {
	for _, k := range slices.Sorted(maps.Keys(a)) {
		if _, ok := b[k]; !ok {
			*out = append(*out, Operation{Op: "remove", Path: at + "/" + pointer(k)})
		}
	}
	for _, k := range slices.Sorted(maps.Keys(b)) {
		path := at + "/" + pointer(k)
		old, ok := a[k]
		if !ok {
			*out = append(*out, Operation{Op: "add", Path: path, Value: b[k]})
			continue
		}
		patchValue(out, path, old, b[k])
	}
}

func patchValue(out *[]Operation, path string, a, b any) {
	if reflect.DeepEqual(a, b) {
		return
	}
	if am, ok := a.(map[string]any); ok {
		if bm, ok := b.(map[string]any); ok {
			patchMap(out, path, am, bm)
			return
		}
	}
	if al, ok := a.([]any); ok {
		if bl, ok := b.([]any); ok && patchList(out, path, al, bl) {
			return
		}
	}
	*out = append(*out, Operation{Op: "replace", Path: path, Value: b})
}

// patchList patches a list whose elements have names: those that are no more go, those
// that are new are put in, the rest is patched. It reports whether it could.
func patchList(out *[]Operation, path string, a, b []any) bool {
	an, ok := namesOf(a)
	bn, ok2 := namesOf(b)
	if !ok || !ok2 {
		return false
	}
	// What stays has to stay in order.
	stays := func(list, other []string) (kept []string) {
		for _, n := range list {
			if slices.Contains(other, n) {
				kept = append(kept, n)
			}
		}
		return kept
	}
	if !slices.Equal(stays(an, bn), stays(bn, an)) {
		return false
	}
	for i := len(an) - 1; i >= 0; i-- {
		if !slices.Contains(bn, an[i]) {
			*out = append(*out, Operation{Op: "remove", Path: path + "/" + strconv.Itoa(i)})
		}
	}
	for i, n := range bn {
		at := path + "/" + strconv.Itoa(i)
		if k := slices.Index(an, n); k >= 0 {
			patchValue(out, at, a[k], b[i])
			continue
		}
		*out = append(*out, Operation{Op: "add", Path: at, Value: b[i]})
	}
	return true
}

// namesOf are the names of a list's elements, when each has its own.
func namesOf(list []any) ([]string, bool) {
	var out []string
	for _, e := range list {
		m, ok := e.(map[string]any)
		if !ok {
			return nil, false
		}
		name, ok := m["name"].(string)
		if !ok || slices.Contains(out, name) {
			return nil, false
		}
		out = append(out, name)
	}
	return out, true
}

// pointer escapes a key for a JSON pointer.
func pointer(k string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(k) }
