package offline_test

import (
	"path/filepath"
	"testing"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/offline"
	"github.com/weftmesh/weft/control/scope"
	"github.com/weftmesh/weft/control/source/file"
)

// TestScopeHasWhatCounts: where a proxy gets something else without an object, the
// object is in its scope. (PeerAuthentications also show at clients, which are not
// counted, and of what nobody is configured by nothing shows.)
func TestScopeHasWhatCounts(t *testing.T) {
	kinds := map[model.Kind]int{}
	for _, dir := range []string{"../../examples/bookstore", "testdata/scope"} {
		whole, err := file.Read([]string{dir}, nil)
		if err != nil {
			t.Fatal(err)
		}
		all, err := offline.Load(offline.Options{Paths: []string{dir}})
		if err != nil {
			t.Fatal(err)
		}
		with := map[string]string{}
		for _, p := range all.Proxies {
			r, _ := all.Translate(p)
			with[p.Name()] = text(r)
		}
		for i, o := range whole.Upserts {
			k := o.Head().Key
			switch k.Kind {
			case model.KindProcess, model.KindPeerAuthentication, model.KindNamespace, model.KindServiceAccount, model.KindSecret, model.KindMeshConfig:
				continue
			}
			d := whole
			d.Upserts = append(append([]model.Object{}, whole.Upserts[:i]...), whole.Upserts[i+1:]...)
			less := offline.Of(d, offline.Settings{})
			for _, p := range less.Proxies {
				r, _ := less.Translate(p)
				if before, ok := with[p.Name()]; !ok || before == text(r) {
					continue
				}
				kinds[k.Kind]++
				found, err := all.Find(p.Name())
				if err != nil {
					t.Fatal(err)
				}
				if v := scope.Build(all.Index, found[0].Proxy); !v.Has(all.Snapshot.Objects.Get(k)) {
					t.Errorf("%s: %s is not in the scope of %s, which gets something else without it", filepath.Base(dir), k, p.Name())
				}
			}
		}
	}
	for _, k := range []model.Kind{
		model.KindService, model.KindServiceEntry, model.KindVirtualService, model.KindDestinationRule, model.KindGateway, model.KindSidecar,
		model.KindAuthorizationPolicy, model.KindRequestAuthentication, model.KindTelemetry, model.KindWorkloadEntry,
	} {
		if kinds[k] == 0 {
			t.Errorf("no %s makes a difference: nothing is shown about it", k)
		}
	}
}
