package translate

import (
	"maps"
	"slices"

	"github.com/weftmesh/weft/base/cow"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/cluster"
	"github.com/weftmesh/weft/control/translate/listener"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/wire"
)

// Shared is what all proxies of one scope.Group get: the way out. It is immutable.
type Shared struct {
	// Findings, each once.
	Findings []model.Finding

	version uint64 // of the snapshot
	layers  map[string]*resource.Layer
	sets    map[string]*resource.Set // of these alone
	parts   cow.Map[string, *part]   // by host
	// rest are the Findings that belong to no part.
	rest []model.Finding
	// first is the first of those that came one after the other with the same content.
	first *Shared
}

// Same tells whether proxies get the same of both.
func (s *Shared) Same(other *Shared) bool {
	return s == other || s != nil && other != nil && s.first == other.first
}

// nothingShared is what gRPC without a proxy gets unasked.
var nothingShared = &Shared{}

// Shared makes what the group of the view's proxy gets. before is what it got last,
// nil for nothing: what has not changed since stays the same object, and where the
// index has a Change from it, nothing else than the change is looked at.
func (c *Cache) Shared(v *scope.View, before *Shared) *Shared {
	if v.Proxy.Proxyless() {
		return nothingShared
	}
	if ch := v.Index.Change; before != nil && ch != nil && ch.From == before.version {
		return c.change(v, before)
	}
	out := &Shared{version: v.Index.Snapshot.Version, layers: map[string]*resource.Layer{}}
	made := map[string][]*resource.Resource{}
	parts := make(map[string]*part, len(v.Services))
	wanted := map[string]bool{} // Secrets "namespace/name"
	var f findings
	for _, s := range fixedServices(v) {
		p := c.outbound(v, s)
		parts[s.Host] = p
		made[wire.TypeCluster] = append(made[wire.TypeCluster], p.clusters...)
		made[wire.TypeEndpoint] = append(made[wire.TypeEndpoint], p.endpoints...)
		for _, name := range p.secrets {
			wanted[name] = true
		}
		f.add(p.findings...)
	}
	var rest findings
	rest.add(v.Findings...)
	rest.add(v.Proxy.Moved...)
	l := listener.Outbound(v, rest.one)
	fixed := cluster.NewBuilder(v, rest.one)
	l.Clusters = append(l.Clusters, fixed.Fixed()...)
	for _, name := range fixed.Secrets() {
		wanted[name] = true
	}
	p := c.patcher(v, rest.one)
	p.output(l, false)
	l.Clusters = p.addClusters(l.Clusters, wayOut(v.Proxy))
	for _, m := range p.extensions() {
		made[wire.TypeExtension] = append(made[wire.TypeExtension], p.pack(c, wire.TypeExtension, m.Name, m))
	}
	c.listeners(made, l, p)
	for _, name := range pb.Keys(wanted) {
		for _, m := range secrets(v, name) {
			made[wire.TypeSecret] = append(made[wire.TypeSecret], c.pack(wire.TypeSecret, m.Name, m))
		}
	}
	if m := trust(v.Index.Snapshot); m != nil {
		made[wire.TypeSecret] = append(made[wire.TypeSecret], c.pack(wire.TypeSecret, m.Name, m))
	}
	if v.Proxy.OnDemand {
		// So that a first answer about virtual hosts is not empty: see nobody.
		made[wire.TypeVirtualHost] = append(made[wire.TypeVirtualHost], resource.Hollow(wire.OnDemandRoute+"/"+nobody))
	}
	if v.Proxy.SelfDiscovery() {
		made[wire.TypeEndpoint] = append(made[wire.TypeEndpoint], c.local(v))
	}
	made[wire.TypeHost] = c.hosts(v)
	made[wire.TypeWorkload] = c.workloads(v.Index)
	for url, list := range made {
		if len(list) == 0 {
			continue
		}
		out.layers[url] = layerOf(before, url).Become(list)
	}
	out.parts, out.rest = cow.Of(parts), rest.list
	out.Findings = joined(rest.list, f.list)
	out.first = out
	out.compose(before)
	return out
}

// fixedServices are those whose clusters and endpoints a proxy gets unasked: on
// demand only those that the proxy itself calls, for tracing, logs and authorization.
func fixedServices(v *scope.View) []*model.Service {
	if !v.Proxy.OnDemand {
		return v.Services
	}
	var out []*model.Service
	add := func(host string) {
		if host == "" {
			return
		}
		if s := v.Service(host); s != nil && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	if t := v.Mesh.Tracing; t != nil {
		add(t.Service)
	}
	for i := range v.Mesh.Providers {
		add(v.Mesh.Providers[i].Service)
	}
	for i := range v.Mesh.Authorizers {
		add(v.Mesh.Authorizers[i].Service)
	}
	for _, set := range v.Index.Snapshot.Routes {
		if set.Limits != nil && set.Limits.Global != nil {
			add(set.Limits.Global.Host)
		}
	}
	return out
}

// listeners adds listeners and the routes and clusters that hang on them.
func (c *Cache) listeners(made map[string][]*resource.Resource, l *listener.Output, p *patcher) {
	for _, m := range l.Listeners {
		made[wire.TypeListener] = append(made[wire.TypeListener], p.pack(c, wire.TypeListener, m.Name, m))
	}
	for _, m := range l.Routes {
		made[wire.TypeRoute] = append(made[wire.TypeRoute], p.pack(c, wire.TypeRoute, m.Name, m))
	}
	for _, m := range l.Clusters {
		made[wire.TypeCluster] = append(made[wire.TypeCluster], p.pack(c, wire.TypeCluster, m.Name, m))
	}
}

// change makes of what the group got before what it gets after no more than a Change.
func (c *Cache) change(v *scope.View, before *Shared) *Shared {
	out := new(Shared)
	*out = *before
	out.version = v.Index.Snapshot.Version
	fresh := map[string]*part{}
	told := false
	var clusters, endpoints []*resource.Resource
	var goneClusters, goneEndpoints []string
	for _, ch := range v.Index.Change.Services {
		s := v.Service(ch.New.Host)
		if s != ch.New {
			continue // out of sight, or covered by another
		}
		old := before.parts.Get(s.Host)
		if old == nil {
			continue // on demand
		}
		p := c.outbound(v, s)
		if old == p {
			continue
		}
		fresh[s.Host] = p
		told = told || len(old.findings)+len(p.findings) > 0
		clusters, endpoints = append(clusters, p.clusters...), append(endpoints, p.endpoints...)
		goneClusters = append(goneClusters, missing(old.clusters, p.clusters)...)
		goneEndpoints = append(goneEndpoints, missing(old.endpoints, p.endpoints)...)
	}
	if len(fresh) == 0 && len(v.Index.Change.Workloads) == 0 {
		return out
	}
	out.first, out.layers = out, maps.Clone(before.layers)
	if len(fresh) > 0 {
		out.parts = out.parts.With(fresh)
		out.layers[wire.TypeCluster] = out.layers[wire.TypeCluster].With(clusters, goneClusters)
		out.layers[wire.TypeEndpoint] = out.layers[wire.TypeEndpoint].With(endpoints, goneEndpoints)
	}
	if len(v.Index.Change.Workloads) > 0 {
		if v.Proxy.SelfDiscovery() {
			out.layers[wire.TypeEndpoint] = out.layers[wire.TypeEndpoint].With([]*resource.Resource{c.local(v)}, nil)
		}
		out.layers[wire.TypeWorkload] = out.layers[wire.TypeWorkload].Become(c.workloads(v.Index))
	}
	if told {
		out.Findings = joined(out.rest, out.partFindings(v))
	}
	out.compose(before)
	return out
}

// local are the instances of the proxy's own kind.
func (c *Cache) local(v *scope.View) *resource.Resource {
	m := cluster.NewBuilder(v, func(model.Finding) {}).Local()
	return c.pack(wire.TypeEndpoint, m.ClusterName, m)
}

// missing are the names of a list that the other does not have. Both have one
// service's, which are few.
func missing(list, other []*resource.Resource) (out []string) {
	has := map[string]bool{}
	for _, r := range other {
		has[r.Name] = true
	}
	for _, r := range list {
		if !has[r.Name] {
			out = append(out, r.Name)
		}
	}
	return out
}

func (s *Shared) partFindings(v *scope.View) []model.Finding {
	var f findings
	for _, svc := range v.Services {
		if p := s.parts.Get(svc.Host); p != nil {
			f.add(p.findings...)
		}
	}
	return f.list
}

func joined(lists ...[]model.Finding) []model.Finding {
	var f findings
	for _, l := range lists {
		f.add(l...)
	}
	return f.list
}

func layerOf(s *Shared, url string) *resource.Layer {
	if s == nil {
		return nil
	}
	return s.layers[url]
}

// compose makes the sets of proxies that have nothing of their own of a type.
func (s *Shared) compose(before *Shared) {
	s.sets = make(map[string]*resource.Set, len(s.layers))
	for url, l := range s.layers {
		if before != nil && before.layers[url] == l {
			s.sets[url] = before.sets[url]
		} else {
			s.sets[url] = resource.Compose(l, nil)
		}
	}
}

func (c *Cache) makePart(v *scope.View, s *model.Service) *part {
	c.builds.Add(1)
	p := &part{}
	b := cluster.NewBuilder(v, func(x model.Finding) { p.findings = append(p.findings, x) })
	patches := c.patcher(v, func(x model.Finding) { p.findings = append(p.findings, x) })
	for _, m := range b.Service(s) {
		if m = patches.cluster(m); m != nil {
			p.clusters = append(p.clusters, patches.pack(c, wire.TypeCluster, m.Name, m))
		}
	}
	for _, m := range b.Endpoints() {
		p.endpoints = append(p.endpoints, c.pack(wire.TypeEndpoint, m.ClusterName, m))
	}
	p.secrets = b.Secrets()
	return p
}
