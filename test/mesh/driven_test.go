package mesh

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// driven is what is asked for on demand beside the crowd. In it the servers' port for TLS
// takes what clients send, as it is.
const driven = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: default}
spec: {mtls: {mode: STRICT}, selector: {matchLabels: {app: server}}, portLevelMtls: {7443: {mode: DISABLE}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: one, namespace: default}
spec: {hosts: [one.secure.example], resolution: STATIC, ports: [{number: 7443, name: tls, protocol: TLS}], endpoints: [{address: V1}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: two, namespace: default}
spec: {hosts: ["*.two.example"], resolution: STATIC, ports: [{number: 7443, name: tls, protocol: TLS}], endpoints: [{address: V2}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild, namespace: default}
spec:
  hosts: ["*.wild.example"]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 9080}]
  workloadSelector: {labels: {app: server, version: v1}}
---
apiVersion: v1
kind: Service
metadata: {name: secure, namespace: default}
spec: {selector: {app: server}, ports: [{name: tls, port: 7443}]}
---
apiVersion: v1
kind: Service
metadata: {name: shown, namespace: default}
spec: {selector: {app: server, version: v1}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: shadow, namespace: default}
spec: {selector: {app: server, version: v2}, ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shown, namespace: default}
spec: {hosts: [shown], http: [{route: [{destination: {host: shown}}], mirror: {host: shadow}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: weighed, namespace: default}
spec:
  hosts: [weighed.example]
  http: [{route: [{destination: {host: shown}, weight: 50}, {destination: {host: shadow}, weight: 50}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: to-shadow, namespace: default}
spec:
  hosts: ["*"]
  gateways: [public]
  http: [{match: [{headers: {client: {exact: shadow}}}], route: [{destination: {host: shadow}}]}]
`

const fenced = `apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: default}
spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}, egress: [{hosts: ["*/*"]}]}
`

// TestOnDemandDriven: what a proxy on demand may be asked for, asked for by real
// requests of both engines, in one mesh.
func TestOnDemandDriven(t *testing.T) {
	outside := beyond(t)
	names := []string{"go-on-demand", "envoy-on-demand"}
	m := startCrowd(t, outside, names, "--idle-after", "10s")
	v1, v2 := m.instance("server-v1-0").Address, m.instance("server-v2-0").Address
	text, err := os.ReadFile(filepath.Join(m.folder, "mesh.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	// The servers' PeerAuthentication is another now; of two the first would count.
	docs := strings.Split(string(text), "---\n")
	docs[1] = strings.NewReplacer("V1", v1, "V2", v2).Replace(driven)
	m.write("mesh.yaml", strings.Join(docs, "---\n"))
	var clients []client
	for _, name := range names {
		clients = append(clients, client{m, name})
	}
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			c.mesh = m.in(t)
			c.kinds(v1, outside)
			c.shares()
			c.startsWarm()
		})
	}
	t.Run("fence", func(t *testing.T) { m.in(t).fence(clients, outside) })
	t.Run("expiry", func(t *testing.T) { m.in(t).expiry(clients) })
	t.Run("without", func(t *testing.T) { m.in(t).without(clients) })
}

// in is the mesh in a test of its own.
func (m *mesh) in(t *testing.T) *mesh {
	c := *m
	c.t = t
	return &c
}

// write writes a file of the mesh's folder; "" removes it.
func (m *mesh) write(name, text string) {
	m.t.Helper()
	path := filepath.Join(m.folder, name)
	err := os.WriteFile(path, []byte(text), 0o644)
	if text == "" {
		err = os.Remove(path)
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// kinds asks for what is found by more than a name in HTTP.
func (c client) kinds(v1 string, outside int) {
	c.t.Helper()
	c.calls("http://server:9080/echo/headers", "", "X-Forwarded-Client-Cert: By=spiffe://")
	c.dials("store:7000", "", "v")
	// By the name in TLS, at addresses that nobody has.
	c.dials("192.0.2.7:7443", "one.secure.example", "v1")
	c.dials("192.0.2.7:7443", "a.two.example", "v2")
	c.dials("192.0.2.7:7443", "b.two.example", "v2")
	// A name under a wildcard, and an instance of a headless service by name and address:
	// the servers take mTLS only.
	c.calls("http://192.0.2.8/echo/name", "x.wild.example", "200 v1")
	c.dials("nodes:7000", "", "v")
	c.dials("server-v2-0.nodes:7000", "", "v2")
	c.calls("http://server-v2-0.nodes:9080/echo/name", "", "200 v2")
	c.dials(v1+":7000", "", "v1")
	// Outside of the mesh: what an entry names, and what nobody knows.
	c.calls("http://outside.example/", "", "200 outside")
	c.calls(fmt.Sprintf("http://host.weft.internal:%d/", outside), "", "200 outside")
	c.dials(fmt.Sprintf("host.weft.internal:%d", outside), "", "400 Bad Request")
}

// shares asks for what leads to more than one cluster.
func (c client) shares() {
	c.t.Helper()
	c.calls("http://192.0.2.9/echo/name", "weighed.example", "200 v1")
	c.calls("http://192.0.2.9/echo/name", "weighed.example", "200 v2")
	before, err := c.try("/echo/count", "client: shadow")
	if err != nil || before.code != 200 {
		c.t.Fatalf("%d %q, %v", before.code, before.body, err)
	}
	c.eventually("a mirrored request", func() error {
		if err := c.once("/echo/call?"+url.Values{"url": {"http://shown:9080/echo/counted"}}.Encode(), "200 "); err != nil {
			return err
		}
		now, err := c.try("/echo/count", "client: shadow")
		if err == nil && now.body == before.body {
			err = errors.New("the mirror has had nothing")
		}
		return err
	})
}

// startsWarm kills the proxy: the next one has what was used before it is asked for it.
func (c client) startsWarm() {
	c.t.Helper()
	instance := c.name + "-0"
	old := c.instance(instance).ProxyPID
	if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
		c.t.Fatal(err)
	}
	c.eventually("another proxy, which is warm", func() error {
		if i := c.instance(instance); i.ProxyPID == old || i.State != "ready" {
			return fmt.Errorf("%s with proxy %d", i.State, i.ProxyPID)
		}
		made, code := c.weft("config", instance, "--made", "--type", "virtualhost", "-o", "json")
		if code != 0 || !strings.Contains(made, `"on-demand/server:9080"`) {
			return fmt.Errorf("%d %s", code, last(made, 500))
		}
		return nil
	})
	c.calls("http://server:9080/echo/name", "", "200 v")
}

// fence lets nobody out, and then again: strangers fail at once meanwhile.
func (m *mesh) fence(clients []client, outside int) {
	stranger := fmt.Sprintf("http://host.weft.internal:%d/", outside)
	m.write("fence.yaml", fenced)
	for _, c := range clients {
		c.mesh = m
		c.calls(stranger, "", "502 ")
		c.eventually("a connection to a stranger fails", func() error {
			a, err := c.try("/echo/dial?to="+fmt.Sprintf("host.weft.internal:%d", outside), "client: "+c.name)
			if err == nil && (a.body == "" || strings.Contains(a.body, "400 Bad") || strings.Contains(a.body, "timeout")) {
				err = fmt.Errorf("%d %q", a.code, a.body)
			}
			return err
		})
		c.calls("http://server:9080/echo/name", "", "200 v")
	}
	m.write("fence.yaml", "")
	for _, c := range clients {
		c.mesh = m
		c.calls(stranger, "", "200 outside")
		c.dials(fmt.Sprintf("host.weft.internal:%d", outside), "", "400 Bad Request")
	}
}

// expiry lets what is not used go while other things are used without a pause, of which
// no request may fail.
func (m *mesh) expiry(clients []client) {
	for _, c := range clients {
		c.mesh = m
		c.calls("http://shown:9080/echo/name", "", "200 v1")
	}
	defer m.busy(clients)()
	for _, c := range clients {
		m.eventually(c.name+" loses what it does not use", func() error {
			if made := m.must("config", c.name+"-0", "--made", "--type", "virtualhost", "-o", "json"); strings.Contains(made, `"on-demand/shown:9080"`) {
				return errors.New("it has it")
			}
			return nil
		})
	}
	for _, c := range clients {
		c.mesh = m
		c.calls("http://shown:9080/echo/name", "", "200 v1")
	}
}

// inUse is a call of a service that clients use all the time.
var inUse = "/echo/call?" + url.Values{"url": {"http://server:9080/echo/name"}}.Encode()

// busy lets clients use a service without a pause, until it is told to end: none of the
// requests may fail.
func (m *mesh) busy(clients []client) (end func()) {
	stop := make(chan struct{})
	var load sync.WaitGroup
	for _, c := range clients {
		c.mesh = m
		load.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					if n < 2 {
						m.t.Errorf("%s has asked %d times", c.name, n)
					}
					return
				default:
				}
				if err := c.once(inUse, "200 v"); err != nil {
					m.t.Errorf("%s, request %d: %v", c.name, n, err)
					return
				}
			}
		})
	}
	return func() { close(stop); load.Wait() }
}

// without stops the control plane: what is in use goes on, what is asked for anew fails
// and works when the control plane is back.
func (m *mesh) without(clients []client) {
	for _, c := range clients {
		c.mesh = m
		c.calls("http://server:9080/echo/name", "", "200 v")
		c.dials("store:7000", "", "v")
	}
	// What is not used is let go here within seconds.
	defer m.busy(clients)()
	pid := peers{mesh: m}.controlPlane()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		m.t.Fatal(err)
	}
	goOn := sync.OnceFunc(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	defer goOn()
	var asking sync.WaitGroup // each waits until its program's patience is at an end
	defer asking.Wait()
	for _, c := range clients {
		c.mesh = m
		for range 5 {
			if err := c.once(inUse, "200 v"); err != nil {
				m.t.Errorf("%s: %v", c.name, err)
			}
		}
		if err := c.once("/echo/dial?to=store:7000", "v"); err != nil {
			m.t.Errorf("%s: %v", c.name, err)
		}
		asking.Go(func() {
			if err := c.once("/echo/call?"+url.Values{"url": {"http://server:9080/echo/name"}, "host": {"new-" + c.name + ".wild.example"}}.Encode(), "200 v"); err == nil {
				m.t.Errorf("%s knows a name that it was never told", c.name)
			}
		})
	}
	asking.Wait()
	goOn()
	for _, c := range clients {
		c.mesh = m
		c.calls("http://192.0.2.8/echo/name", "new-"+c.name+".wild.example", "200 v1")
	}
}
