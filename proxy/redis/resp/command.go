package resp

import "bytes"

// span is a part of a message.
type span struct{ from, to int }

// Parser finds the commands in what a client sends. The zero value is ready; after Parse has returned a
// command's size, the next call begins with the bytes behind it.
type Parser struct {
	// Max bounds a command, in bytes; 0: MaxCommand.
	Max int

	args   []span
	pos    int // how far the message at hand has been looked at
	left   int // words that are to come
	want   int // the length of the word at hand; -1: not known yet
	begun  bool
	inline bool
	text   []byte // the words of an inline command
}

// keepArgs is for how many words room is kept for the next command.
const keepArgs = 1 << 10

// Reset forgets the message at hand.
func (p *Parser) Reset() {
	if cap(p.args) > keepArgs {
		p.args = nil
	}
	if cap(p.text) > keepArgs {
		p.text = nil
	}
	p.args, p.pos, p.begun, p.inline = p.args[:0], 0, false, false
}

// N is the number of words of the command that Parse has found.
func (p *Parser) N() int { return len(p.args) }

// Arg is word i of the command that b begins with.
func (p *Parser) Arg(b []byte, i int) []byte {
	s := p.args[i]
	if p.inline {
		return p.text[s.from:s.to]
	}
	return b[s.from:s.to]
}

// Canonical tells whether the command came as an array, as servers get it.
func (p *Parser) Canonical() bool { return !p.inline }

// Parse returns the size of the command that b begins with, 0 while it is not whole. A command of no words is
// to be passed over. b begins with the same bytes as in the last call, if that has returned 0.
func (p *Parser) Parse(b []byte) (size int, err error) {
	if !p.begun {
		if len(b) == 0 {
			return 0, nil
		}
		p.Reset()
		if b[0] != '*' {
			return p.parseInline(b)
		}
		n, next, err := number(b, 1, ErrMultibulk)
		if next == 0 || err != nil {
			return 0, err
		}
		if n > MaxArgs {
			return 0, ErrMultibulk
		}
		if n <= 0 {
			return next, nil
		}
		p.begun, p.pos, p.left, p.want = true, next, n, -1
	}
	return p.words(b)
}

func (p *Parser) words(b []byte) (int, error) {
	most := p.Max
	if most <= 0 {
		most = MaxCommand
	}
	for p.left > 0 {
		if p.want < 0 {
			if p.pos >= len(b) {
				return 0, nil
			}
			if b[p.pos] != '$' {
				return 0, ErrDollar
			}
			n, next, err := number(b, p.pos+1, ErrBulk)
			if next == 0 || err != nil {
				return 0, err
			}
			if n < 0 || n > most-next {
				return 0, ErrBulk
			}
			p.pos, p.want = next, n
		}
		end := p.pos + p.want
		if len(b) < end+2 {
			return 0, nil
		}
		if b[end] != '\r' || b[end+1] != '\n' {
			return 0, ErrBulk
		}
		p.args = append(p.args, span{p.pos, end})
		p.pos, p.want = end+2, -1
		p.left--
	}
	p.begun = false
	return p.pos, nil
}

// number reads the decimal that begins at from, and its line's end; next 0: it is not whole.
func number(b []byte, from int, bad error) (n, next int, err error) {
	const longest = 20 // of a number
	i, negative := from, false
	if i < len(b) && b[i] == '-' {
		negative = true
		i++
	}
	first := i
	for ; i < len(b) && b[i] != '\r'; i++ {
		d := b[i] - '0'
		if d > 9 || i-first >= longest-2 { // 18 digits cannot overflow
			return 0, 0, bad
		}
		n = n*10 + int(d)
	}
	if i+1 >= len(b) {
		return 0, 0, nil
	}
	if b[i+1] != '\n' || i == first {
		return 0, 0, bad
	}
	if negative {
		n = -n
	}
	return n, i + 2, nil
}

// parseInline reads a command of one line, as people type it.
func (p *Parser) parseInline(b []byte) (int, error) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		if len(b) > MaxInline {
			return 0, ErrInline
		}
		return 0, nil
	}
	if i > MaxInline {
		return 0, ErrInline
	}
	p.inline, p.text = true, p.text[:0]
	line := bytes.TrimSuffix(b[:i], []byte("\r"))
	for {
		line = bytes.TrimLeft(line, " \t\r\v\f\x00")
		if len(line) == 0 {
			return i + 1, nil
		}
		from, rest, ok := len(p.text), []byte(nil), false
		if p.text, rest, ok = word(p.text, line); !ok {
			return 0, ErrQuotes
		}
		p.args = append(p.args, span{from, len(p.text)})
		line = rest
	}
}

// word appends the word that a line begins with, without its quotes.
func word(out, line []byte) (text, rest []byte, ok bool) {
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == ' ' || c == '\t' || c == '\r':
			return out, line[i:], true
		case c == '"' || c == '\'':
			var n int
			if out, n = quoted(out, line[i+1:], c); n < 0 {
				return out, nil, false
			}
			i += n
			if i+1 < len(line) && line[i+1] != ' ' && line[i+1] != '\t' && line[i+1] != '\r' {
				return out, nil, false // a quote ends a word
			}
		default:
			out = append(out, c)
		}
	}
	return out, nil, true
}

// quoted appends what stands between quotes, and returns how long that was with the closing one; -1: there is none.
func quoted(out, b []byte, quote byte) (text []byte, n int) {
	for i := 0; i < len(b); i++ {
		switch {
		case b[i] == quote:
			return out, i + 1
		case b[i] == '\\' && i+1 < len(b):
			if quote == '\'' {
				if b[i+1] == '\'' {
					i++
				}
				out = append(out, b[i])
				continue
			}
			if b[i+1] == 'x' && i+3 < len(b) && hex(b[i+2]) >= 0 && hex(b[i+3]) >= 0 {
				out = append(out, byte(hex(b[i+2])<<4|hex(b[i+3])))
				i += 3
				continue
			}
			i++
			out = append(out, unescape(b[i]))
		default:
			out = append(out, b[i])
		}
	}
	return out, -1
}

func unescape(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'b':
		return '\b'
	case 'a':
		return '\a'
	}
	return c
}

func hex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
