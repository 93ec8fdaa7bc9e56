package document

import (
	"sort"
	"strings"
)

// Suggest returns "did you mean X?" for the candidate that a misspelt name is
// most likely to stand for, or "".
func Suggest(name string, candidates []string) string {
	if c := closest(name, candidates); c != "" {
		return "did you mean " + c + "?"
	}
	return ""
}

func closest(name string, candidates []string) string {
	flat := flatten(name)
	best, bestDistance := "", 1+max(1, len(flat)/3)
	for _, c := range candidates {
		f := flatten(c)
		if f == flat {
			return c
		}
		if d := distance(flat, f, bestDistance); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	if best != "" {
		return best
	}
	// "retry" for "retries": the same word with another end.
	for _, c := range candidates {
		f := flatten(c)
		if n := len(flat) - 1; n >= 4 && len(f) >= n && f[:n] == flat[:n] && len(f)-len(flat) <= 3 {
			return c
		}
	}
	return ""
}

// flatten drops what people get wrong without misspelling: case, "_" and "-".
func flatten(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' {
			return -1
		}
		return r
	}, strings.ToLower(s))
}

// distance counts insertions, deletions, replacements and swaps of neighbours;
// it gives up at limit.
func distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit || len(a) > 64 || len(b) > 64 {
		return limit
	}
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}

// suggestField helps with an unknown field of an object: a misspelling, else a
// field that stands one level deeper ("host" → "destination.host"), else the
// list of what there is when it is short.
func suggestField(name string, s *Shape) string {
	if hint := Suggest(name, s.names()); hint != "" {
		return hint
	}
	for i := range s.Fields {
		inner, dot := s.Fields[i].Shape, "."
		if inner.Type == List {
			inner, dot = inner.Elem, "[]."
		}
		for j := range inner.Fields {
			if flatten(inner.Fields[j].Name) == flatten(name) {
				return "did you mean " + s.Fields[i].Name + dot + inner.Fields[j].Name + "?"
			}
		}
	}
	names := s.names()
	if len(names) == 0 || len(names) > 12 {
		return "check the spelling and the indentation"
	}
	sort.Strings(names)
	return "known here: " + strings.Join(names, ", ")
}
