// Package netns lays out the mesh's network inside namespaces: a bridge in the
// hub's namespace, and one veth pair with an address of either family for each
// workload.
//
// Functions act on the network namespace of the calling thread, so callers lock
// the goroutine to it. Nothing is ever undone explicitly: devices, addresses and
// routes vanish with their namespaces. The package knows no processes and no
// capture rules. It works on Linux only, as root or as the owner of the
// namespace's user namespace, and needs no programs.
package netns

import (
	"fmt"
	"net/netip"

	"github.com/weftmesh/weft/wire"
)

// Layout is the address plan of one machine's mesh.
type Layout struct {
	V4, V6   netip.Prefix // of the workloads
	Hub4     netip.Addr   // the bridge's own addresses
	Hub6     netip.Addr
	Services []netip.Prefix // virtual addresses: no host has them
}

// DefaultLayout is the address plan of `weft up`.
func DefaultLayout() Layout {
	return Layout{
		V4:       netip.MustParsePrefix("10.244.0.0/16"),
		V6:       netip.MustParsePrefix("fd00:10:244::/64"),
		Hub4:     netip.MustParseAddr("10.244.0.1"),
		Hub6:     netip.MustParseAddr("fd00:10:244::1"),
		Services: wire.DefaultVIPRange().Prefixes(),
	}
}

// Check tells whether the networks can be told from each other.
func (l Layout) Check() error {
	for i, p := range l.Services {
		for _, o := range append([]netip.Prefix{l.V4, l.V6}, l.Services[:i]...) {
			if p.Overlaps(o) {
				return fmt.Errorf("the services' addresses %s overlap with %s, which is in use: choose another range", p, o)
			}
		}
	}
	return nil
}

// InboundSource are the addresses that a sidecar uses towards its own program,
// which capture leaves alone (Istio's).
func InboundSource() (v4, v6 netip.Addr) {
	return netip.AddrFrom4([4]byte{127, 0, 0, 6}), netip.AddrFrom16([16]byte{15: 6})
}
