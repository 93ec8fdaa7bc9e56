package translate

import (
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate/listener"
	"github.com/weftmesh/weft/control/translate/pb"
	"github.com/weftmesh/weft/control/translate/proxyless"
	"github.com/weftmesh/weft/wire"
)

// Own is what only one proxy gets: its inbound side, and all listeners of a
// gateway. It is immutable.
type Own struct {
	// Findings, each once.
	Findings []model.Finding
	layers   map[string]*resource.Layer
	server   *proxyless.Server // nil for a proxy
}

// Own makes what only the view's proxy gets. It depends on no instances but the
// proxy's workload, and so outlives a scope.Change that is not about that one.
// before is what it got last; what has not changed since stays the same object.
func (c *Cache) Own(v *scope.View, before *Own) *Own {
	var f findings
	if v.Proxy.Proxyless() {
		server := proxyless.NewServer(v, f.one)
		return &Own{Findings: f.list, server: server}
	}
	l := listener.Own(v, f.one)
	made := map[string][]*resource.Resource{}
	patches := c.patcher(v, f.one)
	patches.output(l, true)
	c.listeners(made, l, patches)
	for _, name := range pb.Keys(l.Secrets) {
		for _, m := range secrets(v, name) {
			made[wire.TypeSecret] = append(made[wire.TypeSecret], c.pack(wire.TypeSecret, m.Name, m))
		}
	}
	out := &Own{Findings: f.list, layers: make(map[string]*resource.Layer, len(made))}
	for url, list := range made {
		var old *resource.Layer
		if before != nil {
			old = before.layers[url]
		}
		out.layers[url] = old.Become(list)
	}
	return out
}

// Sets are all that the proxy gets, by type. Sets of types of which it has nothing
// of its own are those of its whole group.
func (o *Own) Sets(s *Shared) map[string]*resource.Set { return setsOf(o.layers, s) }

func setsOf(layers map[string]*resource.Layer, s *Shared) map[string]*resource.Set {
	out := make(map[string]*resource.Set, len(s.sets)+1)
	for url, set := range s.sets {
		out[url] = set
	}
	for url, l := range layers {
		out[url] = resource.Compose(s.layers[url], l)
	}
	return out
}
