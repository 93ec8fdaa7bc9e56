package listener

import (
	"net/netip"
	"testing"
)

func TestMatchers(t *testing.T) {
	sni := func(f *Facts) (string, bool) { return f.SNI, f.SNI != "" }
	source := func(f *Facts) (string, bool) { return f.Remote.Addr().String(), f.Remote.IsValid() }
	nowhere := &ByText{Input: sni}
	byName := &ByName{Input: sni, Map: map[string]Matcher{
		"a.example": Chain("exact"), "*.example": Chain("wide"), "*.b.example": Chain("narrow"), "*.c.example": nowhere, "*": Chain("any"),
	}}
	byAddr := NewByAddress(source, []Range{
		{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Then: Chain("ten")},
		{Prefix: netip.MustParsePrefix("10.1.0.0/16"), Then: nowhere},
		{Prefix: netip.MustParsePrefix("10.2.0.0/16"), Then: Chain("two")},
		{Prefix: netip.MustParsePrefix("10.1.1.0/24"), Then: Chain("one"), Exclusive: true},
		{Prefix: netip.MustParsePrefix("10.1.1.1/32"), Then: nowhere},
	})
	for _, tt := range []struct {
		m            Matcher
		sni, from    string
		want         string
		wantsNothing bool
	}{
		{m: byName, sni: "a.example", want: "exact"},
		{m: byName, sni: "A.Example", want: "exact"},
		{m: byName, sni: "x.b.example", want: "narrow"},
		{m: byName, sni: "x.y.example", want: "wide"},
		{m: byName, sni: "x.c.example", want: "wide"},
		{m: byName, sni: "elsewhere", want: "any"},
		{m: byName, wantsNothing: true},
		{m: byAddr, from: "10.9.0.1", want: "ten"},
		{m: byAddr, from: "10.2.0.1", want: "two"},
		{m: byAddr, from: "10.1.0.1", want: "ten"},
		{m: byAddr, from: "10.1.1.2", want: "one"},
		{m: byAddr, from: "10.1.1.1", want: "ten"}, // the exclusive one is not the narrowest
		{m: byAddr, from: "192.0.2.1", wantsNothing: true},
		{m: &ByText{Input: sni, Prefix: true, Map: map[string]Matcher{"": Chain("all"), "a": Chain("a"), "ab": nowhere}}, sni: "abc", want: "a"},
		{m: OneOf{When{func(f *Facts) bool { return f.TLS }, Chain("tls")}, Chain("else")}, want: "else"},
	} {
		f := &Facts{SNI: tt.sni}
		if tt.from != "" {
			f.Remote = netip.AddrPortFrom(netip.MustParseAddr(tt.from), 1)
		}
		got, ok := tt.m.Choose(f)
		if got != tt.want || ok == tt.wantsNothing {
			t.Errorf("sni %q from %q: %q %v, want %q", tt.sni, tt.from, got, ok, tt.want)
		}
	}
}
