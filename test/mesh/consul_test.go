package mesh

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/weftmesh/weft/cli"
	"github.com/weftmesh/weft/test/freeport"
)

// httpRegistryMesh: two versions of a shop that a registry outside of the mesh has, and a page that calls it by the registry's name of it.
const httpRegistryMesh = pageService + publicGateway + strictTLS + `apiVersion: v1
kind: ServiceAccount
metadata: {name: page, namespace: default}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: page, namespace: default, labels: {app: page}}
spec: {command: [BIN/echo], serviceAccountName: page, ports: [{containerPort: 9080}], readinessProbe: {timeoutSeconds: 60, httpGet: {path: /healthz, port: 9080}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: in, namespace: default}
spec: {hosts: ["*"], gateways: [in], http: [{route: [{destination: {host: page}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: shop, namespace: default}
spec:
  selector: {matchLabels: {app: shop}}
  rules: [{from: [{source: {principals: ["cluster.local/ns/default/sa/page"]}}]}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop, namespace: default}
spec:
  host: shop.registry
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: default}
spec:
  hosts: [shop.registry]
  http:
  - match: [{queryParams: {user: {exact: jason}}}]
    route: [{destination: {host: shop.registry, subset: v2}}]
  - match: [{queryParams: {user: {exact: split}}}]
    route: [{destination: {host: shop.registry, subset: v1}, weight: 75}, {destination: {host: shop.registry, subset: v2}, weight: 25}]
  - match: [{queryParams: {user: {exact: any}}}]
    route: [{destination: {host: shop.registry}}]
    retries: {attempts: 3, retryOn: "connect-failure,reset,5xx"}
  - route: [{destination: {host: shop.registry, subset: v1}}]
`

const consulMesh = httpRegistryMesh + `---
apiVersion: weft.dev/v1alpha1
kind: Registry
metadata: {name: consul, namespace: default}
spec: {type: consul, addresses: ["127.0.0.1:REGISTRY"], hostSuffix: .registry, services: {exclude: [consul, "*-sidecar-proxy"]}}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: shop-v1, namespace: default, labels: {app: shop}}
spec: {command: [BIN/echo], env: [{name: NAME, value: v1}], ports: [{containerPort: 9080}], readinessProbe: {timeoutSeconds: 60, httpGet: {path: /healthz, port: 9080}}}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: shop-v2, namespace: default, labels: {app: shop}}
spec: {command: [BIN/echo], env: [{name: NAME, value: v2}], ports: [{containerPort: 9080}], readinessProbe: {timeoutSeconds: 60, httpGet: {path: /healthz, port: 9080}}}
`

// registryPrograms is the folder that test/peers/registries/build.sh has filled.
func registryPrograms(t *testing.T, file string) string {
	t.Helper()
	dir := os.Getenv("WEFT_REGISTRIES")
	if dir == "" {
		t.Skip("no Consul and no Eureka: see make test-registries, which builds them and sets WEFT_REGISTRIES")
	}
	at := filepath.Join(dir, file)
	if _, err := os.Stat(at); err != nil {
		t.Skip("not built: ", err)
	}
	return at
}

// agent is a Consul for development, which forgets all when it ends.
type agent struct {
	t    *testing.T
	port int
	args []string
	cmd  *exec.Cmd
}

func startAgent(t *testing.T) *agent {
	t.Helper()
	port := func() int { return int(freeport.Port(t)) }
	a := &agent{t: t, port: port()}
	a.args = []string{
		registryPrograms(t, "consul"), "agent", "-dev", "-node=n1", "-bind=127.0.0.1", "-client=127.0.0.1", "-log-level=warn", "-dns-port=-1", "-grpc-port=-1", "-grpc-tls-port=-1", "-serf-wan-port=-1",
		fmt.Sprintf("-http-port=%d", a.port), fmt.Sprintf("-server-port=%d", port()), fmt.Sprintf("-serf-lan-port=%d", port()),
	}
	a.run()
	t.Cleanup(a.kill)
	return a
}

func (a *agent) run() {
	a.t.Helper()
	a.cmd = exec.Command(a.args[0], a.args[1:]...)
	if err := a.cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	(&mesh{t: a.t}).eventually("Consul leads", func() error { return a.try("kv/ready", "yes") })
}

func (a *agent) kill() {
	_ = a.cmd.Process.Kill()
	_ = a.cmd.Wait()
}

func (a *agent) try(path, body string) error {
	r, err := http.NewRequestWithContext(a.t.Context(), http.MethodPut, fmt.Sprintf("http://127.0.0.1:%d/v1/%s", a.port, path), strings.NewReader(body))
	if err != nil {
		return err
	}
	got, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err == nil && got.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, got.Status, text)
	}
	return err
}

// put tells the agent something.
func (a *agent) put(path, body string) {
	a.t.Helper()
	if err := a.try(path, body); err != nil {
		a.t.Fatal(err)
	}
}

// shops registers both versions where the mesh runs them; the second has a proxy of Consul's own mesh beside it.
func (a *agent) shops(m *mesh) {
	a.t.Helper()
	for version, more := range map[string]string{"v1": "", "v2": `,"Connect":{"SidecarService":{"Port":21000}}`} {
		a.put("agent/service/register", fmt.Sprintf(`{"ID":"shop-%[1]s","Name":"shop","Address":%[2]q,"Port":9080,"Meta":{"version":%[1]q},"Check":{"TTL":"1h","Status":"passing"}%[3]s}`,
			version, m.instance("shop-"+version+"-0").Address, more))
	}
}

// running waits until so many programs, gateways and the control plane are ready.
func (m *mesh) running(n int) {
	m.t.Helper()
	m.eventually("all is ready", func() error {
		text, _ := m.weft("status", "-o", "json") // its exit code says how healthy the mesh is
		var st cli.Status
		if err := json.NewDecoder(strings.NewReader(text)).Decode(&st); err != nil { // an error follows
			return fmt.Errorf("%w: %s", err, last(text, 2000))
		}
		for _, i := range st.Instances {
			if i.State != "ready" && i.State != "running" {
				return fmt.Errorf("%s is %s: %s", i.Name, i.State, i.Message)
			}
		}
		if len(st.Instances) < n {
			return fmt.Errorf("%d instances, want %d", len(st.Instances), n)
		}
		return nil
	})
}

// shop is who answers the page, or what it is told in place of that.
func (m *mesh) shop(user string) string {
	a, err := m.try("/echo/call?url="+"http%3A%2F%2Fshop.registry%2Fecho%2Fname%3Fuser%3D"+user, "")
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(a.code, " ", strings.TrimSpace(a.body))
}

// shops waits until requests of users are answered so.
func (m *mesh) shops(what string, want map[string]string) {
	m.t.Helper()
	m.eventually(what, func() error {
		for user, want := range want {
			for range 6 {
				if got := m.shop(user); got != "200 200 "+want {
					return fmt.Errorf("%s: %s, want %s", user, got, want)
				}
			}
		}
		return nil
	})
}

// quarter asks 400 times: a quarter is of the second version.
func (m *mesh) quarter() {
	m.t.Helper()
	n := map[string]int{}
	const calls = 400
	for range calls {
		n[m.shop("split")]++
	}
	if v1, v2 := n["200 200 v1"], n["200 200 v2"]; v1+v2 != calls || v2 < calls*15/100 || v2 > calls*35/100 {
		m.t.Errorf("of %d calls: %v, want a quarter v2", calls, n)
	}
}

// dies kills a program while it is called: no call fails that is retried.
func (m *mesh) dies(instance string) {
	m.t.Helper()
	for i := range 60 {
		if i == 20 {
			if err := syscall.Kill(m.instance(instance).PID, syscall.SIGKILL); err != nil {
				m.t.Fatal(err)
			}
		}
		if got := m.shop("any"); !strings.HasPrefix(got, "200 200 v") {
			m.t.Errorf("call %d: %s", i, got)
		}
	}
}

// TestConsulRegistry: a service that a real Consul has, through sidecars with mutual TLS.
func TestConsulRegistry(t *testing.T) {
	a := startAgent(t)
	t.Parallel()
	m := startText(t, consulMesh, options{engine: "go", unready: true}, "REGISTRY", fmt.Sprint(a.port))
	m.running(5) // there are errors until the registry has the service
	a.shops(m)
	both := map[string]string{"": "v1", "jason": "v2"}
	m.shops("both versions are called", both)
	m.quarter()
	m.eventually("metrics", func() error {
		if !counted(m.admin("page-0", "/stats/prometheus"), "http", `connection_security_policy="mutual_tls"`) && !counted(m.admin("shop-v1-0", "/stats/prometheus"), "http", `connection_security_policy="mutual_tls"`) {
			return fmt.Errorf("no requests were counted under mutual TLS")
		}
		return nil
	})

	t.Log("a check fails, and an instance is in maintenance")
	a.put("agent/check/fail/service:shop-v1", "")
	m.shops("only the second is healthy", map[string]string{"any": "v2"})
	a.put("agent/check/pass/service:shop-v1", "")
	m.shops("both are again", both)
	a.put("agent/service/maintenance/shop-v2?enable=true", "")
	m.shops("the second is in maintenance", map[string]string{"any": "v1"})
	a.put("agent/service/maintenance/shop-v2?enable=false", "")
	m.shops("it is back", both)
	m.dies("shop-v2-0")

	t.Log("Consul is killed, and comes back without what it had")
	a.kill()
	m.eventually("the registry is stale", func() error {
		if st := m.status(); len(st.Registries) != 1 || st.Registries[0].State != "stale" {
			return fmt.Errorf("%+v", st.Registries)
		}
		return nil
	})
	m.shops("calls go on", both)
	a.run()
	m.eventually("the registry has nothing", func() error {
		if st := m.status(); len(st.Registries) != 1 || st.Registries[0].State != "synced" || st.Registries[0].Retained != 1 {
			return fmt.Errorf("%+v", st.Registries)
		}
		return nil
	})
	m.shops("calls go on", both)
	a.shops(m)
	m.shops("and on", both)
}
