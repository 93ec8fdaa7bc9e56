package fleet

import (
	"slices"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/resource"
	"github.com/weftmesh/weft/control/serve"
)

// Judge finds out which patches of EnvoyFilters proxies do not take. It may be called by
// any goroutine and must not block.
type Judge interface {
	// Refused: a proxy with the engine has refused a resource that these patches have
	// changed.
	Refused(engine, resource string, patches []model.PatchRef, why string)
	// Taken: it has taken it.
	Taken(engine, resource string, patches []model.PatchRef)
}

// judge tells the Judge of an answer to what patches have changed.
func (p *session) judge(r serve.Report) {
	idx := p.fleet.index.Load()
	if p.fleet.Judge == nil || r.Kind != serve.Acked && r.Kind != serve.Rejected || len(idx.Snapshot.EnvoyFilters) == 0 {
		return
	}
	list := r.Resources
	if r.Kind == serve.Rejected {
		// A response is refused as a whole, for what its text names.
		minded := slices.DeleteFunc(slices.Clone(list), func(x *resource.Resource) bool { return !mentions(r.Error, x.Name) })
		if len(minded) > 0 {
			list = minded
		}
	}
	for name, patches := range p.fleet.cache.Patches(r.Type, list) {
		if r.Kind == serve.Rejected {
			p.fleet.Judge.Refused(p.proxy.Engine(), r.Type+" "+name, patches, r.Error)
		} else {
			p.fleet.Judge.Taken(p.proxy.Engine(), r.Type+" "+name, patches)
		}
	}
}
