package host

import (
	"context"
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
	return p.hub.Dial(ctx, hub.Socket{Network: p.network, Proto: network, To: to, Program: true})
}

// instance is a program in the hub.
type instance struct{ *hub.Process }

// Exit implements process.Instance.
func (i instance) Exit() process.Exit {
	e := i.Process.Exit()
	return process.Exit{Code: e.Code, Signal: syscall.Signal(e.Signal)}
}
