package scope

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/control/model"
)

// residents are a registry's instances of a service, joined with the workloads that are at their addresses: what registers itself
// and runs in the mesh has the identity, the labels and the sidecar that it has there. What the registry says of it counts more.
func (x *Index) residents(s *model.Service) []model.Instance {
	type key struct{ s *model.Service }
	return x.Memo(key{s}, func() any {
		list := make([]model.Instance, 0, len(s.Inline))
		for _, e := range s.Inline {
			in := model.Instance{Endpoint: e, Workload: x.resident(e.Address)}
			if w := in.Workload; w != nil {
				labels := maps.Clone(w.Labels)
				if labels == nil {
					labels = map[string]string{}
				}
				maps.Copy(labels, e.Labels)
				in.Endpoint.Labels, in.Endpoint.ServiceAccount, in.Endpoint.Network = labels, w.ServiceAccount, w.Network
				if e.Locality == (model.Locality{}) {
					in.Endpoint.Locality = w.Locality
				}
			}
			list = append(list, in)
		}
		return list
	}).([]model.Instance)
}

// resident is the workload at an instance's address; nil: none.
func (x *Index) resident(address string) *model.Workload {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return nil
	}
	return x.byAddress.Get(a)
}

// Own returns how a workload serves a service: as the registry's instances at its address say, else as the
// one instance that it is.
func (x *Index) Own(s *model.Service, w *model.Workload) []model.Instance {
	if s.Registry == "" {
		return []model.Instance{serving(w, s)}
	}
	return slices.DeleteFunc(slices.Clone(x.residents(s)), func(in model.Instance) bool { return in.Workload != w })
}

// settled tells whether a change concerns none of the workloads that registries have: these show in more than endpoints.
func (x *Index) settled(c *Change, s *model.Snapshot) bool {
	for _, p := range c.Services {
		for _, side := range []*model.Service{p.Old, p.New} {
			if side.Registry != "" && slices.ContainsFunc(side.Inline, func(e model.Endpoint) bool { return x.resident(e.Address) != nil }) {
				return false
			}
		}
	}
	moved := map[string]bool{}
	for _, p := range c.Workloads {
		for _, w := range []*model.Workload{p.Old, p.New} {
			if w == nil {
				continue
			}
			for _, a := range w.Addresses {
				moved[a.String()] = true
			}
		}
	}
	return len(moved) == 0 || !slices.ContainsFunc(s.Services, func(svc *model.Service) bool {
		return svc.Registry != "" && slices.ContainsFunc(svc.Inline, func(e model.Endpoint) bool { return moved[e.Address] })
	})
}
