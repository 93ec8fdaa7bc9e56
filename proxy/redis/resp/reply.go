package resp

import "bytes"

// Scanner finds the replies in what a server sends. The zero value is ready.
type Scanner struct {
	pos, left int
	begun     bool
}

// Scan returns the size of the reply that b begins with, 0 while it is not whole. b begins with the same bytes as
// in the last call, if that has returned 0.
func (s *Scanner) Scan(b []byte) (size int, err error) {
	if !s.begun {
		s.pos, s.left, s.begun = 0, 1, true
	}
	for s.left > 0 {
		next, children, err := value(b, s.pos)
		if err != nil || next > MaxReply {
			return 0, ErrReply
		}
		if next == 0 || next > len(b) {
			return 0, nil
		}
		// What is asked for so far bounds what is to come: every value has three bytes at least.
		if s.left += children; s.left > MaxElements {
			return 0, ErrReply
		}
		s.pos = next
		s.left--
	}
	s.begun = false
	return s.pos, nil
}

// value returns where the value that begins at from ends, or the head of an aggregate with that many values
// (attributes count themselves among them, for the value that they belong to follows); next 0: that is not known yet.
func value(b []byte, from int) (next, children int, err error) {
	if from >= len(b) {
		return 0, 0, nil
	}
	switch b[from] {
	case '+', '-', ':', '_', ',', '#', '(':
		i := bytes.IndexByte(b[from:], '\n')
		switch {
		case i < 0 && len(b)-from > MaxInline:
			return 0, 0, ErrReply
		case i < 0:
			return 0, 0, nil
		case i < 2 || b[from+i-1] != '\r':
			return 0, 0, ErrReply
		}
		return from + i + 1, 0, nil
	case '$', '!', '=', '*', '~', '>', '%', '|':
	default:
		return 0, 0, ErrReply
	}
	n, next, err := number(b, from+1, ErrReply)
	if err != nil || next == 0 {
		return 0, 0, err
	}
	if n < 0 { // RESP2's null
		if c := b[from]; n != -1 || c != '$' && c != '*' {
			return 0, 0, ErrReply
		}
		return next, 0, nil
	}
	switch b[from] {
	case '$', '!', '=':
		if n > MaxReply {
			return 0, 0, ErrReply
		}
		end := next + n
		if len(b) >= end+2 && (b[end] != '\r' || b[end+1] != '\n') {
			return 0, 0, ErrReply
		}
		return end + 2, 0, nil
	}
	if n > MaxElements {
		return 0, 0, ErrReply
	}
	switch b[from] {
	case '%':
		return next, 2 * n, nil
	case '|':
		return next, 2*n + 1, nil
	}
	return next, n, nil
}

// IsError tells whether a whole reply is an error.
func IsError(b []byte) bool { return len(b) > 0 && (b[0] == '-' || b[0] == '!') }

// IsPush tells whether it is one that nobody has asked for (RESP3).
func IsPush(b []byte) bool { return len(b) > 0 && b[0] == '>' }

// ErrorText is an error's line, with its code.
func ErrorText(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	if b[0] == '!' {
		if _, next, err := number(b, 1, ErrReply); err == nil && next > 0 && next <= len(b)-2 {
			return b[next : len(b)-2]
		}
		return nil
	}
	return bytes.TrimRight(b[1:], "\r\n")
}

// Int reads a whole reply that is an integer.
func Int(b []byte) (n int, ok bool) {
	if len(b) == 0 || b[0] != ':' {
		return 0, false
	}
	n, next, err := number(b, 1, ErrReply)
	return n, err == nil && next == len(b)
}

// Bulk reads a whole reply that is a string of either form; false: it is something else, or null.
func Bulk(b []byte) ([]byte, bool) {
	if len(b) < 3 {
		return nil, false
	}
	switch b[0] {
	case '+':
		return b[1 : len(b)-2], true
	case '$':
		n, next, err := number(b, 1, ErrReply)
		if err != nil || n < 0 || next+n+2 != len(b) {
			return nil, false
		}
		return b[next : next+n], true
	}
	return nil, false
}

// Elements walks the elements of a whole reply that is an array, set, map or push.
type Elements struct {
	rest []byte
	// N is how many are left.
	N int
}

// ElementsOf begins a walk; false: b is no aggregate, or null.
func ElementsOf(b []byte) (Elements, bool) {
	next, n, err := value(b, 0)
	if err != nil || next == 0 || n == 0 && (len(b) < 2 || b[1] != '0') {
		return Elements{}, false
	}
	switch b[0] {
	case '*', '~', '>', '%':
		return Elements{b[next:], n}, true
	}
	return Elements{}, false
}

// Next returns the next element, nil at the end.
func (e *Elements) Next() []byte {
	if e.N <= 0 {
		return nil
	}
	var s Scanner
	n, err := s.Scan(e.rest)
	if err != nil || n == 0 {
		e.N = 0
		return nil
	}
	out := e.rest[:n]
	e.rest = e.rest[n:]
	e.N--
	return out
}
