package rbac

import (
	"errors"
	"fmt"
	"strings"
)

// template is a compiled URI template, as Envoy's uri_template matcher has them:
// literals, "*" for one segment, "**" for the rest, "{name}" and "{name=pattern}".
type template struct {
	parts []part
}

// part is a literal piece or an operator.
type part struct {
	literal string
	op      operator
}

type operator uint8

const (
	opLiteral operator = iota
	opSegment          // *: one or more characters, no slash
	opRest             // **: zero or more characters of any kind
)

func parseTemplate(s string) (template, error) {
	var t template
	if !strings.HasPrefix(s, "/") {
		return t, fmt.Errorf("%q does not begin with a slash", s)
	}
	if err := t.add(s, true); err != nil {
		return t, fmt.Errorf("%q: %w", s, err)
	}
	slash := true // since the last operator
	for i, p := range t.parts {
		switch {
		case p.op == opLiteral:
			slash = slash || strings.Contains(p.literal, "/")
		case !slash:
			return t, fmt.Errorf("%q: two operators in one segment", s)
		case p.op == opRest && i < len(t.parts)-2, p.op == opRest && i < len(t.parts)-1 && t.parts[i+1].op != opLiteral:
			return t, fmt.Errorf("%q: ** must be the last operator", s)
		default:
			slash = false
		}
	}
	return t, nil
}

// add appends the parts of s; variables may stand at the top only.
func (t *template) add(s string, top bool) error {
	for len(s) > 0 {
		switch {
		case strings.HasPrefix(s, "**"):
			t.parts = append(t.parts, part{op: opRest})
			s = s[2:]
		case s[0] == '*':
			t.parts = append(t.parts, part{op: opSegment})
			s = s[1:]
		case s[0] == '{':
			end := strings.IndexByte(s, '}')
			if !top || end < 0 {
				return errors.New("a brace without its other")
			}
			name, pattern, ok := strings.Cut(s[1:end], "=")
			if !ok {
				pattern = "*"
				if name == "*" || name == "**" { // Istio's way to write the operators
					pattern = name
				}
			} else if name == "" || pattern == "" {
				return errors.New("an empty variable")
			}
			if err := t.add(pattern, false); err != nil {
				return err
			}
			s = s[end+1:]
		case s[0] == '}':
			return errors.New("a brace without its other")
		default:
			end := strings.IndexAny(s, "*{}")
			if end < 0 {
				end = len(s)
			}
			t.literal(s[:end])
			s = s[end:]
		}
	}
	return nil
}

func (t *template) literal(s string) {
	if n := len(t.parts); n > 0 && t.parts[n-1].op == opLiteral {
		t.parts[n-1].literal += s
		return
	}
	t.parts = append(t.parts, part{literal: s})
}

func (t *template) match(path string) bool { return matchParts(t.parts, path) }

// matchParts tries the longest pieces first. There is one operator to a segment and
// it cannot pass a slash, so that the search is bounded by the length of the path.
func matchParts(parts []part, s string) bool {
	if len(parts) == 0 {
		return s == ""
	}
	switch p := parts[0]; p.op {
	case opLiteral:
		rest, ok := strings.CutPrefix(s, p.literal)
		return ok && matchParts(parts[1:], rest)
	case opSegment:
		end := strings.IndexByte(s, '/')
		if end < 0 {
			end = len(s)
		}
		for ; end > 0; end-- {
			if matchParts(parts[1:], s[end:]) {
				return true
			}
		}
		return false
	default: // opRest: nothing or one literal follows
		return len(parts) == 1 || strings.HasSuffix(s, parts[1].literal)
	}
}
