package mesh

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// metaMesh is a Dubbo service behind a gateway that speaks Dubbo, with Aeraki's routes and limits.
var metaMesh = twoVersions("demo", "greeter", "tcp-metaprotocol-dubbo", "20880") + strictTLS + `apiVersion: v1
kind: Service
metadata: {name: limits, namespace: default}
spec: {selector: {app: limits}, ports: [{name: grpc, port: 8081}]}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: limits, namespace: default, labels: {app: limits}}
spec: {command: [BIN/ratelimit], ports: [{containerPort: 8081}], readinessProbe: {timeoutSeconds: 60, tcpSocket: {port: 8081}}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: in, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: INGRESS, name: tcp-metaprotocol-dubbo, protocol: TCP}, hosts: ["*"]}]
---
apiVersion: metaprotocol.aeraki.io/v1alpha1
kind: MetaRouter
metadata: {name: demo, namespace: default}
spec:
  hosts: [demo.default.svc.cluster.local]
  gateways: [default/in, mesh]
  localRateLimit:
    conditions:
    - match: {attributes: {method: {prefix: metered}}}
      tokenBucket: {maxTokens: 2, tokensPerFill: 2, fillInterval: 3600s}
  globalRateLimit:
    domain: calls
    requestTimeout: 60s
    denyOnFail: true
    rateLimitService: outbound|8081||limits.default.svc.cluster.local
    descriptors: [{property: method, descriptorKey: method}]
  routes:
  - match: {attributes: {user: {exact: jason}, interface: {prefix: org.x}}}
    route: [{destination: {host: demo, subset: v2}}]
  - route: [{destination: {host: demo, subset: v1}}]
    requestMutation: [{key: added, value: "yes"}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: other, namespace: default}
spec:
  hosts: [org.y.Other]
  gateways: [in]
  http:
  - match: [{method: {exact: broken}}]
    fault: {abort: {httpStatus: 503, percentage: {value: 100}}}
    route: [{destination: {host: demo, subset: v2}}]
  - route: [{destination: {host: demo, subset: v2}}]
`

// TestMetaRouter: a gateway speaks Dubbo, with the routes of MetaRouters and VirtualServices that are for it, and limits are
// carried out by the servers' proxies: each its own, and one that a service counts.
func TestMetaRouter(t *testing.T) {
	t.Parallel()
	m := startText(t, metaMesh, options{engine: "go"})
	ask := func(service, method string, more ...string) string {
		t.Helper()
		out, err := exec.Command(filepath.Join(bin, "greeter"), append([]string{"ask", strings.TrimPrefix(m.base, "http://"), service, method}, more...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return requestID.ReplaceAllString(strings.TrimSpace(string(out)), "")
	}
	m.eventually("the gateway's routes", func() error {
		if got := ask("org.x.Demo", "hello"); got != "20 1 v1 2.0.2 org.x.Demo 0.0.0 hello  added yes" {
			return errors.New(got)
		}
		return nil
	})
	for _, x := range []struct{ service, method, more, want string }{
		{"org.x.Demo", "hello", "user=jason", "20 1 v2 2.0.2 org.x.Demo 0.0.0 hello  user jason"},
		{"org.y.Other", "hello", "user=jo", "20 1 v2 2.0.2 org.y.Other 0.0.0 hello  user jo"},
		{"org.y.Other", "broken", "user=jo", "80 fault filter abort"},
		{"org.x.Demo", "broken", "user=jason", "20 1 v2 2.0.2 org.x.Demo 0.0.0 broken  user jason"},
	} {
		if got := ask(x.service, x.method, x.more); got != x.want {
			t.Errorf("%s.%s: %q, want %q", x.service, x.method, got, x.want)
		}
	}
	for method, most := range map[string]int{"metered": 2, "paid": 3} {
		for i := range 6 {
			got := ask("org.x.Demo", method)
			if admitted := strings.HasPrefix(got, "20 1 v1 "); admitted != (i < most) || !admitted && !strings.HasPrefix(got, "100") {
				t.Errorf("%s, call %d of which %d are allowed: %q", method, i+1, most, got)
			}
		}
	}
	m.eventually("metrics", func() error {
		for instance, part := range map[string]string{"istio-ingressgateway-0": `reporter="source"`, "demo-v1-0": `reporter="destination"`} {
			if !counted(m.admin(instance, "/stats/prometheus"), "dubbo", part) {
				return errors.New(instance + " has no istio_requests_total of dubbo with " + part)
			}
		}
		return nil
	})
}
