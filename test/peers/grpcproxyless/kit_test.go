// Package grpcproxyless runs programs whose gRPC speaks xDS itself under Weft's control
// plane, each with an agent without a data plane beside it: grpc-go, and grpc-js where
// there is a Node. Control plane and agents are in this process, the programs are not.
package grpcproxyless

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weftmesh/weft/control"
	"github.com/weftmesh/weft/proxy/agent"
	"github.com/weftmesh/weft/proxy/proxyless"
	"github.com/weftmesh/weft/test/freeport"
	"github.com/weftmesh/weft/wire"
)

// program is the path of the built peer.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "weft-peer-")
	code := 1
	if err == nil {
		program = filepath.Join(dir, "peer")
		out, failed := exec.Command("go", "build", "-o", program, "./peer").CombinedOutput()
		if err = failed; err == nil {
			code = m.Run()
		} else {
			err = fmt.Errorf("%w\n%s", err, out)
		}
		os.RemoveAll(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

// mesh is a control plane with its workloads.
type mesh struct {
	t       *testing.T
	dir     string // short: unix sockets have a limit
	network byte   // 127.0.network.0: tests run beside each other
	certTTL time.Duration
	stop    func() // of the control plane

	mu       sync.Mutex
	replicas map[string]wire.Replica // guarded by mu
}

var networks atomic.Uint32

func start(t *testing.T, certTTL time.Duration) *mesh {
	t.Helper()
	dir, err := os.MkdirTemp("", "wg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &mesh{t: t, dir: dir, network: byte(networks.Add(1)), certTTL: certTTL, replicas: map[string]wire.Replica{}}
	if err := os.Mkdir(m.path("config"), 0o755); err != nil {
		t.Fatal(err)
	}
	m.publish()
	m.control()
	return m
}

func (m *mesh) path(name string) string { return filepath.Join(m.dir, name) }

// control starts the control plane; m.stop ends it.
func (m *mesh) control() {
	m.t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(m.t.Context()))
	done := make(chan error, 1)
	log := slog.New(slog.NewTextHandler(testLog{m.t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	go func() {
		done <- control.Run(ctx, control.Options{
			Config: []string{m.path("config")}, ProcessState: m.path("state.json"), XDSSocket: m.path("xds"), ConsoleSocket: m.path("console"),
			StateDir: m.path("ca"), CertTTL: m.certTTL, ConfigMode: wire.ModeEager, Families: []int{4}, Version: "test", Log: log,
		})
	}()
	m.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			m.t.Errorf("control plane: %v", err)
		}
	})
	m.t.Cleanup(m.stop)
}

// testLog writes what goes wrong to the test's log.
type testLog struct{ t *testing.T }

func (l testLog) Write(b []byte) (int, error) {
	if l.t.Context().Err() == nil {
		l.t.Log(strings.TrimSpace(string(b)))
	}
	return len(b), nil
}

// publish writes what runs.
func (m *mesh) publish() {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	var s wire.ProcessState
	for _, name := range slices.Sorted(maps.Keys(m.replicas)) {
		s.Replicas = append(s.Replicas, m.replicas[name])
	}
	if err := s.WriteFile(m.path("state.json")); err != nil {
		m.t.Fatal(err)
	}
}

// write replaces a file of configuration.
func (m *mesh) write(name, text string) {
	m.t.Helper()
	path := filepath.Join(m.path("config"), name+".yaml")
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		m.t.Fatal(err)
	}
}

// peer is a workload: a program and the agent beside it.
type peer struct {
	mesh    *mesh
	name    string
	address netip.Addr
	port    uint16 // of its gRPC server
	files   proxyless.Files
	control string // host:port of the program's API
}

// grpcPort is where servers listen.
const grpcPort = 7070

// add starts a workload with an agent, without its program. app is its label.
func (m *mesh) add(name, app string, number byte) *peer { return m.addAt(name, app, number, grpcPort) }

// addAt is add of a workload whose server listens elsewhere.
func (m *mesh) addAt(name, app string, number byte, port uint16) *peer {
	m.t.Helper()
	p := &peer{port: port, mesh: m, name: name, address: netip.AddrFrom4([4]byte{127, 0, m.network, number}), files: proxyless.In(m.path(name))}
	token := "token of " + name
	sum := sha256.Sum256([]byte(token))
	m.mu.Lock()
	m.replicas[name] = wire.Replica{
		Name: name, App: app, Namespace: "default", Addresses: []netip.Addr{p.address}, ServiceAccount: name,
		Labels: map[string]string{"app": app, "name": name, wire.TLSModeLabel: wire.TLSModeIstio}, Ports: map[string]uint16{"grpc": port},
		TrustDomain: "cluster.local", Ready: true, Engine: "none", TokenHash: hex.EncodeToString(sum[:]),
	}
	m.mu.Unlock()
	m.publish()
	ctx, cancel := context.WithCancel(context.WithoutCancel(m.t.Context()))
	done := make(chan error, 1)
	ports := agent.Ports{Health: freeport.Port(m.t)}
	go func() {
		done <- agent.Run(ctx, agent.Options{
			Node:     wire.NodeID{Type: wire.Sidecar, IP: p.address.String(), Name: name, Namespace: "default", Domain: "default.svc.cluster.local"},
			Metadata: wire.NodeMetadata{Name: name, Namespace: "default"}, XDSSocket: m.path("xds"), Token: token,
			GRPC: &p.files, Ports: ports, Level: &slog.LevelVar{}, Log: slog.New(slog.DiscardHandler),
		})
	}()
	m.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			m.t.Errorf("agent of %s: %v", name, err)
		}
	})
	eventually(m.t, "agent of "+name+" is ready", func() error {
		r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/healthz/ready", ports.Health))
		if err != nil {
			return err
		}
		defer r.Body.Close()
		if r.StatusCode != http.StatusOK {
			return fmt.Errorf("%s", r.Status)
		}
		return nil
	})
	return p
}

// remove takes a workload out of the mesh; its program goes on.
func (m *mesh) remove(name string) {
	m.t.Helper()
	m.mu.Lock()
	delete(m.replicas, name)
	m.mu.Unlock()
	m.publish()
}

// run starts the peer's program; server: its gRPC server too, on port 7070.
func (p *peer) run(server bool) *peer {
	t := p.mesh.t
	t.Helper()
	p.control = fmt.Sprintf("127.0.0.1:%d", freeport.Port(t))
	args := []string{"-xds", "-control", p.control, "-listen", ""}
	if server {
		args[len(args)-1] = netip.AddrPortFrom(p.address, p.port).String()
	}
	p.start(exec.Command(program, args...))
	eventually(t, p.name+" runs", func() error {
		r, err := http.Get("http://" + p.control + "/healthz")
		if err == nil {
			r.Body.Close()
		}
		return err
	})
	return p
}

// start starts a program with the peer's environment; it ends with the test.
func (p *peer) start(cmd *exec.Cmd) {
	t := p.mesh.t
	t.Helper()
	var said strings.Builder
	cmd.Env = append(os.Environ(), "GRPC_XDS_BOOTSTRAP="+p.files.Bootstrap, "POD_NAME="+p.name, "GRPC_GO_LOG_SEVERITY_LEVEL=error",
		"GRPC_XDS_EXPERIMENTAL_RBAC=true", // policies in grpc-js
	)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", p.name, said.String())
		}
	})
}

// outcome of calls: how many were answered by which program, and the others' errors.
type outcome struct{ By, Errors map[string]int }

// servers are the names of who answered, with how often.
func (o outcome) servers() map[string]int {
	out := map[string]int{}
	for by, n := range o.By {
		name, _, _ := strings.Cut(by, " ")
		out[name] += n
	}
	return out
}

// ask has the peer's program do something: pairs of name and value are parameters.
func (p *peer) ask(what string, pairs ...string) (out outcome, err error) {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		q.Add(pairs[i], pairs[i+1])
	}
	r, err := http.Get("http://" + p.control + "/" + what + "?" + q.Encode())
	if err != nil {
		return out, err
	}
	defer r.Body.Close()
	raw, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		return out, fmt.Errorf("%s: %s %w", r.Status, raw, err)
	}
	if len(raw) > 0 {
		err = json.Unmarshal(raw, &out)
	}
	return out, err
}

// expect waits until calls to echo:7070 have the outcome.
func (p *peer) expect(what string, n int, check func(outcome) error, pairs ...string) {
	p.mesh.t.Helper()
	eventually(p.mesh.t, what, func() error {
		out, err := p.ask("call", append(pairs, "target", "xds:///echo:7070", "n", fmt.Sprint(n))...)
		if err != nil {
			return err
		}
		return check(out)
	})
}

// answered demands that all calls were answered, by these servers and no others.
func answered(servers ...string) func(outcome) error {
	return func(o outcome) error {
		got := slices.Sorted(maps.Keys(o.servers()))
		if len(o.Errors) > 0 || !slices.Equal(got, servers) {
			return fmt.Errorf("%v, want answers of %v", o, servers)
		}
		return nil
	}
}

// failed demands that all calls failed with an error that begins so.
func failed(status string) func(outcome) error {
	return func(o outcome) error {
		for e := range o.Errors {
			if !strings.HasPrefix(e, status) {
				return fmt.Errorf("failed with %q, want %q", e, status)
			}
		}
		if len(o.By) > 0 || len(o.Errors) == 0 {
			return fmt.Errorf("%v, want %s", o, status)
		}
		return nil
	}
}

// eventually tries until f succeeds.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
