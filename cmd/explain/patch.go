package explain

import (
	"fmt"
	"maps"
	"slices"

	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/offline"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/translate"
)

// patches says which EnvoyFilters have changed a resource that the request passes.
func (r *request) patches(s *side, url, name string) {
	res, there := s.made.Get(url, name)
	if !there {
		return
	}
	for _, p := range r.Patches(url, res) {
		r.say("patch", &p.Filter.Meta, "configPatches[%d] (%s) changes %s %s of %s", p.Index, p.Patch().ApplyTo, console.TypeName(url), name, s.proxy.Name())
	}
}

// begins tells whether a patch is for what a proxy begins with.
func begins(v *scope.View, p *model.BootstrapPatch) bool {
	metadata := maps.Clone(v.Proxy.Raw)
	if metadata == nil { // it does not run
		metadata = map[string]string{"NAMESPACE": v.Proxy.Namespace()}
		if w := v.Proxy.Workload; w != nil {
			maps.Copy(metadata, model.ProxySettingsOf(v.Mesh, v.Index.Snapshot.ProxyConfigs, w.Namespace, w.Labels, w.Proxy).Metadata())
		}
	}
	return p.For(&model.Beginner{
		Namespace: v.Proxy.Namespace(), Root: v.Mesh.RootNamespace, Labels: v.Proxy.Labels(), Metadata: metadata, Gateway: v.Proxy.Gateway(),
	})
}

// envoyFilter finds what the patches of an EnvoyFilter have changed. Resources that are
// made when they are asked for are looked at as if they had been.
func (x *examiner) envoyFilter(v *scope.View) (does []string, why string) {
	filter := x.object.(*model.EnvoyFilter)
	for _, p := range translate.Bootstraps(x.Snapshot) {
		if p.Filter == filter.Key && begins(v, &p) {
			does = append(does, "BOOTSTRAP: what the proxy begins with")
		}
	}
	mine := map[int]bool{}
	for _, p := range v.Patches {
		if p.Filter.Key == filter.Key {
			mine[p.Index] = true
		}
	}
	if len(mine) == 0 && len(does) == 0 {
		return nil, "none of its patches is for the proxy: its namespace, selector, context, engine or version is another"
	}
	made, _ := x.Translate(offline.Proxy{Proxy: *v.Proxy})
	changed := map[int][]string{}
	for url, list := range made.ByType {
		for _, res := range list {
			for _, p := range x.Patches(url, res) {
				if p.Filter.Key == filter.Key {
					changed[p.Index] = append(changed[p.Index], console.TypeName(url)+" "+res.Name)
				}
			}
		}
	}
	for i := range mine {
		what := changed[i]
		slices.Sort(what)
		if len(what) > 0 {
			does = append(does, fmt.Sprintf("configPatches[%d] (%s) changes %s", i, filter.Patches[i].ApplyTo, few(what, 3)))
		}
	}
	slices.Sort(does)
	return does, "its patches match nothing that the proxy has"
}
