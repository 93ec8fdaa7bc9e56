package snapshot

import (
	"slices"

	"github.com/weftmesh/weft/control/model"
)

// declared are the protocols of messages that ports may speak, by name.
type declared struct {
	list   []*model.AppProtocol
	byName map[string]*model.AppProtocol
}

// declare takes in the protocols that are declared now, the older of two with one name; true: they are others than before, so
// that ports may speak something else.
func (m *merger) declare(s, last *model.Snapshot, whole bool) bool {
	if last == nil {
		last = &model.Snapshot{}
	}
	s.Protocols = slice(m, whole, last.Protocols, model.KindApplicationProtocol)
	if m.declared != nil && slices.Equal(m.declared.list, s.Protocols) {
		return false
	}
	d := &declared{list: s.Protocols, byName: map[string]*model.AppProtocol{}}
	for _, p := range d.list {
		if d.byName[p.Protocol] == nil {
			d.byName[p.Protocol] = p
		}
	}
	m.declared = d
	return true
}

// speaks tells whether a port of a service has a protocol that is declared.
func (d *declared) speaks(s *model.Service) bool {
	return slices.ContainsFunc(s.Ports, func(p model.ServicePort) bool { return p.App != "" && d.byName[p.App] != nil })
}

// resolve gives the ports of a service, which is a copy, the protocols that are declared.
func (d *declared) resolve(s *model.Service) {
	s.Ports = slices.Clone(s.Ports)
	for i := range s.Ports {
		p := &s.Ports[i]
		a := d.byName[p.App]
		if p.App == "" || a == nil {
			continue
		}
		p.Protocol = model.MessagesOf(p.App)
		s.Hash ^= a.Hash + uint64(i) //nolint:gosec // small
	}
}
