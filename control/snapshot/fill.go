package snapshot

import (
	"hash/fnv"
	"slices"

	"github.com/weftmesh/weft/control/model"
)

// fill makes the sorted slices of a snapshot, sharing those of kinds that did
// not change.
func (m *merger) fill(s, last *model.Snapshot) {
	if last == nil {
		last = &model.Snapshot{}
	}
	// What is derived from the mesh configuration changes with it.
	all := last.Mesh != m.mesh
	m.allocate(all)
	s.Services = slice(m, all, last.Services, model.KindService, model.KindServiceEntry)
	s.Workloads = slice(m, all, last.Workloads, model.KindWorkload, model.KindWorkloadEntry)
	s.Routes = slice(m, all, last.Routes, model.KindVirtualService)
	s.Policies = slice(m, all, last.Policies, model.KindDestinationRule)
	s.Gateways = slice(m, false, last.Gateways, model.KindGateway)
	s.Sidecars = slice(m, false, last.Sidecars, model.KindSidecar)
	s.PeerAuths = slice(m, false, last.PeerAuths, model.KindPeerAuthentication)
	s.Authz = slice(m, false, last.Authz, model.KindAuthorizationPolicy)
	s.Secrets = slice(m, false, last.Secrets, model.KindSecret)
	s.Namespaces = slice(m, false, last.Namespaces, model.KindNamespace)
	s.Accounts = slice(m, false, last.Accounts, model.KindServiceAccount)
	s.Processes = slice(m, false, last.Processes, model.KindProcess)
}

// slice collects the objects of some kinds in the order that Snapshot promises.
func slice[T model.Object](m *merger, all bool, last []T, kinds ...model.Kind) []T {
	if !all && !m.touched(kinds...) {
		return last
	}
	var out []T
	for _, k := range kinds {
		for _, o := range m.kinds[k] {
			if t, ok := m.derive(o).(T); ok {
				out = append(out, t)
			}
		}
	}
	model.SortObjects(out)
	if slices.EqualFunc(out, last, func(a, b T) bool { return a.Head() == b.Head() }) {
		return last
	}
	return out
}

// derive fills in what the object leaves to the mesh. The object itself stays
// as it is: a source may hold it.
func (m *merger) derive(o model.Object) model.Object {
	k := o.Head().Key
	gen := m.vips.generation(k)
	if d, ok := m.derived[k]; ok && d.from == o && d.mesh == m.mesh && d.alloc == gen {
		return d.to
	}
	to := o
	switch t := o.(type) {
	case *model.Service:
		to = m.deriveService(t)
	case *model.RouteSet:
		if t.Exports.Default && m.mesh.RouteExports != nil {
			c := *t
			c.Exports = exports(m.mesh.RouteExports, t.Key.Namespace)
			c.Hash = mix(c.Hash, c.Exports)
			to = &c
		}
	case *model.TrafficPolicySet:
		if t.Exports.Default && m.mesh.PolicyExports != nil {
			c := *t
			c.Exports = exports(m.mesh.PolicyExports, t.Key.Namespace)
			c.Hash = mix(c.Hash, c.Exports)
			to = &c
		}
	case *model.Workload:
		if t.TrustDomain == "" {
			c := *t
			c.TrustDomain = m.mesh.TrustDomain
			c.Hash ^= sum(c.TrustDomain)
			to = &c
		}
	default:
		return o
	}
	m.derived[k] = derivation{from: o, to: to, mesh: m.mesh, alloc: gen}
	return to
}

func (m *merger) deriveService(s *model.Service) model.Object {
	vips := m.vips.of(s.Key)
	defaulted := s.Exports.Default && m.mesh.ServiceExports != nil
	if len(vips) == 0 && !defaulted {
		return s
	}
	c := *s
	if len(vips) > 0 {
		c.VIPs, c.AutoVIP = vips, true
		for _, p := range vips {
			c.Hash ^= sum(p.String())
		}
	}
	if defaulted {
		c.Exports = exports(m.mesh.ServiceExports, s.Key.Namespace)
		c.Hash = mix(c.Hash, c.Exports)
	}
	return &c
}

// exports applies a mesh-wide default to an object of a namespace.
func exports(v *model.Visibility, namespace string) model.Visibility {
	out := model.Visibility{Public: v.Public, Default: true}
	if out.Public {
		return out
	}
	for _, n := range v.Namespaces {
		if n == "." {
			n = namespace
		}
		out.Namespaces = append(out.Namespaces, n)
	}
	return out
}

func mix(hash uint64, v model.Visibility) uint64 {
	text := "private"
	if v.Public {
		text = "public"
	}
	for _, n := range v.Namespaces {
		text += " " + n
	}
	return hash ^ sum(text)
}

func sum(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s)) //nolint:errcheck // never fails
	return h.Sum64()
}
