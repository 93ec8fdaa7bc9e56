package fleet

import (
	"cmp"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/serve"
)

// The entries of the node's metadata that name a WorkloadGroup, or a WorkloadEntry.
const (
	groupKey = "AUTO_REGISTER_GROUP"
	entryKey = "WORKLOAD_ENTRY"
)

// Registrar makes workloads of proxies that ask for it, and hears of the health of those
// that somebody wrote. It may be called by any
// goroutine and must not block.
type Registrar interface {
	Connected(model.Registration)
	Disconnected(model.Key)
	// Health is what the agent says of the program; an empty failure: it is well.
	Health(k model.Key, failure string)
}

// register registers the session's proxy, if it asks for it.
func (p *session) register() {
	group, addresses := p.proxy.Raw[groupKey], p.proxy.Addresses()
	r := model.Registration{
		Namespace: p.proxy.ID.Namespace, Group: group, Network: p.proxy.Meta.Network, ServiceAccount: p.proxy.Meta.ServiceAccount,
		Labels: p.proxy.Meta.Labels, Locality: p.proxy.Place, Engine: cmp.Or(p.proxy.Meta.Engine, "envoy"),
	}
	switch {
	case p.fleet.Registrar == nil:
		return
	case group != "" && len(addresses) > 0: // Istio's agents may name both: the group counts
		r.Address = addresses[0]
	case group == "" && p.proxy.Raw[entryKey] != "":
		r.Entry = p.proxy.Raw[entryKey]
	default:
		return
	}
	p.registered = r.Key()
	p.fleet.Registrar.Connected(r)
}

// unregister is the end of it.
func (p *session) unregister() {
	if p.registered != (model.Key{}) {
		p.fleet.Registrar.Disconnected(p.registered)
	}
}

// Health implements serve.Patient.
func (p *session) Health(failure string) {
	if p.registered != (model.Key{}) {
		p.fleet.Registrar.Health(p.registered, failure)
	}
}

var _ serve.Patient = (*session)(nil)
