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
	// Probe is how the agent is to ask the program, in JSON as ProxyConfig.readinessProbe has
	// it.
	Probe []byte
}

// Health says of a WorkloadEntry of the same namespace and name, which somebody wrote,
// that its program is well. There is none of one that is not.
type Health struct{ Meta }

// Registration is a proxy that asks to be a workload of a group, or says which
// WorkloadEntry that somebody wrote it belongs to.
type Registration struct {
	Namespace, Group string
	// Entry is that WorkloadEntry's name; "": it is one of the group.
	Entry string
	// ServiceAccount that the proxy says it has; "": it says nothing.
	ServiceAccount string
	Address        netip.Addr
	Network        string
	Labels         map[string]string
	Locality       Locality
	Engine         string
}

// Key is that of the workload that it becomes, Istio's "GROUP-ADDRESS" or
// "GROUP-ADDRESS-NETWORK", or that of the WorkloadEntry.
func (r *Registration) Key() Key {
	if r.Entry != "" {
		return Key{Kind: KindWorkloadEntry, Namespace: r.Namespace, Name: r.Entry}
	}
	name := r.Group + "-" + strings.ReplaceAll(r.Address.String(), ":", "-")
	if r.Network != "" {
		name += "-" + r.Network
	}
	if len(name) > 253 {
		name = name[len(name)-253:]
	}
	return Key{Kind: KindWorkloadEntry, Namespace: r.Namespace, Name: name}
}
