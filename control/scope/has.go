package scope

import (
	"slices"

	"github.com/weftmesh/weft/control/model"
)

// Has tells whether an object of the index's snapshot has a say in what the view's
// proxy gets: it is in the proxy's scope. Secrets are not looked at; what a proxy may
// have of them shows only when it is translated for.
func (v *View) Has(o model.Object) bool {
	switch o := o.(type) {
	case *model.Service:
		return v.Service(o.Host) == o || slices.Contains(v.Served(), o)
	case *model.RouteSet:
		return v.says()[o.Key]
	case *model.TrafficPolicySet:
		return v.says()[o.Key]
	case *model.Gateway:
		return slices.Contains(v.Gateways, o)
	case *model.Fence:
		list, _ := v.Index.FencesOf(v.Proxy)
		return slices.Contains(list, o)
	case *model.Sidecar:
		return v.Sidecar == o
	case *model.Workload:
		return slices.ContainsFunc(v.Index.Served(o), func(s *model.Service) bool { return v.Service(s.Host) == s })
	case *model.Mesh:
		return v.Mesh.Key == o.Key
	case *model.RedisService:
		return slices.ContainsFunc(o.Hosts, func(h string) bool { return v.Index.Redis(h) == o && v.readsRedis(h) })
	case *model.RedisDestination:
		return v.Index.RedisDestination(o.Host) == o && v.readsRedis(o.Host)
	}
	return v.inbound(o)
}

// inbound tells the same of what is for the proxy's own workload.
func (v *View) inbound(o model.Object) bool {
	switch o := o.(type) {
	case *model.PeerAuth:
		own := o.Key.Namespace == v.Proxy.Namespace() && model.Matches(o.Selector, v.Proxy.Labels())
		return own || o.Key.Namespace == v.Mesh.RootNamespace && len(o.Selector) == 0
	case *model.Authz:
		return slices.Contains(v.Authz(), o)
	case *model.RequestAuth:
		return slices.Contains(v.RequestAuths(), o)
	case *model.Telemetry:
		return slices.Contains(v.Telemetries(), o)
	case *model.EnvoyFilter:
		return slices.ContainsFunc(v.Index.patches(v.Proxy), func(r model.PatchRef) bool { return r.Filter == o })
	case *model.SmartLimiter:
		return v.Index.limited(v.Proxy, o)
	case *model.Limits:
		return v.Index.limited(v.Proxy, o.Limiter)
	case *model.ProxyConfig:
		own := o.Key.Namespace == v.Proxy.Namespace() && model.Matches(o.Selector, v.Proxy.Labels())
		return own || o.Key.Namespace == v.Mesh.RootNamespace && len(o.Selector) == 0
	}
	return false
}

// says are the routes, their delegates, and the policies that the proxy sees.
func (v *View) says() map[model.Key]bool {
	if v.said != nil {
		return v.said
	}
	v.said = map[model.Key]bool{}
	names := []string{meshGateway}
	if v.Proxy.Gateway() {
		names = nil
		for _, g := range v.Gateways {
			names = append(names, g.Key.Namespace+"/"+g.Key.Name)
		}
	}
	for _, name := range names {
		for _, r := range v.Routes(name) {
			v.said[r.Key] = true
			if written, ok := v.Index.Snapshot.Objects.Get(r.Key).(*model.RouteSet); ok {
				for i := range written.HTTP {
					v.said[written.HTTP[i].Delegate] = true
				}
			}
		}
	}
	delete(v.said, model.Key{})
	for _, s := range v.Services {
		for _, k := range v.Policy(s).Keys {
			v.said[k] = true
		}
	}
	return v.said
}

// For is the view's own part for another proxy of its scope.Group: what is for the
// proxy's workload. It sees no services, routes or gateways.
func (v *View) For(p Proxy) *View {
	return &View{Index: v.Index, Proxy: &p, Mesh: v.Mesh, said: map[model.Key]bool{}}
}
