package cluster

import (
	"slices"

	"github.com/weftmesh/weft/control/model"
)

// usable are the instances that a proxy is told of: those that take traffic, or will;
// where the service says so, those of the proxy's node only; where all of its
// EndpointSlices have hints, and nothing else says what is near, those for its zone. Like
// kube-proxy it makes do with instances that are about to end where there are no others.
func (b *Builder) usable(t *target, list []model.Instance) []model.Instance {
	list = b.hinted(t, list)
	var out, last []model.Instance
	ready := 0
	for _, in := range list {
		if t.svc.NodeLocal && nodeOf(&in) != b.v.Proxy.Node() {
			continue
		}
		b.locate(&in)
		switch s := in.Endpoint.Slice; {
		case b.takesTraffic(t, &in):
			ready++
			out = append(out, in)
		case s != nil && s.Terminating:
			if s.Serving {
				in.Endpoint.Healthy = true
				last = append(last, in)
			}
		case t.svc.Distribution.Near():
			out = append(out, in)
		}
	}
	if ready == 0 {
		out = append(out, last...)
	}
	return out
}

// takesTraffic tells whether an instance is ready, as far as the service asks for that.
func (b *Builder) takesTraffic(t *target, in *model.Instance) bool {
	return t.svc.PublishNotReady || in.Endpoint.Healthy && (in.Workload == nil || in.Workload.Ready)
}

// locate completes the locality of an endpoint of which a slice says the zone only. Zones
// belong to one region each: that of the proxy's own zone is the proxy's.
func (b *Builder) locate(in *model.Instance) {
	own, at := b.v.Proxy.Locality(), &in.Endpoint.Locality
	if in.Endpoint.Slice != nil && at.Region == "" && at.Zone != "" && at.Zone == own.Zone {
		at.Region = own.Region
	}
}

// hinted are the instances that hints give to the proxy's zone: all, unless each that is
// ready has hints, and one is for that zone.
func (b *Builder) hinted(t *target, list []model.Instance) []model.Instance {
	zone := b.v.Proxy.Locality().Zone
	lb := t.policy.LB
	if zone == "" || t.svc.NoHints || t.svc.Distribution.Near() || lb != nil && (lb.Locality != nil || lb.Zone != nil) {
		return list
	}
	var out []model.Instance
	for _, in := range list {
		if !b.takesTraffic(t, &in) {
			continue
		}
		if in.Endpoint.Slice == nil || len(in.Endpoint.Slice.Zones) == 0 {
			return list
		}
		if slices.Contains(in.Endpoint.Slice.Zones, zone) {
			out = append(out, in)
		}
	}
	if len(out) == 0 {
		return list
	}
	return out
}

// byPlace tells whether a service's endpoints depend on where a proxy is, by what the
// service or its slices say.
func byPlace(s *model.Service) bool {
	sliced := func(s *model.Service) bool {
		return slices.ContainsFunc(s.Inline, func(e model.Endpoint) bool { return e.Slice != nil })
	}
	return s.NodeLocal || s.Distribution.Near() || sliced(s) || slices.ContainsFunc(s.Joined, sliced)
}
