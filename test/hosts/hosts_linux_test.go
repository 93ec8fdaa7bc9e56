package hosts

import (
	"context"
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
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/space"
)

// Addresses of the machines; the control plane is on the first.
const (
	controlIP, shopIP, callerIP, newIP = "10.205.0.1", "10.205.0.2", "10.205.0.3", "10.205.0.4"
	resolver                           = controlIP + ":53" // at which nobody is
)

const configuration = `apiVersion: v1
kind: Service
metadata: {name: shop, namespace: vms}
spec:
  selector: {app: shop}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: shop, namespace: vms}
spec:
  metadata: {labels: {app: shop}}
  template: {serviceAccount: shop}
  probe: {periodSeconds: 1, httpGet: {path: /, port: 8080}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: caller, namespace: vms}
spec:
  metadata: {labels: {app: caller}}
  template: {serviceAccount: caller}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: vms}
spec: {mtls: {mode: STRICT}}
`

// mesh is the control plane, and the network that the machines are on.
type mesh struct {
	t       *testing.T
	dir     string
	weft    string
	here    *space.Space
	control *process
}

func newMesh(t *testing.T) *mesh {
	t.Helper()
	m := &mesh{t: t, dir: t.TempDir(), here: space.New(t)}
	for _, d := range []string{m.dir, filepath.Dir(m.dir)} { // the proxy's user goes through
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	m.weft = filepath.Join(m.dir, "weft")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", m.weft, "github.com/weftmesh/weft/cmd/weft").CombinedOutput(); err != nil {
		t.Fatalf("build weft: %v\n%s", err, out)
	}
	m.here.Bridge(t, "br0")
	m.here.Up(t, "br0", []string{controlIP + "/24"})
	if err := os.WriteFile(filepath.Join(m.dir, "mesh.yaml"), []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	m.begin()
	return m
}

// begin starts the control plane.
func (m *mesh) begin() {
	m.t.Helper()
	m.control = start(m.t, m.here, "control plane", m.weft, "control", "--config", filepath.Join(m.dir, "mesh.yaml"),
		"--state-dir", filepath.Join(m.dir, "state"), "--console-socket", m.socket(), "--xds", controlIP+":15012")
}

func (m *mesh) socket() string { return filepath.Join(m.dir, "console.sock") }

// token is one for a group.
func (m *mesh) token(group string) string {
	m.t.Helper()
	var token string
	m.within(20*time.Second, "a token for "+group, func() error {
		cmd := exec.CommandContext(m.t.Context(), m.weft, "token", "create", "vms/"+group, "--ttl", "10m", "--console-socket", m.socket())
		var said strings.Builder
		cmd.Stderr = &said
		out, err := cmd.Output()
		token = strings.TrimSpace(string(out))
		if err != nil {
			return fmt.Errorf("%w: %s", err, said.String())
		}
		return nil
	})
	return token
}

// machine is one that joins.
type machine struct {
	*space.Space
	m    *mesh
	name string
	ip   string
	join *process
}

func (m *mesh) machine(name, ip string) *machine {
	m.t.Helper()
	h := &machine{Space: space.New(m.t), m: m, name: name, ip: ip}
	space.Cable(m.t, h.Space, m.here, "eth0", "to-"+name)
	m.here.Bridge(m.t, "br0", "to-"+name)
	h.Up(m.t, "eth0", []string{ip + "/24"}, controlIP)
	return h
}

// run runs `weft join` on the machine.
func (h *machine) run(args ...string) {
	h.m.t.Helper()
	h.join = start(h.m.t, h.Space, h.name, h.m.weft, append([]string{"join", "--state-dir", h.state(), "--name", h.name}, args...)...)
}

func (h *machine) state() string { return filepath.Join(h.m.dir, h.name) }

// serve answers on the machine with its name and who has called.
func (h *machine) serve() {
	h.m.t.Helper()
	l := h.Listen(h.m.t, ":8080")
	s := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s, called by %s", h.name, r.Header.Get("X-Forwarded-Client-Cert"))
	})}
	go func() { _ = s.Serve(l) }()
}

// ask asks from the machine, on a connection and with a lookup of its own.
func ask(s *space.Space, url string) (int, string, error) {
	dial := func(ctx context.Context, network, address string) (c net.Conn, err error) {
		err2 := s.Try(func() error {
			c, err = (&net.Dialer{}).DialContext(ctx, network, address)
			return nil
		})
		return c, errors.Join(err, err2)
	}
	names := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) { return dial(ctx, network, resolver) }}
	c := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		if net.ParseIP(host) == nil {
			ips, err := names.LookupHost(ctx, host)
			if err != nil {
				return nil, err
			}
			host = ips[0]
		}
		return dial(ctx, network, net.JoinHostPort(host, port))
	}}}
	r, err := c.Get(url) //nolint:noctx // it has a timeout
	if err != nil {
		return 0, "", err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	return r.StatusCode, string(body), err
}

const shopURL = "http://shop.vms.svc.cluster.local/"

// answered wants the shop's answer, with the caller's identity.
func (h *machine) answered(by string) func() error {
	return func() error {
		status, body, err := ask(h.Space, shopURL)
		if err != nil || status != http.StatusOK || !strings.HasPrefix(body, by+",") || !strings.Contains(body, "URI=spiffe://cluster.local/ns/vms/sa/caller") {
			return fmt.Errorf("%d %q %w", status, body, err)
		}
		return nil
	}
}

// TestJoin: two machines join, and talk by mutual TLS and by name; what is killed comes back,
// without the control plane and without a token; who leaves is not called any more.
func TestJoin(t *testing.T) {
	m := newMesh(t)
	shop, caller := m.machine("shop", shopIP), m.machine("caller", callerIP)
	shop.serve()
	shop.run(controlIP, "--token", m.token("shop"))
	caller.run("https://"+controlIP+":15012/", "--token", m.token("caller"))
	m.within(20*time.Second, "the caller reaches the shop by its name", caller.answered("shop"))
	if status, body, err := ask(m.here, "http://"+shopIP+":8080/"); err == nil && status == http.StatusOK {
		t.Errorf("who has not joined reaches the shop: %q", body)
	}

	t.Log("the shop's proxy is killed")
	shop.killProxy()
	m.within(2*time.Second, "the shop answers again", caller.answered("shop"))

	t.Log("the control plane is gone")
	m.control.stop()
	m.within(time.Second, "they talk without it", caller.answered("shop"))
	t.Log("the shop is killed, its rules are gone with it, and it comes back without a token")
	shop.join.kill()
	m.begin()
	shop.run()
	m.within(20*time.Second, "the shop answers again", caller.answered("shop"))

	t.Log("a second shop comes, and the first leaves")
	second := m.machine("second", newIP)
	second.serve()
	second.run(controlIP+":15012", "--token", m.token("shop"), "-l", "version=v2")
	m.within(20*time.Second, "both answer", both(caller))
	m.leave(shop, caller)
}

// both wants answers of both shops, and no failure.
func both(caller *machine) func() error {
	return func() error {
		seen := map[string]bool{}
		for range 20 {
			status, body, err := ask(caller.Space, shopURL)
			if err != nil || status != http.StatusOK {
				return fmt.Errorf("%d %q %w", status, body, err)
			}
			seen[strings.SplitN(body, ",", 2)[0]] = true
		}
		if len(seen) != 2 {
			return fmt.Errorf("seen %v", seen)
		}
		return nil
	}
}

// leave has the first shop leave while it is called: no call fails.
func (m *mesh) leave(shop, caller *machine) {
	m.t.Helper()
	stop, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		var err error
		for err == nil {
			select {
			case <-stop:
				failed <- nil
				return
			default:
			}
			var status int
			var body string
			if status, body, err = ask(caller.Space, shopURL); err == nil && status != http.StatusOK {
				err = fmt.Errorf("%d %q", status, body)
			}
		}
		failed <- err
	}()
	out, err := exec.CommandContext(m.t.Context(), m.weft, "leave", "--state-dir", shop.state()).CombinedOutput() // rules are taken back by the one that has made them
	if err != nil {
		m.t.Fatalf("weft leave: %v\n%s", err, out)
	}
	m.within(2*time.Second, "only the second is called", caller.answered("second"))
	close(stop)
	if err := <-failed; err != nil {
		m.t.Errorf("while the shop left: %v", err)
	}
	shop.join.wait()
	if _, err := os.Stat(filepath.Join(shop.state(), "member.json")); !errors.Is(err, os.ErrNotExist) {
		m.t.Errorf("what was kept is not forgotten: %v", err)
	}
	if status, body, err := ask(shop.Space, "http://"+shopIP+":8080/"); err != nil || !strings.HasPrefix(body, "shop, called by") {
		m.t.Errorf("the machine's service after it has left: %d %q %v", status, body, err)
	}
	shop.run()
	if code := shop.join.wait(); code != 1 || !strings.Contains(shop.join.log.String(), "no member of a mesh") {
		m.t.Errorf("who has left goes on: %d\n%s", code, shop.join.log)
	}
}

// TestJoinRefused: what does not fit is said, and what to do.
func TestJoinRefused(t *testing.T) {
	m := newMesh(t)
	h := m.machine("guest", shopIP)
	token := m.token("shop")
	other := strings.Split(token, ".")
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"another name", []string{controlIP, "--token", token, "--server-name", "elsewhere"}, "--xds-name elsewhere"},
		{"a broken signature", []string{controlIP, "--token", other[0] + "." + other[1] + "." + strings.Repeat("A", len(other[2]))}, "does not accept the token"},
		{"no token", []string{controlIP, "--token", "abc"}, "weft token create"},
		{"nobody there", []string{controlIP + ":1", "--token", token}, "cannot be asked"},
	} {
		h.run(tc.args...)
		if code := h.join.wait(); code == 0 || !strings.Contains(h.join.log.String(), tc.want) {
			t.Errorf("%s: %d, want %q:\n%s", tc.name, code, tc.want, h.join.log)
		}
	}
	cmd := exec.CommandContext(t.Context(), m.weft, "token", "create", "vms/nobody", "--console-socket", m.socket())
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "there is no WorkloadGroup vms/nobody") {
		t.Errorf("a token for a group that is not there: %v\n%s", err, out)
	}
}

// killProxy kills the proxy that `weft join` has started.
func (h *machine) killProxy() {
	h.m.t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		h.m.t.Fatal(err)
	}
	for _, path := range stats {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		f := strings.Fields(string(raw)[strings.LastIndexByte(string(raw), ')')+1:])
		if f[1] != strconv.Itoa(h.join.cmd.Process.Pid) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err == nil {
			err = syscall.Kill(pid, syscall.SIGKILL)
		}
		if err != nil {
			h.m.t.Fatal(err)
		}
		return
	}
	h.m.t.Fatalf("%s has no proxy", h.name)
}

// within tries until f is content.
func (m *mesh) within(bound time.Duration, what string, f func() error) {
	m.t.Helper()
	began := time.Now()
	for {
		err := f()
		if err == nil {
			m.t.Logf("%s: after %v", what, time.Since(began).Round(time.Millisecond))
			return
		}
		if time.Since(began) > bound {
			m.t.Fatalf("%s: not within %v: %v", what, bound, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// process is a program that was started in a namespace.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	log  *output
	once sync.Once
	code int
}

func start(t *testing.T, s *space.Space, name, exe string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(exe, args...), log: &output{}} //nolint:noctx // it is ended below
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	s.Do(t, p.cmd.Start)
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("--- %s\n%s", name, p.log)
		}
	})
	return p
}

func (p *process) wait() int {
	p.once.Do(func() {
		_ = p.cmd.Wait()
		p.code = p.cmd.ProcessState.ExitCode()
	})
	return p.code
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	p.wait()
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	p.wait()
}

// output is what a program has said.
type output struct {
	mu sync.Mutex
	b  strings.Builder
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
