package mesh

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// crowd is a mesh of servers on both engines, which speak mTLS only, and of clients on
// both engines in both config modes, each behind the gateway by the header "client".
func crowd(outside int, clients ...string) string {
	var b strings.Builder
	b.WriteString(strings.ReplaceAll(crowded, "OUTSIDE", strconv.Itoa(outside)))
	for _, c := range clients {
		engine, mode, _ := strings.Cut(c, "-")
		fmt.Fprintf(&b, `---
apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: default}
spec: {selector: {app: %[1]s}, ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: to-%[1]s, namespace: default}
spec:
  hosts: ["*"]
  gateways: [public]
  http: [{match: [{headers: {client: {exact: %[1]s}}}], route: [{destination: {host: %[1]s}}]}]
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: %[1]s, namespace: default, labels: {app: %[1]s}, annotations: {weft.dev/config-mode: %[2]s}}
spec:
  command: [BIN/echo]
  sidecar: {engine: %[3]s}
  ports: [{name: http, containerPort: 9080}]
  readinessProbe: {timeoutSeconds: 60, httpGet: {path: /healthz, port: 9080}}
`, c, mode, engine)
	}
	for i, engine := range []string{"go", "envoy"} {
		fmt.Fprintf(&b, `---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: server-v%[1]d, namespace: default, labels: {app: server, version: v%[1]d}}
spec:
  command: [BIN/echo]
  sidecar: {engine: %[2]s}
  env: [{name: NAME, value: v%[1]d}, {name: STREAM, value: "7000"}, {name: SECURE, value: "7443"}]
  ports: [{name: http, containerPort: 9080}, {name: tcp, containerPort: 7000}, {name: tls, containerPort: 7443}]
  readinessProbe: {timeoutSeconds: 60, httpGet: {path: /healthz, port: 9080}}
`, i+1, engine)
	}
	return strings.ReplaceAll(b.String(), "BIN", bin)
}

const crowded = `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: INGRESS, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: STRICT}, selector: {matchLabels: {app: server}}}
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
metadata: {name: nodes, namespace: default}
spec: {clusterIP: None, selector: {app: server}, ports: [{name: tcp, port: 7000}, {name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside, namespace: default}
spec:
  hosts: [outside.example]
  location: MESH_EXTERNAL
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: OUTSIDE}]
  endpoints: [{address: host.weft.internal}]
`

// client asks as one of the clients of a crowd.
type client struct {
	*mesh
	name string
}

func (c client) calls(u, host, part string) {
	c.t.Helper()
	c.asks("/echo/call?"+url.Values{"url": {u}, "host": {host}}.Encode(), part)
}

func (c client) dials(to, sni, part string) {
	c.t.Helper()
	c.asks("/echo/dial?"+url.Values{"to": {to}, "sni": {sni}}.Encode(), part)
}

// asks waits until the client's program answers with something.
func (c client) asks(path, part string) {
	c.t.Helper()
	c.eventually(c.name+" "+path, func() error { return c.once(path, part) })
}

func (c client) once(path, part string) error {
	a, err := c.try(path, "client: "+c.name)
	if err == nil && (a.code != 200 || !strings.Contains(a.body, part)) {
		err = fmt.Errorf("%d %q, want %q", a.code, last(a.body, 300), part)
	}
	return err
}

// startCrowd starts a crowd and returns its folder too.
func startCrowd(t *testing.T, outside int, clients []string, args ...string) *mesh {
	t.Helper()
	return startText(t, crowd(outside, clients...), options{engine: "go", args: args})
}

// beyond answers on this machine, outside of the mesh.
func beyond(t *testing.T) (port int) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "outside") }))
	t.Cleanup(s.Close)
	return s.Listener.Addr().(*net.TCPAddr).Port
}

// captured is what the redirect rules in an instance's network are: how many there are,
// and how many connections of the program they have led to its sidecar. Only root sees
// those of another network: no rules otherwise.
func (c client) captured() (rules int, connections uint64) {
	c.t.Helper()
	if os.Getuid() != 0 {
		return 0, 0
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", c.instance(c.name+"-0").PID))
	if err != nil {
		c.t.Fatal(err)
	}
	defer ns.Close()
	conn, err := nftables.New(nftables.WithNetNSFd(int(ns.Fd())))
	if err != nil {
		c.t.Fatal(err)
	}
	chains, err := conn.ListChainsOfTableFamily(nftables.TableFamilyINet)
	for _, ch := range chains {
		var list []*nftables.Rule
		if list, err = conn.GetRules(ch.Table, ch); err != nil {
			break
		}
		rules += len(list)
		for _, r := range list {
			for _, e := range r.Exprs {
				if n, ok := e.(*expr.Counter); ok {
					connections += n.Packets
				}
			}
		}
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return rules, connections
}

// TestCaptureRangeVIP: with --capture-range vip all that is called by name goes through
// the sidecars, on both engines and in both config modes, and nothing else does.
func TestCaptureRangeVIP(t *testing.T) {
	t.Parallel()
	outside := beyond(t)
	names := []string{"go-eager", "go-on-demand", "envoy-eager", "envoy-on-demand"}
	m := startCrowd(t, outside, names, "--capture-range", "vip", "--vip-range", "100.64.0.0/16,fd00:64::/112")
	server := m.instance("server-v1-0").Address
	for _, name := range names {
		c := client{m, name}
		// The servers take mTLS only: what is answered came through the client's sidecar.
		c.calls("http://server:9080/echo/name", "", "200 v")
		c.calls("http://server:9080/echo/headers", "", "X-Forwarded-Client-Cert: By=spiffe://cluster.local/ns/default/sa/default")
		c.dials("store:7000", "", "v")
		c.dials("nodes:7000", "", "v")
		for i := range 2 { // an instance has an address of its own
			c.dials(fmt.Sprintf("server-v%[1]d-0.nodes:7000", i+1), "", fmt.Sprintf("v%d", i+1))
			c.calls(fmt.Sprintf("http://server-v%d-0.nodes.default.svc.cluster.local:9080/echo/name", i+1), "", fmt.Sprintf("200 v%d", i+1))
		}
		c.calls("http://outside.example/", "", "200 outside")
		_, before := c.captured()
		c.calls(fmt.Sprintf("http://host.weft.internal:%d/", outside), "", "200 outside")
		if err := c.once("/echo/dial?to="+server+":7000", "v"); err == nil {
			t.Errorf("%s: an address of a workload that takes mTLS only was reached in plain text", name)
		}
		c.dials(m.instance(other(name)+"-0").Address+":9080", "", "400 Bad Request")
		if rules, after := c.captured(); after != before || rules > 0 && after == 0 {
			t.Errorf("%s: %d connections were captured, %d after calls to other addresses", name, before, after)
		}
	}
	m.manyServices(t, client{m, "go-on-demand"})
}

// other is a client whose program takes plain text.
func other(name string) string {
	if name == "go-eager" {
		return "envoy-eager"
	}
	return "go-eager"
}

// manyServices adds 10,000 services: all have an address in the range, and the rules are
// the same few.
func (m *mesh) manyServices(t *testing.T, c client) {
	const n = 10000
	before, _ := c.captured()
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "apiVersion: v1\nkind: Service\nmetadata: {name: s%[1]d, namespace: many}\nspec: {clusterIP: 10.%[2]d.%[3]d.%[4]d, ports: [{name: http, port: 80}]}\n---\n", i, 200+i>>14, i>>7&127, i&127)
	}
	// Clients that are told all are spared these.
	sidecar := "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: default, namespace: default}\nspec: {egress: [{hosts: [./*]}]}\n"
	for name, text := range map[string]string{"sidecar.yaml": sidecar, "many.yaml": b.String()} {
		if err := os.WriteFile(filepath.Join(m.folder, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	pool := netip.MustParsePrefix("100.64.0.0/16")
	m.eventually("services that are many", func() error {
		for _, host := range []string{"s0.many", fmt.Sprintf("s%d.many", n-1)} {
			a, err := m.try("/echo/lookup?host="+host, "client: "+c.name)
			if err != nil {
				return err
			}
			at, err := netip.ParseAddr(strings.TrimSpace(a.body))
			if err != nil || !pool.Contains(at) {
				return fmt.Errorf("%s is at %q", host, a.body)
			}
		}
		return nil
	})
	if after, _ := c.captured(); after != before {
		t.Errorf("%d rules for a few services, %d for %d", before, after, n)
	}
	t.Logf("%d rules", before)
}
