package document

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// chunk is the text of one document of a file.
type chunk struct {
	text []byte
	// line is the 1-based line of the file where text begins.
	line int
	// file, when set, is where the text was taken from (see OriginComment).
	file string
}

// OriginComment returns a comment line that, put as the first line of a
// document, says that what follows it stands in file from line on. It makes
// Findings about a copy name the original.
func OriginComment(file string, line int) string {
	return originPrefix + file + ":" + strconv.Itoa(line)
}

const originPrefix = "# weft:origin "

// split cuts a text at the lines that begin a new YAML document ("---").
func split(data []byte) []chunk {
	var out []chunk
	start, startLine, line := 0, 1, 0
	flush := func(end int) {
		if text := data[start:end]; !blank(text) {
			out = append(out, original(chunk{text: text, line: startLine}))
		}
	}
	for pos := 0; pos < len(data); {
		line++
		end := len(data)
		if i := bytes.IndexByte(data[pos:], '\n'); i >= 0 {
			end = pos + i + 1
		}
		if separator(data[pos:end]) && pos > start {
			flush(pos)
			start, startLine = pos, line
		}
		pos = end
	}
	flush(len(data))
	return out
}

// separator tells whether a line begins a document: "---", alone or followed by space.
func separator(line []byte) bool {
	rest, ok := bytes.CutPrefix(line, []byte("---"))
	return ok && (len(rest) == 0 || strings.ContainsRune(" \t\r\n", rune(rest[0])))
}

// blank tells whether a text has nothing but comments, markers and space.
func blank(text []byte) bool {
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' || line[0] == '%' || bytes.Equal(line, []byte("...")) {
			continue
		}
		rest, ok := bytes.CutPrefix(line, []byte("---"))
		if rest = bytes.TrimSpace(rest); !ok || len(rest) > 0 && rest[0] != '#' {
			return false
		}
	}
	return true
}

// original applies an origin comment on one of the first two lines.
func original(c chunk) chunk {
	n := 0
	for line := range bytes.Lines(c.text) {
		if n++; n > 2 {
			break
		}
		ref, ok := strings.CutPrefix(strings.TrimSpace(string(line)), originPrefix)
		if !ok {
			continue
		}
		colon := strings.LastIndexByte(ref, ':')
		if colon <= 0 {
			return c
		}
		at, err := strconv.Atoi(ref[colon+1:])
		if err != nil || at < 1 {
			return c
		}
		// The line after the comment is line "at" of the original.
		c.file, c.line = ref[:colon], at-n
		return c
	}
	return c
}

// notText returns why data cannot be YAML text, and the line; "" when it can.
func notText(data []byte) (why string, line int) {
	line = 1
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			return fmt.Sprintf("is not a text file: byte 0x%02x at offset %d is not UTF-8", data[i], i), line
		case r < ' ' && r != '\n' && r != '\r' && r != '\t', r == 0x7f:
			return fmt.Sprintf("is not a text file: control character 0x%02x at offset %d", r, i), line
		case r == '\n':
			line++
		}
		i += n
	}
	return "", 0
}
