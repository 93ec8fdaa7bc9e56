package patch

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/control/model"
)

// Bootstraps are the patches of what proxies begin with, in the order in which they
// apply: by priority, those of the root namespace first, the oldest first.
func Bootstraps(s *model.Snapshot) (out []model.BootstrapPatch) {
	root := model.DefaultMesh().RootNamespace
	if s.Mesh != nil && s.Mesh.RootNamespace != "" {
		root = s.Mesh.RootNamespace
	}
	filters := slices.DeleteFunc(slices.Clone(s.EnvoyFilters), func(f *model.EnvoyFilter) bool {
		return !slices.ContainsFunc(f.Patches, func(p model.EnvoyPatch) bool { return p.ApplyTo == model.ToBootstrap })
	})
	if len(filters) == 0 {
		return nil
	}
	slices.SortStableFunc(filters, func(a, b *model.EnvoyFilter) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), rank(a, root)-rank(b, root))
	})
	c := NewCompiler()
	for _, f := range filters {
		for _, p := range c.read(f).patches {
			if p == nil || p.ApplyTo != model.ToBootstrap || p.Operation != model.PatchMerge {
				continue
			}
			raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(p.value)
			if err != nil {
				panic("BUG: patch: " + f.Key.String() + ": " + err.Error())
			}
			out = append(out, model.BootstrapPatch{
				Filter: f.Key, Selector: f.Selector, Gateways: f.Gateways, Context: p.Context, ProxyVersion: p.ProxyVersion, Metadata: p.Metadata, Value: raw,
			})
		}
	}
	return out
}

func rank(f *model.EnvoyFilter, root string) int {
	if f.Key.Namespace == root {
		return 0
	}
	return 1
}
