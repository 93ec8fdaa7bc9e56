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
	s.listening.Lock()
	defer s.listening.Unlock()
	ln, note, err := Loopback(asked, func(a netip.AddrPort) bool { return s.handed[a] })
	if err != nil {
		return nil, nil, err
	}
	defer ln.Close()
	f, err := ln.File()
	if err != nil {
		return nil, nil, err
	}
	got := ln.Addr().(*net.TCPAddr).AddrPort()
	if s.handed == nil {
		s.handed = map[netip.AddrPort]bool{}
	}
	s.handed[got] = true
	if s.Listened != nil {
		s.Listened(Listening{Asked: asked, Got: got, Note: note})
	}
	return &wire.HandAnswer{Address: got.String(), Note: note}, f, nil
}

// Loopback listens at a port of the host's loopback: 127.0.0.1 for "any IPv4"
// and ::1 for "any IPv6". A port that may not be bound, or is taken, is replaced by the
// one wire.HandPortShift higher; note then says so. So it is where only the other
// family's is taken, for one URL should do for both; ours tells whose sockets are ours,
// which do not count.
func Loopback(asked netip.AddrPort, ours func(netip.AddrPort) bool) (ln *net.TCPListener, note string, err error) {
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
	why := ""
	if err == nil {
		if why = elsewhere(a, asked.Port(), ours); why == "" {
			return ln, "", nil
		}
		ln.Close()
	}
	switch {
	case err == nil:
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

// elsewhere says why a port that is free should not be used: it is not, over the other
// family. "": nothing is in the way.
func elsewhere(a netip.Addr, port uint16, ours func(netip.AddrPort) bool) string {
	if port == 0 {
		return ""
	}
	other, family := netip.IPv6Loopback(), "IPv6"
	if a.Is6() {
		other, family = netip.AddrFrom4([4]byte{127, 0, 0, 1}), "IPv4"
	}
	at := netip.AddrPortFrom(other, port)
	if ours(at) {
		return ""
	}
	if shifted := int(port) + wire.HandPortShift; shifted <= 65535 && ours(netip.AddrPortFrom(other, uint16(shifted))) {
		return "over " + family + " it has another number"
	}
	ln, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	if err == nil {
		ln.Close()
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return "it is taken over " + family
	}
	return ""
}
