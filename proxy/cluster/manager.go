package cluster

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/weftmesh/weft/base/stream"
)

// Dialer connects sockets; proxy/transport has it.
type Dialer interface {
	Dial(ctx context.Context, network string, addr netip.AddrPort) (net.Conn, error)
}

// Answer of a Resolver. TTL 0: unknown.
type Answer struct {
	Addrs []netip.Addr
	TTL   time.Duration
}

// Resolver looks a name up. No addresses and no error means that it has none.
type Resolver func(ctx context.Context, name string, f Family) (Answer, error)

// Options of a Manager.
type Options struct {
	// Dialer makes connections for a Spec (source address, keepalive).
	Dialer func(*Spec) Dialer
	// Wrap makes a stream of a connected socket, after TLS; closed must be called when it has gone.
	Wrap     func(nc net.Conn, closed func()) stream.Conn
	Resolver Resolver
	Log      *slog.Logger
}

// Manager holds the clusters.
type Manager struct{}

// NewManager returns a Manager without clusters.
func NewManager(o Options) *Manager { panic("BUG: being built") }

// Run does what takes time until ctx ends: resolves names, sweeps outliers,
// closes what is no longer used. On return all hosts are closed.
func (m *Manager) Run(ctx context.Context) error { panic("BUG: being built") }

// Get returns a cluster, nil: unknown. A cluster that is replaced stays usable
// for those who hold it.
func (m *Manager) Get(name string) *Cluster { panic("BUG: being built") }

// Update adds, replaces and removes clusters; nothing is changed on an error,
// which names cluster and field. A replacement takes over when it is ready;
// until then its predecessor serves.
func (m *Manager) Update(set []*Spec, remove []string) error { panic("BUG: being built") }

// SetEndpoints gives the endpoints of EDS clusters with that service name; nil
// when the control plane says there are none such. They may come before the cluster.
func (m *Manager) SetEndpoints(service string, e *Endpoints) error { panic("BUG: being built") }

// ForgetEndpoints drops what SetEndpoints keeps for clusters to come.
func (m *Manager) ForgetEndpoints(service string) { panic("BUG: being built") }

// WaitReady waits until the newest versions of these clusters have endpoints (or have
// failed to get any). It returns the names of those that have not when ctx ends.
func (m *Manager) WaitReady(ctx context.Context, names ...string) (missing []string) {
	panic("BUG: being built")
}

// Clusters yields all clusters in the order of their names, for admin pages.
func (m *Manager) Clusters(yield func(*Cluster) bool) { panic("BUG: being built") }
