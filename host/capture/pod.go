package capture

import "net/netip"

// Pod says what is captured in a pod, whose proxy is told apart by its user or group:
// what Istio's init container is told by its arguments.
type Pod struct {
	// Outbound and Inbound are the proxy's ports.
	Outbound, Inbound uint16
	// DNS is the port of the proxy's resolver, to which port 53 is led; 0: it is not.
	DNS uint16
	// UIDs and GIDs are the proxy's: what they send is left alone.
	UIDs, GIDs []uint32

	// AllInbound captures all ports but SkipInbound, else InboundPorts are captured.
	AllInbound                bool
	InboundPorts, SkipInbound []uint16
	// AllOutbound captures what goes to all networks but SkipOutboundNets, else to
	// OutboundNets; in either case OutboundPorts, and not SkipOutbound, wherever to.
	AllOutbound                    bool
	OutboundNets, SkipOutboundNets []netip.Prefix
	OutboundPorts, SkipOutbound    []uint16
	// SkipInterfaces are left alone. What comes from Reroute, interfaces of virtual
	// machines in the pod, is outbound.
	SkipInterfaces, Reroute []string
}
