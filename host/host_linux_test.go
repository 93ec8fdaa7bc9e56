package host_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/weftmesh/weft/host"
	"github.com/weftmesh/weft/host/process"
	"github.com/weftmesh/weft/host/rundir"
	"github.com/weftmesh/weft/wire"
)

// mesh is a Host under test.
type mesh struct {
	*host.Host
	t    *testing.T
	root rundir.Root
	dir  *rundir.Dir

	mu     sync.Mutex
	events []host.Event
	wake   chan struct{}
	close  func()
}

// shortDir is a place for run directories: paths of sockets must be short.
func shortDir(t *testing.T) string {
	t.Helper()
	d, err := os.MkdirTemp("", "w")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(d) })
	return filepath.Join(d, "weft")
}

func executable(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

func newMesh(t *testing.T, c host.Capture) *mesh {
	t.Helper()
	m := &mesh{t: t, root: rundir.RootAt(shortDir(t)), wake: make(chan struct{})}
	var err error
	if m.dir, err = m.root.Open("test"); err != nil {
		t.Fatal(err)
	}
	m.Host, err = host.Start(t.Context(), options(executable(t), m.dir, c, m.notify))
	if err != nil {
		t.Fatal(err)
	}
	m.close = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 60*time.Second)
		defer cancel()
		m.Close(ctx)
		if err := m.dir.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(m.close)
	return m
}

func options(exe string, dir *rundir.Dir, c host.Capture, notify func(host.Event)) host.Options {
	return host.Options{
		Dir: dir, Capture: c, Notify: notify, Log: slog.New(slog.DiscardHandler), ClusterID: "test", MeshID: "mesh", TrustDomain: "cluster.local",
		ProxyCommand: func(p host.Proxy) host.Command {
			return host.Command{
				Argv: []string{exe, "program", "proxy", strconv.Itoa(int(p.Ports.Admin)), strconv.Itoa(int(p.Ports.Health))},
				Env:  []string{"NAME=" + p.Name},
			}
		},
	}
}

func (m *mesh) notify(e host.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = append(m.events, e)
	close(m.wake)
	m.wake = make(chan struct{})
}

// await returns the first event since mark that is wanted, and the place after it.
func (m *mesh) await(what string, mark int, want func(host.Event) bool) (host.Event, int) {
	m.t.Helper()
	limit := time.After(60 * time.Second)
	for {
		m.mu.Lock()
		for i := mark; i < len(m.events); i++ {
			if want(m.events[i]) {
				e := m.events[i]
				m.mu.Unlock()
				return e, i + 1
			}
		}
		wake := m.wake
		m.mu.Unlock()
		select {
		case <-wake:
		case <-limit:
			m.mu.Lock()
			for _, e := range m.events {
				m.t.Logf("%s %s %s: %s %v %q", e.Kind, e.Workload, e.Part, e.Message, e.Err, e.Lines)
			}
			m.mu.Unlock()
			m.t.Fatalf("waited in vain for: %s", what)
		}
	}
}

func (m *mesh) mark() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.events)
}

func (m *mesh) apply(s host.Spec) {
	m.t.Helper()
	if err := m.Apply(s); err != nil {
		m.t.Fatal(err)
	}
}

func (m *mesh) awaitReady(mark int, names ...string) {
	m.t.Helper()
	for _, n := range names {
		m.await(n+" is ready", mark, func(e host.Event) bool { return e.Kind == host.WorkloadReady && e.Workload == n })
	}
}

func (m *mesh) get(u string) string {
	m.t.Helper()
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 60 * time.Second}
	r, err := c.Get(u)
	if err != nil {
		return err.Error()
	}
	defer r.Body.Close()
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

// state reads what the control plane would.
func (m *mesh) state() map[string]wire.Replica {
	m.t.Helper()
	raw, err := os.ReadFile(m.dir.Join(wire.ProcessStateFile))
	if err != nil {
		m.t.Fatal(err)
	}
	s, err := wire.ParseProcessState(raw)
	if err != nil {
		m.t.Fatal(err)
	}
	out := map[string]wire.Replica{}
	for _, r := range s.Replicas {
		out[r.Name] = r
	}
	return out
}

func app(t *testing.T, name string, replicas int, port string, env ...string) host.Process {
	n := 80
	if port != "env" {
		n, _ = strconv.Atoi(port)
	}
	return host.Process{
		Name: name, Namespace: "default", Labels: map[string]string{"app": name}, Command: []string{executable(t), "program", "app", port},
		Env: env, Dir: t.TempDir(), ServiceAccount: name, Replicas: replicas, Ports: []host.Port{{Name: "http", Port: uint16(n)}}, Engine: host.EngineGo,
	}
}

func hostPort(t *testing.T) uint16 {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return uint16(ln.Addr().(*net.TCPAddr).Port)
}

func TestMeshOfTwo(t *testing.T) {
	m := newMesh(t, host.CaptureRedirect)
	port := hostPort(t)
	none := app(t, "none", 1, "80")
	none.Engine = host.EngineNone
	envoy := app(t, "envoy", 1, "80")
	envoy.Engine = host.EngineEnvoy
	vip := netip.MustParseAddr("10.96.0.10")
	begin := time.Now()
	m.apply(host.Spec{
		Processes: []host.Process{app(t, "a", 2, "80", "VERSION=v1"), app(t, "b", 1, "80"), none, envoy},
		Services: []host.Service{
			{Name: "a", Namespace: "default", Selector: map[string]string{"app": "a"}, Addresses: []netip.Addr{vip},
				Ports: []host.ServicePort{{Port: 8080, TargetName: "http", HostPort: host.HostPort{Port: port, Scheme: "http"}}}},
			{Name: "none", Namespace: "default", Selector: map[string]string{"app": "none"},
				Ports: []host.ServicePort{{Port: 80, HostPort: host.HostPort{Port: port, Scheme: "http"}}}},
		},
	})
	m.awaitReady(0, "a-0", "a-1", "b-0", "none-0", "envoy-0")
	t.Logf("ready after %s", time.Since(begin))

	seen := map[string]bool{}
	for range 4 {
		seen[m.get(fmt.Sprintf("http://127.0.0.1:%d/", port))] = true
	}
	if diff := cmp.Diff(map[string]bool{"a-0 v1 ": true, "a-1 v1 ": true}, seen); diff != "" {
		t.Errorf("host port (-want +got):\n%s", diff)
	}
	urls := m.URLs()
	if len(urls) != 2 || urls[0].URL != fmt.Sprintf("http://127.0.0.1:%d", port) || urls[1].URL != fmt.Sprintf("http://127.0.0.1:%d", port+8000) || !strings.Contains(urls[1].Note, "it is taken") {
		t.Errorf("URLs: %+v", urls)
	}
	st := m.state()
	for name, r := range st {
		if !r.Ready {
			t.Errorf("%s is not ready in the state", name)
		}
	}
	// From workload to workload, through both sidecars, in both families; and
	// from one without a sidecar by the service's address.
	for from, to := range map[string]string{
		"a":    "http://" + st["b-0"].Addresses[0].String(),
		"none": "http://10.96.0.10:8080",
	} {
		p := port
		if from == "none" {
			p += 8000
		}
		got := m.get(fmt.Sprintf("http://127.0.0.1:%d/?get=%s", p, url.QueryEscape(to)))
		if !strings.HasPrefix(got, from+"-") || !strings.Contains(got, " > ") {
			t.Errorf("%s to %s: %q", from, to, got)
		}
	}
	to6 := netip.AddrPortFrom(st["b-0"].Addresses[1], 80)
	if got := m.get(fmt.Sprintf("http://127.0.0.1:%d/?get=%s", port, url.QueryEscape("http://"+to6.String()))); !strings.HasSuffix(got, "> b-0  ") {
		t.Errorf("IPv6: %q", got)
	}
	if r := st["none-0"]; r.Mesh || r.Engine != "none" {
		t.Errorf("none-0: %+v", r)
	}
	checkProxyFiles(t, m, st)
	checkInstances(t, m)
}

// checkProxyFiles checks that the bootstrap, the token and the admin socket fit.
func checkProxyFiles(t *testing.T, m *mesh, st map[string]wire.Replica) {
	t.Helper()
	for _, i := range m.Instances() {
		if i.Engine == host.EngineNone {
			continue
		}
		id := strings.TrimSuffix(filepath.Base(i.AdminSocket), ".sock")
		raw, err := os.ReadFile(m.dir.Join("proxies", id, "bootstrap.yaml"))
		if err != nil {
			t.Error(err)
			continue
		}
		_, token, _ := strings.Cut(string(raw), "Bearer ")
		token, _, _ = strings.Cut(token, "\n")
		sum := sha256.Sum256([]byte(token))
		if got := hex.EncodeToString(sum[:]); got != st[i.Name].TokenHash {
			t.Errorf("%s: token in the bootstrap and hash in the state differ", i.Name)
		}
		id = "sidecar~" + i.Address + "~" + i.Name + ".default~default.svc.cluster.local"
		if !strings.Contains(string(raw), id) {
			t.Errorf("%s: no node id %s in\n%s", i.Name, id, raw)
		}
		c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
			return net.Dial("unix", i.AdminSocket)
		}}}
		r, err := c.Get("http://admin/")
		if err != nil {
			t.Errorf("%s: %v", i.Name, err)
			continue
		}
		body, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if string(body) != "admin of "+i.Name {
			t.Errorf("%s: admin socket answers %q", i.Name, body)
		}
	}
}

func checkInstances(t *testing.T, m *mesh) {
	t.Helper()
	for _, i := range m.Instances() {
		if i.State != "ready" || i.PID == 0 || i.ProxyPID == 0 {
			t.Errorf("instance %+v", i)
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", i.PID)); err != nil {
			t.Errorf("%s: %v", i.Name, err)
		}
		if l := m.Log(i.Name, host.PartProgram); l == nil || !slices.Contains(l.Tail(5), "listening 80") {
			t.Errorf("%s: the log lacks what it said", i.Name)
		}
	}
	use := m.Usage()
	if len(use) != 2*len(m.Instances()) {
		t.Errorf("usage of %d parts, want of two of each workload", len(use))
	}
	for _, u := range use {
		if u.Memory == 0 {
			t.Errorf("usage %+v", u)
		}
	}
}

func TestCrashIsTold(t *testing.T) {
	m := newMesh(t, host.CaptureRedirect)
	p := app(t, "bad", 1, "80")
	p.Command[2] = "crash"
	missing := app(t, "missing", 1, "80")
	missing.Command = []string{"./no-such-program"}
	m.apply(host.Spec{Processes: []host.Process{p, missing, app(t, "good", 1, "80")}})
	e, mark := m.await("the crash", 0, func(e host.Event) bool { return e.Kind == host.Exited && e.Workload == "bad-0" })
	if e.Exit.Code != 7 || !slices.Contains(e.Lines, "I cannot go on") || e.Again == 0 || e.Part != host.PartProgram {
		t.Errorf("%+v", e)
	}
	m.await("the second crash", mark, func(e host.Event) bool { return e.Kind == host.Exited && e.Workload == "bad-0" && e.Restarts == 1 })
	m.await("the missing program", 0, func(e host.Event) bool {
		return e.Kind == host.Failed && e.Workload == "missing-0" && strings.Contains(e.Err.Error(), "no-such-program")
	})
	m.awaitReady(0, "good-0")
}

func TestChangeAndRemove(t *testing.T) {
	m := newMesh(t, host.CaptureRedirect)
	one := app(t, "a", 2, "80", "VERSION=v1")
	other := app(t, "b", 1, "80")
	m.apply(host.Spec{Processes: []host.Process{one, other}})
	m.awaitReady(0, "a-0", "a-1", "b-0")
	before := m.state()
	pid := map[string]int{}
	for _, i := range m.Instances() {
		pid[i.Name] = i.PID
	}
	mark := m.mark()
	one.Env = []string{"VERSION=v2"}
	m.apply(host.Spec{Processes: []host.Process{one, other}})
	m.awaitReady(mark, "a-0", "a-1")
	after := m.state()
	for name := range before {
		if diff := cmp.Diff(before[name].Addresses, after[name].Addresses, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("%s has another address:\n%s", name, diff)
		}
	}
	for _, i := range m.Instances() {
		if same := pid[i.Name] == i.PID; same != (i.App == "b") {
			t.Errorf("%s: the same process: %v", i.Name, same)
		}
	}
	mark = m.mark()
	one.Replicas = 1
	m.apply(host.Spec{Processes: []host.Process{one}})
	for _, n := range []string{"a-1", "b-0"} {
		m.await(n+" is gone", mark, func(e host.Event) bool { return e.Kind == host.Removed && e.Workload == n })
	}
	if err := m.Apply(host.Spec{Processes: []host.Process{one, one}}); err == nil {
		t.Error("two processes of one name were taken")
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	before := goleak.IgnoreCurrent()
	m := newMesh(t, host.CaptureRedirect)
	m.apply(host.Spec{Processes: []host.Process{app(t, "a", 1, "80")}})
	m.awaitReady(0, "a-0")
	m.close()
	leaves(t, m.dir.Path)
	goleak.VerifyNone(t, before)
}

// leaves fails when anything of the mesh is left.
func leaves(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Stat(dir); err == nil {
		t.Errorf("%s is left", dir)
	}
	if got := marked(dir); len(got) > 0 {
		t.Errorf("processes are left: %v", got)
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), dir) {
		t.Errorf("a mount is left (%v)", err)
	}
}

func marked(dir string) (out []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range files {
		if raw, err := os.ReadFile(f); err == nil && strings.Contains(string(raw), rundir.Marker+"="+dir+"\x00") {
			out = append(out, f)
		}
	}
	return out
}

func TestKilledSupervisorLeavesNothing(t *testing.T) {
	for _, capture := range []host.Capture{host.CaptureRedirect, host.CaptureProxy} {
		t.Run(string(capture), func(t *testing.T) {
			root := shortDir(t)
			cmd := exec.Command(executable(t), "program", "supervisor", root+","+string(capture))
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			cmd.Stderr = os.Stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
				t.Fatalf("%q, %v", line, err)
			}
			r := rundir.RootAt(root)
			dir := r.Dir("test")
			if len(marked(dir)) < 2 {
				t.Fatal("nothing runs: the test tests nothing")
			}
			cmd.Process.Kill()
			cmd.Wait()
			if _, err := r.Clean("test"); err != nil {
				t.Fatal(err)
			}
			leaves(t, dir)
		})
	}
}

// supervisor runs a mesh until it is killed.
func supervisor(arg string) error {
	root, capture, _ := strings.Cut(arg, ",")
	dir, err := rundir.RootAt(root).Open("test")
	if err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	ready := make(chan struct{})
	h, err := host.Start(context.Background(), options(exe, dir, host.Capture(capture), func(e host.Event) {
		if e.Kind == host.WorkloadReady {
			close(ready)
		}
	}))
	if err != nil {
		return err
	}
	err = h.Apply(host.Spec{Processes: []host.Process{{
		Name: "a", Namespace: "default", Command: []string{exe, "program", "app", "env"}, Dir: root, Replicas: 1, Engine: host.EngineGo,
		Ports: []host.Port{{Port: 18080}}, Env: []string{"PORT=18080"},
	}}})
	if err != nil {
		return err
	}
	<-ready
	fmt.Println("ready")
	select {}
}

func TestCaptureProxy(t *testing.T) {
	m := newMesh(t, host.CaptureProxy)
	port := hostPort(t)
	m.apply(host.Spec{
		Processes: []host.Process{app(t, "a", 2, "env"), app(t, "fixed", 2, strconv.Itoa(int(hostPort(t))))},
		Services: []host.Service{{Name: "a", Namespace: "default", Selector: map[string]string{"app": "a"},
			Ports: []host.ServicePort{{Port: 80, HostPort: host.HostPort{Port: port}}}}},
	})
	// From the moment that something is asked for it is known, and not ready.
	if list := m.Instances(); len(list) != 4 {
		t.Errorf("right after Apply there are %d instances, want 4: %+v", len(list), list)
	}
	m.awaitReady(0, "a-0", "a-1")
	st := m.state()
	used := map[uint16]string{}
	for name, r := range st {
		for _, p := range r.Inbound {
			for _, n := range []uint16{p.Listen, p.Program} {
				if used[n] != "" {
					t.Errorf("port %d is both %s's and %s's", n, used[n], name)
				}
				used[n] = name
			}
		}
	}
	for _, n := range []string{"a-0", "a-1"} {
		in := st[n].Inbound[80]
		if got := m.get(fmt.Sprintf("http://127.0.0.1:%d/?env=http_proxy", in.Program)); !strings.HasPrefix(got, n+"  http://127.0.0.1:") {
			t.Errorf("%s: %q", n, got)
		}
		if got := m.get(fmt.Sprintf("http://127.0.0.1:%d/?env=NO_PROXY", in.Program)); !strings.Contains(got, "localhost") {
			t.Errorf("%s: %q", n, got)
		}
	}
	e, _ := m.await("the fixed port", 0, func(e host.Event) bool { return e.Kind == host.Problem && e.App == "fixed" })
	if !strings.Contains(e.Message, "2 replicas") || !strings.Contains(e.Err.Error(), "$PORT") {
		t.Errorf("%+v", e)
	}
}

func TestProgramOnLoopbackOnly(t *testing.T) {
	m := newMesh(t, host.CaptureRedirect)
	local := app(t, "local", 1, "80")
	local.Command = []string{executable(t), "program", "local", "80", "81"}
	local.Ports = []host.Port{{Name: "http", Port: 80}, {Name: "other", Port: 81}}
	port := hostPort(t)
	m.apply(host.Spec{
		Processes: []host.Process{local, app(t, "a", 1, "80")},
		Services: []host.Service{{Name: "a", Namespace: "default", Selector: map[string]string{"app": "a"},
			Ports: []host.ServicePort{{Port: 80, HostPort: host.HostPort{Port: port}}}}},
	})
	m.awaitReady(0, "local-0", "a-0")
	for _, p := range []string{"80", "81"} {
		m.await("that it is told", 0, func(e host.Event) bool {
			return e.Kind == host.Note && strings.Contains(e.Message, "port "+p+" of 127.0.0.1")
		})
		for _, a := range m.state()["local-0"].Addresses {
			to := "http://" + net.JoinHostPort(a.String(), p)
			if got := m.get(fmt.Sprintf("http://127.0.0.1:%d/?get=%s", port, url.QueryEscape(to))); !strings.HasSuffix(got, "> local-0 ") {
				t.Errorf("%s: %q", to, got)
			}
		}
	}
}

func TestProgramThatDoesNotListen(t *testing.T) {
	m := newMesh(t, host.CaptureRedirect)
	p := app(t, "deaf", 1, "80")
	p.Command = []string{executable(t), "program", "sleep"}
	m.apply(host.Spec{Processes: []host.Process{p}})
	e, _ := m.await("that it is told", 0, func(e host.Event) bool { return e.Kind == host.Problem && e.Workload == "deaf-0" })
	if !strings.Contains(e.Err.Error(), "port 80") {
		t.Errorf("%+v", e)
	}
	m.awaitReady(0, "deaf-0")
}

func TestProbeIsPastCapture(t *testing.T) {
	m := newMesh(t, host.CaptureRedirect)
	p := app(t, "a", 1, "8080")
	p.Readiness = &process.Probe{HTTPPath: "/", Port: 8080}
	m.apply(host.Spec{Processes: []host.Process{p}})
	m.awaitReady(0, "a-0")
}

func TestGateway(t *testing.T) {
	m := newMesh(t, host.CaptureRedirect)
	port := hostPort(t)
	m.apply(host.Spec{Gateways: []host.Gateway{{
		Name: "gw", Namespace: "edge", Engine: host.EngineEnvoy, HostPorts: []host.HostPort{{Port: wire.PortHealth, Scheme: "http"}, {Port: port}},
	}}})
	m.awaitReady(0, "gw-0")
	e, _ := m.await("its port", 0, func(e host.Event) bool { return e.Kind == host.Listening && e.Asked.Port() == wire.PortHealth })
	if got := m.get("http://" + e.Got.String() + "/healthz/ready"); got != "" {
		t.Errorf("through the host port: %q", got)
	}
	if r := m.state()["gw-0"]; !r.Gateway || !r.Mesh || r.Engine != host.EngineEnvoy {
		t.Errorf("%+v", r)
	}
}
