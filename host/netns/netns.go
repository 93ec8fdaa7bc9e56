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

import "net/netip"

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
		V4:   netip.MustParsePrefix("10.244.0.0/16"),
		V6:   netip.MustParsePrefix("fd00:10:244::/64"),
		Hub4: netip.MustParseAddr("10.244.0.1"),
		Hub6: netip.MustParseAddr("fd00:10:244::1"),
		Services: []netip.Prefix{
			netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:10:96::/112"),
			netip.MustParsePrefix("240.240.0.0/16"), netip.MustParsePrefix("2001:2::/48"),
		},
	}
}

// InboundSource are the addresses that a sidecar uses towards its own program,
// which capture leaves alone (Istio's).
func InboundSource() (v4, v6 netip.Addr) {
	return netip.AddrFrom4([4]byte{127, 0, 0, 6}), netip.AddrFrom16([16]byte{15: 6})
}
