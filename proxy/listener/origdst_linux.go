package listener

import (
	"encoding/binary"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// soOriginalDst is SO_ORIGINAL_DST and IP6T_SO_ORIGINAL_DST.
const soOriginalDst = 80

// originalDst asks the kernel's connection tracking where a redirected
// connection wanted to go. ok is false for one that was not redirected.
func originalDst(nc net.Conn, local netip.AddrPort) (dst netip.AddrPort, ok bool) {
	sc, isConn := nc.(syscall.Conn)
	if !isConn || !local.IsValid() {
		return dst, false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return dst, false
	}
	err = raw.Control(func(fd uintptr) {
		if local.Addr().Is4() {
			dst, ok = original4(int(fd))
		} else {
			dst, ok = original6(int(fd))
		}
	})
	return dst, ok && err == nil
}

// original4 reads a sockaddr_in through a type of the same size or larger.
func original4(fd int) (netip.AddrPort, bool) {
	m, err := unix.GetsockoptIPv6Mreq(fd, unix.SOL_IP, soOriginalDst)
	if err != nil {
		return netip.AddrPort{}, false
	}
	b := m.Multiaddr // family 2, port 2, address 4
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:])), true
}

func original6(fd int) (netip.AddrPort, bool) {
	m, err := unix.GetsockoptIPv6MTUInfo(fd, unix.SOL_IPV6, soOriginalDst)
	if err != nil {
		return netip.AddrPort{}, false
	}
	var port [2]byte
	binary.NativeEndian.PutUint16(port[:], m.Addr.Port)
	return netip.AddrPortFrom(netip.AddrFrom16(m.Addr.Addr), binary.BigEndian.Uint16(port[:])), true
}

// socketOptions sets what must be set before bind.
func socketOptions(fd int, l *Listener, v6 bool) error {
	level, transparent, freebind := unix.SOL_IP, unix.IP_TRANSPARENT, unix.IP_FREEBIND
	if v6 {
		level, transparent, freebind = unix.SOL_IPV6, unix.IPV6_TRANSPARENT, unix.IPV6_FREEBIND
	}
	if l.Transparent {
		if err := unix.SetsockoptInt(fd, level, transparent, 1); err != nil {
			return err
		}
	}
	if l.Freebind {
		return unix.SetsockoptInt(fd, level, freebind, 1)
	}
	return nil
}

// hungUp tells whether the peer of a socket has closed or reset it; half: it is
// enough that it has said that it will send no more.
func hungUp(nc net.Conn, half bool) (yes bool) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		if _, err := unix.Poll(p, 0); err == nil {
			yes = p[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0 || half && p[0].Revents&unix.POLLRDHUP != 0
		}
	})
	return yes || err != nil
}
