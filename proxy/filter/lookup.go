package filter

// Lookup returns the value at a path in nested maps, such as dynamic metadata (its
// first element is the namespace) or the claims of a token; nil when there is none.
func Lookup(in map[string]any, path []string) any {
	var v any = in
	for _, k := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[k]
	}
	return v
}
