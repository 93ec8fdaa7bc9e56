package http

import (
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
)

// checkPath checks and normalises the path. false: the reply answers.
func (s *call) checkPath(h *filter.Headers) (filter.LocalReply, bool) {
	cfg := &s.m.cfg
	switch {
	case h.Path == "":
		return refused(404, "missing_path_rejected"), false
	case h.Path[0] != '/':
		s.m.stats.RqNonRelativePath.Add(1)
		return refused(404, "absolute_path_rejected"), false
	case strings.IndexByte(h.Path, '#') >= 0:
		return refused(400, "path_normalization_failed"), false
	}
	if !cfg.NormalizePath && !cfg.MergeSlashes && cfg.EscapedSlashes == EscapedKeep {
		return filter.LocalReply{}, true
	}
	path, query := h.Path, ""
	if i := strings.IndexByte(path, '?'); i >= 0 {
		path, query = path[:i], path[i:]
	}
	clean := path
	escaped := cfg.EscapedSlashes != EscapedKeep && hasEscapedSlash(path)
	if escaped {
		clean = unescapeSlashes(clean)
		h.Path = clean + query
		if cfg.EscapedSlashes == EscapedReject {
			return refused(400, "path_normalization_failed"), false
		}
	}
	if cfg.NormalizePath && dirty(clean) {
		var ok bool
		if clean, ok = normalizePath(clean); !ok {
			return refused(400, "path_normalization_failed"), false
		}
	}
	if cfg.MergeSlashes && strings.Contains(clean, "//") {
		clean = mergeSlashes(clean)
	}
	if clean != path {
		h.Path = clean + query
	}
	if escaped && cfg.EscapedSlashes == EscapedUnescapeRedirect {
		s.m.stats.RqRedirectedPath.Add(1)
		l := refused(307, "path_normalization_failed")
		l.Header = []filter.Field{{Name: "location", Value: h.Path}} // as it is now: two slashes would name a host
		return l, false
	}
	return filter.LocalReply{}, true
}

func hasEscapedSlash(p string) bool {
	for i := 0; i+2 < len(p); i++ {
		if p[i] == '%' && escapedSlash(p[i+1], p[i+2]) {
			return true
		}
	}
	return false
}

func escapedSlash(a, b byte) bool {
	return a == '2' && (b == 'F' || b == 'f') || a == '5' && (b == 'C' || b == 'c')
}

// unescapeSlashes turns %2F into / and %5C into \.
func unescapeSlashes(p string) string {
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		if p[i] == '%' && i+2 < len(p) && escapedSlash(p[i+1], p[i+2]) {
			if p[i+1] == '2' {
				b.WriteByte('/')
			} else {
				b.WriteByte('\\')
			}
			i += 2
			continue
		}
		b.WriteByte(p[i])
	}
	return b.String()
}

// dirty tells whether normalizePath could change p.
func dirty(p string) bool {
	return strings.IndexByte(p, '%') >= 0 || strings.IndexByte(p, '\\') >= 0 ||
		strings.Contains(p, "/.")
}

// normalizePath does what RFC 3986 asks for, as browsers do it: unreserved
// characters unescaped, \ for / turned, dot segments removed. A % that begins
// no escape stays as it is, unless what is unescaped behind it would make it
// one: then it is escaped itself, so that nobody behind the proxy sees dots
// which were not looked at here.
func normalizePath(p string) (string, bool) {
	b := make([]byte, 0, len(p))
	broken := -1 // where in b the last % is that begins no escape
	for i := 0; i < len(p); i++ {
		c := p[i]
		switch {
		case c == '%':
			hi, lo := byte(255), byte(255)
			if i+2 < len(p) {
				hi, lo = unhex(p[i+1]), unhex(p[i+2])
			}
			if hi > 15 || lo > 15 {
				broken = len(b)
				b = append(b, c)
				continue
			}
			if hi|lo == 0 {
				return "", false
			}
			if v := hi<<4 | lo; unreserved(v) {
				b = append(b, v)
			} else {
				b = append(b, p[i:i+3]...)
			}
			i += 2
		case c == '\\':
			b = append(b, '/')
		default:
			b = append(b, c)
		}
		if broken >= 0 && len(b) == broken+3 && unhex(b[broken+1]) <= 15 && unhex(b[broken+2]) <= 15 {
			b = append(b[:broken+1], '2', '5', b[broken+1], b[broken+2])
			broken = -1
		}
	}
	return removeDots(string(b)), true
}

// removeDots removes "." and ".." segments. There is nothing above the root.
func removeDots(p string) string {
	segments := strings.Split(p, "/")[1:]
	out := segments[:0]
	for i, seg := range segments {
		last := i == len(segments)-1
		switch seg {
		case ".", "..":
			if seg == ".." {
				out = out[:max(len(out)-1, 0)]
			}
			if last {
				out = append(out, "")
			}
		default:
			out = append(out, seg)
		}
	}
	return "/" + strings.Join(out, "/")
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}

func mergeSlashes(p string) string {
	b := make([]byte, 0, len(p))
	for i := range len(p) {
		if p[i] != '/' || i == 0 || p[i-1] != '/' {
			b = append(b, p[i])
		}
	}
	return string(b)
}
