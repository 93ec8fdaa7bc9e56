package istiod

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weftmesh/weft/host/capture"
	"github.com/weftmesh/weft/wire"
)

// captured is what a sidecar's namespace redirects; the proxy's own ports are left alone.
var captured = capture.Config{Inbound: true, Outbound: true, SkipInbound: []uint16{15020, 15021, 15090}}

// whole starts all members of the mesh and waits for them.
func (m *mesh) whole() {
	t := m.t
	t.Helper()
	m.join(member{
		name: "server", workload: "echo-v1", account: "echo", kind: wire.Sidecar, capture: captured,
		labels:    map[string]string{"app": "echo", "version": "v1", "service.istio.io/canonical-name": "echo", "service.istio.io/canonical-revision": "v1"},
		bootstrap: m.bootstrap("server", "GRPC"),
	})
	m.start("server", "program", false, nil, self(t, "serve")...)
	m.join(member{
		name: "client", workload: "client-v1", account: "client", kind: wire.Sidecar, capture: captured,
		labels: map[string]string{"app": "client", "version": "v1", "service.istio.io/canonical-name": "client", "service.istio.io/canonical-revision": "v1"},
	})
	m.join(member{
		name: "plain", workload: "plain-v1", account: "echo", kind: wire.Sidecar, capture: captured, files: true,
		labels: map[string]string{"app": "plain", "version": "v1"},
	})
	m.start("plain", "program", false, nil, self(t, "serve")...)
	m.join(member{
		name: "gateway", workload: "gateway", account: "gateway", kind: wire.Router,
		labels: map[string]string{"istio": "ingressgateway", "app": "gateway"},
	})
	m.network("outside", capture.Config{})
	names := []string{"server", "client", "plain", "gateway"}
	if agent := os.Getenv("WEFT_PILOT_AGENT"); agent != "" {
		m.join(member{
			name: "agent", workload: "agent-v1", account: "agent", kind: wire.Sidecar, agent: agent,
			capture: capture.Config{Inbound: true, SkipInbound: []uint16{15020, 15021, 15090}},
			labels:  map[string]string{"app": "agent", "version": "v1"},
		})
		m.start("agent", "program", false, nil, self(t, "serve")...)
		names = append(names, "agent")
	}
	for _, name := range names {
		m.ready(name)
	}
}

// TestIstiod: istiod configures sidecars and a gateway, with everything that its
// users write, and is refused nothing; requests flow with mutual TLS, and each
// side's metrics know the other's workload.
func TestIstiod(t *testing.T) {
	m := newMesh(t)
	m.whole()
	t.Run("request", m.testRequest)
	t.Run("pilot-agent", m.testPilotAgent)
	t.Run("connection", m.testConnection)
	t.Run("gateway", m.testGateway)
	t.Run("policies", m.testPolicies)
	t.Run("change", m.testChange)
	t.Run("metrics", m.testMetrics)
	t.Run("istioctl", m.testIstioctl)
	t.Run("nothing is refused", m.testNothingRefused)
}

// TestControl: our control plane in istiod's place configures and certifies the same
// proxies, which tell it who they are by the tokens of their service accounts and by
// certificates. Its metrics name peers by their workloads, which this mesh has none of.
func TestControl(t *testing.T) {
	m := emptyMesh(t)
	m.startControl()
	m.whole()
	t.Run("request", m.testRequest)
	t.Run("connection", m.testConnection)
	t.Run("gateway", m.testGateway)
	t.Run("policies", m.testPolicies)
	t.Run("change", m.testChange)
	t.Run("nothing is refused", m.testNothingRefused)
}

// fetch is a request through the mesh; the body is what the server has seen.
func (m *mesh) fetch(from, url string, header ...string) (answer, seen, error) {
	a, err := m.run(from, append([]string{"get", url}, header...)...)
	if err != nil {
		return a, seen{}, err
	}
	var s seen
	if a.Status == 200 {
		if err := json.Unmarshal([]byte(a.Body), &s); err != nil {
			return a, s, fmt.Errorf("%w: %s", err, a.Body)
		}
	}
	return a, s, nil
}

const echoURL = "http://10.96.1.1"

func (m *mesh) testRequest(t *testing.T) {
	m.until(t, "a request flows", func() error {
		a, s, err := m.fetch("client", echoURL+"/hello", "Host=echo.demo.svc.cluster.local")
		if err != nil {
			return err
		}
		if a.Status != 200 || s.Path != "/hello" || a.Header.Get("X-Server") != "server" { // subset v1 of two
			return fmt.Errorf("status %d, %v, headers %v", a.Status, s, a.Header)
		}
		if got := s.Header.Get("X-Forwarded-Client-Cert"); !strings.Contains(got, "URI=spiffe://cluster.local/ns/demo/sa/client") {
			t.Errorf("the client's certificate is %q", got)
		}
		for _, name := range []string{"X-Envoy-Peer-Metadata", "X-Envoy-Peer-Metadata-Id"} {
			if s.Header.Get(name) != "" || a.Header.Get(name) != "" {
				t.Errorf("%s reaches the program: %q, %q", name, s.Header.Get(name), a.Header.Get(name))
			}
		}
		if s.Header.Get("X-Patched") != "yes" || a.Header.Get("X-Route") != "patched" {
			t.Errorf("EnvoyFilters had no effect: %v, %v", s.Header, a.Header)
		}
		return nil
	})
}

// testPilotAgent: Istio's own agent has started the proxy in Envoy's place, with its
// flags, its bootstrap, and its sockets for xDS and secrets.
func (m *mesh) testPilotAgent(t *testing.T) {
	if os.Getenv("WEFT_PILOT_AGENT") == "" {
		t.Skip("WEFT_PILOT_AGENT is not set")
	}
	m.until(t, "a request flows", func() error {
		a, s, err := m.fetch("client", "http://10.96.1.4/hello", "Host=agent.demo.svc.cluster.local")
		if err == nil && (a.Status != 200 || a.Header.Get("X-Server") != "agent" || !strings.Contains(s.Header.Get("X-Forwarded-Client-Cert"), "By=spiffe://cluster.local/ns/demo/sa/agent")) {
			err = fmt.Errorf("status %d, %v, %v", a.Status, a.Header, s)
		}
		return err
	})
}

func (m *mesh) testConnection(t *testing.T) {
	m.until(t, "connections flow to both servers", func() error {
		a, err := m.run("client", "tcp", "10.96.1.1:9000", "over the mesh")
		if err == nil && a.Body != "over the mesh" {
			err = fmt.Errorf("%q", a.Body)
		}
		if err != nil {
			return err
		}
		for _, name := range []string{"server", "plain"} {
			if !series(m.metrics(name), "istio_tcp_connections_closed_total", `reporter="destination"`) {
				return fmt.Errorf("none to %s so far", name)
			}
		}
		return nil
	})
}

func (m *mesh) testGateway(t *testing.T) {
	m.until(t, "a request through the gateway flows", func() error {
		a, s, err := m.fetch("outside", "http://"+address["gateway"]+":8080/in", "Host=edge.example")
		if err != nil {
			return err
		}
		if a.Status != 200 || !strings.Contains(s.Header.Get("X-Forwarded-Client-Cert"), "sa/gateway") {
			return fmt.Errorf("status %d %s, %v", a.Status, a.Body, s)
		}
		return nil
	})
	a, _, err := m.fetch("outside", "http://"+address["gateway"]+":8081/in", "Host=secure.example")
	if err != nil || a.Status != 301 || !strings.HasPrefix(a.Header.Get("Location"), "https://secure.example") {
		t.Errorf("redirect to HTTPS: %v, status %d, %v", err, a.Status, a.Header)
	}
	client := "Certificate=" + filepath.Join(m.dir, "certs-client")
	for _, c := range []struct {
		name, port, host, more string
		fails                  bool
	}{
		{"SIMPLE", "8443", "secure.example", "", false},
		{"MUTUAL", "8444", "mutual.example", client, false},
		{"MUTUAL without a certificate", "8444", "mutual.example", "", true},
		{"OPTIONAL_MUTUAL", "8448", "optional.example", "", false},
		{"another name", "8443", "nobody.example", "", true},
	} {
		a, s, err := m.fetch("outside", "https://"+address["gateway"]+":"+c.port+"/tls", append([]string{"Host=" + c.host}, nonEmpty(c.more)...)...)
		switch {
		case c.fails && err == nil:
			t.Errorf("%s: status %d", c.name, a.Status)
		case !c.fails && (err != nil || a.Status != 200 || s.Path != "/tls" || a.Certificate != "spiffe://cluster.local/ns/demo/sa/edge"):
			t.Errorf("%s: %v, status %d, %s, %v", c.name, err, a.Status, a.Certificate, s)
		}
	}
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func (m *mesh) testPolicies(t *testing.T) {
	for _, c := range []struct {
		path   string
		status int
	}{
		{"/direct", 418}, {"/denied", 403}, {"/x/suffix", 403}, {"/jwt", 403}, {"/gfault", 503}, {"/redirect", 308}, {"/dry", 200}, {"/regex/7", 200}, {"/rewrite/a", 200},
	} {
		a, s, err := m.fetch("client", echoURL+c.path, "Host=echo.demo.svc.cluster.local")
		if err != nil || a.Status != c.status {
			t.Errorf("%s: %v, status %d, want %d: %s", c.path, err, a.Status, c.status, a.Body)
		}
		if c.path == "/regex/7" && s.Path != "/numbers/7" || c.path == "/rewrite/a" && (s.Path != "/a" || s.Host != "rewritten.example") {
			t.Errorf("%s reaches the program as %s %s", c.path, s.Host, s.Path)
		}
	}
	// Who has no certificate of the mesh is not let in.
	if a, _, err := m.fetch("outside", "http://"+address["server"]+":8080/", "Host=echo.demo.svc.cluster.local"); err == nil {
		t.Errorf("without mutual TLS: status %d", a.Status)
	}
}

// testChange: an edit of an object reaches proxies that run.
func (m *mesh) testChange(t *testing.T) {
	file := filepath.Join(m.dir, "config/routes.yaml")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	next := filepath.Join(m.dir, "next.yaml")
	m.write(next, strings.Replace(string(raw), "status: 418", "status: 429", 1))
	if err := os.Rename(next, file); err != nil { // istiod is never to see half a file
		t.Fatal(err)
	}
	m.until(t, "the change is there", func() error {
		a, _, err := m.fetch("client", echoURL+"/direct", "Host=echo.demo.svc.cluster.local")
		if err == nil && a.Status != 429 {
			err = fmt.Errorf("status %d", a.Status)
		}
		return err
	})
}

// metrics are those of a proxy.
func (m *mesh) metrics(name string) string {
	m.t.Helper()
	a, err := m.run(name, "get", "http://127.0.0.1:15000/stats/prometheus")
	if err != nil || a.Status != 200 {
		m.t.Fatalf("metrics of %s: %v, status %d", name, err, a.Status)
	}
	return a.Body
}

// series tells whether there is one with all these parts.
func series(text, metric string, parts ...string) bool {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, metric+"{") {
			continue
		}
		all := true
		for _, p := range parts {
			all = all && strings.Contains(line, p)
		}
		if all {
			return true
		}
	}
	return false
}

func (m *mesh) testMetrics(t *testing.T) {
	server, client, gateway := m.metrics("server"), m.metrics("client"), m.metrics("gateway")
	for _, c := range []struct {
		of, text, metric string
		parts            []string
	}{
		{"server", server, "istio_requests_total", []string{
			`reporter="destination"`, `source_workload="client-v1"`, `source_app="client"`, `source_cluster="Kubernetes"`, `connection_security_policy="mutual_tls"`,
			`source_principal="spiffe://cluster.local/ns/demo/sa/client"`, `destination_service_name="echo.demo.svc.cluster.local"`, `destination_workload="echo-v1"`, `request_host="echo.demo.svc.cluster.local"`,
		}},
		{"server", server, "istio_requests_total", []string{`source_workload="gateway"`, `response_code="200"`}},
		{"client", client, "istio_requests_total", []string{
			`reporter="source"`, `destination_workload="echo-v1"`, `destination_app="echo"`, `destination_version="v1"`, `destination_cluster="Kubernetes"`, `source_workload="client-v1"`, `peer="echo-v1"`,
		}},
		{"gateway", gateway, "istio_requests_total", []string{`source_workload="gateway"`, `destination_workload="echo-v1"`}},
		{"server", server, "istio_tcp_connections_opened_total", []string{`reporter="destination"`, `source_workload="client-v1"`, `source_app="client"`}},
		{"client", client, "istio_tcp_connections_opened_total", []string{`reporter="source"`, `destination_workload="echo-v1"`, `destination_app="echo"`}},
		{"client", client, "istio_build", []string{`component="proxy"`, `tag="1.31.0"`}},
	} {
		if !series(c.text, c.metric, c.parts...) {
			t.Errorf("%s has no %s with %v:\n%s", c.of, c.metric, c.parts, grep(c.text, c.metric+"{"))
		}
	}
	if strings.Contains(grep(client, "istio_requests_total{"), "response_flags") {
		t.Error("a label that Telemetry removes is there")
	}
	if series(server, "istio_request_bytes_count") || !series(client, "istio_request_bytes_count") {
		t.Error("Telemetry switches the size of requests off at servers only")
	}
}

func grep(text, prefix string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, prefix) {
			b.WriteString(line)
		}
	}
	return b.String()
}

func (m *mesh) testNothingRefused(t *testing.T) {
	for name, l := range m.logs {
		for line := range strings.Lines(l.String()) {
			// pilot-agent, while it waits for the proxy, says how many were: none.
			if line := strings.ReplaceAll(line, " 0 rejected", ""); strings.Contains(line, "ACK ERROR") || strings.Contains(line, "rejected") {
				t.Errorf("%s: %s", name, line)
			}
		}
	}
}
