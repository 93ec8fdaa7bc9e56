package listener

import (
	"net"
	"net/netip"
)

// RedirectedTo returns where a redirected connection was going, from the kernel's
// connection tracking; false when it was not redirected, or not on Linux.
func RedirectedTo(nc net.Conn) (netip.AddrPort, bool) {
	tcp, ok := nc.LocalAddr().(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	return originalDst(nc, tcp.AddrPort())
}
