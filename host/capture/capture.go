// Package capture redirects a workload's traffic to its sidecar with nftables:
// outbound TCP, inbound TCP and DNS of both address families.
//
// Install acts on the network namespace of the calling thread. The rules are
// Istio's, with one difference: the sidecar's own traffic is told apart by its
// mark instead of its user, for without root there is only one user. The rules
// vanish with the namespace. No program (nft, iptables) is needed.
package capture

import "net/netip"

// Config says what is captured in one workload's namespace.
type Config struct {
	// Inbound: TCP from other workloads goes to the sidecar; Outbound: TCP of
	// the program. Both false for a gateway.
	Inbound  bool `json:"inbound,omitempty"`
	Outbound bool `json:"outbound,omitempty"`
	// OutboundNets, when set, are the only networks for which Outbound holds.
	OutboundNets []netip.Prefix `json:"outboundNets,omitempty"`
	// DNS: port 53 goes to the mesh's resolver on loopback.
	DNS bool `json:"dns,omitempty"`
	// Relay: what the sidecar sends to addresses outside Mesh goes to the relay
	// on loopback, for a sidecar that cannot be handed sockets.
	Relay bool `json:"relay,omitempty"`
	// RelayAll: so does everything else that leaves the mesh (no sidecar, or one that
	// gets OutboundNets only).
	RelayAll bool `json:"relayAll,omitempty"`
	// Mesh are the addresses of workloads and, for RelayAll, of services.
	Mesh []netip.Prefix `json:"mesh,omitempty"`

	// Loopback are ports on which the program listens on loopback only: what the
	// sidecar sends to them at the workload's Own addresses goes there.
	Loopback []uint16     `json:"loopback,omitempty"`
	Own      []netip.Addr `json:"own,omitempty"`
	// Virtual are addresses of services that no sidecar serves here.
	Virtual []Virtual `json:"virtual,omitempty"`

	// What capture leaves alone.
	SkipInbound      []uint16       `json:"skipInbound,omitempty"`
	SkipOutbound     []uint16       `json:"skipOutbound,omitempty"`
	SkipOutboundNets []netip.Prefix `json:"skipOutboundNets,omitempty"`
}

// Virtual is one port of a service's own address. New connections go to one of
// the targets by chance.
type Virtual struct {
	Proto   string           `json:"proto"` // tcp or udp
	Address netip.AddrPort   `json:"address"`
	Targets []netip.AddrPort `json:"targets"`
}
