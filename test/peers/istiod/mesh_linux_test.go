package istiod

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weftmesh/weft/host/capture"
	"github.com/weftmesh/weft/host/hub"
	"github.com/weftmesh/weft/host/netns"
	"github.com/weftmesh/weft/wire"
)

// Addresses of the workloads.
var address = map[string]string{
	"istiod": "10.244.1.1", "client": "10.244.1.11", "server": "10.244.1.12", "plain": "10.244.1.13", "gateway": "10.244.1.14", "outside": "10.244.1.15", "agent": "10.244.1.16",
}

// patience is for a machine that has much else to do.
const patience = 90 * time.Second

// mesh is a mesh of istiod's on this machine.
type mesh struct {
	t     *testing.T
	hub   *hub.Hub
	dir   string
	proxy string // our binary
	keys  *keys
	logs  map[string]*log
}

// log keeps what a program has written.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// newMesh starts istiod in a namespace; without WEFT_ISTIOD the test is skipped.
func newMesh(t *testing.T) *mesh {
	t.Helper()
	binary := os.Getenv("WEFT_ISTIOD")
	if binary == "" {
		t.Skip("WEFT_ISTIOD is not set: `make test-istiod` builds istiod and sets it")
	}
	m := emptyMesh(t)
	m.startIstiod(binary)
	return m
}

// emptyMesh has nothing that runs.
func emptyMesh(t *testing.T) *mesh {
	t.Helper()
	m := &mesh{t: t, dir: t.TempDir(), logs: map[string]*log{}, keys: newKeys(t)}
	if err := os.Chmod(m.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	// Another version of the proxy, for a control plane that is newer or older than it.
	if m.proxy = os.Getenv("WEFT_OTHER_PROXY"); m.proxy == "" {
		m.proxy = m.build("weft-proxy")
	}
	var err error
	m.hub, err = hub.Start(t.Context(), hub.Options{Layout: netns.DefaultLayout(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.hub.Close()
		if t.Failed() {
			m.showLogs()
		}
	})
	return m
}

// showLogs writes the ends of all logs.
func (m *mesh) showLogs() {
	for _, name := range slices.Sorted(maps.Keys(m.logs)) {
		text := m.logs[name].String()
		if n := len(text) - 6000; n > 0 {
			text = "…" + text[n:]
		}
		m.t.Logf("--- %s\n%s", name, text)
	}
}

// network makes a workload's namespace.
func (m *mesh) network(name string, c capture.Config) {
	m.t.Helper()
	dir := filepath.Join(m.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := m.hub.AddNetwork(m.t.Context(), hub.Network{
		Name: name, Hostname: name, V4: netip.MustParseAddr(address[name]), V6: netip.MustParseAddr("fd00:10:244::1:" + address[name][len("10.244.1."):]),
		Layout: netns.DefaultLayout(), Capture: c, Dir: dir,
	}); err != nil {
		m.t.Fatal(err)
	}
}

// start runs a program in a workload's namespace until the test ends.
func (m *mesh) start(network, name string, sidecar bool, env []string, argv ...string) *log {
	m.t.Helper()
	l := &log{}
	m.logs[network+"/"+name] = l
	r, w, err := os.Pipe()
	if err != nil {
		m.t.Fatal(err)
	}
	go func() {
		defer r.Close()
		_, _ = io.Copy(l, r)
	}()
	defer w.Close()
	if _, err := m.hub.Exec(m.t.Context(), hub.Exec{
		Network: network, Argv: argv, AddEnv: env, Dir: filepath.Join(m.dir, network), Sidecar: sidecar, Stdout: w, Stderr: w,
	}); err != nil {
		m.t.Fatalf("start %s in %s: %v", name, network, err)
	}
	return l
}

// self is this binary as a program.
func self(t *testing.T, args ...string) []string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{exe, "program"}, args...)
}

// run runs this binary as a program in a namespace and returns what it tells.
func (m *mesh) run(network string, args ...string) (a answer, err error) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	r, w, err := os.Pipe()
	if err != nil {
		m.t.Fatal(err)
	}
	defer r.Close()
	p, err := m.hub.Exec(ctx, hub.Exec{Network: network, Argv: self(m.t, args...), Dir: m.dir, Stdout: w, Stderr: w})
	w.Close()
	if err != nil {
		return a, err
	}
	out, err := io.ReadAll(r)
	if err != nil {
		return a, err
	}
	<-p.Done()
	if err := json.Unmarshal(out, &a); err != nil {
		return a, fmt.Errorf("%s", out)
	}
	return a, nil
}

// until runs what until it is as it should be.
func (m *mesh) until(t *testing.T, what string, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never: %s: %v", what, err)
		}
		time.Sleep(200 * time.Millisecond) // a poll of other processes, which nobody tells us of
	}
}

// fill puts addresses and paths into a template.
func (m *mesh) fill(text string) string {
	return strings.NewReplacer(
		"${CLIENT}", address["client"], "${SERVER}", address["server"], "${SERVER2}", address["plain"], "${ISTIOD}", address["istiod"], "${AGENT}", address["agent"],
		"${DIR}", filepath.Join(m.dir, "certs"), "${CONFIG}", filepath.Join(m.dir, "config"),
	).Replace(text)
}

// build builds one of our programs.
func (m *mesh) build(name string) string {
	m.t.Helper()
	to := filepath.Join(m.dir, name)
	if out, err := exec.CommandContext(m.t.Context(), "go", "build", "-o", to, "github.com/weftmesh/weft/cmd/"+name).CombinedOutput(); err != nil {
		m.t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return to
}

// startControl starts our control plane in istiod's place: with its configuration, its root,
// its address, and the issuer of tokens that it trusts.
func (m *mesh) startControl() {
	m.t.Helper()
	m.configure()
	state := filepath.Join(m.dir, "state")
	m.write(filepath.Join(state, "ca-cert.pem"), string(m.keys.rootPEM))
	m.write(filepath.Join(state, "ca-key.pem"), string(m.keys.rootKey(m.t)))
	weft := os.Getenv("WEFT_OTHER_CONTROL") // another version
	if weft == "" {
		weft = m.build("weft")
	}
	l := m.start("istiod", "control", false, nil, weft, "control", "--config", filepath.Join(m.dir, "config"), "--config", filepath.Join(m.dir, "mesh.yaml"),
		"--state-dir", state, "--console-socket", filepath.Join(m.dir, "console.sock"), "--xds", ":15012", "--token-issuer", "test="+filepath.Join(m.dir, "jwks.json"))
	m.until(m.t, "the control plane has started", func() error {
		if _, err := os.Stat(filepath.Join(m.dir, "console.sock")); err != nil {
			return fmt.Errorf("%w: %s", err, l)
		}
		return nil
	})
}

// configure writes the mesh's configuration, and makes the control plane's network.
func (m *mesh) configure() {
	m.t.Helper()
	files, err := filepath.Glob("testdata/mesh/*.yaml")
	if err != nil || len(files) == 0 {
		m.t.Fatalf("no configuration: %v", err)
	}
	for _, f := range append(files, "testdata/mesh.yaml") {
		raw, err := os.ReadFile(f)
		if err != nil {
			m.t.Fatal(err)
		}
		to := filepath.Join(m.dir, "config", filepath.Base(f))
		if f == "testdata/mesh.yaml" {
			to = filepath.Join(m.dir, "mesh.yaml")
		}
		m.write(to, m.fill(string(raw)))
	}
	m.keys.write(m, filepath.Join(m.dir, "cacerts"), filepath.Join(m.dir, "certs"))
	m.network("istiod", capture.Config{})
	m.write(filepath.Join(m.dir, "jwks.json"), m.keys.jwks())
}

// startIstiod starts istiod.
func (m *mesh) startIstiod(binary string) {
	m.t.Helper()
	m.configure()
	m.start("istiod", "keys", false, nil, self(m.t, "keys", filepath.Join(m.dir, "jwks.json"))...)
	l := m.start("istiod", "istiod", false, []string{
		"ENABLE_CA_SERVER=true", "PILOT_CERT_PROVIDER=istiod", "ROOT_CA_DIR=" + filepath.Join(m.dir, "cacerts"), "XDS_AUTH=true",
		"POD_NAME=istiod", "POD_NAMESPACE=istio-system", "REVISION=default", "PILOT_ENABLE_STATUS=false",
		`JWT_RULE={"issuer":"test","jwks_uri":"http://127.0.0.1:8181/","audiences":["istio-ca"]}`,
	}, binary, "discovery", "--registries=", "--meshConfig", filepath.Join(m.dir, "mesh.yaml"), "--networksConfig", "/nonexistent",
		"--grpcAddr", ":15010", "--secureGRPCAddr", ":15012", "--httpsAddr=", "--httpAddr", "127.0.0.1:8080", "--monitoringAddr", "127.0.0.1:15014",
		"--ctrlz_port", "0", "--log_output_level", "default:info")
	m.until(m.t, "istiod is ready", func() error {
		if !strings.Contains(l.String(), "marking server ready") {
			return fmt.Errorf("%s", l)
		}
		return nil
	})
}

func (m *mesh) write(path, text string) {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// member is a proxy to start.
type member struct {
	name, workload, account string
	kind                    wire.NodeType
	labels                  map[string]string
	capture                 capture.Config
	// bootstrap is a file, "": the proxy makes its own.
	bootstrap string
	// files: somebody else brings the certificate.
	files bool
	// agent is a pilot-agent that starts the proxy; "": nobody does.
	agent string
}

// join starts a proxy with the files that pilot-agent finds in a pod.
func (m *mesh) join(w member) {
	m.t.Helper()
	m.network(w.name, w.capture)
	dir := filepath.Join(m.dir, w.name)
	m.write(filepath.Join(dir, "var/run/secrets/tokens/istio-token"), m.keys.token(m.t, "demo", w.account))
	m.write(filepath.Join(dir, "var/run/secrets/istio/root-cert.pem"), string(m.keys.rootPEM))
	var labels strings.Builder
	for _, k := range slices.Sorted(maps.Keys(w.labels)) {
		fmt.Fprintf(&labels, "%s=%q\n", k, w.labels[k])
	}
	m.write(filepath.Join(dir, "etc/istio/pod/labels"), labels.String())
	if w.files {
		chain, key := m.keys.issue(m.t, "demo", w.account, w.name)
		for name, text := range map[string][]byte{"cert-chain.pem": chain, "key.pem": key, "root-cert.pem": m.keys.rootPEM} {
			m.write(filepath.Join(dir, "var/run/secrets/workload-spiffe-credentials", name), string(text))
		}
	}
	config := map[string]any{"discoveryAddress": address["istiod"] + ":15012", "serviceCluster": w.name + ".demo"}
	argv := []string{m.proxy, "--istio", string(w.kind), "--mark", fmt.Sprint(wire.ProxyMark), "--log-level", "info", "--no-dns"}
	if w.bootstrap != "" {
		file := filepath.Join(dir, "etc/istio/proxy/envoy-rev.json")
		m.write(file, w.bootstrap)
		argv = append(argv, "-c", file)
	}
	if w.agent != "" {
		config["binaryPath"], config["configPath"] = m.proxy, filepath.Join(dir, "etc/istio/proxy")
		config["proxyBootstrapTemplatePath"] = filepath.Join(filepath.Dir(w.agent), "src/istio/tools/packaging/common/envoy_bootstrap.json")
		argv = []string{w.agent, "proxy", string(w.kind), "--domain", "demo.svc.cluster.local", "--proxyLogLevel=info"}
	}
	raw, err := json.Marshal(config)
	if err != nil {
		m.t.Fatal(err)
	}
	m.start(w.name, "proxy", true, []string{
		"PROXY_CONFIG=" + string(raw), "ISTIOD_SAN=istiod.istio-system.svc", "POD_NAME=" + w.name + "-1", "POD_NAMESPACE=demo", "INSTANCE_IP=" + address[w.name],
		"SERVICE_ACCOUNT=" + w.account, "ISTIO_META_WORKLOAD_NAME=" + w.workload, "ISTIO_META_CLUSTER_ID=Kubernetes", "TRUST_DOMAIN=cluster.local",
		"ISTIO_META_OWNER=kubernetes://apis/apps/v1/namespaces/demo/deployments/" + w.workload, "PILOT_CERT_PROVIDER=istiod",
	}, argv...)
}

// ready waits until a proxy is.
func (m *mesh) ready(name string) {
	m.t.Helper()
	m.until(m.t, name+" is ready", func() error {
		a, err := m.run(name, "get", "http://127.0.0.1:15021/healthz/ready")
		if err == nil && a.Status != 200 {
			err = fmt.Errorf("status %d: %s", a.Status, a.Body)
		}
		return err
	})
}
