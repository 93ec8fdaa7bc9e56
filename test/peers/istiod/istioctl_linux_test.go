package istiod

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// testIstioctl: Istio's own command line reads the admin API's answers.
func (m *mesh) testIstioctl(t *testing.T) {
	istioctl := os.Getenv("WEFT_ISTIOCTL")
	if istioctl == "" {
		t.Skip("WEFT_ISTIOCTL is not set")
	}
	dump := m.admin(t, "client", "/config_dump?include_eds")
	clusters := m.admin(t, "client", "/clusters?format=json")
	for _, c := range []struct {
		args []string
		file string
		want []string
	}{
		{[]string{"listeners"}, dump, []string{"ADDRESSES", "0.0.0.0", "15006", "15001", "PassthroughCluster", "Route: 80"}},
		{[]string{"listeners", "--port", "80", "-o", "json"}, dump, []string{`"name": "0.0.0.0_80"`}},
		{[]string{"clusters"}, dump, []string{"SERVICE FQDN", "echo.demo.svc.cluster.local", "BlackHoleCluster", "outbound", "EDS"}},
		{[]string{"routes"}, dump, []string{"VHOST NAME", "echo.demo.svc.cluster.local:80", "/exact"}},
		{[]string{"secret"}, dump, []string{"RESOURCE NAME", "default", "ROOTCA", "Cert Chain", "ACTIVE", "true"}},
		{[]string{"bootstrap", "-o", "json"}, dump, []string{`"bootstrap"`, "client-1.demo"}},
		{[]string{"ecds"}, dump, nil},
		{[]string{"endpoints"}, clusters, []string{"ENDPOINT", address["server"] + ":8080", "HEALTHY", "outbound|80||echo.demo.svc.cluster.local"}},
	} {
		out, err := exec.CommandContext(t.Context(), istioctl, append(append([]string{"proxy-config"}, c.args...), "-f", c.file)...).CombinedOutput()
		if err != nil {
			t.Errorf("istioctl proxy-config %v: %v\n%.2000s", c.args, err, out)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(string(out), w) {
				t.Errorf("istioctl proxy-config %v has no %q:\n%.3000s", c.args, w, out)
			}
		}
	}
	// Other readers go by Envoy's messages.
	for path, message := range map[string]proto.Message{
		"/certs": &adminv3.Certificates{}, "/listeners?format=json": &adminv3.Listeners{}, "/clusters?format=json": &adminv3.Clusters{},
		"/server_info": &adminv3.ServerInfo{}, "/memory": &adminv3.Memory{}, "/config_dump?include_eds": &adminv3.ConfigDump{},
	} {
		raw, err := os.ReadFile(m.admin(t, "client", path))
		if err != nil {
			t.Fatal(err)
		}
		// What is in an Any may be of a type that only Istio knows.
		if err := protojson.Unmarshal(raw, message); err != nil && !strings.Contains(err.Error(), "unable to resolve") {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, path := range []string{"/stats?format=json", "/stats", "/ready", "/help", "/runtime"} {
		m.admin(t, "client", path)
	}
}

// admin writes an answer of a proxy's admin API to a file.
func (m *mesh) admin(t *testing.T, name, path string) string {
	t.Helper()
	a, err := m.run(name, "get", "http://127.0.0.1:15000"+path)
	if err != nil || a.Status != 200 {
		t.Fatalf("%s of %s: %v, status %d: %.500s", path, name, err, a.Status, a.Body)
	}
	file := filepath.Join(t.TempDir(), "answer.json")
	m.write(file, a.Body)
	return file
}
