package mesh

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
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
  replicas: REPLICAS
  command: [BIN/echo]
  ports: [{name: http, containerPort: 9080}]
  readinessProbe: {timeoutSeconds: 60, httpGet: {path: /healthz, port: 9080}}
  resources: {limits: {cpu: 50m}}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: b, namespace: default, labels: {app: b}}
spec:
  command: [BIN/echo]
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
  - port: {number: INGRESS, name: http, protocol: HTTP}
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
func startLimiter(t *testing.T, replicas int, more string) (m *mesh, scale func(int)) {
	t.Helper()
	text := func(replicas int) string {
		return strings.ReplaceAll(limiterMesh, "REPLICAS", fmt.Sprint(replicas)) + "---\n" + more
	}
	m = startText(t, text(replicas), options{engine: "go", user: true})
	scale = func(replicas int) { m.write("mesh.yaml", m.fill.Replace(text(replicas))) }
	return m, scale
}

// limited asks once, and says what the limit's headers are; "" where there are none.
func (m *mesh) limited(path string, header ...string) (code int, limit, retry string, err error) {
	req, err := http.NewRequestWithContext(m.t.Context(), http.MethodGet, m.base+path, nil)
	if err != nil {
		return 0, "", "", err
	}
	for _, h := range header {
		req.Header.Set(h, "yes")
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

// sharedLimiter: an equal part for each replica, and for requests with a header a quota that all share.
const sharedLimiter = `apiVersion: microservice.slime.io/v1alpha2
kind: SmartLimiter
metadata: {name: a, namespace: default}
spec:
  sets:
    _base:
      descriptor:
      - {condition: "true", action: {fill_interval: {seconds: 1}, quota: "30", strategy: average}, match: [{name: x-average, present_match: true}], target: {port: 9080}}
      - {condition: "true", action: {fill_interval: {seconds: 60}, quota: "6", strategy: global}, match: [{name: x-global, present_match: true}]}
---
apiVersion: microservice.slime.io/v1alpha1
kind: SmartLimiter
metadata: {name: b, namespace: default}
spec:
  sets: {_base: {descriptor: [{condition: "true", action: {fill_interval: {seconds: 60}, quota: "6", strategy: global}, match: [{name: x-global, exact_match: "yes"}]}]}}
`

// TestSmartLimiterShared: the part of each replica follows their number, and a global quota is not given out twice, be
// it to three proxies that lease it or to an Envoy that asks.
func TestSmartLimiterShared(t *testing.T) {
	m, scale := startLimiter(t, 3, sharedLimiter)
	average := func(want string) {
		m.eventually("the part is "+want, func() error {
			_, limit, _, err := m.limited("/a/healthz", "x-average")
			if err == nil && limit != want {
				err = fmt.Errorf("limit %q", limit)
			}
			return err
		})
	}
	average("10")
	for _, x := range []struct {
		path string
		most int
	}{{"/a/healthz", 6 + 3}, {"/b/healthz", 6}} { // three proxies have a request of credit each, one Envoy has none
		begun, through, refused := time.Now(), 0, 0
		m.eventually(x.path+" is limited", func() error {
			code, limit, retry, err := m.limited(x.path, "x-global")
			switch {
			case err != nil:
				return err
			case code == http.StatusOK:
				through++
			case code != http.StatusTooManyRequests || limit == "" || retry == "":
				return fmt.Errorf("%d with limit %q and Retry-After %q", code, limit, retry)
			default:
				refused++
			}
			if refused < 30 {
				return fmt.Errorf("%d got through, %d were refused", through, refused)
			}
			return nil
		})
		filled := int(time.Since(begun)/(10*time.Second)) + 1
		if through < 6 || through > x.most+filled {
			t.Errorf("%s: %d requests got through, want 6 to %d", x.path, through, x.most+filled)
		}
		if code, limit, _, err := m.limited(x.path); err != nil || code != http.StatusOK || limit != "" {
			t.Errorf("%s without the header: %d, limit %q, %v", x.path, code, limit, err)
		}
	}
	scale(5)
	average("6")
}
