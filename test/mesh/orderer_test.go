package mesh

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/freeport"
)

// ordering is a mesh of two versions of a service of a declared protocol, and who asks it.
const ordering = `apiVersion: v1
kind: Service
metadata: {name: orders, namespace: default}
spec: {selector: {app: orders}, ports: [{name: tcp-metaprotocol-orders, port: 7000}]}
---
apiVersion: v1
kind: Service
metadata: {name: ask, namespace: default}
spec: {selector: {app: ask}, ports: [{name: http, port: 9080}]}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: orders-v1, namespace: default, labels: {app: orders, version: v1}}
spec: {command: [BIN/orderer, serve, v1], ports: [{containerPort: 7000}], readinessProbe: {timeoutSeconds: 60, tcpSocket: {port: 7000}}}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: orders-v2, namespace: default, labels: {app: orders, version: v2}}
spec: {command: [BIN/orderer, serve, v2], ports: [{containerPort: 7000}], readinessProbe: {timeoutSeconds: 60, tcpSocket: {port: 7000}}}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: ask, namespace: default, labels: {app: ask}}
spec: {command: [BIN/orderer, ask], ports: [{containerPort: 9080}], readinessProbe: {timeoutSeconds: 60, tcpSocket: {port: 9080}}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: in, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: INGRESS, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: in, namespace: default}
spec: {hosts: ["*"], gateways: [in], http: [{route: [{destination: {host: ask}}]}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: STRICT}}
`

// subsets is the DestinationRule that all rules here have.
const subsets = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: orders, namespace: default}
spec:
  host: orders
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
`

// routeOf sends to one version, or what is told where to.
func routeOf(rest string) string {
	return `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: orders, namespace: default}
spec:
  hosts: [orders]
  http:
  - {match: [{headers: {to: {exact: v1}}}], route: [{destination: {host: orders, subset: v1}}]}
  - {match: [{headers: {to: {exact: v2}}}], route: [{destination: {host: orders, subset: v2}}]}
  - ` + rest + "\n"
}

func startOrders(t *testing.T) *mesh {
	t.Helper()
	dir := filepath.Join(work(t), "m")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	protocol, err := os.ReadFile(filepath.Join(root, "examples/private-protocol/protocol.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	port := int(freeport.Port(t))
	for name, text := range map[string]string{
		"protocol": string(protocol), "mesh": strings.NewReplacer("BIN", bin, "INGRESS", fmt.Sprint(port)).Replace(ordering),
		"rule": subsets, "route": routeOf("{route: [{destination: {host: orders, subset: v1}}]}"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m := start(t, dir, options{engine: "go"})
	m.base = fmt.Sprintf("http://127.0.0.1:%d", port)
	m.eventually("an answer", func() error { return m.only("", "v1") })
	return m
}

// batch makes calls, and says how many each has answered.
func (m *mesh) batch(query string) (map[string]int, error) {
	a, err := m.try("/batch?"+query, "")
	seen := map[string]int{}
	if err == nil && a.code != 200 {
		err = fmt.Errorf("%d %s", a.code, a.body)
	}
	if err == nil {
		err = json.Unmarshal([]byte(a.body), &seen)
	}
	return seen, err
}

// only wants the answers of calls to be those of one.
func (m *mesh) only(query, who string) error {
	seen, err := m.batch("n=10&" + query)
	if err == nil && (len(seen) != 1 || seen[who] == 0) {
		err = fmt.Errorf("%s: %v, want %s alone", query, seen, who)
	}
	return err
}

// TestDeclaredProtocol: what a declared protocol gets of the framework, by many calls: shares
// that are exact, copies, one server per key, servers that are broken left out, and routes
// that change a hundred times under load without a call or a connection lost.
func TestDeclaredProtocol(t *testing.T) {
	t.Parallel()
	m := startOrders(t)
	m.changing(100)

	t.Log("shares")
	m.write("route.yaml", routeOf("{route: [{destination: {host: orders, subset: v1}, weight: 75}, {destination: {host: orders, subset: v2}, weight: 25}]}"))
	m.eventually("both answer", func() error {
		seen, err := m.batch("n=50")
		if err == nil && len(seen) != 2 {
			err = fmt.Errorf("%v", seen)
		}
		return err
	})
	const calls = 40000
	if seen, err := m.batch(fmt.Sprintf("n=%d&conns=8", calls)); err != nil || seen["v1"]+seen["v2"] != calls || seen["v2"] < calls*24/100 || seen["v2"] > calls*26/100 {
		t.Errorf("of %d calls a quarter are v2's, within one percent: %v, %v", calls, seen, err)
	}

	t.Log("copies")
	m.write("route.yaml", routeOf("{route: [{destination: {host: orders, subset: v1}}], mirror: {host: orders, subset: v2}}"))
	m.eventually("v1 alone answers", func() error { return m.only("", "v1") })
	m.eventually("copies come to v2", func() error {
		if err := m.only("op=copied", "v1"); err != nil {
			return err
		}
		seen, err := m.batch("op=count&to=v2")
		if err == nil && seen["0"] > 0 {
			err = fmt.Errorf("v2 has had %v", seen)
		}
		return err
	})

	t.Log("one server per key")
	m.write("route.yaml", routeOf("{route: [{destination: {host: orders}}]}"))
	m.write("rule.yaml", strings.Replace(subsets, "  subsets", "  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: user}}}\n  subsets", 1))
	m.eventually("each user has a server", m.sticks)

	t.Log("a broken server is left out")
	m.write("rule.yaml", strings.Replace(subsets, "  subsets", "  trafficPolicy: {outlierDetection: {consecutive5xxErrors: 3, interval: 1s, baseEjectionTime: 60s, maxEjectionPercent: 50}}\n  subsets", 1))
	if err := m.only("op=break&to=v2", "v2"); err != nil {
		t.Fatal(err)
	}
	m.eventually("v1 alone answers", func() error {
		seen, err := m.batch("n=40&conns=2")
		if err == nil && seen["v1"] != 40 {
			err = fmt.Errorf("%v", seen)
		}
		return err
	})
}

// sticks wants all calls of a user at one server, and users at both.
func (m *mesh) sticks() error {
	users := map[string]int{}
	for i := range 20 {
		seen, err := m.batch(fmt.Sprintf("n=5&user=u%d", i))
		if err != nil {
			return err
		}
		if len(seen) != 1 {
			return fmt.Errorf("user %d is at %v", i, seen)
		}
		for who := range seen {
			users[who]++
		}
	}
	if len(users) != 2 {
		return fmt.Errorf("users are at %v", users)
	}
	return nil
}

// changing changes the route n times while four connections are called over without end, each
// time once the change before is in force.
func (m *mesh) changing(n int) {
	m.t.Helper()
	m.want("/load?conns=4", "", 200, "")
	type report struct {
		Calls, Lost int
		Error, Last string
	}
	var now report
	ask := func() error {
		a, err := m.try("/loaded", "")
		if err != nil {
			return err
		}
		return json.Unmarshal([]byte(a.body), &now)
	}
	m.eventually("calls", func() error {
		if err := ask(); err != nil || now.Calls == 0 {
			return fmt.Errorf("%+v %w", now, err)
		}
		return nil
	})
	began := time.Now()
	for i := range n {
		to := []string{"v2", "v1"}[i%2]
		m.write("route.yaml", routeOf("{route: [{destination: {host: orders, subset: "+to+"}}]}"))
		for deadline := time.Now().Add(20 * time.Second); ; {
			if err := ask(); err == nil && now.Last == to {
				break
			}
			if time.Now().After(deadline) {
				m.t.Fatalf("change %d: %s does not answer: %+v", i, to, now)
			}
		}
	}
	m.t.Logf("%d changes in %v, %d calls", n, time.Since(began).Round(time.Millisecond), now.Calls)
	if now.Lost != 0 {
		m.t.Errorf("%d connections lost: %s", now.Lost, now.Error)
	}
}
