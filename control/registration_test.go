package control

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoverypb "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/wire"
)

const machines = `apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: vms, namespace: shop}
spec:
  metadata: {labels: {app: web}}
  template: {serviceAccount: web, ports: {http: 8080}}
  probe: {httpGet: {path: /, port: 8080}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.9, selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}
`

// written is a machine that somebody wrote, and another that is not asked.
const written = `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: machine-1, namespace: shop, annotations: {proxy.istio.io/health-checks-enabled: "true"}}
spec: {address: 10.9.9.9, serviceAccount: web, labels: {app: web}, ports: {http: 8080}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: machine-2, namespace: shop}
spec: {address: 10.9.9.8, serviceAccount: web, labels: {app: web}, ports: {http: 8080}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.9, selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}
`

// TestMachineRegisters: a proxy whose metadata names a WorkloadGroup is an endpoint of the
// Services that select the group, and one that names a WorkloadEntry with the annotation of
// health checks is so, while its agent says that the program is well.
func TestMachineRegisters(t *testing.T) {
	t.Run("group", func(t *testing.T) { tellsHealth(t, machines, "AUTO_REGISTER_GROUP", "vms") })
	t.Run("entry", func(t *testing.T) { tellsHealth(t, written, "WORKLOAD_ENTRY", "machine-1") })
}

func tellsHealth(t *testing.T, text, key, name string) {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "conf")
	if err := os.MkdirAll(conf, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(conf, "vms.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	stream := runAlone(t, Options{Config: []string{conf}}).stream
	meta := wire.NodeMetadata{Namespace: "shop", InstanceIPs: "10.9.9.9"}.Struct()
	meta.Fields[key] = structpb.NewStringValue(name)
	send := func(r *discoverypb.DeltaDiscoveryRequest) {
		t.Helper()
		if err := stream.Send(r); err != nil {
			t.Fatal(err)
		}
	}
	send(&discoverypb.DeltaDiscoveryRequest{
		Node:    &corev3.Node{Id: "sidecar~10.9.9.9~machine-1.shop~shop.svc.cluster.local", Metadata: meta},
		TypeUrl: wire.TypeEndpoint, ResourceNamesSubscribe: []string{wire.ClusterName(wire.Outbound, 80, "", "web.shop.svc.cluster.local")},
	})
	until := func(there bool) {
		t.Helper()
		for {
			r, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			send(&discoverypb.DeltaDiscoveryRequest{TypeUrl: wire.TypeEndpoint, ResponseNonce: r.GetNonce()})
			if len(r.GetResources()) == 1 && strings.Contains(string(r.GetResources()[0].GetResource().GetValue()), "10.9.9.9") == there {
				return
			}
		}
	}
	until(false)
	send(&discoverypb.DeltaDiscoveryRequest{TypeUrl: wire.TypeHealth})
	until(true)
	send(&discoverypb.DeltaDiscoveryRequest{TypeUrl: wire.TypeHealth, ErrorDetail: &statuspb.Status{Code: 500, Message: "connection refused"}})
	until(false)
}
