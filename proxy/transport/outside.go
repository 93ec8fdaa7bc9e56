package transport

import (
	"context"
	"fmt"
	"net"
	"net/netip"

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
