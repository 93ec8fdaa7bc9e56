package mesh

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// dubboMesh: a page that calls Dubbo services, of which there are two versions.
var dubboMesh = twoVersions("demo", "greeter", "tcp-dubbo", "20880") + pageService + publicGateway + strictTLS + `apiVersion: v1
kind: ServiceAccount
metadata: {name: page, namespace: default}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: page, namespace: default, labels: {app: page}, annotations: {ANNOTATION}}
spec: {command: [BIN/greeter, call], serviceAccountName: page, ports: [{containerPort: 9080}], readinessProbe: {timeoutSeconds: 60, httpGet: {path: /, port: 9080}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: in, namespace: default}
spec:
  hosts: ["*"]
  gateways: [in]
  http:
  - match: [{uri: {prefix: /org.x.Demo/}}]
    route: [{destination: {host: demo, subset: v2}}]
  - route: [{destination: {host: page}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: demo, namespace: default}
spec:
  selector: {matchLabels: {app: demo}}
  action: DENY
  rules:
  - to: [{operation: {methods: [secret]}}]
---
apiVersion: dubbo.aeraki.io/v1alpha1
kind: DubboAuthorizationPolicy
metadata: {name: private, namespace: default}
spec:
  action: DENY
  rules:
  - from: [{source: {principals: ["*/sa/page"]}}]
    to: [{operation: {interfaces: ["org.*"], methods: ["private*"]}}]
---
apiVersion: dubbo.aeraki.io/v1alpha1
kind: DubboAuthorizationPolicy
metadata: {name: known, namespace: default}
spec:
  action: ALLOW
  rules:
  - from: [{source: {namespaces: [default, istio-system]}}]
    to: [{operation: {interfaces: [org.x.Demo]}}]
`

// The same routes in two ways; faults are VirtualService's only.
const (
	dubboVirtualService = `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: demo, namespace: default}
spec:
  hosts: [demo]
  http:
  - match: [{headers: {user: {exact: jason}}}]
    route: [{destination: {host: demo, subset: v2}}]
  - match: [{method: {exact: slow}}]
    fault: {delay: {fixedDelay: 5s, percentage: {value: 100}}}
    timeout: 0.2s
    route: [{destination: {host: demo, subset: v2}}]
  - match: [{method: {exact: broken}}]
    fault: {abort: {httpStatus: 503, percentage: {value: 100}}}
    route: [{destination: {host: demo, subset: v2}}]
  - headers: {request: {set: {added: "yes"}}}
    route: [{destination: {host: demo, subset: v1}}]
`
	dubboMetaRouter = `---
apiVersion: metaprotocol.aeraki.io/v1alpha1
kind: MetaRouter
metadata: {name: demo, namespace: default}
spec:
  hosts: [demo]
  routes:
  - match: {attributes: {user: {exact: jason}, interface: {prefix: org.x}}}
    route: [{destination: {host: demo, subset: v2}}]
  - route: [{destination: {host: demo, subset: v1}}]
    requestMutation: [{key: added, value: "yes"}]
`
)

// requestID is what proxies add to requests for traces and logs.
var requestID = regexp.MustCompile(` x-request-id [-0-9a-f]{36}`)

// TestDubbo: a protocol that is not HTTP has routes on its fields, changes of them, faults, mutual TLS, authorization and metrics.
func TestDubbo(t *testing.T) {
	t.Parallel()
	for _, mode := range []struct{ name, annotation, routes string }{
		{"eager", "", dubboVirtualService},
		{"on demand", "weft.dev/config-mode: on-demand", dubboMetaRouter},
	} {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			m := startText(t, dubboMesh+mode.routes, options{engine: "go"}, "ANNOTATION", mode.annotation)
			call := func(method, more string) string {
				t.Helper()
				service, method, ok := strings.Cut(method, ":")
				if !ok {
					service, method = "org.x.Demo", service
				}
				a := m.get("/?service="+service+"&host=demo&method="+method+more, "")
				return fmt.Sprint(a.code, " ", requestID.ReplaceAllString(strings.TrimSpace(a.body), ""))
			}
			for query, want := range map[string]string{
				"hello":                 "200 20 1 v1 2.0.2 org.x.Demo 0.0.0 hello  added yes",
				"hello&user=" + "jason": "200 20 1 v2 2.0.2 org.x.Demo 0.0.0 hello  user jason",
				"secret":                "200 40 RBAC: access denied",
				"privateKeys":           "200 40 RBAC: access denied",
				"org.y.Demo:hello":      "200 40 RBAC: access denied",
				"broken":                "200 80 fault filter abort",
				"fail":                  "200 20 0 v1 fails",
			} {
				method, more, _ := strings.Cut(query, "&") // "SERVICE:METHOD&ATTACHMENTS"
				if method == "broken" && mode.routes == dubboMetaRouter {
					continue
				}
				if more != "" {
					more = "&" + more
				}
				if got := call(method, more); got != want {
					t.Errorf("%s: %q, want %q", query, got, want)
				}
			}
			// The gateway makes generic calls of HTTP and JSON.
			for path, want := range map[string]string{
				"/org.x.Demo/hello?version=1.0.0": `200 "v2 2.0.2 org.x.Demo 1.0.0 $invoke Ljava/lang/String;[Ljava/lang/String;[Ljava/lang/Object; hello `,
				"/org.x.Demo/secret":              `400 {"error":"RBAC: access denied"}`,
				"/org.x.Demo/a/b":                 `400 path "/org.x.Demo/a/b": want /SERVICE/METHOD`,
			} {
				a := m.get(path, "dubbo-user: jason")
				if got := fmt.Sprint(a.code, " ", a.body); !strings.HasPrefix(got, want) || strings.HasPrefix(path, "/org.x.Demo/hello") && !strings.Contains(got, "generic true user jason") {
					t.Errorf("%s: %q, want %q", path, got, want)
				}
			}
			// What only the page may not ask for, the gateway may.
			if a := m.get("/org.x.Demo/privateKeys", ""); a.code != 200 {
				t.Errorf("privateKeys through the gateway: %d %q", a.code, a.body)
			}
			m.eventually("metrics", func() error {
				for instance, part := range map[string]string{"page-0": `reporter="source"`, "demo-v1-0": `reporter="destination"`} {
					if !counted(m.admin(instance, "/stats/prometheus"), "dubbo", part) {
						return fmt.Errorf("%s has no istio_requests_total of dubbo with %s", instance, part)
					}
				}
				return nil
			})
		})
	}
}

// counted tells whether requests of a protocol were counted with that label.
func counted(stats, protocol, label string) bool {
	for line := range strings.Lines(stats) {
		if strings.HasPrefix(line, "istio_requests_total") && strings.Contains(line, `request_protocol="`+protocol+`"`) && strings.Contains(line, label) {
			return true
		}
	}
	return false
}
