package wire

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Capture ranges: which traffic of programs enters their sidecars.
const (
	CaptureAll = "all"
	// CaptureVIP: only what goes to the addresses that the mesh gives to services. Every
	// service gets one then.
	CaptureVIP = "vip"
)

// VIPRange is where the mesh's own addresses of services are: at most one prefix of a
// family for Services, and for ServiceEntries.
type VIPRange struct{ Services, Entries []netip.Prefix }

// DefaultVIPRange is Kubernetes' usual service network for Services, and Istio's range
// for ServiceEntries.
func DefaultVIPRange() VIPRange {
	return VIPRange{
		Services: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:10:96::/112")},
		Entries:  []netip.Prefix{netip.MustParsePrefix("240.240.0.0/16"), netip.MustParsePrefix("2001:2::/112")},
	}
}

// Lengths of prefixes that addresses can be allocated in.
const (
	widest4, narrowest4 = 8, 24
	widest6, narrowest6 = 32, 120
)

// ParseVIPRange reads one prefix of a family, or one of each with a comma between; ""
// is the default range. All services have their addresses in what it names.
func ParseVIPRange(text string) (VIPRange, error) {
	if text == "" {
		return DefaultVIPRange(), nil
	}
	var out []netip.Prefix
	for part := range strings.SplitSeq(text, ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(part))
		if err != nil {
			return VIPRange{}, fmt.Errorf("range %q: want prefixes like 100.64.0.0/16, comma separated", part)
		}
		widest, narrowest := widest4, narrowest4
		if p.Addr().Is6() {
			widest, narrowest = widest6, narrowest6
		}
		a := p.Addr()
		switch {
		case p != p.Masked():
			return VIPRange{}, fmt.Errorf("range %s: bits of the host are set; did you mean %s?", p, p.Masked())
		case p.Bits() < widest || p.Bits() > narrowest:
			return VIPRange{}, fmt.Errorf("range %s: want a length from /%d to /%d", p, widest, narrowest)
		case a.IsLoopback() || a.IsMulticast() || a.IsUnspecified() || a.IsLinkLocalUnicast() || a.Is4In6():
			return VIPRange{}, fmt.Errorf("range %s: no service can have addresses there", p)
		case slices.ContainsFunc(out, func(o netip.Prefix) bool { return o.Addr().Is4() == a.Is4() }):
			return VIPRange{}, fmt.Errorf("range %s: there is one of that family already", p)
		}
		out = append(out, p)
	}
	return VIPRange{Services: out, Entries: out}, nil
}

// Prefixes are those of the range, each once.
func (r VIPRange) Prefixes() []netip.Prefix {
	out := slices.Clone(r.Services)
	for _, p := range r.Entries {
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// String is what ParseVIPRange reads; "" for the default range.
func (r VIPRange) String() string {
	if d := DefaultVIPRange(); slices.Equal(r.Services, d.Services) && slices.Equal(r.Entries, d.Entries) {
		return ""
	}
	var parts []string
	for _, p := range r.Prefixes() {
		parts = append(parts, p.String())
	}
	return strings.Join(parts, ",")
}
