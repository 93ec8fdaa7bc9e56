package host

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"

	"github.com/weftmesh/weft/host/hub"
	"github.com/weftmesh/weft/host/process"
)

// placed starts programs in a workload's namespaces.
type placed struct {
	hub     *hub.Hub
	network string
	// loopback is told of a port that only answers on the workload's loopback.
	loopback func(port uint16)
}

// Start implements process.Starter.
func (p placed) Start(ctx context.Context, c process.Command) (process.Instance, error) {
	in, err := p.hub.Exec(ctx, hub.Exec{
		Network: p.network, Argv: c.Argv, AddEnv: c.Env, Dir: c.Dir, Sidecar: c.Sidecar, Stdout: c.Stdout, Stderr: c.Stderr,
	})
	if err != nil {
		return nil, err
	}
	return instance{in}, nil
}

// Dial implements process.Starter.
func (p placed) Dial(ctx context.Context, network string, to netip.AddrPort) (net.Conn, error) {
	nc, err := p.hub.Dial(ctx, hub.Socket{Network: p.network, Proto: network, To: to, Program: true})
	if err == nil || !errors.Is(err, syscall.ECONNREFUSED) || to.Addr().IsLoopback() {
		return nc, err
	}
	// Programs on laptops often listen on localhost only.
	inside, err2 := p.hub.Dial(ctx, hub.Socket{Network: p.network, Proto: network, To: loopback4(to.Port()), Program: true})
	if err2 != nil {
		return nil, err
	}
	// The program may have begun to listen between the two.
	if nc, again := p.hub.Dial(ctx, hub.Socket{Network: p.network, Proto: network, To: to, Program: true}); again == nil {
		inside.Close()
		return nc, nil
	}
	p.loopback(to.Port())
	return inside, nil
}

// instance is a program in the hub.
type instance struct{ *hub.Process }

// Exit implements process.Instance.
func (i instance) Exit() process.Exit {
	e := i.Process.Exit()
	return process.Exit{Code: e.Code, Signal: syscall.Signal(e.Signal)}
}
