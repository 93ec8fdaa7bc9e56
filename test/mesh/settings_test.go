package mesh

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// rolled is a mesh of a program in three replicas behind a gateway.
const rolled = `apiVersion: v1
kind: Service
metadata: {name: echo, namespace: default}
spec: {selector: {app: echo}, ports: [{name: http, port: 9080}]}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: echo, namespace: default, labels: {app: echo}, annotations: {proxy.istio.io/config: "proxyMetadata: {ISTIO_META_RING: outer}"}}
spec:
  replicas: 3
  command: [BIN/echo]
  env: [{name: NAME, value: echo}]
  readinessProbe: {timeoutSeconds: 60, httpGet: {path: /healthz, port: 9080}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: INGRESS, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo, namespace: default}
spec:
  hosts: ["*"]
  gateways: [edge]
  http: [{route: [{destination: {host: echo, port: {number: 9080}}}]}]
`

const beginOtherwise = `apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: begin, namespace: istio-system}
spec:
  configPatches:
  - applyTo: BOOTSTRAP
    match: {context: SIDECAR_INBOUND}
    patch: {operation: MERGE, value: {stats_flush_interval: 7s}}
  - applyTo: BOOTSTRAP
    match: {context: SIDECAR_INBOUND, proxy: {metadata: {RING: outer, NAMESPACE: default}}}
    patch: {operation: MERGE, value: {node: {metadata: {begun: "anew"}}}}
  - applyTo: BOOTSTRAP
    match: {context: SIDECAR_INBOUND, proxy: {metadata: {RING: inner}}}
    patch: {operation: MERGE, value: {node: {metadata: {begun: "wrong"}}}}
`

// TestBootstrapPatchRolls: a patch of what proxies begin with reaches all replicas, one
// after the other, while requests go on: none fails, and the programs are not started
// again. Proxies of engine go hand over, an Envoy is started again out of rotation.
func TestBootstrapPatchRolls(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"go", "envoy"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			patch := filepath.Join(work(t), "patch.yaml")
			if err := os.WriteFile(patch, []byte(beginOtherwise), 0o644); err != nil {
				t.Fatal(err)
			}
			m := startText(t, rolled, options{engine: engine})
			m.want("/echo/name", "", 200, "echo")
			pids := map[string]int{}
			for _, i := range m.status().Instances {
				pids[i.Name] = i.PID
			}
			stop := m.load("/echo/name")
			m.must("apply", "-f", patch)
			for n := range 3 {
				name := fmt.Sprintf("echo-%d", n)
				m.eventually(name+" has begun anew", func() error {
					dump, err := m.dump(name)
					if err == nil && !strings.Contains(dump, `"anew"`) {
						err = fmt.Errorf("no trace of the patch in %s", last(dump, 300))
					}
					return err
				})
			}
			m.eventually("everything is ready and in sync", func() error {
				if out, code := m.weft("status"); code != 0 {
					return fmt.Errorf("%s", last(out, 2000))
				}
				return nil
			})
			if sent, bad := stop(); len(bad) > 0 || sent == 0 {
				t.Errorf("%d of %d requests failed: %q", len(bad), sent, bad[:min(len(bad), 5)])
			}
			for _, i := range m.status().Instances {
				if strings.HasPrefix(i.Name, "echo-") && (i.PID != pids[i.Name] || i.PID == 0 || i.Restarts != 0) {
					t.Errorf("%s: process %d, started again %d times; it was %d", i.Name, i.PID, i.Restarts, pids[i.Name])
				}
			}
		})
	}
}

// dump is what a proxy holds, which may be on its way out or in.
func (m *mesh) dump(instance string) (string, error) {
	socket := m.instance(instance).AdminSocket
	c := &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	defer c.CloseIdleConnections()
	resp, err := c.Get("http://proxy/config_dump")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}
