package handsocket

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"github.com/weftmesh/weft/wire"
)

// listen opens a listening socket on the host's loopback.
func (s *Server) listen(req wire.HandRequest) (*wire.HandAnswer, *os.File, error) {
	if req.Network != "tcp" {
		return nil, nil, fmt.Errorf("listen over %s: only tcp sockets are handed out", req.Network)
	}
	asked, err := netip.ParseAddrPort(req.Address)
	if err != nil {
		return nil, nil, err
	}
	ln, note, err := Loopback(asked)
	if err != nil {
		return nil, nil, err
	}
	defer ln.Close()
	f, err := ln.File()
	if err != nil {
		return nil, nil, err
	}
	got := ln.Addr().(*net.TCPAddr).AddrPort()
	if s.Listened != nil {
		s.Listened(Listening{Asked: asked, Got: got, Note: note})
	}
	return &wire.HandAnswer{Address: got.String(), Note: note}, f, nil
}

// Loopback listens at a port of the host's loopback: 127.0.0.1 for "any IPv4"
// and ::1 for "any IPv6". A port that may not be bound, or is taken, is replaced
// by the one wire.HandPortShift higher; note then says so.
func Loopback(asked netip.AddrPort) (ln *net.TCPListener, note string, err error) {
	a := asked.Addr().Unmap()
	switch {
	case a == netip.IPv4Unspecified():
		a = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case a == netip.IPv6Unspecified():
		a = netip.IPv6Loopback()
	case !a.IsLoopback():
		return nil, "", fmt.Errorf("listen at %s: sockets of the host are handed out for its loopback only (127.0.0.1, [::1])", asked)
	}
	open := func(port uint16) (*net.TCPListener, error) {
		return net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, port)))
	}
	ln, err = open(asked.Port())
	if err == nil {
		return ln, "", nil
	}
	why := ""
	switch {
	case errors.Is(err, syscall.EACCES):
		why = "an ordinary user may not listen there"
	case errors.Is(err, syscall.EADDRINUSE):
		why = "it is taken"
	default:
		return nil, "", err
	}
	other := int(asked.Port()) + wire.HandPortShift
	if other > 65535 {
		return nil, "", fmt.Errorf("port %d of the host: %s", asked.Port(), why)
	}
	ln, err2 := open(uint16(other))
	if err2 != nil {
		return nil, "", fmt.Errorf("port %d of the host: %s; port %d: %w", asked.Port(), why, other, err2)
	}
	return ln, fmt.Sprintf("port %d of the host: %s, so it is port %d", asked.Port(), why, other), nil
}
