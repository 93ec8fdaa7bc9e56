// Package faults does to a control plane what happens to one: it ends while others take
// over, all proxies come back at once, its disk is full.
package faults

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/control"
	"github.com/weftmesh/weft/proxy/xds"
	"github.com/weftmesh/weft/test/freeport"
	"github.com/weftmesh/weft/wire"
)

// replica is one of the control planes of a folder.
type replica struct {
	address string
	stop    func() // as SIGTERM does; returns when it has ended
}

// startReplica runs one on a folder with the subfolders config and ca.
func startReplica(t *testing.T, dir, name string) *replica {
	t.Helper()
	r := &replica{address: freeport.Addr(t)}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() {
		done <- control.Run(ctx, control.Options{
			Config: []string{filepath.Join(dir, "config")}, Plaintext: r.address, ConsoleSocket: filepath.Join(dir, name+".sock"),
			StateDir: filepath.Join(dir, "ca"), ConfigMode: wire.ModeEager, Families: []int{4}, Version: name, Log: slog.New(slog.DiscardHandler),
		})
	}()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("control plane %s: %v", name, err)
		}
	})
	t.Cleanup(r.stop)
	eventually(t, name+" listens", func() error {
		nc, err := net.Dial("tcp", r.address)
		if err == nil {
			nc.Close()
		}
		return err
	})
	return r
}

// folder is one with n services.
func folder(t *testing.T, n int) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "wf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Mkdir(filepath.Join(dir, "config"), 0o755); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for i := range n {
		text.WriteString(service(fmt.Sprintf("s%d", i), 80))
	}
	write(t, dir, "services", text.String())
	return dir
}

func service(name string, port int) string {
	return fmt.Sprintf("---\napiVersion: v1\nkind: Service\nmetadata: {name: %s}\nspec: {clusterIP: 10.96.%d.%d, ports: [{name: http, port: %d}]}\n",
		name, len(name), name[len(name)-1], port)
}

// write replaces a file of the folder's configuration.
func write(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, "config", name+".yaml")
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// where says which control planes there are: a balancer in front of them.
type where struct {
	mu        sync.Mutex
	addresses []string // guarded by mu
}

func (w *where) set(addresses ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.addresses = addresses
}

// dial connects to the first that answers.
func (w *where) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	w.mu.Lock()
	list := append([]string{}, w.addresses...)
	w.mu.Unlock()
	err := errors.New("there is no control plane")
	for _, a := range list {
		var nc net.Conn
		if nc, err = (&net.Dialer{}).DialContext(ctx, network, a); err == nil {
			return nc, nil
		}
	}
	return nil, err
}

func (w *where) connect(t *testing.T) *grpc.ClientConn {
	t.Helper()
	conn, err := xds.Connect(xds.Target{Network: "tcp", Address: "control.example:1", Dial: w.dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// proxy is a sidecar that takes clusters and listeners.
type proxy struct {
	mu      sync.Mutex
	held    map[string]string // version by type and name
	came    int               // resources, over all
	again   int               // of these that it had
	streams int               // that began
	up      bool
}

// startProxy runs one over a connection until the test ends.
func startProxy(t *testing.T, conn *grpc.ClientConn, n int) *proxy {
	t.Helper()
	p := &proxy{held: map[string]string{}}
	c := xds.New(xds.Options{
		Conn: conn, Handler: p.take, Connected: p.connected,
		Node: &corev3.Node{Id: fmt.Sprintf("sidecar~10.1.%d.%d~p%d.default~default.svc.cluster.local", n/250, n%250, n)},
	})
	c.SubscribeAll(wire.TypeCluster)
	c.SubscribeAll(wire.TypeListener)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return p
}

func (p *proxy) take(u xds.Update) []xds.Rejection {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.came += len(u.Set)
	for _, r := range u.Set {
		if p.held[u.Type+r.Name] == r.Version {
			p.again++
		}
		p.held[u.Type+r.Name] = r.Version
	}
	for _, name := range u.Removed {
		delete(p.held, u.Type+name)
	}
	return nil
}

func (p *proxy) connected(up bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if up {
		p.streams++
	}
	p.up = up
}

// has tells whether the proxy is connected for the nth time at least, and has a cluster.
func (p *proxy) has(streams int, cluster string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.up || p.streams < streams || p.held[wire.TypeCluster+cluster] == "" {
		return fmt.Errorf("up %v, %d streams, %d resources", p.up, p.streams, len(p.held))
	}
	return nil
}

// received is how many resources came so far, and how many of them it had.
func (p *proxy) received() (came, again int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.came, p.again
}

// eventually tries until f succeeds.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
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
