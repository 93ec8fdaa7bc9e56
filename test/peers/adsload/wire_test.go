package main

import (
	"path/filepath"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"sigs.k8s.io/yaml"
)

// TestResponsesAreRead: the raw reader finds what the messages hold.
func TestResponsesAreRead(t *testing.T) {
	c := &clusterv3.Cluster{
		Name: "c", ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{ServiceName: "s"},
	}
	body, err := anypb.New(c)
	if err != nil {
		t.Fatal(err)
	}
	for delta, m := range map[bool]proto.Message{
		false: &discoveryv3.DiscoveryResponse{TypeUrl: typeCDS, VersionInfo: "v", Nonce: "n", Resources: []*anypb.Any{body}},
		true: &discoveryv3.DeltaDiscoveryResponse{
			TypeUrl: typeCDS, SystemVersionInfo: "v", Nonce: "n", RemovedResources: []string{"gone"},
			Resources: []*discoveryv3.Resource{{Name: "c", Resource: body}},
		},
	} {
		raw, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		r, err := parseResponse(raw, delta)
		if err != nil || r.typeURL != typeCDS || r.version != "v" || r.nonce != "n" || len(r.rs) != 1 || delta != (len(r.removed) == 1) {
			t.Fatalf("%+v, %v", r, err)
		}
		if d := dependents(r); !cmp.Equal(d.names, []string{"s"}) || !cmp.Equal(d.by, map[string][]string{"c": {"s"}}) {
			t.Errorf("%+v", d)
		}
	}
	if _, err := parseResponse([]byte{0xff}, false); err == nil {
		t.Error("garbage was read")
	}
}

// TestConfigurationIsWritten: every document is YAML, and a round's change is in it.
func TestConfigurationIsWritten(t *testing.T) {
	dir := t.TempDir()
	if err := genMain(t.Context(), []string{"-dir", dir, "-s", "5", "-e", "2", "-dr", "-vip", "-per-file", "2"}); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil || len(files) != 3 {
		t.Fatalf("%v, %v", files, err)
	}
	c := shape{S: 5, E: 2, NS: "bench", PerFile: 2}
	text := c.fileText(3, "198.18.1.1", "/mark/")
	for doc := range strings.SplitSeq(text, "---\n") {
		var o object
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil || newSpec(o.Kind) == nil {
			t.Errorf("%v: %s", err, doc)
		}
	}
	if !strings.Contains(text, "198.18.1.1") || !strings.Contains(text, "/mark/") {
		t.Error(text)
	}
}

// TestMarkers: a change is found again in what comes of it.
func TestMarkers(t *testing.T) {
	for _, n := range []int{0, 1, 255, 256, 65535, 65536, 1 << 21} {
		if got, ok := markerOf(marker(n)); !ok || got != n {
			t.Errorf("marker %d is %s, which is %d %t", n, marker(n), got, ok)
		}
	}
	if _, ok := markerOf("11.0.0.1"); ok {
		t.Error("an address of the configuration is taken for a change")
	}
	if got := socketAddresses([]byte("\x0a\x0811.0.0.1\x12100.64.1.2\x1a")); len(got) != 1 || got[0] != "100.64.1.2" {
		t.Errorf("addresses %q", got)
	}
	if n, ok := serviceOf("outbound|80||" + host(17)); !ok || n != 17 {
		t.Errorf("service %d %t", n, ok)
	}
}

// TestUsers: each service that is used is used by as many proxies as a proxy uses.
func TestUsers(t *testing.T) {
	for _, c := range []struct{ s, n, use int }{{1000, 100, 10}, {100, 100, 3}, {5000, 200, 10}} {
		l := &load{shape: &shape{S: c.s}, n: c.n, use: c.use}
		for i := range l.n {
			l.streams = append(l.streams, &stream{id: i})
		}
		for i := range l.n {
			if got := len(l.users(l.used(i))); got != c.use {
				t.Fatalf("%+v: service %d has %d users", c, l.used(i), got)
			}
		}
	}
}
