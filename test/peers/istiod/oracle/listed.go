package oracle

import (
	"errors"
	"fmt"
	"strings"
)

// Entry is a line of the list of differences: where a difference may be.
type Entry struct {
	// Line is its number in the file.
	Line int
	// Case, Node and Path are patterns: "*" is any text in a name, or in a part of a path;
	// a last part "**" is any number of parts.
	Case, Node, Path string
}

// fence begins and ends the entries in the file of differences.
const fence = "```"

// ParseDifferences reads the entries out of the page that people read: the lines of its
// blocks "```differences". A block stands below a heading and a text that say the cause.
func ParseDifferences(page string) ([]Entry, error) {
	var out []Entry
	inside, cause := false, 0
	for i, line := range strings.Split(page, "\n") {
		switch {
		case strings.HasPrefix(line, fence):
			if !inside && line != fence+"differences" {
				return nil, fmt.Errorf("line %d: want %sdifferences", i+1, fence)
			}
			if inside = !inside; inside && cause < 2 {
				return nil, fmt.Errorf("line %d: say the cause above: a heading and a text", i+1)
			}
			if !inside {
				cause = 0
			}
		case inside:
			e, err := parseEntry(line)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", i+1, err)
			}
			e.Line = i + 1
			out = append(out, e)
		case strings.HasPrefix(line, "#"):
			cause = 1
		case strings.TrimSpace(line) != "" && cause > 0:
			cause = 2
		}
	}
	if inside {
		return nil, errors.New("the last block does not end")
	}
	return out, nil
}

func parseEntry(line string) (Entry, error) {
	parts := strings.SplitN(line, " ", 3)
	if len(parts) != 3 || parts[2] == "" {
		return Entry{}, fmt.Errorf("%q: want CASE NODE PATH", line)
	}
	return Entry{Case: parts[0], Node: parts[1], Path: parts[2]}, nil
}

// Covers tells whether a difference is one of the entry's.
func (e Entry) Covers(name, node string, d Difference) bool {
	return matches(e.Case, name) && matches(e.Node, node) && covers(strings.Split(e.Path, Separator), strings.Split(d.Path, Separator))
}

func covers(pattern, parts []string) bool {
	for i, p := range pattern {
		if p == "**" && i == len(pattern)-1 {
			return len(parts) >= i
		}
		if i >= len(parts) || !matches(p, parts[i]) {
			return false
		}
	}
	return len(pattern) == len(parts)
}

// matches tells whether a text is like a pattern in which "*" is any text.
func matches(pattern, text string) bool {
	first, rest, more := strings.Cut(pattern, "*")
	if !strings.HasPrefix(text, first) {
		return false
	}
	if !more {
		return text == first
	}
	text = text[len(first):]
	for i := 0; i <= len(text); i++ {
		if matches(rest, text[i:]) {
			return true
		}
	}
	return false
}
