package process_test

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"log/slog"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/source/process"
	"github.com/weftmesh/weft/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func replica(name string, ready bool) wire.Replica {
	return wire.Replica{Name: name, Namespace: "default", App: "web", Addresses: []netip.Addr{netip.MustParseAddr("10.244.0.5")}, Ready: ready}
}

func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	deltas := make(chan model.Delta, 8)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- process.New(path, slog.New(slog.DiscardHandler)).Run(ctx, deltas) }()
	defer func() { cancel(); <-done }()
	next := func() model.Delta {
		t.Helper()
		select {
		case d := <-deltas:
			return d
		case <-time.After(60 * time.Second):
			t.Fatal("no delta")
			return model.Delta{}
		}
	}
	write := func(rs ...wire.Replica) {
		t.Helper()
		if err := (wire.ProcessState{Replicas: rs}).WriteFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if d := next(); !d.Full || len(d.Upserts) != 0 {
		t.Errorf("without a file: %+v", d)
	}
	write(replica("web-0", false), replica("web-1", true))
	if d := next(); d.Full || len(d.Upserts) != 2 {
		t.Errorf("two instances: %+v", d)
	}
	write(replica("web-0", true), replica("web-1", true))
	if d := next(); len(d.Upserts) != 1 || d.Why != "web-0 is ready" {
		t.Errorf("one gets ready: %+v", d)
	}
	// Torn, of another release, gone: nothing changes.
	if err := os.WriteFile(path, []byte(`{"version":1,"repl`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(`{"version":99}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write(replica("web-1", true))
	if d := next(); len(d.Upserts) != 0 || len(d.Deletes) != 1 || d.Deletes[0].Name != "web-0" || d.Why != "web-0 is gone" {
		t.Errorf("one is gone: %+v", d)
	}
}

func TestWorkload(t *testing.T) {
	r := wire.Replica{
		Name: "a-0", App: "a", Namespace: "n", Cluster: "c", Network: "net", Addresses: []netip.Addr{netip.MustParseAddr("fd00::1")},
		Labels: map[string]string{"app": "a"}, Annotations: map[string]string{"x": "y"}, ServiceAccount: "sa", TrustDomain: "td",
		Region: "r", Zone: "z", SubZone: "s", Weight: 2, Ports: map[string]uint16{"http": 80},
		Inbound: map[uint16]wire.ReplicaPort{80: {Listen: 1, Program: 2}}, Ready: true, Mesh: true, Gateway: true, Engine: "go",
		TokenHash: "h", Started: 9,
	}
	want := &model.Workload{
		Meta: model.Meta{
			Key:    model.Key{Kind: model.KindWorkload, Namespace: "n", Name: "a-0"},
			Labels: r.Labels, Annotations: r.Annotations, Created: 9,
		},
		Name: "a-0", App: "a", Namespace: "n", Cluster: "c", Network: "net", Addresses: r.Addresses, Labels: r.Labels,
		ServiceAccount: "sa", TrustDomain: "td", Locality: model.Locality{Region: "r", Zone: "z", SubZone: "s"}, Weight: 2,
		Ports: r.Ports, Inbound: map[uint16]model.InboundPort{80: {Listen: 1, Program: 2}}, Ready: true, Mesh: true, Gateway: true,
		Engine: "go", TokenHash: "h",
	}
	got := process.Workload(&r)
	want.Hash = got.Hash
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Errorf("(-want, +got):\n%s", d)
	}
	r.Ready = false
	if process.Workload(&r).Hash == got.Hash {
		t.Error("readiness makes no difference to the hash")
	}
}

// TestLocalityOfLabels: labels say where a workload is, as a pod's do, unless the
// supervisor says so.
func TestLocalityOfLabels(t *testing.T) {
	for label, want := range map[string]model.Locality{
		"a.b.c": {Region: "a", Zone: "b", SubZone: "c"}, "a/b.c/d": {Region: "a", Zone: "b.c", SubZone: "d"}, "a": {Region: "a"}, "": {},
	} {
		for _, key := range []string{"istio-locality", "topology.istio.io/locality"} {
			if got := process.Workload(&wire.Replica{Labels: map[string]string{key: label}}).Locality; got != want {
				t.Errorf("%s %q: %v, want %v", key, label, got, want)
			}
		}
	}
	r := wire.Replica{Region: "z", Labels: map[string]string{"istio-locality": "a"}}
	if got := process.Workload(&r).Locality; got != (model.Locality{Region: "z"}) {
		t.Errorf("said by both: %v", got)
	}
}
