package behave

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/control/fleet"
	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/host"
	"github.com/weftmesh/weft/host/process"
	"github.com/weftmesh/weft/host/rundir"
	"github.com/weftmesh/weft/up"
	"github.com/weftmesh/weft/wire"
)

// world is half of the mesh: namespaces with clients, servers and a gateway.
type world struct {
	ns     string
	values map[string]string // of ${NAME} in cases
	engine [2]string         // of what is the first kind here, and of what is the second
}

// mesh is all that runs.
type mesh struct {
	t       *testing.T
	dir     *rundir.Dir
	folder  string // of configuration
	keys    *keys
	host    *host.Host
	worlds  []*world
	base    string         // documents that are always there
	config  map[string]any // MeshConfig of the base
	console *http.Client
	tellers map[string]teller // by instance, "east/reviews-v1"

	generation int // of what is written
	mu         sync.Mutex
	said       bytes.Buffer // guarded by mu: what went wrong
}

// newMesh brings everything up and waits until all proxies serve.
func newMesh(t *testing.T) *mesh {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("namespaces are Linux's")
	}
	envoy := os.Getenv("WEFT_ENVOY")
	if envoy == "" {
		t.Fatal("no Envoy to compare with: set WEFT_ENVOY to the binary of Envoy 1.40")
	}
	dir, err := os.MkdirTemp("", "wb") // short: unix sockets have a limit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &mesh{t: t, folder: filepath.Join(dir, "config"), keys: newKeys(t, filepath.Join(dir, "tls")), tellers: map[string]teller{}}
	for _, d := range []string{m.folder, filepath.Join(dir, "p")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	weft, authz := m.build(dir)
	if m.dir, err = rundir.RootAt(filepath.Join(dir, "r")).Open("b"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.dir.Close() })
	m.control(weft)
	m.start(weft, envoy)
	m.populate(filepath.Join(dir, "p"), authz)
	m.ready()
	return m
}

// build builds the programs, unless they are there.
func (m *mesh) build(dir string) (weft, authz string) {
	m.t.Helper()
	if *built != "" {
		dir = *built
	}
	weft, authz = filepath.Join(dir, "weft"), filepath.Join(dir, "authz")
	for out, pkg := range map[string]string{weft: "./cmd/weft", authz: "./test/mesh/authz"} {
		if *built != "" {
			continue
		}
		cmd := exec.CommandContext(m.t.Context(), "go", "build", "-o", out, pkg)
		cmd.Dir = "../.."
		if text, err := cmd.CombinedOutput(); err != nil {
			m.t.Fatalf("go build %s: %v\n%s", pkg, err, text)
		}
	}
	return weft, authz
}

// control runs weft control until the test ends.
func (m *mesh) control(weft string) {
	cmd := exec.Command(weft, "control", "--config", m.folder, "--process-state", m.state(),
		"--xds-socket", m.dir.Join(wire.XDSSocketFile), "--console-socket", m.dir.Join(wire.ConsoleSocket),
		"--state-dir", m.dir.Join(wire.ControlStateDir), "--ipv4-only", "--log-level", "warn")
	cmd.Stdout, cmd.Stderr = m, m
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+filepath.Join(m.keys.dir, "ca.crt")) // of who serves trust bundles
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := (wire.ProcessState{}).WriteFile(m.state()); err != nil {
		m.t.Fatal(err)
	}
	m.replace("base.yaml", "")
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	m.console = &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", m.dir.Join(wire.ConsoleSocket))
	}}}
}

// Write keeps what control plane and host say.
func (m *mesh) Write(b []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.said.Write(b)
}

// start starts the host that runs workloads.
func (m *mesh) start(weft, envoy string) {
	m.t.Helper()
	var err error
	m.host, err = host.Start(m.t.Context(), host.Options{
		Dir: m.dir, Capture: host.CaptureRedirect, Executable: weft, ClusterID: "Kubernetes", MeshID: "behave", HoldPrograms: patience,
		ProxyCommand: func(p host.Proxy) host.Command {
			c := up.ProxyCommand(p, weft, envoy, "warn")
			for i, a := range c.Argv { // gateways are reached inside the mesh's network
				if a == "--host-listeners" {
					c.Argv = append(c.Argv[:i:i], c.Argv[i+1:]...)
					break
				}
			}
			return c
		},
		Notify: func(e host.Event) {
			if e.Err != nil || e.Kind == host.Problem || e.Kind == host.Failed || e.Kind == host.Exited {
				fmt.Fprintf(m, "%s %s/%s %s: %s %v %v\n", e.Kind, e.Namespace, e.Workload, e.Part, e.Message, e.Err, e.Lines)
			}
		},
		Log: slog.New(slog.NewTextHandler(m, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience/4)
		defer cancel()
		m.host.Close(ctx)
		if m.t.Failed() {
			m.t.Logf("said:\n%s", m.said.String())
		}
	})
}

// populate says what runs. Sockets of the programs are in dir.
func (m *mesh) populate(dir, authz string) {
	m.t.Helper()
	self, err := os.Executable()
	if err != nil {
		m.t.Fatal(err)
	}
	var spec host.Spec
	add := func(ns, name, engine string, more func(*host.Process)) {
		socket := filepath.Join(dir, ns+"-"+name)
		p := host.Process{
			Name: name, Namespace: ns, Labels: map[string]string{"app": name}, ServiceAccount: name, Replicas: 1, Engine: engine,
			Command: []string{self, "program", socket}, Dir: dir, Env: []string{"TLS=" + m.keys.dir, "GOMAXPROCS=2", "GOGC=50"},
			Ports: []host.Port{{Name: "http", Port: portHTTP}}, Readiness: &process.Probe{TCP: true, Port: portHTTP, Period: 100 * time.Millisecond, Timeout: patience},
			Proxy: host.ProxySettings{Concurrency: 1},
		}
		if more != nil {
			more(&p)
		}
		m.tellers[ns+"/"+name] = newTeller(socket)
		spec.Processes = append(spec.Processes, p)
	}
	for _, w := range []*world{{ns: "east", engine: [2]string{host.EngineGo, host.EngineEnvoy}}, {ns: "west", engine: [2]string{host.EngineEnvoy, host.EngineGo}}} {
		m.worlds = append(m.worlds, w)
		for i, mode := range []string{wire.ModeEager, wire.ModeOnDemand} {
			add(w.ns, "client-"+mode, w.engine[i], func(p *host.Process) {
				p.Labels["app"], p.Labels["team"], p.Labels["topology.istio.io/locality"] = "client", "blue", "region1.zone1"
				p.ServiceAccount, p.Annotations = "client", map[string]string{wire.ModeKey: mode}
			})
			version := fmt.Sprintf("v%d", i+1)
			add(w.ns, "reviews-"+version, w.engine[i], func(p *host.Process) {
				p.Labels["app"], p.Labels["version"], p.ServiceAccount = "reviews", version, "reviews"
				p.Env = append(p.Env, "VERSION="+version)
			})
		}
		add(w.ns+"-2", "other", w.engine[0], func(p *host.Process) { p.Env = append(p.Env, "VERSION=other") })
		spec.Gateways = append(spec.Gateways, host.Gateway{
			Name: "gateway", Namespace: w.ns, ServiceAccount: "gateway", Replicas: 1, Engine: w.engine[0], Proxy: host.ProxySettings{Concurrency: 1},
			Labels: map[string]string{"istio": "ingressgateway", "world": w.ns, "app": "gateway", "gateway.networking.k8s.io/gateway-name": "gateway"},
		})
	}
	add("outside", "outside", host.EngineNone, func(p *host.Process) { p.Env = append(p.Env, "VERSION=outside", "COLLECT=yes") })
	add("outside", "authz", host.EngineNone, func(p *host.Process) {
		p.Command, p.Readiness.Port = []string{authz}, 8000
	})
	if err := m.host.Apply(spec); err != nil {
		m.t.Fatal(err)
	}
}

// state is the file in which the control plane reads what runs.
func (m *mesh) state() string { return m.dir.Join("state.json") }

// settle tells the control plane what runs, and that all of it is ready: on a busy machine
// probes come late, and a workload that is out for a moment is not what cases are about.
func (m *mesh) settle() error {
	raw, err := os.ReadFile(m.dir.Join(wire.ProcessStateFile))
	if err != nil {
		return err
	}
	s, err := wire.ParseProcessState(raw)
	if err != nil {
		return err
	}
	for i := range s.Replicas {
		s.Replicas[i].Ready = true
	}
	return s.WriteFile(m.state())
}

// ready waits until everything runs, and writes the base.
func (m *mesh) ready() {
	m.t.Helper()
	m.until(m.t, "all workloads are ready", func() error {
		if err := m.settle(); err != nil {
			return err
		}
		for _, i := range m.host.Instances() {
			if i.State != "ready" {
				return fmt.Errorf("%s/%s is %s: %s", i.Namespace, i.Name, i.State, i.Message)
			}
		}
		return nil
	})
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, m.keys.jwks(m.t)) }))
	m.t.Cleanup(keys.Close)
	bundles := m.keys.bundles(m.t)
	at := map[string]string{}
	for _, i := range m.host.Instances() {
		at[i.Namespace+"/"+i.App] = i.Address
	}
	for _, w := range m.worlds {
		w.values = map[string]string{
			"NS": w.ns, "NS2": w.ns + "-2", "V1": at[w.ns+"/reviews-v1"], "V2": at[w.ns+"/reviews-v2"], "OTHER": at[w.ns+"-2/other"],
			"GATEWAY": at[w.ns+"/gateway"], "OUTSIDE": at["outside/outside"], "AUTHZ": at["outside/authz"], "JWKS": m.keys.jwks(m.t), "TLS": m.keys.dir,
			"KEYS": keys.URL, "BUNDLES": bundles,
			"EAGER": at[w.ns+"/client-eager"], "DEMAND": at[w.ns+"/client-on-demand"],
		}
		for _, f := range []string{"ca.crt", "server.crt", "server.key", "client.crt", "client.key"} {
			w.values[f] = m.keys.base64(m.t, f)
		}
		w.values["CA"], w.values["PARTNER"] = m.keys.quoted(m.t, "ca.crt"), `"`+m.keys.quoted(m.t, "partner-ca.crt")+`"` // as a whole scalar
	}
	raw, err := os.ReadFile("testdata/base/mesh.yaml")
	if err == nil {
		err = yaml.UnmarshalStrict([]byte(fill(string(raw), m.worlds[0].values)), &m.config)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	base, err := os.ReadFile("testdata/base/base.yaml")
	if err != nil {
		m.t.Fatal(err)
	}
	m.base = string(base)
	m.write(&scenario{})
	m.await(m.t)
}

// until tries until f succeeds.
func (m *mesh) until(t *testing.T, what string, f func() error) {
	t.Helper()
	for deadline := time.Now().Add(2 * patience); ; time.Sleep(15 * time.Millisecond) { // a poll of other processes
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never: %s: %v", what, err)
		}
	}
}

// replace replaces a file of the folder, as a whole.
func (m *mesh) replace(name, text string) {
	m.t.Helper()
	tmp := filepath.Join(m.dir.Path, name)
	err := os.WriteFile(tmp, []byte(text), 0o644)
	if err == nil {
		err = os.Rename(tmp, filepath.Join(m.folder, name))
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// write puts base and case into the folder, in place of the case before.
func (m *mesh) write(c *scenario) {
	m.t.Helper()
	m.generation++
	var docs []map[string]any
	for _, w := range m.worlds {
		for _, text := range []string{m.base, c.config} {
			list, err := documents(text, w)
			if err != nil {
				m.t.Fatal(err)
			}
			docs = append(docs, list...)
		}
	}
	all := map[string]any{}
	for _, part := range []map[string]any{m.config, c.mesh} {
		for k, v := range part {
			all[k] = v
		}
	}
	raw, err := yaml.Marshal(all)
	if err != nil {
		m.t.Fatal(err)
	}
	docs = append(docs, map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "istio", "namespace": "istio-system"},
		"data": map[string]any{"mesh": fill(string(raw), m.worlds[0].values)},
	}, map[string]any{
		"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": m.marker(), "namespace": "outside"},
	})
	text, err := join(docs)
	if err != nil {
		m.t.Fatal(err)
	}
	m.replace("base.yaml", text)
}

// marker is the name of an object that comes with what is written, so that it can be
// seen to have been read.
func (m *mesh) marker() string { return fmt.Sprintf("generation-%d", m.generation) }

// await waits until all proxies have acknowledged what was written.
func (m *mesh) await(t *testing.T) {
	t.Helper()
	var version uint64
	m.until(t, "the control plane has read what was written", func() error {
		var list []console.ObjectSummary
		if err := m.get("/v1/objects?status=true&kind=ServiceAccount&name="+m.marker(), &list); err != nil {
			return err
		}
		if len(list) != 1 || list[0].Status == nil || list[0].Status.Version == 0 {
			return fmt.Errorf("%v", list)
		}
		version = list[0].Status.Version
		return nil
	})
	m.until(t, "all proxies have it", func() error {
		var list []fleet.ProxyStatus
		if err := m.get("/v1/proxies", &list); err != nil {
			return err
		}
		for _, p := range list {
			if !p.Connected || !p.Synced || p.Holds < version {
				return fmt.Errorf("%s.%s (%s): connected %v, version %d, want %d, %v", p.Name, p.Namespace, p.Engine, p.Connected, p.Holds, version, p.Types)
			}
		}
		return nil
	})
}

// get asks the control plane's console.
func (m *mesh) get(path string, v any) error {
	resp, err := m.console.Get("http://control" + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s %w", resp.Status, raw, err)
	}
	return json.Unmarshal(raw, v)
}

// faults lists the errors that the control plane has found, and what else has these codes.
func (m *mesh) faults(codes []string) (out []model.Finding, err error) {
	var all []model.Finding
	if err := m.get("/v1/findings", &all); err != nil {
		return nil, err
	}
	for _, f := range all {
		if f.Severity == model.Error || slices.Contains(codes, f.Code) {
			out = append(out, f)
		}
	}
	return out, nil
}

// log is what a proxy has written.
func (m *mesh) log(instance string) string {
	ns, name, _ := strings.Cut(instance, "/")
	raw, _ := os.ReadFile(m.dir.Join("logs", ns+"_"+name+"-0.proxy.log"))
	return string(raw)
}
