// Package relay carries connections out of a network namespace that has no way out: they
// were redirected to a port on loopback, and go on over sockets made outside.
//
// It joins bytes and half closes, shows a failure outside as a reset inside, and ends
// with its context. It looks at nothing that it carries, counts nothing and holds to no
// policy: what comes here has gone past the data plane, or has left it.
package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/weftmesh/weft/proxy/listener"
	"github.com/weftmesh/weft/proxy/transport"
)

// Server is a relay. Its fields are not changed once it is open.
type Server struct {
	// Addresses are where connections are redirected to.
	Addresses []string
	// Listen makes its sockets; nil: net.ListenConfig does.
	Listen func(ctx context.Context, network, address string) (net.Listener, error)
	// Dialer makes the connections outside.
	Dialer transport.Dialer
	Log    *slog.Logger

	open    []net.Listener
	busy    atomic.Int64
	carried sync.WaitGroup
}

// Open makes the sockets. Connections wait in them until Run.
func (s *Server) Open(ctx context.Context) error {
	listen := s.Listen
	if listen == nil {
		listen = new(net.ListenConfig).Listen
	}
	for _, addr := range s.Addresses {
		l, err := listen(ctx, "tcp", addr)
		if err != nil {
			s.close()
			return fmt.Errorf("relay: %w", err)
		}
		s.open = append(s.open, l)
	}
	return nil
}

func (s *Server) close() {
	for _, l := range s.open {
		l.Close()
	}
}

// Run carries until ctx ends, and returns when nothing is carried any more.
func (s *Server) Run(ctx context.Context) error {
	err := s.Accept(ctx, ctx)
	s.Wait()
	return err
}

// Accept takes connections until ctx ends; those that it has taken go on until life does.
func (s *Server) Accept(ctx, life context.Context) error {
	stop := context.AfterFunc(ctx, s.close)
	defer stop()
	var loops sync.WaitGroup
	for _, l := range s.open {
		loops.Go(func() {
			for {
				c, err := l.Accept()
				if errors.Is(err, net.ErrClosed) {
					return
				}
				if err != nil {
					s.Log.Warn("relay", "error", err)
					continue
				}
				s.busy.Add(1)
				s.carried.Go(func() {
					defer s.busy.Add(-1)
					s.carry(life, c)
				})
			}
		})
	}
	loops.Wait()
	return nil
}

// Busy is how many connections are carried.
func (s *Server) Busy() int64 { return s.busy.Load() }

// Wait waits, after Accept, until nothing is carried any more.
func (s *Server) Wait() { s.carried.Wait() }

// carry takes one connection to where it was going before it was redirected.
func (s *Server) carry(ctx context.Context, in net.Conn) {
	to, ok := listener.RedirectedTo(in)
	if !ok {
		reset(in)
		return
	}
	s.carryTo(ctx, in, to)
}

// reset closes a connection in a way that cannot be taken for an orderly end.
func reset(in net.Conn) {
	if tcp, ok := in.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	in.Close()
}

// carryTo joins one connection with the one outside. A failure outside shows
// inside as a reset.
func (s *Server) carryTo(ctx context.Context, in net.Conn, to netip.AddrPort) {
	out, err := s.Dialer.Dial(ctx, transport.Target{Addr: to})
	if err != nil {
		s.Log.Debug("relay", "to", to, "error", err)
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
