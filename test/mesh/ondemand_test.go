package mesh

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// What the bookstore's README promises holds too when proxies ask for what they use.

func TestBookstoreOnDemandGo(t *testing.T) {
	bookstore(t, options{engine: "go", core: true, args: []string{"--config-mode", "on-demand"}})
}

func TestBookstoreOnDemandEnvoy(t *testing.T) {
	bookstore(t, options{engine: "envoy", core: true, args: []string{"--config-mode", "on-demand"}})
}

func TestOnDemandGo(t *testing.T) { onDemandMesh(t, "go") }

func TestOnDemandEnvoy(t *testing.T) { onDemandMesh(t, "envoy") }

// demanding is a mesh of a client and a server in two versions, whose TCP port has a
// route to the second one and settings of its own.
const demanding = `apiVersion: networking.istio.io/v1
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
  http: [{route: [{destination: {host: client}}]}]
---
apiVersion: v1
kind: Service
metadata: {name: client, namespace: default}
spec: {selector: {app: client}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: server, namespace: default}
spec: {selector: {app: server}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: store, namespace: default}
spec: {selector: {app: server}, ports: [{name: tcp, port: 7000}]}
---
apiVersion: v1
kind: Service
metadata: {name: plain, namespace: default}
spec: {selector: {app: server, version: v1}, ports: [{name: tcp, port: 7000}]}
---
apiVersion: v1
kind: Service
metadata: {name: bare, namespace: default}
spec: {selector: {app: server}, ports: [{port: 9081, targetPort: 9080}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: server, namespace: default}
spec:
  selector: {matchLabels: {app: server}}
  rules:
  - to: [{operation: {paths: [/echo/name, /healthz]}}]
  - to: [{operation: {ports: ["7000"]}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: store, namespace: default}
spec:
  host: store
  trafficPolicy: {connectionPool: {tcp: {idleTimeout: 60s}}}
  subsets: [{name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: store, namespace: default}
spec:
  hosts: [store]
  tcp: [{route: [{destination: {host: store, subset: v2}}]}]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: client, namespace: default}
spec:
  workloadSelector: {labels: {app: client}}
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
  egress: [{hosts: ["./*"]}]
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: client, namespace: default, labels: {app: client}}
spec:
  command: [BIN/echo]
  ports: [{name: http, containerPort: 9080}]
  readinessProbe: {timeoutSeconds: 60, httpGet: {path: /healthz, port: 9080}}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: server-v1, namespace: default, labels: {app: server, version: v1}}
spec:
  command: [BIN/echo]
  env: [{name: NAME, value: v1}, {name: STREAM, value: "7000"}]
  ports: [{name: http, containerPort: 9080}, {name: tcp, containerPort: 7000}]
  readinessProbe: {timeoutSeconds: 60, httpGet: {path: /healthz, port: 9080}}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: server-v2, namespace: default, labels: {app: server, version: v2}}
spec:
  command: [BIN/echo]
  env: [{name: NAME, value: v2}, {name: STREAM, value: "7000"}]
  ports: [{name: http, containerPort: 9080}, {name: tcp, containerPort: 7000}]
  readinessProbe: {timeoutSeconds: 60, httpGet: {path: /healthz, port: 9080}}
`

// late is a service that comes when a client has asked for it already.
const late = `apiVersion: v1
kind: Service
metadata: {name: late, namespace: default}
spec: {selector: {app: server, version: v2}, ports: [{name: http, port: 9080}]}
`

func onDemandMesh(t *testing.T, engine string) {
	t.Parallel()
	m := startText(t, demanding, options{engine: engine, args: []string{"--config-mode", "on-demand", "--idle-after", "8s"}})
	call := func(u, host string) string {
		return "/echo/call?" + url.Values{"url": {u}, "host": {host}}.Encode()
	}
	m.want(call("http://server:9080/echo/name", ""), "", 200, "200 v")
	m.want(call("http://server.default.svc.cluster.local:9080/echo/name", ""), "", 200, "200 v")
	// HTTP on a port that declares nothing is known as such there: the policy is of paths.
	m.want(call("http://bare:9081/echo/name", ""), "", 200, "200 v")
	m.want(call("http://bare:9081/echo/headers", ""), "", 200, "403 ")
	m.want("/echo/dial?to=plain:7000", "", 200, "v1")
	for range 5 { // by the route, to one version only
		m.want("/echo/dial?to=store:7000", "", 200, "v2")
	}
	// Who is not known is refused when he is asked for the first time: a question that
	// times out has another answer.
	for _, tc := range []struct{ url, host, answer string }{
		{"http://server:9080/echo/name", "stranger:9080", "502 "}, {"http://late:9080/echo/name", "", "no such host"},
		{"http://server:9080/echo/name", "late:9080", "502 "},
	} {
		if a := m.get(call(tc.url, tc.host), ""); a.code != 200 || !strings.Contains(a.body, tc.answer) {
			t.Errorf("%s as %q: %d %q, want %q", tc.url, tc.host, a.code, a.body, tc.answer)
		}
	}
	m.write("late.yaml", late)
	m.want(call("http://server:9080/echo/name", "late:9080"), "", 200, "200 v2")
	m.want(call("http://late:9080/echo/name", ""), "", 200, "200 v2")

	// What is not used goes, and comes back when it is.
	const host = "on-demand/server:9080"
	m.eventually("an unused host is taken away", func() error {
		if made := m.must("config", "client-0", "--made", "--type", "virtualhost", "-o", "json"); strings.Contains(made, host+"\"") {
			return fmt.Errorf("%s is there", host)
		}
		return nil
	})
	m.want(call("http://server:9080/echo/name", ""), "", 200, "200 v")
	m.want("/echo/dial?to=store:7000", "", 200, "v2")
}
