package registration

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weftmesh/weft/base/cow"
	"github.com/weftmesh/weft/base/watch"
	"github.com/weftmesh/weft/control/model"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func group(probed bool) *model.WorkloadGroup {
	return &model.WorkloadGroup{
		Meta: model.Meta{Key: model.Key{Kind: model.KindWorkloadGroup, Namespace: "shop", Name: "vms"}, Hash: 1},
		Template: model.Workload{
			ServiceAccount: "web", Network: "n0", Labels: map[string]string{"app": "web", "version": "v0"},
			Meta:  model.Meta{Annotations: map[string]string{"istio.io/autoRegistrationGroup": "vms"}},
			Ports: map[string]uint16{"http": 8080},
		},
		Probed: probed,
	}
}

func snapshot(groups ...*model.WorkloadGroup) *model.Snapshot {
	objects := map[model.Key]model.Object{}
	for _, g := range groups {
		objects[g.Key] = g
	}
	return &model.Snapshot{Groups: groups, Objects: cow.Of(objects)}
}

func TestMembers(t *testing.T) {
	var cell watch.Cell[*model.Snapshot]
	cell.Store(snapshot())
	// A grace that ends within the test, but only when it is asked for.
	s := New(&cell, 50*time.Millisecond, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	out, ended := make(chan model.Delta), make(chan error, 1)
	go func() { ended <- s.Run(ctx, out) }()
	want := func(text string) {
		t.Helper()
		d := <-out
		got := ""
		for _, o := range d.Upserts {
			w := o.(*model.Workload)
			got += fmt.Sprint(w.Key, w.Addresses, w.Labels, w.Network, w.Locality, w.ServiceAccount, w.Ports, w.Ready, w.Mesh, w.Of)
		}
		if got != text || !d.Full {
			t.Errorf("got  %s\nwant %s", got, text)
		}
	}
	want("")
	r := model.Registration{
		Namespace: "shop", Group: "vms", Address: netip.MustParseAddr("fd00::7"), Network: "n1",
		Labels: map[string]string{"version": "v7"}, Locality: model.Locality{Region: "r"}, Engine: "envoy",
	}
	key := r.Key()
	s.Connected(r)
	s.Connected(r) // a second stream
	// A group may come after its workloads.
	cell.Store(snapshot(group(true)))
	text := func(ready bool) string {
		return fmt.Sprintf("WorkloadEntry/shop/vms-fd00--7-n1 [fd00::7] map[app:web version:v7]n1{r  }webmap[http:8080] %v true WorkloadGroup/shop/vms", ready)
	}
	want(text(false))
	s.Health(key, "")
	want(text(true))
	s.Health(key, "no")
	want(text(false))
	s.Health(key, "")
	want(text(true))
	s.Disconnected(key) // the first stream
	s.Disconnected(key)
	want("") // once its time is up
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
