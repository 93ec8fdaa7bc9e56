package mesh

import (
	"fmt"
	"testing"
)

// gatewayAPI is a mesh whose way in is written in Gateway API and Ingress alone.
const gatewayAPI = `apiVersion: v1
kind: Service
metadata: {name: echo, namespace: default}
spec: {selector: {app: echo}, ports: [{name: http, port: 9080}]}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: echo, namespace: default, labels: {app: echo, version: v1}}
spec:
  command: [BIN/echo]
  ports: [{name: http, containerPort: 9080}]
  readinessProbe: {timeoutSeconds: 60, httpGet: {path: /healthz, port: 9080}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  gatewayClassName: weft
  listeners: [{name: http, port: INGRESS, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: echo, namespace: default}
spec:
  parentRefs: [{name: edge}]
  rules:
  - matches: [{path: {value: /echo}}]
    backendRefs: [{name: echo, port: 9080}]
  - matches: [{path: {value: /echo}, headers: [{name: x-user, value: beta}]}]
    filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-from, value: "100% beta"}]}}]
    backendRefs: [{name: echo, port: 9080}]
  - matches: [{path: {value: /prefix}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]
    backendRefs: [{name: echo, port: 9080}]
  - matches: [{path: {value: /full}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /echo/headers}}}]
    backendRefs: [{name: echo, port: 9080}]
  - matches: [{path: {value: /away}}]
    filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /echo}}}]
  - matches: [{path: {type: RegularExpression, value: "/v[0-9]+/health"}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /healthz}}}]
    backendRefs: [{name: echo, port: 9080}]
  - matches: [{path: {value: /broken}}]
    backendRefs: [{name: gone, port: 80}]
  - matches: [{path: {value: /zero}}]
    backendRefs: [{name: echo, port: 9080, weight: 0}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: partly, namespace: default}
spec:
  parentRefs: [{name: edge}]
  rules:
  - matches: [{path: {value: /partly}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /healthz}}}]
    backendRefs: [{name: echo, port: 9080}, {name: gone, port: 80}]
`

// TestGatewayAPI asks through a gateway that serves a Gateway of Gateway API.
func TestGatewayAPI(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"go", "envoy"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			// It never is quite ready: two references lead nowhere.
			m := startText(t, gatewayAPI, options{engine: engine, unready: true})
			m.eventually("the gateway answers", func() error {
				a, err := m.try("/echo/headers", "")
				if err == nil && a.code != 200 {
					err = fmt.Errorf("%d %s", a.code, a.body)
				}
				return err
			})
			for _, tc := range []struct {
				path, header string
				code         int
				part         string
			}{
				{"/echo/headers", "", 200, "X-Forwarded-For"},
				{"/echo/headers", "x-user: beta", 200, "X-From: 100% beta"},
				{"/prefix/echo/headers", "", 200, "X-Forwarded-For"},
				{"/prefix/healthz", "", 200, ""},
				{"/prefixed", "", 404, ""},
				{"/full/a/b", "", 200, "X-Forwarded-For"},
				{"/away/headers", "", 200, "X-Forwarded-For"}, // the client follows
				{"/v12/health", "", 200, ""},
				{"/va/health", "", 404, ""},
				{"/broken", "", 500, ""},
				{"/zero", "", 500, ""},
			} {
				m.want(tc.path, tc.header, tc.code, tc.part)
			}
			m.shares("/partly")
		})
	}
}

// shares asks until both the backend and the one that is not there have answered.
func (m *mesh) shares(path string) {
	m.t.Helper()
	seen := map[int]int{}
	for range 200 {
		seen[m.get(path, "").code]++
		if seen[200] > 0 && seen[500] > 0 {
			return
		}
	}
	m.t.Errorf("%s: answers %v, want 200 and 500", path, seen)
}
