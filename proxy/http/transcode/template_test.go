package transcode

import (
	"fmt"
	"strings"
	"testing"
)

func TestTemplates(t *testing.T) {
	for _, tc := range []struct {
		template, path, verb string
		want                 string // bindings, or "-": does not fit
	}{
		{"/v1/{name=shelves/*}", "/v1/shelves/7", "", "name=shelves/7"},
		{"/v1/{name=shelves/*}", "/v1/shelves/7/x", "", "-"},
		{"/v1/{name}", "/v1/a%2Fb", "", "name=a/b"},
		{"/v1/{name}", "/v1/", "", "-"},
		{"/v1/{name=**}", "/v1/a/b%2Fc%20d", "", "name=a/b%2Fc d"},
		{"/v1/{name=**}", "/v1/", "", "name="},
		{"/v1/*/{a.b}/c/{d=x/*}", "/v1/q/1/c/x/2", "", "a.b=1 d=x/2"},
		{"/v1/{name}:read", "/v1/a", "read", "name=a"},
		{"/v1/{name}:read", "/v1/a", "", "-"},
		{"/v1/{name}", "/v1/a", "read", "-"},
		{"/", "/", "", "error"},
		{"v1", "", "", "error"},
		{"/v1/{name", "", "", "error"},
		{"/v1/{name}}", "", "", "error"},
		{"/v1/{a={b}}", "", "", "error"},
		{"/v1/**/x", "", "", "error"},
		{"/v1/a*", "", "", "error"},
		{"/v1/x:", "", "", "error"},
		{"/v1//x", "", "", "error"},
	} {
		got := "-"
		tm, err := parseTemplate(tc.template)
		if err != nil {
			got = "error"
		} else if path := strings.Split(tc.path[1:], "/"); tm.match(path, tc.verb) {
			var list []string
			for _, b := range tm.bindings(path, reserved) {
				list = append(list, b.field+"="+b.value)
			}
			got = strings.Join(list, " ")
		}
		if got != tc.want {
			t.Errorf("%s at %s %q: %q, want %q (%v)", tc.template, tc.path, tc.verb, got, tc.want, err)
		}
	}
}

// TestBetterTemplate: of two that fit a path the more literal one counts.
func TestBetterTemplate(t *testing.T) {
	for i, pair := range [][2]string{
		{"/a/b", "/a/*"}, {"/a/*", "/a/**"}, {"/a/*/c", "/a/**"}, {"/a/b/**", "/a/*/c"}, {"/a/*/**", "/a/**"},
	} {
		x, err := parseTemplate(pair[0])
		if err != nil {
			t.Fatal(err)
		}
		y, err := parseTemplate(pair[1])
		if err != nil {
			t.Fatal(err)
		}
		if !x.before(y) || y.before(x) {
			t.Errorf("%d: %s is not before %s", i, pair[0], pair[1])
		}
	}
}

func TestElements(t *testing.T) {
	for _, tc := range []struct{ in, want string }{
		{`[]`, ""},
		{` [ ] `, ""},
		{`[{"a":1},{"b":"],[\""} , 3]`, `{"a":1}|{"b":"],[\""} |3`},
		{`[[1,[2]],{"c":[{}]}]`, `[1,[2]]|{"c":[{}]}`},
		{`{}`, "error"},
		{`[1] x`, "1 error"},
		{`[1`, "unfinished"},
		{`[12345678901234567890]`, "error"},
	} {
		for size := 1; size <= len(tc.in); size++ {
			if got := feedAll(tc.in, size); got != tc.want {
				t.Errorf("%s in pieces of %d: %q, want %q", tc.in, size, got, tc.want)
			}
		}
	}
}

func feedAll(in string, size int) string {
	var list []string
	e := elements{limit: 19}
	for in != "" {
		n := min(size, len(in))
		err := e.feed([]byte(in[:n]), func(b []byte) error { list = append(list, string(b)); return nil })
		if err != nil {
			return strings.TrimSpace(strings.Join(list, "|") + " error")
		}
		in = in[n:]
	}
	if !e.done() {
		return strings.TrimSpace(strings.Join(list, "|") + " unfinished")
	}
	return strings.Join(list, "|")
}

// FuzzElements: how an array is cut into pieces makes no difference.
func FuzzElements(f *testing.F) {
	for _, s := range []string{`[{"a":"]\\"},[1,2]]`, `[1,,2]`, `x`, `[`} {
		f.Add(s, 2)
	}
	f.Fuzz(func(t *testing.T, in string, size int) {
		if size < 1 || len(in) > 4096 {
			return
		}
		if one, all := feedAll(in, size), feedAll(in, len(in)); in != "" && one != all {
			t.Errorf("in pieces %q, whole %q", one, all)
		}
	})
}

// FuzzTemplate: no template and no path panics, and what fits has all variables.
func FuzzTemplate(f *testing.F) {
	f.Add("/v1/{name=shelves/*}/x/{y=**}:z", "/v1/shelves/a%2/x/b/c", "z")
	f.Fuzz(func(t *testing.T, text, path, verb string) {
		tm, err := parseTemplate(text)
		if err != nil {
			return
		}
		if parts := strings.Split(path, "/"); tm.match(parts, verb) && len(tm.bindings(parts, reserved)) != len(tm.vars) {
			t.Error(fmt.Sprint("variables without a value: ", text, path))
		}
	})
}
