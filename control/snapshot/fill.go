package snapshot

import (
	"hash/fnv"
	"slices"

	"github.com/weftmesh/weft/control/model"
)

// fill makes the sorted slices of a snapshot, sharing those of kinds that did
// not change.
func (m *merger) fill(s, last *model.Snapshot, all bool) {
	if last == nil {
		last = &model.Snapshot{}
	}
	every := last.Version == 0 || m.reselected
	fresh := m.enlist()
	m.allocate(all || fresh)
	m.own.services = slice(m, all, m.own.services, model.KindService, model.KindServiceEntry)
	s.Services = m.withInstances(last.Services)
	s.Slices = slice(m, every, last.Slices, model.KindEndpointSlice, model.KindEndpoints)
	s.Workloads = slice(m, all, last.Workloads, model.KindWorkload, model.KindWorkloadEntry)
	m.own.routes = slice(m, all, m.own.routes, model.KindVirtualService, model.KindMetaRouter)
	m.own.policies = slice(m, all, m.own.policies, model.KindDestinationRule)
	m.own.gateways = slice(m, every, m.own.gateways, model.KindGateway)
	s.Sidecars = slice(m, every, last.Sidecars, model.KindSidecar)
	s.PeerAuths = slice(m, every, last.PeerAuths, model.KindPeerAuthentication)
	s.Authz = slice(m, every, last.Authz, model.KindAuthorizationPolicy, model.KindDubboAuthorizationPolicy)
	s.RequestAuths = slice(m, every, last.RequestAuths, model.KindRequestAuthentication)
	s.KeySets = slice(m, every, last.KeySets, model.KindKeySet)
	s.Bundles = slice(m, every, last.Bundles, model.KindTrustBundle)
	s.Telemetry = slice(m, every, last.Telemetry, model.KindTelemetry)
	s.EnvoyFilters = slice(m, every, last.EnvoyFilters, model.KindEnvoyFilter, model.KindEnvoyPlugin, model.KindPluginManager, model.KindWasmPlugin, model.KindTrafficExtension)
	s.Modules = slice(m, every, last.Modules, model.KindModule)
	s.Groups = slice(m, every, last.Groups, model.KindWorkloadGroup)
	s.Registries = slice(m, every, last.Registries, model.KindRegistry)
	s.RegistrySources = slice(m, every, last.RegistrySources, model.KindRegistrySource)
	s.Transcodings = slice(m, every, last.Transcodings, model.KindTranscoding)
	s.Descriptors = slice(m, every, last.Descriptors, model.KindDescriptors)
	s.Fences = slice(m, every, last.Fences, model.KindServiceFence)
	s.Boots = slice(m, every, last.Boots, model.KindSlimeBoot)
	s.ProxyConfigs = slice(m, every, last.ProxyConfigs, model.KindProxyConfig)
	s.Redis = slice(m, every, last.Redis, model.KindRedisService)
	s.RedisDestinations = slice(m, every, last.RedisDestinations, model.KindRedisDestination)
	s.Quarantines = slice(m, every, last.Quarantines, model.KindQuarantine)
	s.Limiters = slice(m, every, last.Limiters, model.KindSmartLimiter)
	s.Limits = slice(m, every, last.Limits, model.KindLimits)
	s.Secrets = slice(m, every, last.Secrets, model.KindSecret, model.KindConfigMap)
	s.Namespaces = slice(m, every, last.Namespaces, model.KindNamespace)
	s.Accounts = slice(m, every, last.Accounts, model.KindServiceAccount)
	s.Processes = slice(m, every, last.Processes, model.KindProcess)
	m.fillAPI(&s.API, &last.API, every)
	m.fillCluster(&s.Cluster, &last.Cluster, every)
}

// slice collects the objects of some kinds in the order that Snapshot promises.
func slice[T model.Object](m *merger, all bool, last []T, kinds ...model.Kind) []T {
	if !all && !m.touched(kinds...) {
		return last
	}
	if !all {
		if out, ok := patch(m, last, kinds); ok {
			return out
		}
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

// few is up to which share of a slice, one in so many, changes are put in one by one.
const few = 16

// patch puts what has changed since the last snapshot into a slice; not ok when
// that is too much for it.
func patch[T model.Object](m *merger, last []T, kinds []model.Kind) (out []T, ok bool) {
	out = slices.Clone(last)
	n := 0
	for k, old := range m.changed {
		if !slices.Contains(kinds, k.Kind) {
			continue
		}
		if n++; n > 4+len(last)/few {
			return nil, false
		}
		place := func(o model.Object) (int, bool) {
			return slices.BinarySearchFunc(out, o.Head(), func(x T, h *model.Meta) int { return model.Before(x.Head(), h) })
		}
		var now T
		there := false
		if o := m.kinds[k.Kind][k]; o != nil {
			now, there = m.derive(o).(T)
		}
		if _, listed := old.(T); listed {
			at, found := place(old)
			switch {
			case !found:
				return nil, false
			case there && old.Head().Created == now.Head().Created:
				out[at] = now
				continue
			}
			out = slices.Delete(out, at, at+1)
		}
		if there {
			at, _ := place(now)
			out = slices.Insert(out, at, now)
		}
	}
	return out, true
}

// derive fills in what the object leaves to the mesh; nil: it does not count. The object
// itself stays as it is: a source may hold it.
func (m *merger) derive(o model.Object) model.Object {
	k := o.Head().Key
	if !m.counts(o) {
		return nil
	}
	gen, turn := m.vips.generation(k), m.bonds.turn(k)
	if d, ok := m.derived[k]; ok && d.from == o && d.mesh == m.mesh && d.alloc == gen && d.turn == turn && d.declared == m.declared {
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
		to = m.deriveWorkload(t)
	default:
		return o
	}
	m.derived[k] = derivation{from: o, to: to, mesh: m.mesh, alloc: gen, turn: turn, declared: m.declared}
	return to
}

func (m *merger) deriveWorkload(w *model.Workload) model.Object {
	well := w.Checked && m.kinds[model.KindHealth][model.Key{Kind: model.KindHealth, Namespace: w.Key.Namespace, Name: w.Key.Name}] != nil
	if w.TrustDomain != "" && !well {
		return w
	}
	c := *w
	if c.TrustDomain == "" {
		c.TrustDomain = m.mesh.TrustDomain
		c.Hash ^= sum(c.TrustDomain)
	}
	if well {
		c.Ready = true
		c.Hash ^= sum("well")
	}
	return &c
}

func (m *merger) deriveService(s *model.Service) model.Object {
	vips := m.vips.of(s.Key)
	defaulted := s.Exports.Default && m.mesh.ServiceExports != nil
	bound := m.bound(s)
	bonded, speaks := m.isBound(s), m.declared.speaks(s)
	if len(vips) == 0 && !defaulted && bound == model.EntryPublic && !m.vips.every && !bonded && !speaks {
		return s
	}
	c := *s
	if speaks {
		m.declared.resolve(&c)
	}
	if len(vips) > 0 {
		c.VIPs, c.AutoVIP = vips, true
	}
	if m.vips.every && canHave(s) {
		m.vips.within(&c, s.VIPs)
	}
	if bonded {
		m.bind(&c, s)
	}
	if !slices.Equal(c.VIPs, s.VIPs) {
		for _, p := range c.VIPs {
			c.Hash ^= sum(p.String())
		}
	}
	if defaulted {
		c.Exports = exports(m.mesh.ServiceExports, s.Key.Namespace)
		c.Hash = mix(c.Hash, c.Exports)
	}
	if bound != model.EntryPublic {
		inside := bound == model.EntryNamespace && c.Exports.To(s.Namespace)
		c.Exports = model.Visibility{}
		if inside {
			c.Exports.Namespaces = []string{s.Namespace}
		}
		c.Hash = mix(c.Hash, c.Exports)
	}
	return &c
}

// bound is how far a ServiceEntry may be seen at most, by the labels of its namespace.
func (m *merger) bound(s *model.Service) model.EntryVisibility {
	if !s.FromEntry || m.mesh.Entries == nil {
		return model.EntryPublic
	}
	return m.mesh.Entries.Of(m.discovery.labelsOf(s.Namespace))
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
