package listener

import (
	"net/netip"
	"strings"
	"testing"
)

func prefixes(s ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func treeOf(t testing.TB, m map[string]Match) *tree {
	t.Helper()
	tr, err := tryTree(m)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func tryTree(m map[string]Match) (*tree, error) {
	var chains []*chain
	for name, match := range m {
		chains = append(chains, &chain{FilterChain: &FilterChain{Name: name, Match: match}})
	}
	return newTree(chains)
}

func TestFindChain(t *testing.T) {
	istio := []string{"istio", "istio-http/1.1"}
	tr := treeOf(t, map[string]Match{
		"any":          {},
		"tls":          {TransportProtocol: ProtoTLS},
		"port mtls":    {DestinationPort: 9080, TransportProtocol: ProtoTLS, ApplicationProtocols: istio},
		"port tls":     {DestinationPort: 9080, TransportProtocol: ProtoTLS},
		"port http":    {DestinationPort: 9080, TransportProtocol: ProtoRaw, ApplicationProtocols: []string{ProtoHTTP1, ProtoH2C}},
		"port raw":     {DestinationPort: 9080, TransportProtocol: ProtoRaw},
		"net":          {DestinationPort: 80, DestinationPrefixes: prefixes("10.0.0.0/8", "fd00::/8")},
		"host":         {DestinationPort: 80, DestinationPrefixes: prefixes("10.1.2.3/32")},
		"exact name":   {DestinationPort: 443, ServerNames: []string{"a.example.com"}},
		"suffix":       {DestinationPort: 443, ServerNames: []string{"*.Example.com"}},
		"long suffix":  {DestinationPort: 443, ServerNames: []string{"*.b.example.com"}},
		"local":        {DestinationPort: 7000, SourceType: SourceLocal},
		"external":     {DestinationPort: 7000, SourceType: SourceExternal, SourcePrefixes: prefixes("192.168.0.0/16")},
		"source port":  {DestinationPort: 7001, SourcePorts: []uint16{5000, 5001}},
		"source other": {DestinationPort: 7001},
		"direct":       {DestinationPort: 7002, DirectSourcePrefixes: prefixes("192.168.1.0/24")},
	})
	ap := netip.MustParseAddrPort
	far := ap("192.168.1.9:4000")
	for _, c := range []struct {
		name string
		f    Facts
		want string
	}{
		{"nothing special", Facts{Local: ap("1.1.1.1:1"), Remote: far}, "any"},
		{"tls", Facts{Local: ap("1.1.1.1:1"), Remote: far, TLS: true}, "tls"},
		{"mtls", Facts{Local: ap("1.1.1.1:9080"), Remote: far, TLS: true, ALPN: []string{"x", "istio"}}, "port mtls"},
		{"other alpn", Facts{Local: ap("1.1.1.1:9080"), Remote: far, TLS: true, ALPN: []string{"h2"}}, "port tls"},
		{"http", Facts{Local: ap("1.1.1.1:9080"), Remote: far, ALPN: []string{ProtoHTTP1}}, "port http"},
		{"http/1.0", Facts{Local: ap("1.1.1.1:9080"), Remote: far, ALPN: []string{ProtoHTTP0}}, "port raw"},
		{"port without a fit has no way back", Facts{Local: ap("1.1.1.1:80"), Remote: far}, ""},
		{"network", Facts{Local: ap("10.9.9.9:80"), Remote: far}, "net"},
		{"network v6", Facts{Local: ap("[fd00::1]:80"), Remote: far}, "net"},
		{"longest prefix", Facts{Local: ap("10.1.2.3:80"), Remote: far}, "host"},
		{"exact name", Facts{Local: ap("1.1.1.1:443"), Remote: far, SNI: "a.example.com"}, "exact name"},
		{"suffix", Facts{Local: ap("1.1.1.1:443"), Remote: far, SNI: "c.example.com"}, "suffix"},
		{"suffix, two labels", Facts{Local: ap("1.1.1.1:443"), Remote: far, SNI: "d.c.example.com"}, "suffix"},
		{"longer suffix", Facts{Local: ap("1.1.1.1:443"), Remote: far, SNI: "c.b.example.com"}, "long suffix"},
		{"suffix is not the name", Facts{Local: ap("1.1.1.1:443"), Remote: far, SNI: "example.com"}, ""},
		{"no name", Facts{Local: ap("1.1.1.1:443"), Remote: far}, ""},
		{"loopback", Facts{Local: ap("1.1.1.1:7000"), Remote: ap("127.0.0.1:1")}, "local"},
		{"same address", Facts{Local: ap("1.1.1.1:7000"), Remote: ap("1.1.1.1:1")}, "local"},
		{"external", Facts{Local: ap("1.1.1.1:7000"), Remote: far}, "external"},
		{"external, other network", Facts{Local: ap("1.1.1.1:7000"), Remote: ap("8.8.8.8:1")}, ""},
		{"source port", Facts{Local: ap("1.1.1.1:7001"), Remote: ap("8.8.8.8:5001")}, "source port"},
		{"other source port", Facts{Local: ap("1.1.1.1:7001"), Remote: ap("8.8.8.8:5002")}, "source other"},
		{"direct source", Facts{Local: ap("1.1.1.1:7002"), Remote: ap("8.8.8.8:1"), Direct: far}, "direct"},
		{"other direct source", Facts{Local: ap("1.1.1.1:7002"), Remote: far, Direct: ap("8.8.8.8:1")}, ""},
		{"unix socket", Facts{}, "any"},
	} {
		got := ""
		if ch := tr.find(&c.f); ch != nil {
			got = ch.Name
		}
		if got != c.want {
			t.Errorf("%s: chain %q, want %q", c.name, got, c.want)
		}
	}
}

func TestLooksOnlyWhereItMatters(t *testing.T) {
	tr := treeOf(t, map[string]Match{
		"plain": {DestinationPort: 3306},
		"tls":   {DestinationPort: 443, ServerNames: []string{"a"}},
		"http":  {DestinationPort: 80, ApplicationProtocols: []string{ProtoHTTP1}},
		"other": {DestinationPort: 80},
	})
	for port, want := range map[string]looks{
		"1.1.1.1:3306": {}, "1.1.1.1:443": {tls: true}, "1.1.1.1:80": {tls: true, http: true}, "1.1.1.1:1": {},
	} {
		if got := tr.looks(netip.MustParseAddrPort(port)); got != want {
			t.Errorf("%s: %+v, want %+v", port, got, want)
		}
	}
}

func TestBadMatches(t *testing.T) {
	for _, c := range []struct {
		m    map[string]Match
		want string
	}{
		{map[string]Match{"a": {}, "b": {}}, "same connections"},
		{map[string]Match{"a": {SourcePorts: []uint16{1, 2}}, "b": {SourcePorts: []uint16{2}}}, "same connections"},
		{map[string]Match{"a": {ServerNames: []string{"a*.b"}}}, "a*.b"},
		{map[string]Match{"a": {ServerNames: []string{"*"}}}, `"*"`},
	} {
		if _, err := tryTree(c.m); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: error %v, want %q", c.m, err, c.want)
		}
	}
}

func TestFindAllocatesNothing(t *testing.T) {
	tr := treeOf(t, map[string]Match{
		"a": {DestinationPort: 443, ServerNames: []string{"*.example.com"}, TransportProtocol: ProtoTLS, ApplicationProtocols: []string{"h2"}},
	})
	f := Facts{
		Local: netip.MustParseAddrPort("1.1.1.1:443"), Remote: netip.MustParseAddrPort("2.2.2.2:1"),
		SNI: "x.y.example.com", TLS: true, ALPN: []string{"h2"},
	}
	if n := testing.AllocsPerRun(100, func() {
		if tr.find(&f) == nil {
			t.Fatal("no chain")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestPredicate(t *testing.T) {
	p := Predicate{Or: []Predicate{{From: 10, To: 20}, {And: []Predicate{{Any: true}, {Not: &Predicate{From: 0, To: 100}}}}}}
	for port, want := range map[uint16]bool{9: false, 10: true, 19: true, 20: false, 99: false, 100: true} {
		if p.Match(port) != want {
			t.Errorf("port %d: %v", port, !want)
		}
	}
}
