package model

import (
	"net/netip"
	"strings"
)

// WorkloadGroup is what the workloads have in common that register themselves.
type WorkloadGroup struct {
	Meta
	// Template has what every one of them is; no name, and no address.
	Template Workload
	// Probed: a workload takes traffic once its agent has said that the program is well.
	Probed bool
}

// Registration is a proxy that asks to be a workload of a group.
type Registration struct {
	Namespace, Group string
	Address          netip.Addr
	Network          string
	Labels           map[string]string
	Locality         Locality
	Engine           string
}

// Key is that of the workload that it becomes, Istio's "GROUP-ADDRESS" or
// "GROUP-ADDRESS-NETWORK".
func (r *Registration) Key() Key {
	name := r.Group + "-" + strings.ReplaceAll(r.Address.String(), ":", "-")
	if r.Network != "" {
		name += "-" + r.Network
	}
	if len(name) > 253 {
		name = name[len(name)-253:]
	}
	return Key{Kind: KindWorkloadEntry, Namespace: r.Namespace, Name: name}
}
