// Package format compiles Envoy's format language ("%REQ(X-ID)% %PROTOCOL%"),
// which header operations and access logs share.
//
// A Format is immutable. Append allocates nothing beyond growing its
// destination. Commands that are not known are refused when the format is
// compiled, by name; nothing is printed as is in silence.
package format

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/proxy/filter"
)

// Options of a Format.
type Options struct {
	// Missing stands for values that there are not: "-" in access logs, "" in headers.
	Missing string
	// Hostname is %HOSTNAME%.
	Hostname string
	// Env looks %ENVIRONMENT(X)% up; nil: nothing is set.
	Env func(string) string
}

// value appends what a command stands for; false when there is nothing.
type value func(dst []byte, i *filter.Info) ([]byte, bool)

// piece is a literal (get nil) or a command.
type piece struct {
	literal string
	get     value
	max     int // 0: no bound
	// json appends what JSON has for it, when that is not a string; nil: it is one.
	json value
}

// Format is a compiled format string.
type Format struct {
	pieces  []piece
	missing string
}

// Compile parses s.
func Compile(s string, o Options) (*Format, error) {
	f := &Format{missing: o.Missing}
	var lit strings.Builder
	for s != "" {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			lit.WriteString(s)
			break
		}
		lit.WriteString(s[:i])
		s = s[i:]
		if strings.HasPrefix(s, "%%") {
			lit.WriteByte('%')
			s = s[2:]
			continue
		}
		c, rest, err := parseCommand(s)
		if err != nil {
			return nil, err
		}
		get, err := c.compile(o)
		if err != nil {
			return nil, err
		}
		if lit.Len() > 0 {
			f.pieces = append(f.pieces, piece{literal: lit.String()})
			lit.Reset()
		}
		f.pieces = append(f.pieces, piece{get: get, max: c.max, json: c.json(get)})
		s = rest
	}
	if lit.Len() > 0 {
		f.pieces = append(f.pieces, piece{literal: lit.String()})
	}
	return f, nil
}

// Literal returns the text when f holds no command.
func (f *Format) Literal() (string, bool) {
	switch len(f.pieces) {
	case 0:
		return "", true
	case 1:
		return f.pieces[0].literal, f.pieces[0].get == nil
	}
	return "", false
}

// Append appends the formatted text to dst.
func (f *Format) Append(dst []byte, i *filter.Info) []byte {
	for k := range f.pieces {
		p := &f.pieces[k]
		if p.get == nil {
			dst = append(dst, p.literal...)
			continue
		}
		at := len(dst)
		out, ok := p.get(dst, i)
		if !ok {
			dst = append(out[:at], f.missing...)
			continue
		}
		dst = out
		if p.max > 0 && len(dst)-at > p.max {
			dst = dst[:at+p.max]
		}
	}
	return dst
}

// AppendJSON appends a JSON value: what a single command stands for with its own
// type, anything else as a string. false: there is nothing.
func (f *Format) AppendJSON(dst []byte, i *filter.Info) ([]byte, bool) {
	at := len(dst)
	if len(f.pieces) == 1 && f.pieces[0].get != nil {
		p := &f.pieces[0]
		if p.json != nil {
			return p.json(dst, i)
		}
		out, ok := p.get(dst, i)
		if !ok {
			return out[:at], false
		}
		if p.max > 0 && len(out)-at > p.max {
			out = out[:at+p.max]
		}
		return quote(out, at), true
	}
	return quote(f.Append(dst, i), at), true
}

// AppendQuoted appends s as a JSON string.
func AppendQuoted(dst []byte, s string) []byte { return quote(append(dst, s...), len(dst)) }

// quote turns what was appended at at into a JSON string.
func quote(dst []byte, at int) []byte {
	escapes := 0
	for _, c := range dst[at:] {
		if c < ' ' || c == '"' || c == '\\' || c >= 0x80 {
			escapes++
		}
	}
	if escapes == 0 {
		dst = append(dst, 0)
		copy(dst[at+1:], dst[at:])
		dst[at] = '"'
		return append(dst, '"')
	}
	s, err := json.Marshal(string(dst[at:]))
	if err != nil {
		panic("BUG: format: a string that is no JSON: " + err.Error())
	}
	return append(dst[:at], s...)
}

// command is %NAME(args):max%.
type command struct {
	name    string
	args    string
	hasArgs bool
	max     int
}

var errOpen = errors.New("a command has no closing %")

// parseCommand reads the command that s begins with.
func parseCommand(s string) (c command, rest string, err error) {
	i := 1
	for i < len(s) && (s[i] == '_' || 'A' <= s[i] && s[i] <= 'Z' || '0' <= s[i] && s[i] <= '9') {
		i++
	}
	c.name = s[1:i]
	if c.name == "" || i == len(s) {
		return c, "", fmt.Errorf("format %q: %w; write %%%% for a percent sign", s, errOpen)
	}
	if s[i] == '(' {
		// Arguments may hold "%" and ")": they end at the first ")" that ends a command.
		for k := i + 1; k < len(s); k++ {
			if s[k] != ')' {
				continue
			}
			if n, ok := c.tail(s[k+1:]); ok {
				c.args, c.hasArgs = s[i+1:k], true
				return c, s[k+1+n:], nil
			}
		}
		return c, "", fmt.Errorf("format %q: %w after its arguments", s, errOpen)
	}
	n, ok := c.tail(s[i:])
	if !ok {
		return c, "", fmt.Errorf("format %q: %w; write %%%% for a percent sign", s, errOpen)
	}
	return c, s[i+n:], nil
}

// tail reads an optional ":max" and "%", and returns their length.
func (c *command) tail(s string) (int, bool) {
	if s == "" {
		return 0, false
	}
	if s[0] == '%' {
		return 1, true
	}
	end := strings.IndexByte(s, '%')
	if s[0] != ':' || end < 2 {
		return 0, false
	}
	n, err := strconv.ParseUint(s[1:end], 10, 31)
	if err != nil {
		return 0, false
	}
	c.max = int(n)
	return end + 1, true
}
