package translate

import (
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/patch"
	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/listener"
	"github.com/weftmesh/weft/wire"
)

// patcher applies a proxy's EnvoyFilters to what is made for it. nil does nothing.
type patcher struct {
	set  *patch.Set
	view *scope.View
	// done are, for each resource that they have changed, the patches that have.
	done    map[question][]model.PatchRef
	report  func(model.Finding)
	outside map[uint32][]uint32 // see patch.Set.Routes
}

// patcher returns what applies the view's patches; nil: there are none.
func (c *Cache) patcher(v *scope.View, report func(model.Finding)) *patcher {
	set := c.patches.Set(v.Patches)
	if set == nil {
		return nil
	}
	return &patcher{set: set, view: v, done: map[question][]model.PatchRef{}, report: report, outside: servicePorts(v)}
}

// servicePorts are a gateway's: by the port that it listens on, those of its Services.
func servicePorts(v *scope.View) map[uint32][]uint32 {
	out := map[uint32][]uint32{}
	if !v.Proxy.Gateway() {
		return out
	}
	for _, s := range v.Served() {
		for i := range s.Ports {
			p := &s.Ports[i]
			if t, ok := scope.ServedPort(v.Proxy.Workload, s, p); ok {
				out[uint32(t)] = append(out[uint32(t)], uint32(p.Port))
			}
		}
	}
	return out
}

// wayOut is the context of what a proxy sends.
func wayOut(p *scope.Proxy) model.PatchContext {
	if p.Gateway() {
		return model.GatewayContext
	}
	return model.SidecarOutbound
}

// Bootstraps are the patches of what proxies begin with, in the order in which they apply.
func Bootstraps(s *model.Snapshot) []model.BootstrapPatch { return patch.Bootstraps(s) }

func (p *patcher) out() model.PatchContext { return wayOut(p.view.Proxy) }

func (p *patcher) note(url, name string, res patch.Result) {
	for _, f := range res.Findings {
		p.report(f)
	}
	if len(res.Touched) > 0 {
		p.done[question{url, name}] = res.Touched
	}
}

// output patches listeners and what hangs on them. own: it is a proxy's own part.
func (p *patcher) output(o *listener.Output, own bool) {
	if p == nil {
		return
	}
	o.Listeners = mapped(o.Listeners, func(l *listenerv3.Listener) *listenerv3.Listener {
		context := p.out()
		if l.GetTrafficDirection() == corev3.TrafficDirection_INBOUND {
			context = model.SidecarInbound
		}
		out, res := p.set.Listener(context, l, p.outside)
		p.note(wire.TypeListener, l.GetName(), res)
		return out
	})
	o.Routes = mapped(o.Routes, func(rc *routev3.RouteConfiguration) *routev3.RouteConfiguration {
		context := p.out()
		if strings.HasPrefix(rc.GetName(), wire.Inbound+"|") {
			context = model.SidecarInbound
		}
		out, res := p.set.Routes(context, rc, p.outside)
		p.note(wire.TypeRoute, rc.GetName(), res)
		return out
	})
	o.Clusters = mapped(o.Clusters, p.cluster)
	_, explicit := p.view.Proxy.HTTPProxy()
	apart := explicit || p.view.Proxy.Gateway() // all of its listeners are its own
	if own == apart {
		p.addListeners(o, p.out())
	}
	if own && !p.view.Proxy.Gateway() {
		p.addListeners(o, model.SidecarInbound)
		o.Clusters = p.addClusters(o.Clusters, model.SidecarInbound)
	}
}

// mapped replaces each by what f makes of it; nil: it is gone.
func mapped[M comparable](list []M, f func(M) M) []M {
	var none M
	out := list[:0:0]
	for _, m := range list {
		if m = f(m); m != none {
			out = append(out, m)
		}
	}
	return out
}

// cluster patches one cluster.
func (p *patcher) cluster(c *clusterv3.Cluster) *clusterv3.Cluster {
	if p == nil {
		return c
	}
	context := p.out()
	if context == model.SidecarOutbound && (strings.HasPrefix(c.GetName(), wire.Inbound+"|") || c.GetName() == wire.InboundPassthrough4) {
		context = model.SidecarInbound
	}
	out, res := p.set.Cluster(context, c, servedHosts(c))
	p.note(wire.TypeCluster, c.GetName(), res)
	return out
}

// servedHosts are the hosts of the services that a cluster's metadata names.
func servedHosts(c *clusterv3.Cluster) (out []string) {
	for _, s := range c.GetMetadata().GetFilterMetadata()["istio"].GetFields()["services"].GetListValue().GetValues() {
		out = append(out, s.GetStructValue().GetFields()["host"].GetStringValue())
	}
	return out
}

func (p *patcher) addListeners(o *listener.Output, context model.PatchContext) {
	list, refs := p.set.AddedListeners(context)
	for i, l := range list {
		if slices.ContainsFunc(o.Listeners, func(x *listenerv3.Listener) bool { return x.GetName() == l.GetName() }) {
			p.twice(refs[i], "listener", l.GetName())
			continue
		}
		o.Listeners = append(o.Listeners, l)
		p.done[question{wire.TypeListener, l.GetName()}] = refs[i : i+1]
	}
}

// addClusters adds those that patches add in a context.
func (p *patcher) addClusters(all []*clusterv3.Cluster, context model.PatchContext) []*clusterv3.Cluster {
	if p == nil {
		return all
	}
	list, refs := p.set.AddedClusters(context)
	for i, c := range list {
		if slices.ContainsFunc(all, func(x *clusterv3.Cluster) bool { return x.GetName() == c.GetName() }) {
			p.twice(refs[i], "cluster", c.GetName())
			continue
		}
		all = append(all, c)
		p.done[question{wire.TypeCluster, c.GetName()}] = refs[i : i+1]
	}
	return all
}

func (p *patcher) twice(r model.PatchRef, what, name string) {
	p.report(patch.About(r, patch.CodeBreaks, ".patch.value.name", "adds the "+what+" "+name+", which is there already", "give it another name, or MERGE"))
}

// extensions are the filters' configurations that patches add.
func (p *patcher) extensions() []*corev3.TypedExtensionConfig {
	if p == nil {
		return nil
	}
	list, refs := p.set.Extensions()
	for i, m := range list {
		p.done[question{wire.TypeExtension, m.GetName()}] = refs[i : i+1]
		if ref, ok := moduleOf(refs[i]); ok {
			complete(m, p.view.Index, ref)
		}
	}
	return list
}

// host patches a virtual host that is made on demand under a name, as the route
// configuration that Istio has for it would have it.
func (p *patcher) host(name, config string, vh *routev3.VirtualHost) *routev3.VirtualHost {
	if p == nil {
		return vh
	}
	out, res := p.set.Host(p.out(), config, vh)
	p.note(wire.TypeVirtualHost, name, res)
	return out
}

// pack packs a message, and keeps with it which patches have changed it.
func (p *patcher) pack(c *Cache, url, name string, m proto.Message) *resource.Resource {
	r := c.pack(url, name, m)
	if p != nil {
		c.note(r, p.done[question{url, name}])
	}
	return r
}
