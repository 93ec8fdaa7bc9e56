package route

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// template is a compiled URI template as Envoy's uri_template extensions have
// them: literals, "*" for one segment, "**" for the rest, "{name}" and
// "{name=pattern}" for captures.
type template struct {
	re    *regexp.Regexp
	names []string
}

// Character classes of what the operators take.
const (
	templateSegment = `[-a-zA-Z0-9._~%!$&'()+,;:@=]+`
	templateRest    = `[-a-zA-Z0-9._~%!$&'()+,;:@=/]*`
)

// maxCaptures is Envoy's bound of variables in a template.
const maxCaptures = 5

func parseTemplate(s string) (*template, error) {
	if !strings.HasPrefix(s, "/") {
		return nil, fmt.Errorf("path template %q does not begin with a slash", s)
	}
	t := &template{}
	var re strings.Builder
	re.WriteByte('^')
	rest := false // "**" has been
	for i, segment := range strings.Split(s[1:], "/") {
		if rest && strings.ContainsAny(segment, "*{") {
			return nil, fmt.Errorf("path template %q: ** must be the last operator", s)
		}
		re.WriteByte('/')
		r, err := t.segment(&re, segment)
		if err != nil {
			return nil, fmt.Errorf("path template %q: segment %d: %w", s, i+1, err)
		}
		rest = rest || r
	}
	re.WriteByte('$')
	if len(t.names) > maxCaptures {
		return nil, fmt.Errorf("path template %q: %d variables, at most %d are possible", s, len(t.names), maxCaptures)
	}
	var err error
	t.re, err = regexp.Compile(re.String())
	return t, err
}

// segment adds what stands between two slashes; rest tells of a "**". A pattern
// of a variable may hold slashes of its own, which parseTemplate has split: they
// are refused as a brace without its other.
func (t *template) segment(re *strings.Builder, s string) (rest bool, err error) {
	operators := 0
	for s != "" {
		switch {
		case strings.HasPrefix(s, "**"):
			re.WriteString(templateRest)
			s, rest = s[2:], true
			operators++
		case s[0] == '*':
			re.WriteString(templateSegment)
			s = s[1:]
			operators++
		case s[0] == '{':
			end := strings.IndexByte(s, '}')
			if end < 0 {
				return false, errors.New("a brace without its other, or a slash between braces")
			}
			r, err := t.variable(re, s[1:end])
			if err != nil {
				return false, err
			}
			s, rest = s[end+1:], rest || r
			operators++
		case s[0] == '}':
			return false, errors.New("a brace without its other")
		default:
			end := strings.IndexAny(s, "*{}")
			if end < 0 {
				end = len(s)
			}
			re.WriteString(regexp.QuoteMeta(s[:end]))
			s = s[end:]
		}
	}
	if operators > 1 {
		return false, errors.New("two operators")
	}
	return rest, nil
}

func (t *template) variable(re *strings.Builder, s string) (rest bool, err error) {
	name, pattern, ok := strings.Cut(s, "=")
	if !ok {
		pattern = "*"
	}
	if name == "" || strings.ContainsAny(name, "*/{") {
		return false, fmt.Errorf("variable name %q", name)
	}
	if slices.Contains(t.names, name) {
		return false, fmt.Errorf("variable %q twice", name)
	}
	t.names = append(t.names, name)
	switch pattern {
	case "*":
		re.WriteString("(" + templateSegment + ")")
	case "**":
		re.WriteString("(" + templateRest + ")")
		rest = true
	default:
		if strings.ContainsAny(pattern, "*{") || pattern == "" {
			return false, fmt.Errorf("pattern %q: want *, ** or a literal", pattern)
		}
		re.WriteString("(" + regexp.QuoteMeta(pattern) + ")")
	}
	return rest, nil
}

// templateRewrite makes a path of a template's captures.
type templateRewrite struct {
	from  *template
	parts []templatePart
}

// templatePart is a literal, or the capture of that number (from 1).
type templatePart struct {
	literal string
	capture int
}

// compileTemplateRewrite compiles "/v2/{name}", whose variables are from's.
func compileTemplateRewrite(s string, from *template) (*templateRewrite, error) {
	if from == nil {
		return nil, fmt.Errorf("template rewrite %q: the route does not match by a path template", s)
	}
	if !strings.HasPrefix(s, "/") {
		return nil, fmt.Errorf("template rewrite %q does not begin with a slash", s)
	}
	r := &templateRewrite{from: from}
	for rest := s; rest != ""; {
		open := strings.IndexByte(rest, '{')
		if open < 0 {
			open = len(rest)
		}
		if strings.ContainsAny(rest[:open], "}*") {
			return nil, fmt.Errorf("template rewrite %q: only literals and {variables} are possible", s)
		}
		if open > 0 {
			r.parts = append(r.parts, templatePart{literal: rest[:open]})
		}
		if rest = rest[open:]; rest == "" {
			break
		}
		end := strings.IndexByte(rest, '}')
		if end < 0 {
			return nil, fmt.Errorf("template rewrite %q: a brace without its other", s)
		}
		i := slices.Index(from.names, rest[1:end])
		if i < 0 {
			return nil, fmt.Errorf("template rewrite %q: the match has no variable %q", s, rest[1:end])
		}
		r.parts = append(r.parts, templatePart{capture: i + 1})
		rest = rest[end+1:]
	}
	return r, nil
}

// appendTo appends the new path for one that the template matches.
func (r *templateRewrite) appendTo(dst []byte, path string) []byte {
	m := r.from.re.FindStringSubmatchIndex(path)
	if m == nil {
		return append(dst, path...) // another filter has changed it since
	}
	for _, p := range r.parts {
		if p.capture == 0 {
			dst = append(dst, p.literal...)
		} else {
			dst = append(dst, path[m[2*p.capture]:m[2*p.capture+1]]...)
		}
	}
	return dst
}
