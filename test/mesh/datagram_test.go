package mesh

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// datagrams is a mesh whose way in is for datagrams, beside one for HTTP.
const datagrams = `apiVersion: v1
kind: Service
metadata: {name: one, namespace: default}
spec: {selector: {app: one}, ports: [{name: udp, port: 5300, targetPort: 9053, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: two, namespace: default}
spec: {selector: {app: two}, ports: [{name: http, port: 9080}, {name: udp, port: 9080, targetPort: 9053, protocol: UDP}]}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: one, namespace: default, labels: {app: one}}
spec:
  command: [BIN/echo]
  env: [{name: NAME, value: one}, {name: DATAGRAMS, value: "9053"}]
  ports: [{name: http, containerPort: 9080}]
  readinessProbe: {timeoutSeconds: 60, httpGet: {path: /healthz, port: 9080}}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: two, namespace: default, labels: {app: two}}
spec:
  command: [BIN/echo]
  env: [{name: NAME, value: two}, {name: DATAGRAMS, value: "9053"}]
  ports: [{name: http, containerPort: 9080}]
  readinessProbe: {timeoutSeconds: 60, httpGet: {path: /healthz, port: 9080}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  gatewayClassName: weft
  listeners:
  - {name: http, port: INGRESS, protocol: HTTP}
  - {name: udp, port: INGRESS, protocol: UDP}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: two, namespace: default}
spec:
  parentRefs: [{name: edge}]
  rules: [{backendRefs: [{name: two, port: 9080}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: UDPRoute
metadata: {name: both, namespace: default}
spec:
  parentRefs: [{name: edge, sectionName: udp}]
  rules: [{backendRefs: [{name: one, port: 5300, weight: 1}, {name: two, port: 9080, weight: 1}]}]
`

// datagram asks over UDP, from a port of its own, and returns who answered.
func (m *mesh) datagram(say string) (string, error) {
	c, err := net.Dial("udp", strings.TrimPrefix(m.base, "http://"))
	if err != nil {
		return "", err
	}
	defer c.Close()
	b := make([]byte, 1500)
	for range 5 { // datagrams may be lost
		if _, err = c.Write([]byte(say)); err != nil {
			continue
		}
		_ = c.SetReadDeadline(time.Now().Add(patience / 20))
		var n int
		if n, err = c.Read(b); err == nil {
			name, said, _ := strings.Cut(string(b[:n]), " ")
			if said != say {
				err = fmt.Errorf("%q is answered with %q", say, said)
			}
			return name, err
		}
	}
	return "", err
}

// TestDatagrams sends datagrams through a gateway of weft up: to two Services, one of
// which has a port of the same number for HTTP; and looks at the status of the objects.
func TestDatagrams(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"go", "envoy"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			m := startText(t, datagrams, options{engine: engine})
			m.eventually("both Services answer", func() error {
				seen := map[string]int{}
				for i := range 30 {
					name, err := m.datagram(fmt.Sprint("hello ", i))
					if err != nil {
						return err
					}
					seen[name]++
				}
				if seen["one"] < 3 || seen["two"] < 3 {
					return fmt.Errorf("of 30 clients %v", seen)
				}
				return nil
			})
			m.want("/echo/name", "", 200, "two") // TCP of the same port
			m.statusOf("udproute", "both", "controllerName: weft.dev/gateway-controller", "reason: ResolvedRefs", "sectionName: udp")
			m.statusOf("gateway.gateway.networking.k8s.io", "edge", "attachedRoutes: 1", "kind: UDPRoute", "reason: Programmed", "message: on 1 of 1 proxies", "lastTransitionTime:")
			if s, code := m.weft("status", "udproute", "both"); code != 0 || !strings.Contains(s, "parent Gateway default/edge udp: ok") {
				t.Errorf("weft status says, with %d:\n%s", code, s)
			}
			next := filepath.Join(work(t), "next.yaml")
			if err := os.WriteFile(next, []byte(`apiVersion: gateway.networking.k8s.io/v1
kind: UDPRoute
metadata: {name: both, namespace: default}
spec:
  parentRefs: [{name: edge, sectionName: udp}]
  rules: [{backendRefs: [{name: two, port: 9080}, {name: gone, port: 53, weight: 0}]}]
`), 0o644); err != nil {
				t.Fatal(err)
			}
			m.must("apply", "-f", next)
			m.eventually("all go to one", func() error {
				for range 10 {
					if name, err := m.datagram("x"); err != nil || name != "two" {
						return fmt.Errorf("%q answers, %w", name, errors.Join(err, errors.New("want two")))
					}
				}
				return nil
			})
			m.statusOf("udproute", "both", "reason: BackendNotFound", "there is no Service default/gone")
		})
	}
}

// statusOf wants parts in an object's YAML, below its status.
func (m *mesh) statusOf(kind, name string, parts ...string) {
	m.t.Helper()
	m.eventually("the status of "+kind+" "+name, func() error {
		s, code := m.weft("get", kind, name, "-o", "yaml")
		_, status, _ := strings.Cut(s, "\nstatus:\n")
		for _, p := range parts {
			if code != 0 || !strings.Contains(status, p) {
				return fmt.Errorf("%d, no %q in:\n%s", code, p, s)
			}
		}
		return nil
	})
}
