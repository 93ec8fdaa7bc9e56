package check_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weftmesh/weft/control/check"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/snapshot"
	"github.com/weftmesh/weft/control/source/file"
	"github.com/weftmesh/weft/wire"
)

const uncapturable = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild, namespace: default}
spec: {hosts: ["*.wild.example"], resolution: NONE, ports: [{number: 443, name: tls, protocol: TLS}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: hosts, namespace: default}
spec: {hosts: [hosts.example], addresses: [192.168.1.0/24], resolution: NONE, ports: [{number: 443, name: tls, protocol: TLS}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: named, namespace: default}
spec: {hosts: [named.example], resolution: NONE, ports: [{number: 443, name: tls, protocol: TLS}]}
---
apiVersion: v1
kind: Service
metadata: {name: outside, namespace: default}
spec: {clusterIP: 10.1.2.3, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: headless, namespace: default}
spec: {clusterIP: None, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: default}
spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}, egress: [{hosts: ["*/*"]}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "outboundTrafficPolicy: {mode: REGISTRY_ONLY}"}
`

// TestCaptureRange: what cannot work where only the VIP range is captured is said, and
// nothing of it where all traffic is.
func TestCaptureRange(t *testing.T) {
	objects, findings := file.Decode([]byte(uncapturable), "mesh.yaml")
	for _, f := range findings {
		if f.Severity == model.Error {
			t.Error(f)
		}
	}
	for _, tc := range []struct {
		name string
		a    snapshot.Addresses
		want []string
	}{
		{"all", snapshot.Addresses{Families: []int{4}}, nil},
		{"vip", snapshot.Addresses{Families: []int{4}, Captured: true}, []string{
			"warning WEFT0270 ServiceEntry/default/hosts spec.resolution",
			"warning WEFT0270 ServiceEntry/default/wild spec.resolution",
			"info WEFT0271 Service/default/outside spec.clusterIP",
			"warning WEFT0272 Sidecar/default/default spec.outboundTrafficPolicy.mode",
			"warning WEFT0272 MeshConfig/istio-system/istio outboundTrafficPolicy.mode",
		}},
		{"full", snapshot.Addresses{Families: []int{6}, Captured: true, Range: wire.VIPRange{Services: wire.DefaultVIPRange().Services[:1], Entries: wire.DefaultVIPRange().Entries}}, []string{
			"error WEFT0273 Service/default/headless metadata.name",
			"error WEFT0273 Service/default/outside metadata.name",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := snapshot.Make(snapshot.Options{Sources: []string{"file"}, Addresses: tc.a, Check: check.Check}, nil, model.Delta{Source: "file", Full: true, Upserts: objects})
			var got []string
			for _, f := range s.Findings {
				if f.Code >= check.CodeUncaptured && f.Code <= check.CodeFull && (tc.name != "full" || f.Code == check.CodeFull) {
					got = append(got, fmt.Sprintf("%s %s %s %s", f.Severity, f.Code, f.Object, f.Field))
				}
			}
			slices.Sort(got)
			slices.Sort(tc.want)
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}
