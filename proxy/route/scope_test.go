package route

import (
	"testing"

	"github.com/weftmesh/weft/proxy/filter"
)

func TestScopeKeys(t *testing.T) {
	found := &Scope{}
	scopes := Scopes{ScopeKey("a", "b"): found}
	for _, tt := range []struct {
		name, header, value string
		fragment            ScopeFragment
		want                bool
	}{
		{"whole value", "x", "b", ScopeFragment{Header: "X"}, true},
		{"other value", "x", "ba", ScopeFragment{Header: "x"}, false},
		{"no header", "y", "b", ScopeFragment{Header: "x"}, false},
		{"index", "x", "a;b;c", ScopeFragment{Header: "x", Separator: ";", Index: 1}, true},
		{"index too high", "x", "a;b", ScopeFragment{Header: "x", Separator: ";", Index: 2}, false},
		{"element", "x", "a=1;k=b;k=c", ScopeFragment{Header: "x", Separator: ";", Key: "k", KeySeparator: "="}, true},
		{"element without value", "x", "k", ScopeFragment{Header: "x", Separator: ";", Key: "k", KeySeparator: "="}, false},
		{"element that is not there", "x", "a=b", ScopeFragment{Header: "x", Separator: ";", Key: "k", KeySeparator: "="}, false},
		{"element of the whole", "x", "k=b", ScopeFragment{Header: "x", Key: "k", KeySeparator: "="}, true},
		{"pseudo header", "x", "", ScopeFragment{Header: ":authority"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, err := NewScopeKeys([]ScopeFragment{{Header: "first"}, tt.fragment})
			if err != nil {
				t.Fatal(err)
			}
			h := &filter.Headers{Authority: "b"}
			h.Add("first", "a")
			h.Add(tt.header, tt.value)
			if got := k.Find(scopes, h) == found; got != tt.want {
				t.Errorf("found: %v, want %v", got, tt.want)
			}
			if n := testing.AllocsPerRun(100, func() { k.Find(scopes, h) }); n != 0 {
				t.Errorf("%v allocations, want none", n)
			}
		})
	}
	if _, err := NewScopeKeys([]ScopeFragment{{Header: "x", Index: 1}}); err == nil {
		t.Error("an index without a separator: want an error")
	}
}
