package wire

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"sigs.k8s.io/yaml"
)

func testBootstrap() *Bootstrap {
	return &Bootstrap{
		Node:     NodeID{Type: Sidecar, IP: "10.244.0.5", Name: "reviews-v1-0", Namespace: "default", Domain: "default.svc.cluster.local"},
		Service:  "reviews.default",
		Metadata: NodeMetadata{Name: "reviews-v1-0", Namespace: "default", Labels: map[string]string{"app": "reviews"}},
		Locality: Locality{Region: "r", Zone: "z"},

		XDSSocket: "/run/weft/xds.sock", Token: "secret",
		SDSSocket: "/run/weft/sds.sock", ALSSocket: "/run/weft/als.sock", Mark: ProxyMark,
		Prometheus: netip.MustParseAddrPort("127.0.0.1:15020"), Health: netip.MustParseAddrPort("127.0.0.1:15020"),
		FewStats: true, Kept: KeptStats{Prefixes: []string{"cluster."}, Suffixes: []string{".x"}, Regexps: []string{"a.*"}}, Runtime: map[string]string{"a.b": "7"},
		More: map[string]string{SelfDiscoveryKey: "true"},
	}
}

func TestBootstrapYAMLReadsBack(t *testing.T) {
	b := testBootstrap()
	want, err := b.Proto()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := b.YAML()
	if err != nil {
		t.Fatal(err)
	}
	js, err := yaml.YAMLToJSON(raw)
	if err != nil {
		t.Fatal(err)
	}
	got := &bootstrapv3.Bootstrap{}
	if err := protojson.Unmarshal(js, got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, protocmp.Transform()); d != "" {
		t.Error(d)
	}
	if err := got.ValidateAll(); err != nil {
		t.Error(err)
	}
	if got := got.DynamicResources.AdsConfig.GrpcServices[0].InitialMetadata[0].Value; got != "Bearer secret" {
		t.Errorf("initial metadata is %q", got)
	}
}

func TestBootstrapRefuses(t *testing.T) {
	for name, change := range map[string]func(*Bootstrap){
		"no control plane":   func(b *Bootstrap) { b.XDSSocket = "" },
		"two control planes": func(b *Bootstrap) { b.XDSAddress = netip.MustParseAddrPort("127.0.0.1:15010") },
		"no name":            func(b *Bootstrap) { b.Node.Name = "" },
	} {
		b := testBootstrap()
		change(b)
		if _, err := b.YAML(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestEnvoyAcceptsBootstrap runs a stock Envoy, from WEFT_ENVOY or PATH, where there is one.
func TestEnvoyAcceptsBootstrap(t *testing.T) {
	envoy := os.Getenv("WEFT_ENVOY")
	if envoy == "" {
		found, err := exec.LookPath("envoy")
		if err != nil {
			t.Skip("no envoy in PATH and WEFT_ENVOY is not set")
		}
		envoy = found
	}
	raw, err := testBootstrap().YAML()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "bootstrap.yaml")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), envoy, "--mode", "validate", "-c", file).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s\n%s", err, out, raw)
	}
}

// TestBootstrapPatches: patches are merged into what is made, and what is none is named.
func TestBootstrapPatches(t *testing.T) {
	raw, err := proto.Marshal(&bootstrapv3.Bootstrap{StatsFlushInterval: durationpb.New(7 * time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	b := testBootstrap()
	b.Patches = [][]byte{raw}
	m, err := b.Proto()
	if err != nil {
		t.Fatal(err)
	}
	if d := m.GetStatsFlushInterval().AsDuration(); d != 7*time.Second || m.GetNode().GetId() == "" {
		t.Errorf("flush interval %v, node %q", d, m.GetNode().GetId())
	}
	b.Patches = [][]byte{{0xff}}
	if _, err := b.Proto(); err == nil {
		t.Error("what is no message is taken")
	}
}
