package choice

import (
	"net/netip"
	"testing"
)

type facts struct {
	name, from string
	ok         bool
}

type (
	tree = Tree[facts, string]
	leaf = Leaf[facts, string]
)

func name(f facts) (string, bool) { return f.name, f.name != "" }
func from(f facts) (string, bool) { return f.from, f.from != "" }

// places are trees of each kind, which know that some ends lead nowhere.
func places() (byName, byAddr, byPrefix, list tree) {
	nowhere := &Exact[facts, string]{Input: name}
	byName = &Name[facts, string]{Input: name, Map: map[string]tree{
		"a.example": leaf{"exact"}, "*.example": leaf{"wide"}, "*.b.example": leaf{"narrow"}, "*.c.example": nowhere, "*": leaf{"any"},
	}}
	byAddr = NewAddress(from, []Network[facts, string]{
		{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Then: leaf{"ten"}},
		{Prefix: netip.MustParsePrefix("10.1.0.0/16"), Then: nowhere},
		{Prefix: netip.MustParsePrefix("10.2.0.0/16"), Then: leaf{"two"}},
		{Prefix: netip.MustParsePrefix("10.1.1.0/24"), Then: leaf{"one"}, Exclusive: true},
		{Prefix: netip.MustParsePrefix("10.1.1.1/32"), Then: nowhere},
	})
	byPrefix = NewPrefix(name, map[string]tree{"": leaf{"all"}, "a": leaf{"a"}, "ab": nowhere})
	known := func(f facts) bool { return f.ok }
	list = First[facts, string]{
		When[facts, string]{All([]Test[facts]{known, Not(func(f facts) bool { return f.from == "" })}), leaf{"both"}},
		When[facts, string]{Some([]Test[facts]{known, func(f facts) bool { return f.name == "x" }}), leaf{"either"}},
		&Exact[facts, string]{name, map[string]tree{"y": leaf{"y"}}},
	}
	return byName, byAddr, byPrefix, list
}

func TestTrees(t *testing.T) {
	byName, byAddr, byPrefix, list := places()
	for _, tt := range []struct {
		in   tree
		f    facts
		want string // "": no action
	}{
		{byName, facts{name: "a.example"}, "exact"},
		{byName, facts{name: "A.Example"}, "exact"},
		{byName, facts{name: "x.b.example"}, "narrow"},
		{byName, facts{name: "x.y.example"}, "wide"},
		{byName, facts{name: "x.c.example"}, "wide"},
		{byName, facts{name: "elsewhere"}, "any"},
		{byName, facts{}, ""},
		{byAddr, facts{from: "10.9.0.1"}, "ten"},
		{byAddr, facts{from: "10.2.0.1"}, "two"},
		{byAddr, facts{from: "10.1.0.1"}, "ten"},
		{byAddr, facts{from: "10.1.1.2"}, "one"},
		{byAddr, facts{from: "10.1.1.1"}, "ten"}, // the exclusive one is not the narrowest
		{byAddr, facts{from: "192.0.2.1"}, ""},
		{byAddr, facts{from: "no address"}, ""},
		{byAddr, facts{}, ""},
		{byPrefix, facts{name: "abc"}, "a"},
		{byPrefix, facts{name: "b"}, "all"},
		{byPrefix, facts{}, ""},
		{list, facts{ok: true, from: "1"}, "both"},
		{list, facts{ok: true}, "either"},
		{list, facts{name: "x"}, "either"},
		{list, facts{name: "y"}, "y"},
		{list, facts{name: "z"}, ""},
	} {
		got, ok := tt.in.Choose(tt.f)
		if got != tt.want || ok != (tt.want != "") {
			t.Errorf("%+v: %q %v, want %q", tt.f, got, ok, tt.want)
		}
	}
}

func TestChoosingAllocatesNothing(t *testing.T) {
	byName, byAddr, byPrefix, list := places()
	f := facts{name: "x.y.example", from: "10.1.1.1", ok: true}
	for i, in := range []tree{byName, byAddr, byPrefix, list} {
		if n := testing.AllocsPerRun(100, func() { in.Choose(f) }); n != 0 {
			t.Errorf("tree %d: %v allocations", i, n)
		}
	}
}
