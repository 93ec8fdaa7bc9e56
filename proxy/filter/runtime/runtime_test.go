package runtime

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func layer(t *testing.T, name string, object map[string]any) Layer {
	t.Helper()
	l, err := NewLayer(name, object)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLaterLayersAndTheAdminOverride(t *testing.T) {
	s := New(
		layer(t, "a", map[string]any{"x": 3.0, "deep": map[string]any{"y": "7", "f": map[string]any{"numerator": 5.0, "denominator": "MILLION"}}}),
		layer(t, "b", map[string]any{"x": 4.0, "flag": true}),
		Layer{Name: "admin", Admin: true},
	)
	x, y, f, none := s.Key("x"), s.Key("deep.y"), s.Key("deep.f"), s.Key("none")
	if x.Integer(0) != 4 || y.Integer(0) != 7 || none.Integer(9) != 9 || s.Key("flag").Integer(2) != 2 {
		t.Errorf("x %d, y %d, none %d", x.Integer(0), y.Integer(0), none.Integer(9))
	}
	if v := f.Load(); v == nil || v.Numerator != 5 || v.Denominator != 1_000_000 {
		t.Errorf("fraction %+v", v)
	}
	if s.Key("x") != x {
		t.Error("a name has two keys")
	}
	if err := s.Modify(map[string]string{"x": "1.5", "none": "1"}); err != nil {
		t.Fatal(err)
	}
	if x.Double(0) != 1.5 || x.Integer(8) != 8 || none.Integer(9) != 1 {
		t.Errorf("after the change: x %v %d, none %d", x.Double(0), x.Integer(8), none.Integer(9))
	}
	layers, entries := s.Entries()
	if d := cmp.Diff([]string{"a", "b", "admin"}, layers); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(Entry{Name: "x", Final: "1.5", Layers: []string{"3", "4", "1.5"}}, entries[len(entries)-1]); d != "" {
		t.Error(d)
	}
	if err := s.Modify(map[string]string{"x": ""}); err != nil || x.Integer(0) != 4 {
		t.Errorf("taken off: %v, x %d", err, x.Integer(0))
	}
}

func TestWhatIsNoValueIsRefused(t *testing.T) {
	for _, v := range []any{[]any{1.0}, nil, map[string]any{"numerator": "x"}, map[string]any{"numerator": 1.0, "denominator": "TEN"}} {
		if _, err := NewLayer("l", map[string]any{"k": v}); err == nil {
			t.Errorf("%v is taken", v)
		}
	}
	if err := New().Modify(map[string]string{"x": "1"}); err == nil {
		t.Error("modified without an admin layer")
	}
	var none *Store
	if none.Key("x").Integer(5) != 5 {
		t.Error("a nil store has values")
	}
}
