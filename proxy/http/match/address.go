package match

import (
	"net/netip"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/base/strict"
)

// addressRange is a range of addresses, of Envoy's API or of xDS's own.
type addressRange interface {
	GetAddressPrefix() string
	GetPrefixLen() *wrapperspb.UInt32Value
}

// Prefixes reads ranges of addresses. IPv4 addresses in the form of IPv6 become what they are.
func Prefixes[R addressRange](list []R) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for i, m := range list {
		p, err := Prefix(m)
		if err != nil {
			return nil, strict.At(err, "[%d]", i)
		}
		out = append(out, p)
	}
	return out, nil
}

// Prefix reads one range of addresses.
func Prefix(m addressRange) (netip.Prefix, error) {
	a, err := netip.ParseAddr(m.GetAddressPrefix())
	if err != nil {
		return netip.Prefix{}, strict.At(err, "address_prefix")
	}
	bits := int(m.GetPrefixLen().GetValue())
	if a.Is4In6() && bits >= 96 {
		a, bits = a.Unmap(), bits-96
	}
	p, err := a.Prefix(bits)
	return p, strict.At(err, "prefix_len")
}
