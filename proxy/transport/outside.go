package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/weftmesh/weft/wire"
)

// Outside dials through the supervisor in the host's network namespace (see
// wire.HandClient).
type Outside struct{ Client wire.HandClient }

// Dial implements Dialer. Source addresses belong to the namespace inside and
// are not used; unix sockets cannot be dialled outside.
func (o Outside) Dial(ctx context.Context, t Target) (net.Conn, error) {
	if t.Path != "" {
		return nil, fmt.Errorf("dial %s outside: a unix socket is dialled inside only", t.Path)
	}
	nc, err := o.Client.Dial(ctx, "tcp", t.Addr)
	if err != nil {
		return nil, err
	}
	if tc, ok := nc.(*net.TCPConn); ok && t.KeepAlive.Enable {
		_ = tc.SetKeepAliveConfig(net.KeepAliveConfig{
			Enable: true, Idle: t.KeepAlive.Idle, Interval: t.KeepAlive.Interval, Count: t.KeepAlive.Probes,
		})
	}
	return nc, nil
}

// outsideUDPBound is how long the supervisor may take to hand over a UDP socket: who
// asks moves other datagrams too.
const outsideUDPBound = time.Second

// DialUDP implements PacketDialer.
func (o Outside) DialUDP(ctx context.Context, t Target) (*net.UDPConn, error) {
	ctx, cancel := context.WithTimeout(ctx, outsideUDPBound)
	defer cancel()
	nc, err := o.Client.Dial(ctx, "udp", t.Addr)
	if err != nil {
		return nil, err
	}
	uc, ok := nc.(*net.UDPConn)
	if !ok {
		_ = nc.Close()
		return nil, fmt.Errorf("dial %s outside: got a %T", t, nc)
	}
	return uc, nil
}

// Split dials addresses of the mesh Inside and all others Outside.
type Split struct {
	Inside, Outside Dialer
	// Mesh lists the networks that are reached from inside. Loopback,
	// unspecified and link-local addresses and unix sockets always are.
	Mesh []netip.Prefix
}

// Dial implements Dialer.
func (s Split) Dial(ctx context.Context, t Target) (net.Conn, error) {
	if s.IsInside(t) {
		return s.Inside.Dial(ctx, t)
	}
	return s.Outside.Dial(ctx, t)
}

// DialUDP implements PacketDialer.
func (s Split) DialUDP(ctx context.Context, t Target) (*net.UDPConn, error) {
	d := s.Outside
	if s.IsInside(t) {
		d = s.Inside
	}
	if p, ok := d.(PacketDialer); ok {
		return p.DialUDP(ctx, t)
	}
	return nil, errors.ErrUnsupported
}

// IsInside tells whether t is reached without help.
func (s Split) IsInside(t Target) bool {
	if t.Path != "" {
		return true
	}
	a := t.Addr.Addr().Unmap()
	if a.IsLoopback() || a.IsUnspecified() || a.IsLinkLocalUnicast() {
		return true
	}
	for _, p := range s.Mesh {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
