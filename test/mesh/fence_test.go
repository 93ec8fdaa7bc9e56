package mesh

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

func TestFenceGo(t *testing.T) { behindFences(t, "go") }

func TestFenceEnvoy(t *testing.T) { behindFences(t, "envoy") }

// fencedMesh has a client in a closed fence, which lists one of two services, a free one in an open fence that lists
// nothing, and a SlimeBoot.
const fencedMesh = `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: INGRESS, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: public, namespace: default}
spec:
  hosts: ["*"]
  gateways: [public]
  http:
  - {match: [{headers: {via: {exact: free}}}], route: [{destination: {host: free}}]}
  - {route: [{destination: {host: shut}}]}
---
apiVersion: v1
kind: Service
metadata: {name: shut, namespace: default}
spec: {selector: {app: shut}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: free, namespace: default}
spec: {selector: {app: free}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: listed, namespace: default}
spec: {selector: {app: server}, ports: [{name: http, port: 9080}, {name: tcp, port: 7000}]}
---
apiVersion: v1
kind: Service
metadata: {name: other, namespace: default}
spec: {selector: {app: server}, ports: [{name: http, port: 9080}, {name: tcp, port: 7000}]}
---
apiVersion: microservice.slime.io/v1alpha1
kind: ServiceFence
metadata: {name: shut, namespace: default, annotations: {weft.dev/fence: closed}}
spec: {enable: true, host: {listed.default.svc.cluster.local: {stable: {}}}}
---
apiVersion: microservice.netease.com/v1alpha1
kind: ServiceFence
metadata: {name: free, namespace: default}
spec: {enable: true}
---
apiVersion: config.netease.com/v1alpha1
kind: SlimeBoot
metadata: {name: lazyload, namespace: mesh-operator}
spec:
  module: [{name: lazyload, kind: lazyload, enable: true, general: {wormholePort: ["9080"]}}]
  component: {globalSidecar: {enable: true}}
`

const fencedProcess = `---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: NAME, namespace: default, labels: {app: NAME}}
spec:
  command: [BIN/echo]
  env: [{name: NAME, value: NAME}, {name: STREAM, value: "7000"}]
  ports: [{name: http, containerPort: 9080}, {name: tcp, containerPort: 7000}]
  readinessProbe: {timeoutSeconds: 60, httpGet: {path: /healthz, port: 9080}}
`

// behindFences drives fences through sidecars of an eager mesh: the closed one lets through what it lists, over HTTP and
// TCP, and the status of the open one says what was used.
func behindFences(t *testing.T, engine string) {
	t.Parallel()
	text := fencedMesh
	for _, name := range []string{"shut", "free", "server"} {
		text += strings.ReplaceAll(fencedProcess, "NAME", name)
	}
	// The name of the variable was replaced too.
	text = strings.NewReplacer("{name: shut, value: shut}", "{name: NAME, value: shut}", "{name: free, value: free}", "{name: NAME, value: free}",
		"{name: server, value: server}", "{name: NAME, value: server}").Replace(text)
	m := startText(t, text, options{engine: engine})
	call := func(host string) string {
		return "/echo/call?" + url.Values{"url": {"http://" + host + ":9080/echo/name"}}.Encode()
	}
	m.want(call("listed"), "", 200, "200 server")
	m.want("/echo/dial?to=listed:7000", "", 200, "server")
	m.want(call("other"), "", 200, "502 ")
	m.want(call("listed"), "via: free", 200, "200 server")
	m.want("/echo/dial?to=other:7000", "via: free", 200, "server")

	m.eventually("the fence's status says what was used", func() error {
		s := m.must("get", "servicefence", "free", "-o", "json")
		for _, part := range []string{"listed.default.svc.cluster.local", "other.default.svc.cluster.local"} {
			if !strings.Contains(s, part) {
				return fmt.Errorf("%s is not in\n%s", part, s)
			}
		}
		return nil
	})
	m.finding("WEFT0191", "spec.component.globalSidecar", "is not needed")

	// A SlimeBoot that has the module off ends what fences do.
	m.write("mesh.yaml", m.fill.Replace(strings.Replace(text, "kind: lazyload, enable: true", "kind: lazyload, enable: false", 1)))
	m.want(call("other"), "", 200, "200 server")
}
