package registries

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/freeport"
)

// built is the folder that build.sh has filled, without which tests of the registries in it are skipped.
func built(t *testing.T, file string) string {
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

// root is the token of consulAgent that may do everything.
const rootToken = "11111111-2222-3333-4444-555555555555"

// consulAgent is a real Consul: a server of one, with ACLs that deny, and a certificate of its own on the second port.
type consulAgent struct {
	t             *testing.T
	program       string
	plain, secure string // addresses
	dir           string
	cert, key     string
	cmd           *exec.Cmd
}

func startConsul(t *testing.T) *consulAgent {
	t.Helper()
	port := func() int { return int(freeport.Port(t)) }
	c := &consulAgent{t: t, program: built(t, "consul"), dir: t.TempDir()}
	c.cert, c.key = certificate(t, c.dir)
	ports := map[string]int{"dns": -1, "grpc": -1, "grpc_tls": -1, "serf_wan": -1, "http": port(), "https": port(), "server": port(), "serf_lan": port()}
	c.plain, c.secure = fmt.Sprintf("127.0.0.1:%d", ports["http"]), fmt.Sprintf("127.0.0.1:%d", ports["https"])
	conf := map[string]any{
		"server": true, "bootstrap_expect": 1, "node_name": "n1", "datacenter": "dc1", "data_dir": filepath.Join(c.dir, "data"), "bind_addr": "127.0.0.1", "client_addr": "127.0.0.1",
		"ports": ports, "log_level": "warn", "performance": map[string]int{"raft_multiplier": 1}, "disable_update_check": true, "leave_on_terminate": false,
		"acl":     map[string]any{"enabled": true, "default_policy": "deny", "tokens": map[string]string{"initial_management": rootToken, "agent": rootToken}},
		"tls":     map[string]any{"https": map[string]any{"ca_file": c.cert, "cert_file": c.cert, "key_file": c.key, "verify_incoming": true}},
		"peering": map[string]bool{"enabled": false},
	}
	raw, err := json.Marshal(conf)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.dir, "consul.json"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	c.run()
	t.Cleanup(c.kill)
	return c
}

// run starts the agent, and waits until it leads.
func (c *consulAgent) run() {
	c.t.Helper()
	c.cmd = exec.Command(c.program, "agent", "-config-file", filepath.Join(c.dir, "consul.json"))
	log, err := os.OpenFile(filepath.Join(c.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	c.cmd.Stdout, c.cmd.Stderr = log, log
	if err := c.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	eventually(c.t, func() error {
		_, err := c.try(http.MethodPut, "/v1/kv/ready", "yes")
		if err != nil {
			raw, _ := os.ReadFile(filepath.Join(c.dir, "log"))
			return fmt.Errorf("%w; %s", err, raw[max(0, len(raw)-2000):])
		}
		return nil
	})
}

func (c *consulAgent) kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

func (c *consulAgent) try(method, path, body string) (string, error) {
	r, err := http.NewRequestWithContext(c.t.Context(), method, "http://"+c.plain+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	r.Header.Set("X-Consul-Token", rootToken)
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer a.Body.Close()
	got, err := io.ReadAll(a.Body)
	if err == nil && a.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", method, path, a.Status, bytes.TrimSpace(got))
	}
	return string(got), err
}

// put does something, and returns a field of the answer.
func (c *consulAgent) put(path, body, field string) string {
	c.t.Helper()
	got, err := c.try(http.MethodPut, path, body)
	if err != nil {
		c.t.Fatal(err)
	}
	if field == "" {
		return ""
	}
	var of map[string]any
	if err := json.Unmarshal([]byte(got), &of); err != nil {
		c.t.Fatal(path, err)
	}
	return fmt.Sprint(of[field])
}

// register registers an instance at the agent, with a check that the test decides: "id name address:port more".
func (c *consulAgent) register(id, name, address, more string) {
	c.t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		c.t.Fatal(err)
	}
	c.put("/v1/agent/service/register", fmt.Sprintf(`{"ID":%q,"Name":%q,"Address":%q,"Port":%s,"Check":{"TTL":"1h","Status":"passing"}%s}`, id, name, host, port, more), "")
}

// token makes one with a policy of these rules, and returns how it is called, and itself.
func (c *consulAgent) token(name, rules string) (accessor, secret string) {
	c.t.Helper()
	c.put("/v1/acl/policy", fmt.Sprintf(`{"Name":%q,"Rules":%s}`, name, strconv.Quote(rules)), "")
	got, err := c.try(http.MethodPut, "/v1/acl/token", fmt.Sprintf(`{"Policies":[{"Name":%q}]}`, name))
	if err != nil {
		c.t.Fatal(err)
	}
	var of struct{ AccessorID, SecretID string }
	if err := errors.Join(json.Unmarshal([]byte(got), &of)); err != nil {
		c.t.Fatal(err)
	}
	return of.AccessorID, of.SecretID
}

// readAll are the rules of a token that reads what there is.
const readAll = `service_prefix "" { policy = "read" } node_prefix "" { policy = "read" }`

// consulSecretYAML is how the real one is followed: by TLS, with all that is secret in a Secret.
const consulSecretYAML = `apiVersion: weft.dev/v1alpha1
kind: Registry
metadata: {name: consul, namespace: shop}
spec:
  type: consul
  addresses: ["https://%[1]s"]
  credentialName: consul
  hostSuffix: .consul
  services: {exclude: [consul, "*-sidecar-proxy"]}
  endpointSelectors: [{labelSelector: {matchExpressions: [{key: stage, operator: NotIn, values: [test]}]}}]%[6]s
---
apiVersion: v1
kind: Secret
metadata: {name: %[5]s, namespace: shop}
stringData:
  token: %[2]q
  ca.crt: %[3]q
  tls.crt: %[3]q
  tls.key: %[4]q
`

// yaml is the configuration with a token; the Secret has a name, and the registry more.
func (c *consulAgent) yaml(token, secret, more string) string {
	c.t.Helper()
	var text [2]string
	for i, file := range []string{c.cert, c.key} {
		raw, err := os.ReadFile(file)
		if err != nil {
			c.t.Fatal(err)
		}
		text[i] = string(raw)
	}
	return fmt.Sprintf(consulSecretYAML, c.secure, token, text[0], text[1], secret, more)
}

// because waits until the registry is stale for a reason.
func (p *plane) because(name, part string) {
	p.t.Helper()
	eventually(p.t, func() error {
		if st := p.status(name, "stale"); !strings.Contains(st.Error, part) {
			return fmt.Errorf("%q, want %q", st.Error, part)
		}
		return nil
	})
}

func TestConsulReal(t *testing.T) {
	t.Parallel()
	c := startConsul(t)
	accessor, secret := c.token("weft", readAll)
	c.register("web-1", "web", "10.0.0.1:8080", `,"Tags":["version=v1","fast"],"Weights":{"Passing":3,"Warning":1}`)
	c.register("web-2", "web", "10.0.0.2:8080", `,"Meta":{"version":"v2"},"Connect":{"SidecarService":{"Port":21000}}`)
	c.register("web-3", "web", "10.0.0.3:8080", `,"Tags":["stage=test"]`)
	c.register("db-1", "db", "10.0.0.4:5432", `,"Meta":{"protocol":"tcp"}`)
	c.register("inside-1", "inside", "10.0.0.5:9000", `,"Connect":{"Native":true}`)
	p := start(t, c.yaml(secret, "consul", ""))
	labels := []string{"version", "tags"}
	db := "shop/db.consul tcp-80: 10.0.0.4:5432,,"
	both := "shop/web.consul http-80: 10.0.0.1:8080,v1,fast 10.0.0.2:8080,v2,"
	second := "shop/web.consul http-80: 10.0.0.2:8080,v2,"
	p.want(labels, db, both)
	if st := p.status("consul", "synced"); st.Services != 2 || st.Instances != 3 {
		t.Errorf("status %+v", st)
	}
	p.finding("WEFT0152", "Connect native")

	t.Log("checks fail and pass; maintenance of an instance, and of the node")
	for _, step := range []struct{ path, want string }{
		{"/v1/agent/check/fail/service:web-1", second}, {"/v1/agent/check/warn/service:web-1", both}, {"/v1/agent/check/pass/service:web-1", both},
		{"/v1/agent/service/maintenance/web-1?enable=true", second}, {"/v1/agent/service/maintenance/web-1?enable=false", both},
	} {
		c.put(step.path, "", "")
		p.want(labels, db, step.want)
	}
	c.put("/v1/agent/maintenance?enable=true", "", "")
	eventually(t, func() error { // no instance is healthy: the last ones stay
		if st := p.status("consul", "synced"); st.Retained != 2 {
			return fmt.Errorf("status %+v", st)
		}
		return nil
	})
	p.want(labels, db, both)
	c.put("/v1/agent/maintenance?enable=false", "", "")

	t.Log("services come and go; a question that blocks is answered at once")
	began := time.Now()
	c.register("new-1", "new", "10.0.0.6:80", "")
	fresh := "shop/new.consul http-80: 10.0.0.6:80,,"
	p.want(labels, db, fresh, both)
	if d := time.Since(began); d > 20*time.Second {
		t.Errorf("a service was there after %s: it is asked for, not told", d)
	}
	c.put("/v1/agent/service/deregister/new-1", "", "")
	c.put("/v1/agent/service/deregister/web-1", "", "")
	p.want(labels, db, fresh, second)

	t.Log("the agent is killed, and comes back with what it had")
	c.kill()
	p.status("consul", "stale")
	p.want(labels, db, fresh, second)
	c.run()
	p.status("consul", "synced")
	c.put("/v1/agent/check/pass/service:web-2", "", "") // after a restart checks are critical until they are heard of
	c.register("web-1", "web", "10.0.0.1:8080", `,"Tags":["version=v1","fast"]`)
	p.want(labels, db, fresh, both)

	t.Log("the token is taken back; another may read nothing; another Secret has a good one")
	if _, err := c.try(http.MethodDelete, "/v1/acl/token/"+accessor, ""); err != nil {
		t.Fatal(err)
	}
	p.because("consul", "ACL not found")
	_, nothing := c.token("nothing", `key "x" { policy = "read" }`)
	p.write(c.yaml(nothing, "consul", ""))
	p.because("consul", "may read no service")
	p.want(labels, db, fresh, both)
	_, good := c.token("again", readAll)
	p.write(c.yaml(good, "other", ""))
	p.because("consul", "no Secret shop/consul")
	p.write(c.yaml(good, "consul", ""))
	p.status("consul", "synced")

	t.Log("what only Consul Enterprise has is refused by this one, and takes nothing away")
	p.write(c.yaml(good, "consul", "\n  registryNamespace: team\n  partition: west"))
	p.because("consul", "Enterprise")
	p.want(labels, db, fresh, both)
}
