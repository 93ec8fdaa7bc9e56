package declared

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonDepth bounds nesting.
const jsonDepth = 200

// blank goes over white space.
func blank(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r') {
		i++
	}
	return i
}

// skipString goes over a string that begins at i; -1: it has no end.
func skipString(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

// skipJSON goes over a value that begins at i; -1: it is broken. What is between brackets is only counted.
func skipJSON(b []byte, i int) int {
	depth := 0
	for i = blank(b, i); i < len(b); i = blank(b, i) {
		switch b[i] {
		case '"':
			if i = skipString(b, i); i < 0 {
				return -1
			}
		case '{', '[':
			if depth++; depth > jsonDepth {
				return -1
			}
			i++
			continue
		case '}', ']':
			if depth--; depth < 0 {
				return -1
			}
			i++
		case ',', ':':
			if depth == 0 {
				return -1
			}
			i++
			continue
		default:
			n := i
			for i < len(b) && !ends(b[i]) {
				i++
			}
			if i == n {
				return -1
			}
		}
		if depth == 0 {
			return i
		}
	}
	return -1
}

// ends tells whether a byte ends a number or a word.
func ends(x byte) bool {
	switch x {
	case ' ', '\t', '\r', '\n', ',', ':', ']', '}', '{', '[', '"':
		return true
	}
	return false
}

// member is a name and a value of an object.
type member struct{ key, value span }

// nextJSON reads the member of an object at i, which stands behind '{' or a value; the second result is where to go on.
func nextJSON(b []byte, i int) (m member, next int, ok bool) {
	i = blank(b, i)
	if i < len(b) && b[i] == ',' {
		i = blank(b, i+1)
	}
	if i >= len(b) || b[i] != '"' {
		return m, i, false
	}
	m.key.a = i
	if i = skipString(b, i); i < 0 {
		return m, 0, false
	}
	m.key.z = i
	if i = blank(b, i); i >= len(b) || b[i] != ':' {
		return m, 0, false
	}
	m.value.a = blank(b, i+1)
	m.value.z = skipJSON(b, m.value.a)
	return m, m.value.z, m.value.z > 0
}

// memberOf finds a member of the object that begins at i.
func memberOf(b []byte, i int, name string) (m member, ok bool) {
	if i = blank(b, i); i >= len(b) || b[i] != '{' {
		return m, false
	}
	for i++; ; {
		if m, i, ok = nextJSON(b, i); !ok {
			return m, false
		}
		if string(b[m.key.a+1:m.key.z-1]) == name {
			return m, true
		}
	}
}

// element finds an element of the list that begins at i.
func element(b []byte, i, n int) (span, bool) {
	if i = blank(b, i); i >= len(b) || b[i] != '[' {
		return span{}, false
	}
	for i++; ; i++ {
		i = blank(b, i)
		z := skipJSON(b, i)
		if z < 0 {
			return span{}, false
		}
		if n == 0 {
			return span{i, z}, true
		}
		n--
		if i = blank(b, z); i >= len(b) || b[i] != ',' {
			return span{}, false
		}
	}
}

// findJSON follows a path to a value.
func findJSON(b []byte, path []string) (s span, ok bool) {
	s = span{blank(b, 0), len(b)}
	for _, name := range path {
		if s.a < s.z && b[s.a] == '[' {
			n, err := strconv.Atoi(name)
			if err != nil || n < 0 {
				return s, false
			}
			if s, ok = element(b, s.a, n); !ok {
				return s, false
			}
			continue
		}
		m, ok := memberOf(b, s.a, name)
		if !ok {
			return s, false
		}
		s = m.value
	}
	return s, s.a < s.z
}

// jsonValue reads a value: text or a word; what is null, an object or a list is none.
func (c *conn) jsonValue(b []byte) (value, bool) {
	switch {
	case len(b) == 0 || b[0] == '{' || b[0] == '[' || string(b) == "null":
		return value{}, false
	case b[0] != '"':
		return value{text: b}, true
	case len(b) < 2:
		return value{}, false
	}
	b = b[1 : len(b)-1]
	if bytes.IndexByte(b, '\\') < 0 {
		return value{text: b}, true
	}
	c.buf = unescape(c.buf[:0], b)
	return value{text: c.buf}, true
}

var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// unescape appends what the inside of a string says.
func unescape(out, b []byte) []byte {
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' || i+1 == len(b) {
			out = append(out, b[i])
			continue
		}
		i++
		if b[i] != 'u' {
			if e := escapes[b[i]]; e != 0 {
				out = append(out, e)
			}
			continue
		}
		r, ok := hex4(b, i+1)
		if !ok {
			continue
		}
		i += 4
		if utf16.IsSurrogate(r) && i+2 < len(b) && b[i+1] == '\\' && b[i+2] == 'u' {
			if low, ok := hex4(b, i+3); ok {
				r = utf16.DecodeRune(r, low)
				i += 6
			}
		}
		out = utf8.AppendRune(out, r)
	}
	return out
}

func hex4(b []byte, i int) (r rune, ok bool) {
	if i+4 > len(b) {
		return 0, false
	}
	for _, x := range b[i : i+4] {
		switch {
		case x >= '0' && x <= '9':
			x -= '0'
		case x|0x20 >= 'a' && x|0x20 <= 'f':
			x = x | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(x)
	}
	return r, true
}

// appendJSON appends a value: digits and true and false stay words where word is set.
func appendJSON[T string | []byte](out []byte, text T, word bool) []byte {
	if word {
		return append(out, text...)
	}
	out = append(out, '"')
	for i := range len(text) {
		switch x := text[i]; {
		case x == '"' || x == '\\':
			out = append(out, '\\', x)
		case x < 0x20:
			const digits = "0123456789abcdef"
			out = append(out, '\\', 'u', '0', '0', digits[x>>4], digits[x&15])
		default:
			out = append(out, x)
		}
	}
	return append(out, '"')
}
