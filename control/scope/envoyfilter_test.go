package scope

import (
	"slices"
	"testing"

	"github.com/weftmesh/weft/control/model"
)

// TestPluginsByPhase: plug-ins are put in by phase and then by priority, whatever else a chain has; EnvoyFilters come last.
func TestPluginsByPhase(t *testing.T) {
	filter := func(name string, phase int, priority int32, fields []string) *model.EnvoyFilter {
		return &model.EnvoyFilter{
			Meta: meta(model.KindEnvoyFilter, "default", name), Phase: phase, Priority: priority, Fields: fields,
			Patches: []model.EnvoyPatch{{Context: model.AnyContext}},
		}
	}
	plugin := []string{"spec"}
	client := workload("default", "client", nil)
	x := NewIndex(&model.Snapshot{Workloads: []*model.Workload{client}, EnvoyFilters: []*model.EnvoyFilter{
		filter("patch", 0, -9, nil), filter("any", model.PhaseLast, -9, plugin), filter("stats", model.PhaseStats, 0, plugin),
		filter("authn", model.PhaseAuthn, 0, plugin), filter("authn-first", model.PhaseAuthn, -1, plugin), filter("authz", model.PhaseAuthz, -9, plugin),
	}})
	var got []string
	p := proxy(client)
	for _, r := range x.patches(&p) {
		got = append(got, r.Filter.Key.Name)
	}
	if want := []string{"authn-first", "authn", "authz", "stats", "any", "patch"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
