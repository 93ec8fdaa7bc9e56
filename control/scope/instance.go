package scope

import (
	"net/netip"
	"slices"

	"github.com/weftmesh/weft/control/model"
)

// Instances returns who serves a service, in a stable order: endpoints written in it or
// in its EndpointSlices, the workloads that it selects, and those of the services that
// are joined with it.
func (x *Index) Instances(s *model.Service) []model.Instance {
	if s.Registry != "" {
		return x.residents(s)
	}
	if len(s.Joined) == 0 {
		return x.instancesOf(s, false)
	}
	var list []model.Instance
	for _, j := range s.Joined {
		for _, in := range x.instancesOf(j, true) {
			in.Of = j
			list = append(list, in)
		}
	}
	return list
}

// instancesOf are a service's own. joined: it is one of several, so that one which is
// found by its name alone is an instance.
func (x *Index) instancesOf(s *model.Service, joined bool) []model.Instance {
	selected := x.selected.Get(s)
	list := make([]model.Instance, 0, len(s.Inline)+len(selected))
	for _, e := range s.Inline {
		if in := (model.Instance{Endpoint: e}); e.Slice == nil || x.place(&in, s, selected) {
			list = append(list, in)
		}
	}
	for _, w := range selected {
		list = append(list, model.Instance{Endpoint: endpointOf(w), Workload: w})
	}
	byName := s.Resolution == model.ByDNS || s.Resolution == model.ByDNSRoundRobin
	if joined && byName && len(list) == 0 && len(s.Selector) == 0 {
		list = append(list, model.Instance{Endpoint: model.Endpoint{Address: s.Host, Healthy: true}})
	}
	return list
}

// place finds out whether an endpoint of a slice is a workload of the mesh. It does not
// count when the service selects that workload, or when Kubernetes' controller has
// written it of what the selector picks elsewhere, and it picks something here.
func (x *Index) place(in *model.Instance, s *model.Service, selected []*model.Workload) bool {
	if in.Endpoint.Slice.Controlled && len(selected) > 0 {
		return false
	}
	w := x.listedAt(in.Endpoint.Address, s)
	switch {
	case w == nil:
		return true
	case slices.Contains(selected, w):
		return false
	}
	said := in.Endpoint
	in.Workload, in.Endpoint = w, endpointOf(w)
	in.Endpoint.Ports, in.Endpoint.Slice, in.Endpoint.Healthy = said.Ports, said.Slice, said.Healthy
	if in.Endpoint.Locality == (model.Locality{}) {
		in.Endpoint.Locality = said.Locality
	}
	return true
}

// listedAt is the workload of the service's namespace that has an address, or nil.
func (x *Index) listedAt(address string, s *model.Service) *model.Workload {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return nil
	}
	if w := x.WorkloadAt(a.Unmap()); w != nil && w.Namespace == s.Namespace {
		return w
	}
	return nil
}

// inSlices are the workloads of the mesh that a service's slices have.
func (x *Index) inSlices(s *model.Service) (out []*model.Workload) {
	for i := range s.Inline {
		if sl := s.Inline[i].Slice; sl == nil || sl.Controlled && len(s.Selector) > 0 {
			continue
		}
		if w := x.listedAt(s.Inline[i].Address, s); w != nil && !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	return out
}

// Counted are the workloads among a service's instances.
func (x *Index) Counted(s *model.Service) []*model.Workload {
	if len(s.Inline) == 0 && len(s.Joined) == 0 {
		return x.selected.Get(s)
	}
	var out []*model.Workload
	for _, in := range x.Instances(s) {
		if in.Workload != nil {
			out = append(out, in.Workload)
		}
	}
	return out
}

// TargetPort returns the workload port behind a service port; not ok when the instance
// does not serve it: the workload has no port of the name that the service targets, or
// its EndpointSlice, or the service that it comes from, has no such port.
func TargetPort(in model.Instance, s *model.Service, port *model.ServicePort) (uint16, bool) {
	if s.Registry != "" {
		n, ok := in.Endpoint.Ports[port.Name]
		return n, ok
	}
	if in.Of != nil {
		if port = in.Of.Named(port.Name); port == nil {
			return 0, false
		}
	}
	if in.Endpoint.Slice != nil {
		n, ok := in.Endpoint.Ports[port.Name]
		if !ok || n != 0 {
			return n, ok
		}
	}
	if w := in.Workload; w != nil {
		if w.Key.Kind == model.KindWorkloadEntry {
			if n, ok := w.Ports[port.Name]; ok {
				return n, true
			}
		}
		if port.TargetPort == 0 && port.TargetName != "" {
			n, ok := w.Ports[port.TargetName]
			return n, ok
		}
	} else {
		if n, ok := in.Endpoint.Ports[port.Name]; ok && n != 0 {
			return n, true
		}
		if in.Endpoint.Port != 0 {
			return in.Endpoint.Port, true
		}
	}
	if port.TargetPort != 0 {
		return port.TargetPort, true
	}
	return port.Port, true
}

// ServedPort is TargetPort of a workload as the service has it: by its selector, or in
// an EndpointSlice.
func ServedPort(w *model.Workload, s *model.Service, port *model.ServicePort) (uint16, bool) {
	return TargetPort(serving(w, s), s, port)
}

// serving is the instance of a service that a workload is.
func serving(w *model.Workload, s *model.Service) model.Instance {
	in := model.Instance{Workload: w}
	if w == nil || s.Picks(w) {
		return in
	}
	for i := range s.Inline {
		e := &s.Inline[i]
		if a, err := netip.ParseAddr(e.Address); e.Slice != nil && err == nil && slices.Contains(w.Addresses, a) {
			in.Endpoint = *e
			break
		}
	}
	return in
}
