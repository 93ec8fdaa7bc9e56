package oracle

import (
	"strings"
	"testing"
)

func TestParseDifferences(t *testing.T) {
	page := "# Title\n\nWords.\n\n## Cause\n\nWhy.\n\n```differences\n* client cluster>*>name\nmirror gateway route>a b>**\n```\n"
	list, err := ParseDifferences(page)
	if err != nil {
		t.Fatal(err)
	}
	want := []Entry{{10, "*", "client", "cluster>*>name"}, {11, "mirror", "gateway", "route>a b>**"}}
	if len(list) != 2 || list[0] != want[0] || list[1] != want[1] {
		t.Errorf("got %v, want %v", list, want)
	}
	for _, c := range []struct{ page, says string }{
		{"```differences\n* * a\n```\n", "line 1: say the cause"},
		{"# Cause\n```differences\n* * a\n```\n", "line 2: say the cause"},
		{"# Cause\nWhy.\n```differences\n* a\n```\n", `line 4: "* a": want CASE NODE PATH`},
		{"# Cause\nWhy.\n```go\n```\n", "line 3: want ```differences"},
		{"# Cause\nWhy.\n```differences\n* * a", "does not end"},
		{"# Cause\nWhy.\n```differences\n* * a\n```\n```differences\n* * a\n```\n", "line 6: say the cause"},
	} {
		if _, err := ParseDifferences(c.page); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v, want %q", c.page, err, c.says)
		}
	}
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"cluster>*>name", "cluster>outbound|80||a>name", true},
		{"cluster>*>name", "cluster>outbound|80||a>name>x", false},
		{"cluster>*>name", "cluster>name", false},
		{"cluster>outbound*>**", "cluster>outbound|80||a>name>x", true},
		{"cluster>outbound*>**", "cluster>outbound|80||a", true},
		{"cluster>outbound*>**", "cluster>inbound|80||>name", false},
		{"cluster>*|80|*", "cluster>outbound|80||a", true},
		{"a>b", "a", false},
		{"a>**>c", "a>b>x>c", false}, // "**" is for the end
	} {
		e := Entry{Case: "*", Node: "c*t", Path: c.pattern}
		if got := e.Covers("case", "client", Difference{Path: c.path}); got != c.want {
			t.Errorf("%s covers %s: %v", c.pattern, c.path, got)
		}
		if e.Covers("case", "server", Difference{Path: c.path}) {
			t.Errorf("%s covers another node", c.pattern)
		}
	}
}
