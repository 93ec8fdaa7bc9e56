package mesh

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/weftmesh/weft/test/freeport"
)

// limiterMesh has a service on each engine, behind a gateway that leads to them by path.
const limiterMesh = `apiVersion: v1
kind: Service
metadata: {name: a, namespace: default}
spec: {selector: {app: a}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: b, namespace: default}
spec: {selector: {app: b}, ports: [{name: http, port: 9080}]}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: a, namespace: default, labels: {app: a}}
spec:
  replicas: %[3]d
  command: [%[1]s/echo]
  ports: [{name: http, containerPort: 9080}]
  readinessProbe: {timeoutSeconds: 60, httpGet: {path: /healthz, port: 9080}}
  resources: {limits: {cpu: 50m}}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: b, namespace: default, labels: {app: b}}
spec:
  command: [%[1]s/echo]
  ports: [{name: http, containerPort: 9080}]
  readinessProbe: {timeoutSeconds: 60, httpGet: {path: /healthz, port: 9080}}
  resources: {limits: {cpu: 50m}}
  sidecar: {engine: envoy}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: in, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: %[2]d, name: http, protocol: HTTP}
    hosts: ["*"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: in, namespace: default}
spec:
  hosts: ["*"]
  gateways: [in]
  http:
  - match: [{uri: {prefix: /b/}}]
    rewrite: {uri: /}
    route: [{destination: {host: b}}]
    retries: {attempts: 0}
  - route: [{destination: {host: a}}]
    rewrite: {uri: /}
    match: [{uri: {prefix: /a/}}]
    retries: {attempts: 0}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: STRICT}}
`

// knownLimiter is what people know from talks, word for word; of b only the name is another.
const knownLimiter = `apiVersion: microservice.netease.com/v1alpha1
kind: SmartLimiter
metadata: {name: %s, namespace: default}
spec:
  descriptors:
  - action:
      fill_interval:
        seconds: 1
      quota: "30/{pod}"
    condition: "{cpu}>0.8"
`

// startLimiter starts the mesh with some replicas of a.
func startLimiter(t *testing.T, replicas int, more string) (m *mesh, port int) {
	t.Helper()
	folder := work(t)
	port = freeport.Pick(t)
	text := fmt.Sprintf(limiterMesh, bin, port, replicas) + "---\n" + more
	if err := os.WriteFile(filepath.Join(folder, "mesh.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	m = start(t, folder, options{engine: "go", user: true})
	m.base = fmt.Sprintf("http://127.0.0.1:%d", port)
	return m, port
}

// limited asks once, and says what the limit's headers are; "" where there are none.
func (m *mesh) limited(path string) (code int, limit, retry string, err error) {
	req, err := http.NewRequestWithContext(m.t.Context(), http.MethodGet, m.base+path, nil)
	if err != nil {
		return 0, "", "", err
	}
	resp, err := m.http.Do(req)
	if err != nil {
		return 0, "", "", err
	}
	resp.Body.Close()
	return resp.StatusCode, resp.Header.Get("X-Ratelimit-Limit"), resp.Header.Get("Retry-After"), nil
}

// limitIs waits until requests are told of a limit, "" for none.
func (m *mesh) limitIs(path, want string) {
	m.t.Helper()
	m.eventually(path+" has the limit "+want, func() error {
		_, limit, _, err := m.limited(path)
		if err == nil && limit != want {
			err = fmt.Errorf("limit %q", limit)
		}
		return err
	})
}

// refused waits until a request is refused as it should be.
func (m *mesh) refused(path string) {
	m.t.Helper()
	m.eventually(path+" is limited", func() error {
		for range 200 {
			code, limit, retry, err := m.limited(path)
			if err != nil {
				return err
			}
			if code == http.StatusTooManyRequests {
				if limit == "" || retry == "" {
					return fmt.Errorf("429 with limit %q and Retry-After %q", limit, retry)
				}
				return nil
			}
		}
		return fmt.Errorf("none of 200 requests was refused")
	})
}

// TestSmartLimiterByCPU: load above the condition turns the limit on, below it off, on both engines.
func TestSmartLimiterByCPU(t *testing.T) {
	m, _ := startLimiter(t, 1, fmt.Sprintf(knownLimiter, "a")+"---\n"+fmt.Sprintf(knownLimiter, "b"))
	for _, path := range []string{"/a/", "/b/"} {
		m.limitIs(path+"healthz", "")
		m.want(path+"echo/busy?on=true", "", http.StatusOK, "")
		m.limitIs(path+"healthz", "30")
		m.refused(path + "healthz")
		m.want(path+"echo/busy?on=false", "", http.StatusOK, "")
		m.limitIs(path+"healthz", "")
	}
}
