package check

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/weftmesh/weft/control/model"
)

// operations judges what the patches of an EnvoyFilter do, by Istio's rules: whether
// an operation goes with what it is for, and whether it depends on what other
// EnvoyFilters do before. versioned collects the names of filters that patches for
// certain versions of proxies are about.
func (c *checker) operations(f *model.EnvoyFilter, versioned map[string]bool) {
	for i := range f.Patches {
		p := &f.Patches[i]
		at := fmt.Sprintf("spec.configPatches[%d]", i)
		name := filterName(p)
		switch p.Operation {
		case model.PatchAdd:
			if p.ApplyTo == model.ToRouteConfig || p.ApplyTo == model.ToHTTPRoute {
				c.warn(CodeAdd, &f.Meta, at+".patch.operation", "ADD goes with lists of listeners, clusters, virtual hosts and filters; Istio passes it over with applyTo "+string(p.ApplyTo), "use INSERT_FIRST, or MERGE")
			}
		case model.PatchRemove:
			if p.ApplyTo == model.ToRouteConfig || p.ApplyTo == model.ToHTTPRoute {
				c.warn(CodeRemove, &f.Meta, at+".patch.operation", "Istio passes REMOVE over with applyTo "+string(p.ApplyTo), "use MERGE")
				break
			}
			c.relative(f, at, p, versioned[name])
		case model.PatchReplace:
			if !slices.Contains([]model.ApplyTo{model.ToHTTPFilter, model.ToNetworkFilter, model.ToVirtualHost}, p.ApplyTo) {
				c.warn(CodeReplace, &f.Meta, at+".patch.operation", "Istio has REPLACE for HTTP_FILTER, NETWORK_FILTER and VIRTUAL_HOST, not for "+string(p.ApplyTo), "use MERGE, or REMOVE and ADD")
				break
			}
			c.relative(f, at, p, versioned[name])
		case model.PatchInsertBefore, model.PatchInsertAfter:
			c.relative(f, at, p, versioned[name])
		}
		if p.ProxyVersion != "" {
			versioned[name] = true
		}
	}
}

// relative notes a patch whose outcome depends on the order of EnvoyFilters, where
// nothing orders them but their age.
func (c *checker) relative(f *model.EnvoyFilter, at string, p *model.EnvoyPatch, versioned bool) {
	switch {
	case f.Priority != 0:
	case versioned:
		c.note(CodeVersioned, &f.Meta, at+".patch.operation", fmt.Sprintf("%s depends on what is there already, of which another patch is for some versions of proxies only", p.Operation), "set spec.priority, or use INSERT_FIRST or ADD")
	default:
		c.note(CodeRelative, &f.Meta, at+".patch.operation", fmt.Sprintf("%s depends on what is there already, and nothing says that this EnvoyFilter comes after those that add it", p.Operation), "set spec.priority, or use INSERT_FIRST or ADD")
	}
}

// filterName is what a patch is about: the filter of its value, or the one it matches.
func filterName(p *model.EnvoyPatch) string {
	var value struct{ Name string }
	if p.Value != "" && json.Unmarshal([]byte(p.Value), &value) == nil && value.Name != "" {
		return value.Name
	}
	if p.Listener != nil && p.Listener.Chain != nil && p.Listener.Chain.Filter != nil {
		return *p.Listener.Chain.Filter
	}
	return ""
}
