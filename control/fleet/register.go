package fleet

import (
	"cmp"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/serve"
)

// groupKey is the entry of the node's metadata that names a WorkloadGroup.
const groupKey = "AUTO_REGISTER_GROUP"

// Registrar makes workloads of proxies that ask for it. It may be called by any
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
	if p.fleet.Registrar == nil || group == "" || len(addresses) == 0 {
		return
	}
	r := model.Registration{
		Namespace: p.proxy.ID.Namespace, Group: group, Address: addresses[0], Network: p.proxy.Meta.Network,
		Labels: p.proxy.Meta.Labels, Locality: p.proxy.Place, Engine: cmp.Or(p.proxy.Meta.Engine, "envoy"),
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
