//go:build !linux

package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"syscall"

	"github.com/weftmesh/weft/host/capture"
	"github.com/weftmesh/weft/host/netns"
)

// Main is never called where there are no namespaces.
func Main() int {
	fmt.Fprintln(os.Stderr, "weft hub: no namespaces on", runtime.GOOS)
	return 1
}

// Options says how to start a hub.
type Options struct {
	Executable    string
	Layout        netns.Layout
	Log           *slog.Logger
	Env           []string
	UserNamespace bool
}

// Hub cannot be had on this system.
type Hub struct{}

// Process cannot be had on this system.
type Process struct{}

// Start refuses.
func Start(context.Context, Options) (*Hub, error) {
	return nil, fmt.Errorf("%w: %s has none: capture mode proxy works", ErrNoNamespaces, runtime.GOOS)
}

var errNone = errors.New("BUG: hub: used where there is none")

// Info tells nothing.
func (*Hub) Info() Info { return Info{} }

// PID is 0.
func (*Hub) PID() int { return 0 }

// Done never closes.
func (*Hub) Done() <-chan struct{} { return nil }

// Close does nothing.
func (*Hub) Close() {}

// AddNetwork refuses.
func (*Hub) AddNetwork(context.Context, Network) error { return errNone }

// SetCapture refuses.
func (*Hub) SetCapture(context.Context, string, capture.Config) error { return errNone }

// RemoveNetwork refuses.
func (*Hub) RemoveNetwork(context.Context, string) error { return errNone }

// Exec refuses.
func (*Hub) Exec(context.Context, Exec) (*Process, error) { return nil, errNone }

// Dial refuses.
func (*Hub) Dial(context.Context, Socket) (net.Conn, error) { return nil, errNone }

// PID is 0.
func (*Process) PID() int { return 0 }

// Done never closes.
func (*Process) Done() <-chan struct{} { return nil }

// Exit tells nothing.
func (*Process) Exit() Exit { return Exit{} }

// Signal refuses.
func (*Process) Signal(context.Context, syscall.Signal, bool) error { return errNone }
