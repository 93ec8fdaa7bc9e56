package scope

import "github.com/weftmesh/weft/control/model"

// Module is what was fetched for a plug-in; nil: nothing yet.
func (x *Index) Module(ref model.ModuleRef) *model.Module {
	type key struct{ url, sum, secret string }
	return x.Lasting(key{ref.URL, ref.SHA256, ref.Secret}, func() any {
		for _, m := range x.Snapshot.Modules {
			if m.URL == ref.URL && m.SHA256 == ref.SHA256 && m.Secret == ref.Secret {
				return m
			}
		}
		return (*model.Module)(nil)
	}).(*model.Module)
}
