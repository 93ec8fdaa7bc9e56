package wire

import (
	"strings"
	"testing"
)

func TestParseVIPRange(t *testing.T) {
	for _, tc := range []struct{ text, want, wrong string }{
		{text: "", want: "10.96.0.0/16 fd00:10:96::/112 240.240.0.0/16 2001:2::/112"},
		{text: "100.64.0.0/10", want: "100.64.0.0/10"},
		{text: "100.64.0.0/16, fd77::/112", want: "100.64.0.0/16 fd77::/112"},
		{text: "100.64.0.1/16", wrong: "did you mean 100.64.0.0/16"},
		{text: "100.64.0.0", wrong: "want prefixes like"},
		{text: "100.64.0.0/28", wrong: "from /8 to /24"},
		{text: "fd77::/16", wrong: "from /32 to /120"},
		{text: "127.0.0.0/8", wrong: "no service can have"},
		{text: "224.0.0.0/8", wrong: "no service can have"},
		{text: "100.64.0.0/16,100.65.0.0/16", wrong: "one of that family"},
	} {
		r, err := ParseVIPRange(tc.text)
		if tc.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), tc.wrong) {
				t.Errorf("%q: %v, want %q", tc.text, err, tc.wrong)
			}
			continue
		}
		var got []string
		for _, p := range r.Prefixes() {
			got = append(got, p.String())
		}
		if err != nil || strings.Join(got, " ") != tc.want {
			t.Errorf("%q: %v, %v", tc.text, got, err)
		}
		if again, err := ParseVIPRange(r.String()); err != nil || again.String() != r.String() {
			t.Errorf("%q: written as %q, which reads as %v, %v", tc.text, r.String(), again, err)
		}
	}
}

func FuzzParseVIPRange(f *testing.F) {
	f.Add("100.64.0.0/16,fd77::/112")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseVIPRange(text)
		if err != nil {
			return
		}
		if again, err := ParseVIPRange(r.String()); err != nil || again.String() != r.String() {
			t.Errorf("%q: written as %q, which reads as %v, %v", text, r.String(), again, err)
		}
	})
}
