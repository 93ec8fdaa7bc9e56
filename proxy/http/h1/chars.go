package h1

// Character classes, one table look-up per byte.
var (
	tokenChar  = tableOf(func(c byte) bool { return alnum(c) || in(c, "!#$%&'*+-.^_`|~") })
	valueChar  = tableOf(func(c byte) bool { return c == '\t' || c >= ' ' && c != 0x7f })
	targetChar = tableOf(func(c byte) bool { return c > ' ' && c < 0x7f })
	digitChar  = tableOf(func(c byte) bool { return '0' <= c && c <= '9' })
	// hostChar is RFC 3986's authority.
	hostChar = tableOf(func(c byte) bool { return alnum(c) || in(c, "-._~%!$&'()*+,;=:@[]") })
)

func alnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func in(c byte, set string) bool {
	for i := range len(set) {
		if set[i] == c {
			return true
		}
	}
	return false
}

func tableOf(ok func(byte) bool) *[256]bool {
	var t [256]bool
	for c := range t {
		t[c] = ok(byte(c))
	}
	return &t
}

func all(t *[256]bool, b []byte) bool {
	for _, c := range b {
		if !t[c] {
			return false
		}
	}
	return true
}

// foldEq compares b with a lower-case name, without regard to b's case.
func foldEq(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// trim takes optional white space off both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// nextToken cuts the first element off a comma separated list.
func nextToken(list []byte) (token, rest []byte) {
	for i, c := range list {
		if c == ',' {
			return trim(list[:i]), list[i+1:]
		}
	}
	return trim(list), nil
}

// parseLength reads a content-length: digits only, no sign, no list.
func parseLength(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// parseHex reads a chunk size.
func parseHex(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 15 {
		return 0, false
	}
	for _, c := range b {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		n = n<<4 | int64(c)
	}
	return n, true
}
