package dns

import (
	"net"
	"net/netip"
)

// Loopback is a port on both loopback addresses, as far as the machine has them.
func Loopback(port uint16) []string {
	out := []string{netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port).String()}
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil {
		l.Close()
		out = append(out, netip.AddrPortFrom(netip.IPv6Loopback(), port).String())
	}
	return out
}
