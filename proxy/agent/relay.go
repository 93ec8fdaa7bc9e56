package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/weftmesh/weft/proxy/dns"
	"github.com/weftmesh/weft/proxy/listener"
	"github.com/weftmesh/weft/proxy/transport"
)

// relay carries what the engine sends to addresses outside the mesh's network:
// it was redirected here, and goes on over a socket made outside.
func (a *agent) relay(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, addr := range dns.Loopback(a.Ports.Relay) {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", addr)
		if err != nil {
			return fmt.Errorf("relay: %w", err)
		}
		g.Go(func() error {
			<-ctx.Done()
			return l.Close()
		})
		g.Go(func() error {
			var conns sync.WaitGroup
			defer conns.Wait()
			for {
				c, err := l.Accept()
				if errors.Is(err, net.ErrClosed) {
					return nil
				}
				if err != nil {
					a.Log.Warn("relay", "error", err)
					continue
				}
				conns.Go(func() { a.carry(ctx, c) })
			}
		})
	}
	return g.Wait()
}

// carry takes one connection to where it was going before it was redirected.
func (a *agent) carry(ctx context.Context, in net.Conn) {
	to, ok := listener.RedirectedTo(in)
	if !ok {
		reset(in)
		return
	}
	a.carryTo(ctx, in, to)
}

// reset closes a connection in a way that the engine knows how to count.
func reset(in net.Conn) {
	if tcp, ok := in.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	in.Close()
}

// carryTo joins one connection with the one outside. A failure outside shows
// inside as a reset.
func (a *agent) carryTo(ctx context.Context, in net.Conn, to netip.AddrPort) {
	out, err := a.dialer().Dial(ctx, transport.Target{Addr: to})
	if err != nil {
		a.Log.Debug("relay", "to", to, "error", err)
		reset(in)
		return
	}
	defer in.Close()
	defer out.Close()
	stop := context.AfterFunc(ctx, func() {
		in.Close()
		out.Close()
	})
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { pipe(out, in) })
	pipe(in, out)
	wg.Wait()
}

// pipe copies one direction and passes the half close on.
func pipe(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if c, ok := to.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
}
