package proxy

import "testing"

func TestParseMapping(t *testing.T) {
	for _, c := range []struct {
		line string
		want mapping
		ok   bool
	}{
		{"00400000-0149d000 r-xp 00000000 fe:00 4711                    /usr/bin/weft-proxy", mapping{0x400000, 0x149d000, "r-xp", "/usr/bin/weft-proxy"}, true},
		{"7ffd1000-7ffd2000 r-xp 00000000 00:00 0                       [vdso]", mapping{0x7ffd1000, 0x7ffd2000, "r-xp", "[vdso]"}, true},
		{"c000000000-c000400000 rw-p 00000000 00:00 0", mapping{}, false},
		{"2-1 r-xp 0 0 0 /a", mapping{}, false},
		{"x-y r-xp 0 0 0 /a", mapping{}, false},
		{"", mapping{}, false},
	} {
		if m, ok := parseMapping(c.line); m != c.want || ok != c.ok {
			t.Errorf("%q: %+v %v, want %+v %v", c.line, m, ok, c.want, c.ok)
		}
	}
}
