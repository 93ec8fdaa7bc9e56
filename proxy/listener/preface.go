package listener

import "bytes"

// h2Preface begins every HTTP/2 connection with prior knowledge.
const h2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Bounds of what is taken for a request line.
const (
	maxMethod = 32
	maxLine   = 8 << 10
)

// parsePreface looks for the beginning of an HTTP request without TLS.
func parsePreface(b []byte) (proto string, s seen) {
	if n := min(len(b), len(h2Preface)); string(b[:n]) == h2Preface[:n] {
		if n == len(h2Preface) {
			return ProtoH2C, seenYes
		}
		return "", seenMore
	}
	method := bytes.IndexByte(b, ' ')
	for _, c := range b[:max(0, min(len(b), maxMethod+1, orEnd(method, len(b))))] {
		if !isToken(c) {
			return "", seenNo
		}
	}
	if method < 0 {
		if len(b) > maxMethod {
			return "", seenNo
		}
		return "", seenMore
	}
	if method == 0 || method > maxMethod {
		return "", seenNo
	}
	return parseVersion(b, method)
}

func orEnd(i, end int) int {
	if i < 0 {
		return end
	}
	return i
}

// parseVersion looks at the rest of the request line.
func parseVersion(b []byte, method int) (proto string, s seen) {
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		for _, c := range b[method:] {
			if c < ' ' && c != '\r' || c == 0x7f {
				return "", seenNo
			}
		}
		if len(b) > maxLine {
			return "", seenNo
		}
		return "", seenMore
	}
	line := bytes.TrimSuffix(b[method+1:end], []byte("\r"))
	target, version, ok := bytes.Cut(line, []byte(" "))
	if !ok || len(target) == 0 {
		return "", seenNo
	}
	switch string(version) {
	case "HTTP/1.1":
		return ProtoHTTP1, seenYes
	case "HTTP/1.0":
		return ProtoHTTP0, seenYes
	}
	return "", seenNo
}

// isToken is RFC 9110's tchar.
func isToken(c byte) bool {
	switch {
	case 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		return true
	}
	return bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0
}
