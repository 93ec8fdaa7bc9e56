package transport

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// KeepAlive is TCP keepalive. The zero value leaves it off.
type KeepAlive struct {
	Enable   bool
	Idle     time.Duration // before the first probe; 0: the system's
	Interval time.Duration // between probes; 0: the system's
	Probes   int           // 0: the system's
}

// Target is what to dial and how.
type Target struct {
	// Addr is dialled over TCP, unless Path is set.
	Addr netip.AddrPort
	// Path of a unix stream socket.
	Path string
	// Source, when valid, is the local address (upstream_bind_config). When it
	// is of the other family than Addr, Source6 or nothing is used.
	Source, Source6 netip.Addr
	// Transparent: Source need not be an address of this machine (IP_TRANSPARENT,
	// which needs CAP_NET_ADMIN).
	Transparent bool
	// Freebind: nor need it exist at all (IP_FREEBIND).
	Freebind bool
	// Mark replaces the Dialer's SO_MARK; 0: it does not.
	Mark      int
	KeepAlive KeepAlive
}

// String is the address or path.
func (t Target) String() string {
	if t.Path != "" {
		return t.Path
	}
	return t.Addr.String()
}

// Dialer makes connections to upstream hosts. Dial returns a connected
// *net.TCPConn or *net.UnixConn, except in tests.
type Dialer interface {
	Dial(ctx context.Context, t Target) (net.Conn, error)
}

// PacketDialer is a Dialer that makes connected UDP sockets too, at once.
type PacketDialer interface {
	DialUDP(ctx context.Context, t Target) (*net.UDPConn, error)
}

// Direct dials from the network namespace that the process is in.
type Direct struct {
	// Mark is SO_MARK of every socket; 0: none. A mesh marks what its proxies
	// send so that it is not captured again.
	Mark int
}

// Dial implements Dialer.
func (d Direct) Dial(ctx context.Context, t Target) (net.Conn, error) {
	nd := net.Dialer{KeepAlive: -1, FallbackDelay: -1}
	if t.KeepAlive.Enable {
		nd.KeepAliveConfig = net.KeepAliveConfig{
			Enable: true, Idle: t.KeepAlive.Idle, Interval: t.KeepAlive.Interval, Count: t.KeepAlive.Probes,
		}
	}
	if t.Path != "" {
		return nd.DialContext(ctx, "unix", t.Path)
	}
	source := t.source()
	if source.IsValid() {
		nd.LocalAddr = &net.TCPAddr{IP: source.AsSlice(), Zone: source.Zone()}
	}
	nd.Control = func(_, _ string, c syscall.RawConn) error { return d.control(c, source, &t) }
	nc, err := nd.DialContext(ctx, "tcp", t.Addr.String())
	if err != nil {
		return nil, err
	}
	return nc, nil
}

// DialUDP implements PacketDialer.
func (d Direct) DialUDP(ctx context.Context, t Target) (*net.UDPConn, error) {
	source := t.source()
	nd := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error { return d.control(c, source, &t) }}
	if source.IsValid() {
		nd.LocalAddr = &net.UDPAddr{IP: source.AsSlice(), Zone: source.Zone()}
	}
	nc, err := nd.DialContext(ctx, "udp", t.Addr.String())
	if err != nil {
		return nil, err
	}
	return nc.(*net.UDPConn), nil
}

// control sets what must be set before bind and connect.
func (d Direct) control(c syscall.RawConn, source netip.Addr, t *Target) error {
	var serr error
	err := c.Control(func(fd uintptr) {
		if mark := cmp.Or(t.Mark, d.Mark); mark != 0 {
			if serr = setMark(int(fd), mark); serr != nil {
				serr = fmt.Errorf("SO_MARK %d (needs CAP_NET_ADMIN): %w", mark, serr)
				return
			}
		}
		if source.IsValid() {
			bindWithoutPort(int(fd))
		}
		if t.Freebind && source.IsValid() {
			if serr = setFreebind(int(fd), source.Is6()); serr != nil {
				serr = fmt.Errorf("IP_FREEBIND: %w", serr)
				return
			}
		}
		if t.Transparent && source.IsValid() {
			if serr = setTransparent(int(fd), source.Is6()); serr != nil {
				serr = fmt.Errorf("IP_TRANSPARENT (needs CAP_NET_ADMIN): %w", serr)
			}
		}
	})
	if err != nil {
		return err
	}
	return serr
}

// source is the local address that fits the family of Addr.
func (t Target) source() netip.Addr {
	for _, s := range [...]netip.Addr{t.Source, t.Source6} {
		if s.IsValid() && s.Is4() == t.Addr.Addr().Unmap().Is4() {
			return s
		}
	}
	return netip.Addr{}
}
