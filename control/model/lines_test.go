package model

import "testing"

func TestLines(t *testing.T) {
	var l, other Lines
	want := map[string]int{"": 1, "spec": 2, "spec.http[0]": 3, "spec.http[0].match": 300, "spec.http[1]": 70000, `metadata.labels["a.b"]`: 5}
	for path, line := range want {
		l.Set(path, line)
		other.Set(path, line+1)
	}
	packed := l.Pack()
	for _, lines := range []Lines{l, packed} {
		for path, line := range want {
			if got := lines.Line(path); path != "" && got != line || !lines.Has(path) {
				t.Errorf("line of %q is %d, want %d", path, got, line)
			}
		}
		if n := lines.Line("spec.http[0].match[4].uri"); n != 300 {
			t.Errorf("the nearest parent is at %d, want 300", n)
		}
		if lines.Has("spec.http[2]") || lines.Line("status") != 0 {
			t.Error("a line of what is not written")
		}
	}
	if !packed.Equal(l.Pack()) || packed.Equal(other.Pack()) || !packed.Pack().Equal(packed) {
		t.Error("packed lines cannot be compared")
	}
	if len(packed.packed) > 100 {
		t.Errorf("6 lines take %d bytes", len(packed.packed))
	}
	if (Lines{}).Line("spec") != 0 || !(Lines{}).Pack().Equal(Lines{}) {
		t.Error("none are some")
	}
}
