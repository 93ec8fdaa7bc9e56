package wire_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/wire"
)

func TestProcessStateRoundTrip(t *testing.T) {
	want := wire.ProcessState{Version: wire.ProcessStateVersion, Replicas: []wire.Replica{{
		Name: "reviews-v2-0", App: "reviews-v2", Namespace: "default",
		Addresses: []netip.Addr{netip.MustParseAddr("10.244.0.5"), netip.MustParseAddr("fd00:10:244::5")},
		Labels:    map[string]string{"app": "reviews"}, ServiceAccount: "reviews",
		Ports:   map[string]uint16{"http": 9080},
		Inbound: map[uint16]wire.ReplicaPort{9080: {Listen: 31000, Program: 9080}},
		Ready:   true, Mesh: true, Engine: "go", TokenHash: "ab", Started: 5,
	}}}
	dir := t.TempDir()
	path := filepath.Join(dir, "processes.json")
	if err := want.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := wire.ParseProcessState(raw)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Errorf("(-want, +got):\n%s", d)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("the folder holds %v, %v; want the state file alone", left, err)
	}
}

func TestParseProcessStateErrors(t *testing.T) {
	for name, raw := range map[string]string{
		"garbage":  "\x00\x01",
		"version":  `{"version":9}`,
		"nameless": `{"version":1,"replicas":[{"namespace":"a"}]}`,
		"empty":    ``,
	} {
		if _, err := wire.ParseProcessState([]byte(raw)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
