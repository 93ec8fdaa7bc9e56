package mesh

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/weftmesh/weft/test/freeport"
)

// fields is a mesh with the fields of Istio's that few people use, each of which one
// request shows.
const fields = `apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    defaultConfig:
      drainDuration: 5s
      gatewayTopology: {numTrustedProxies: 1}
      runtimeValues: {weft.test: "7"}
      proxyStatsMatcher: {inclusionPrefixes: ["cluster.outbound|9080||echo"]}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: begin, namespace: istio-system}
spec:
  configPatches:
  - applyTo: BOOTSTRAP
    match: {context: SIDECAR_INBOUND}
    patch: {operation: MERGE, value: {stats_flush_interval: 7s, node: {metadata: {begun: "yes"}}}}
---
# Which no engine takes: programs start all the same.
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: wrong, namespace: default}
spec:
  workloadSelector: {labels: {version: v1}}
  configPatches:
  - applyTo: BOOTSTRAP
    patch: {operation: MERGE, value: {cluster_manager: {local_cluster_name: nowhere}}}
---
apiVersion: v1
kind: Service
metadata: {name: client, namespace: default}
spec: {selector: {app: client}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: default}
spec: {selector: {app: echo}, ports: [{name: http, port: 9080}, {name: tcp, port: 7000}]}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata:
  name: client
  namespace: default
  labels: {app: client}
  annotations:
    proxy.istio.io/config: |
      proxyHeaders: {forwardedClientCert: SANITIZE, requestId: {disabled: true}, xForwardedPort: {enabled: true}, server: {value: mine}}
spec:
  command: [BIN/echo]
  env: [{name: NAME, value: client}]
  readinessProbe: {timeoutSeconds: 60, httpGet: {path: /healthz, port: 9080}}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: echo-v1, namespace: default, labels: {app: echo, version: v1}}
spec:
  command: [BIN/echo]
  env: [{name: NAME, value: v1}, {name: STREAM, value: "7000"}]
  readinessProbe: {timeoutSeconds: 60, httpGet: {path: /healthz, port: 9080}}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: echo-v2, namespace: default, labels: {app: echo, version: v2}}
spec:
  command: [BIN/echo]
  env: [{name: NAME, value: v2}, {name: STREAM, value: "7000"}]
  readinessProbe: {timeoutSeconds: 60, httpGet: {path: /healthz, port: 9080}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: echo, namespace: default}
spec: {host: echo, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
# The way in; what no route takes goes to what answers for the gateway's own health.
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: INGRESS, name: http, protocol: HTTP}, hosts: ["*"], defaultEndpoint: "127.0.0.1:15021"}
  - {port: {number: WAY-ON, name: tls, protocol: TLS}, hosts: ["*.local"], tls: {mode: AUTO_PASSTHROUGH}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: client, namespace: default}
spec:
  hosts: ["*"]
  gateways: [edge]
  http:
  - match: [{uri: {prefix: /echo}}]
    route: [{destination: {host: client, port: {number: 9080}}}]
---
# A host behind the gateway, as another network would have it: its sidecar names the
# cluster that is meant.
apiVersion: v1
kind: Service
metadata: {name: through, namespace: istio-system}
spec: {selector: {istio: ingressgateway}, ports: [{name: http, port: 9080, targetPort: WAY-ON}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: through, namespace: istio-system}
spec:
  host: through.istio-system.svc.cluster.local
  trafficPolicy:
    tls: {mode: ISTIO_MUTUAL, sni: outbound_.9080_.v2_.echo.default.svc.cluster.local, subjectAltNames: ["spiffe://cluster.local/ns/default/sa/default"]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild, namespace: default}
spec:
  hosts: ["*.weft.internal"]
  location: MESH_EXTERNAL
  resolution: DYNAMIC_DNS
  ports: [{number: OUTSIDE, name: http, protocol: HTTP}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: tcp, namespace: default}
spec:
  hosts: [echo]
  tcp:
  - match: [{port: 7000, sourceSubnet: 192.0.2.0/24}]
    route: [{destination: {host: echo, port: {number: 7000}, subset: v1}}]
  - match: [{port: 7000, sourceSubnet: 0.0.0.0/0}]
    route: [{destination: {host: echo, port: {number: 7000}, subset: v2}}]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: client, namespace: default}
spec:
  workloadSelector: {labels: {app: client}}
  ingress:
  - {port: {number: 9080, name: http, protocol: HTTP}, defaultEndpoint: "127.0.0.1:9080"}
  - {port: {number: 9088, name: http-bound, protocol: HTTP}, captureMode: NONE, defaultEndpoint: "127.0.0.1:9080"}
  egress:
  - {port: {number: 14080, name: http, protocol: HTTP}, captureMode: NONE, hosts: ["istio-system/*"]}
  - {hosts: ["*/*"]}
`

// TestRareFields sends a request for each of them.
func TestRareFields(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"go", "envoy"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			outside := fmt.Sprint(beyond(t))
			m := startText(t, fields, options{engine: engine}, "WAY-ON", fmt.Sprint(freeport.Port(t)), "OUTSIDE", outside)
			for _, tc := range []struct{ name, path, part string }{
				{"Server.defaultEndpoint", "/healthz/ready", ""},
				{"AUTO_PASSTHROUGH", "/echo/call?url=http://through.istio-system:9080/echo/name", "200 v2"},
				{"DYNAMIC_DNS", "/echo/call?url=" + url.QueryEscape("http://host.weft.internal:"+outside+"/"), "200 outside"},
				{"sourceSubnet", "/echo/dial?to=echo.default:7000", "v2"},
				{"captureMode NONE, egress", "/echo/call?host=through.istio-system&url=http://127.0.0.1:14080/echo/name", "200 v2"},
				{"captureMode NONE, a stranger", "/echo/call?host=stranger.test&url=http://127.0.0.1:14080/echo/name", "502"},
				{"captureMode NONE, ingress", "/echo/call?url=http://127.0.0.1:9088/echo/name", "200 client"},
			} {
				m.eventually(tc.name, func() error {
					a, err := m.try(tc.path, "")
					if err == nil && (a.code != 200 || !strings.Contains(a.body, tc.part)) {
						err = fmt.Errorf("%d %q, want 200 with %q", a.code, last(a.body, 300), tc.part)
					}
					return err
				})
			}
			m.proxySettings(engine)
		})
	}
}

// proxySettings checks what is said about proxies, in the mesh configuration and at one
// program.
func (m *mesh) proxySettings(engine string) {
	m.t.Helper()
	m.eventually("settings of proxies", func() error {
		a, err := m.try("/echo/headers", "x-forwarded-for: 192.0.2.7")
		if err != nil {
			return err
		}
		for part, want := range map[string]bool{
			"X-Envoy-External-Address: 192.0.2.7": true, "X-Forwarded-Client-Cert": false, "X-Forwarded-Port: 9080": true,
		} {
			if strings.Contains(a.body, part) != want {
				return fmt.Errorf("%q is there: %t, want %t, in %s", part, !want, want, a.body)
			}
		}
		if dump := m.admin("client-0", "/config_dump"); !strings.Contains(dump, `"begun"`) || !strings.Contains(dump, `"7s"`) {
			return fmt.Errorf("/config_dump has nothing of the patch: %s", last(dump, 300))
		}
		if engine == "envoy" {
			return nil // whose own statistics and runtime the agent does not show
		}
		if text := m.admin("client-0", "/runtime"); !strings.Contains(text, "weft.test") {
			return fmt.Errorf("/runtime: %s", last(text, 500))
		}
		if text := m.admin("client-0", "/stats"); !strings.Contains(text, "cluster.outbound|9080||echo.default.svc.cluster.local") {
			return fmt.Errorf("/stats has none of the cluster's: %s", last(text, 500))
		}
		return nil
	})
}
