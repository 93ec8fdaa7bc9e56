package resp

import "strconv"

// Array appends the head of an array of n values.
func Array(out []byte, n int) []byte { return head(out, '*', n) }

// Head appends the head of an aggregate of that kind ('*', '~', '>', or '%' with n pairs).
func Head(out []byte, kind byte, n int) []byte { return head(out, kind, n) }

// AppendBulk appends a string.
func AppendBulk(out, b []byte) []byte {
	out = append(head(out, '$', len(b)), b...)
	return append(out, '\r', '\n')
}

// AppendText is AppendBulk for a string of Go's.
func AppendText(out []byte, s string) []byte {
	out = append(head(out, '$', len(s)), s...)
	return append(out, '\r', '\n')
}

// AppendInt appends an integer.
func AppendInt(out []byte, n int) []byte { return head(out, ':', n) }

// AppendError appends an error; text begins with its code.
func AppendError(out []byte, text string) []byte {
	out = append(out, '-')
	for i := range len(text) {
		c := text[i]
		if c == '\r' || c == '\n' {
			c = ' '
		}
		out = append(out, c)
	}
	return append(out, '\r', '\n')
}

// AppendCommand appends a command of these words.
func AppendCommand(out []byte, words ...string) []byte {
	out = Array(out, len(words))
	for _, w := range words {
		out = AppendText(out, w)
	}
	return out
}

func head(out []byte, kind byte, n int) []byte {
	out = strconv.AppendInt(append(out, kind), int64(n), 10)
	return append(out, '\r', '\n')
}
