package control

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"

	"github.com/weftmesh/weft/wire"
)

// threePatches change one cluster; an engine may mind the second.
const threePatches = `apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: three, namespace: shop}
spec:
  configPatches:
  - applyTo: CLUSTER
    match: {cluster: {service: web.example}}
    patch: {operation: MERGE, value: {alt_stat_name: first}}
  - applyTo: CLUSTER
    match: {cluster: {service: web.example}}
    patch: {operation: MERGE, value: {respect_dns_ttl: true}}
  - applyTo: CLUSTER
    match: {cluster: {service: web.example}}
    patch: {operation: MERGE, value: {ignore_health_on_host_removal: true}}
`

// TestRefusedPatch: a proxy that refuses what one of three patches does gets the other
// two, after no more than one refusal for each, and the patch is named.
func TestRefusedPatch(t *testing.T) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "conf")
	if err := os.MkdirAll(conf, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"web.yaml": strings.ReplaceAll(entry, "ADDRESS", "10.1.1.1"), "three.yaml": threePatches} {
		if err := os.WriteFile(filepath.Join(conf, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := runAlone(t, Options{Config: []string{conf}})
	stream := c.stream
	if err := stream.Send(&discoverypb.DeltaDiscoveryRequest{
		Node:    &corev3.Node{Id: "sidecar~10.0.0.1~a-0.shop~shop.svc.cluster.local", Metadata: wire.NodeMetadata{Namespace: "shop", Engine: "envoy"}.Struct()},
		TypeUrl: wire.TypeCluster,
	}); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for {
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		answer := &discoverypb.DeltaDiscoveryRequest{TypeUrl: wire.TypeCluster, ResponseNonce: r.GetNonce()}
		c := webCluster(t, r)
		if c.GetRespectDnsTtl() {
			refused++
			answer.ErrorDetail = &statuspb.Status{Message: "Error adding/updating cluster(s) " + c.GetName() + ": respect_dns_ttl is of no use"}
		}
		if err := stream.Send(answer); err != nil {
			t.Fatal(err)
		}
		if c.GetAltStatName() == "first" && c.GetIgnoreHealthOnHostRemoval() && !c.GetRespectDnsTtl() {
			break
		}
	}
	if refused > 3 {
		t.Errorf("%d responses were refused", refused)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", c.ConsoleSocket)
	}}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://console/v1/findings")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var findings json.RawMessage
	if err := json.NewDecoder(resp.Body).Decode(&findings); err != nil {
		t.Fatal(err)
	}
	if text := string(findings); !strings.Contains(text, `spec.configPatches[1]`) || !strings.Contains(text, "respect_dns_ttl is of no use") ||
		strings.Contains(text, `spec.configPatches[0]`) || strings.Contains(text, `spec.configPatches[2]`) {
		t.Errorf("the Findings do not name the patch, or names others: %s", text)
	}
}

// webCluster is the cluster of web.example in a response; empty: it is not there.
func webCluster(t *testing.T, r *discoverypb.DeltaDiscoveryResponse) *clusterv3.Cluster {
	t.Helper()
	for _, x := range r.GetResources() {
		c := &clusterv3.Cluster{}
		if err := x.GetResource().UnmarshalTo(c); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(c.GetName(), "|web.example") {
			return c
		}
	}
	return &clusterv3.Cluster{}
}
