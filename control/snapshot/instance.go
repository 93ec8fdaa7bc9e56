package snapshot

import (
	"slices"
	"strings"

	"github.com/weftmesh/weft/control/model"
)

// enlist makes a service of each instance of a headless service, where every service
// has addresses: "redis-0.redis.default.svc.cluster.local" needs one of its own, for
// nothing else leads to that instance through the sidecar. It tells whether there are
// others than before.
func (m *merger) enlist() (fresh bool) {
	if !m.vips.every || !m.reselected && !m.touched(model.KindService, model.KindWorkload, model.KindWorkloadEntry) {
		return false
	}
	known := make(map[model.Key]*model.Service, len(m.instances))
	for _, s := range m.instances {
		known[s.Key] = s
	}
	var workloads []*model.Workload
	for _, kind := range []model.Kind{model.KindWorkload, model.KindWorkloadEntry} {
		for _, o := range m.kinds[kind] {
			workloads = append(workloads, o.(*model.Workload))
		}
	}
	var out []*model.Service
	for _, o := range m.kinds[model.KindService] {
		s := o.(*model.Service)
		if !s.Headless || !m.counts(s) {
			continue
		}
		for _, w := range workloads {
			if !s.Picks(w) {
				continue
			}
			in := instanceOf(s, w)
			if old := known[in.Key]; old != nil && old.Hash == in.Hash {
				in = old
			}
			out = append(out, in)
		}
	}
	model.SortObjects(out)
	if slices.Equal(out, m.instances) {
		return false
	}
	for k := range known {
		if !slices.ContainsFunc(out, func(s *model.Service) bool { return s.Key == k }) {
			delete(m.derived, k)
		}
	}
	m.instances = out
	return true
}

// instanceOf is what a workload is called as an instance of a headless service. The key
// comes after the service's in every order, and is nobody else's.
func instanceOf(s *model.Service, w *model.Workload) *model.Service {
	in := *s
	label := strings.ToLower(w.Name)
	in.Key.Name += "/" + label
	in.Host = label + "." + s.Host
	in.Headless, in.Resolution, in.Instance = false, model.ByWorkloads, w.Name
	in.Inline, in.Exposure = nil, model.InMesh
	in.Hash ^= sum("instance " + w.Name)
	return &in
}

// withInstances are the services with those that stand for instances among them; the
// last ones when these are the same.
func (m *merger) withInstances(last []*model.Service) []*model.Service {
	if len(m.instances) == 0 {
		return m.own.services
	}
	made := make([]*model.Service, 0, len(m.instances))
	for _, s := range m.instances {
		made = append(made, m.derive(s).(*model.Service))
	}
	return join(last, m.own.services, made)
}
