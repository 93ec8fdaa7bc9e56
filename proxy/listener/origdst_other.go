//go:build !linux

package listener

import (
	"errors"
	"net"
	"net/netip"
)

// originalDst is not known here: nothing redirects connections.
func originalDst(net.Conn, netip.AddrPort) (netip.AddrPort, bool) { return netip.AddrPort{}, false }

func socketOptions(_ int, l *Listener, _ bool) error {
	if l.Transparent || l.Freebind {
		return errors.ErrUnsupported
	}
	return nil
}

// hungUp is not known here.
func hungUp(net.Conn, bool) bool { return false }
