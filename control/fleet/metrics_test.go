package fleet

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/wire"
)

func TestMetrics(t *testing.T) {
	f := start(t)
	r := prometheus.NewPedanticRegistry()
	f.Register(r)
	f.publish(t, snapshot(1, "start", shop, bank, service("shop", "web", 80)))
	web := f.connect(t, "shop", "web")
	till := f.dial(t, nodeID("bank", "till"), "token of till")
	till.refuse = wire.TypeListener
	till.subscribe(wire.TypeListener, nil)
	till.barrier()
	f.close(web)

	want := map[string]float64{
		"pilot_xds": 1, "pilot_services": 1, "pilot_virt_services": 0, "pilot_push_triggers config": 1,
		"pilot_xds_pushes cds": 1, "pilot_xds_pushes lds": 2, "pilot_xds_pushes eds": 1, "pilot_total_xds_rejects lds": 1,
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, fam := range families {
		for _, m := range fam.GetMetric() {
			name := fam.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			if _, ok := want[name]; ok {
				got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestShortType(t *testing.T) {
	for url, want := range map[string]string{
		wire.TypeListener: "lds", wire.TypeRoute: "rds", wire.TypeCluster: "cds", wire.TypeEndpoint: "eds",
		wire.TypeSecret: "sds", wire.TypeHost: "host", "odd": "odd",
	} {
		if got := shortType(url); got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
}
