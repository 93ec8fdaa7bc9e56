package transcode

import (
	"errors"
	"fmt"
	"strings"
)

// template is the path of an HTTP rule, such as "/v1/{name=shelves/*}:read" (google/api/http.proto).
type template struct {
	segments []string // literals, "*" and, last, "**"
	verb     string   // after the last colon
	vars     []variable
}

// variable is a part of a path that becomes a field.
type variable struct {
	field    string
	from, to int // segments; to is -1: to the end of the path
}

const (
	one  = "*"
	many = "**"
)

// parseTemplate reads a template. Errors say what is wrong with it.
func parseTemplate(text string) (*template, error) {
	rest, ok := strings.CutPrefix(text, "/")
	if !ok {
		return nil, fmt.Errorf("path %q does not begin with a slash", text)
	}
	t := &template{}
	for depth, from := 0, 0; from <= len(rest); {
		end := from
		for ; end < len(rest) && (depth > 0 || rest[end] != '/'); end++ {
			switch rest[end] {
			case '{':
				depth++
			case '}':
				depth--
			}
		}
		if err := t.part(rest[from:end], end == len(rest)); err != nil {
			return nil, fmt.Errorf("path %q: %w", text, err)
		}
		from = end + 1
	}
	for i, s := range t.segments {
		if s == many && i != len(t.segments)-1 {
			return nil, fmt.Errorf("path %q: ** is not its end", text)
		}
	}
	return t, nil
}

// part reads what is between two slashes, a variable as a whole.
func (t *template) part(s string, last bool) error {
	if last {
		if i := strings.LastIndexByte(s, ':'); i >= 0 && i > strings.LastIndexByte(s, '}') {
			s, t.verb = s[:i], s[i+1:]
			if t.verb == "" {
				return errors.New("a verb has no name")
			}
		}
	}
	inner, ok := strings.CutPrefix(s, "{")
	if !ok {
		return t.segment(s)
	}
	inner, ok = strings.CutSuffix(inner, "}")
	if !ok || strings.ContainsAny(inner, "{}") {
		return fmt.Errorf("%q is no variable", s)
	}
	field, pattern, ok := strings.Cut(inner, "=")
	if !ok {
		pattern = one
	}
	v := variable{field: field, from: len(t.segments)}
	for p := range strings.SplitSeq(pattern, "/") {
		if err := t.segment(p); err != nil {
			return err
		}
	}
	if v.to = len(t.segments); t.segments[v.to-1] == many {
		v.to = -1
	}
	t.vars = append(t.vars, v)
	return nil
}

func (t *template) segment(s string) error {
	if s == "" || strings.ContainsAny(s, "{}") || strings.Contains(s, "*") && s != one && s != many {
		return fmt.Errorf("%q is no segment", s)
	}
	t.segments = append(t.segments, s)
	return nil
}

// match tells whether the template fits the segments of a path.
func (t *template) match(path []string, verb string) bool {
	if t.verb != verb {
		return false
	}
	n := len(t.segments)
	if n > 0 && t.segments[n-1] == many {
		if n--; len(path) < n {
			return false
		}
	} else if len(path) != n {
		return false
	}
	for i, s := range t.segments[:n] {
		if s != path[i] && (s != one || path[i] == "") {
			return false
		}
	}
	return true
}

// before tells whether t is the better of two that fit: what is literal goes before
// one segment, and that before many.
func (t *template) before(o *template) bool {
	for i := range min(len(t.segments), len(o.segments)) {
		if a, b := rank(t.segments[i]), rank(o.segments[i]); a != b {
			return a < b
		}
	}
	return len(t.segments) > len(o.segments)
}

func rank(segment string) int {
	switch segment {
	case one:
		return 1
	case many:
		return 2
	}
	return 0
}

// binding is a field and its value, out of a path or a query.
type binding struct{ field, value string }

// bindings are the values of a template's variables in a path that it fits.
func (t *template) bindings(path []string, spared string) []binding {
	list := make([]binding, 0, len(t.vars))
	for _, v := range t.vars {
		to := v.to
		if to < 0 {
			to = len(path)
		}
		spare := spared
		if v.to == v.from+1 {
			spare = "" // one segment
		}
		list = append(list, binding{v.field, unescape(strings.Join(path[v.from:to], "/"), spare)})
	}
	return list
}

// unescape decodes %XX but for the characters that are spared. What is no escape stays.
func unescape(s, spared string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := hex(s[i+1]), hex(s[i+2])
			if c := hi<<4 | lo; hi < 16 && lo < 16 && strings.IndexByte(spared, c) < 0 {
				b = append(b, c)
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

// hex is the value of a digit, 255 of what is none.
func hex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}
