package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/control/model"
	"github.com/weftmesh/weft/control/offline"
	"github.com/weftmesh/weft/control/translate"
	"github.com/weftmesh/weft/proxy/xds"
	"github.com/weftmesh/weft/wire"
)

// live is a control plane that runs as a process of its own, for the workloads that
// the tools make up for a folder.
type live struct {
	t                 *testing.T
	dir, console, xds string
	folder            string
	mesh              *offline.Mesh // the same, offline
	state             wire.ProcessState
	cmd               *exec.Cmd
	out               *bytes.Buffer
	stopped           chan struct{}
}

// patience bounds what goes wrong; nothing here waits for time to pass.
const patience = time.Minute

// startControl runs `weft control` on a copy of a folder's YAML.
func startControl(t *testing.T, folder string) *live {
	t.Helper()
	dir, err := os.MkdirTemp("", "wc") // sockets want short paths
	if err != nil {
		t.Fatal(err)
	}
	l := &live{t: t, dir: dir, console: filepath.Join(dir, "c.sock"), xds: filepath.Join(dir, "x.sock"), folder: filepath.Join(dir, "config"), out: &bytes.Buffer{}, stopped: make(chan struct{})}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := copyYAML(folder, l.folder); err != nil {
		t.Fatal(err)
	}
	if l.mesh, err = offline.Load(offline.Options{Paths: []string{l.folder}}); err != nil {
		t.Fatal(err)
	}
	for _, w := range l.mesh.Snapshot.Workloads {
		if w.Key.Kind == model.KindWorkload {
			l.state.Replicas = append(l.state.Replicas, replica(w))
		}
	}
	if err := l.state.WriteFile(filepath.Join(dir, "state.json")); err != nil {
		t.Fatal(err)
	}
	l.cmd = exec.Command("weft", "control", "--config", l.folder, "--overlay", filepath.Join(dir, "overlay"), "--process-state", filepath.Join(dir, "state.json"),
		"--xds-socket", l.xds, "--console-socket", l.console, "--state-dir", filepath.Join(dir, "ca"), "--ipv4-only")
	l.cmd.Stderr = l.out
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = l.cmd.Wait(); close(l.stopped) }()
	t.Cleanup(func() {
		_ = l.cmd.Process.Signal(syscall.SIGTERM)
		<-l.stopped
		if t.Failed() {
			t.Logf("the control plane said:\n%s", l.out)
		}
	})
	return l
}

// replica is a workload as a supervisor tells of it, with a token.
func replica(w *model.Workload) wire.Replica {
	sum := sha256.Sum256([]byte(w.Name))
	return wire.Replica{
		Name: w.Name, App: w.App, Namespace: w.Namespace, Cluster: w.Cluster, Addresses: w.Addresses, Labels: w.Labels, ServiceAccount: w.ServiceAccount,
		Ports: w.Ports, Ready: w.Ready, Mesh: w.Mesh, Gateway: w.Gateway, Engine: w.Engine, TokenHash: hex.EncodeToString(sum[:]),
	}
}

// weft runs a command and returns what it prints and its exit code.
func (l *live) weft(args ...string) (stdout, stderr string, code int) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, "weft", args...)
	c.Env = append(os.Environ(), "NO_COLOR=1", "XDG_RUNTIME_DIR="+l.dir)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	_ = c.Run()
	return out.String(), errs.String(), c.ProcessState.ExitCode()
}

// token proves who a proxy is.
type token string

func (t token) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(t)}, nil
}
func (token) RequireTransportSecurity() bool { return false }

// receive connects as a proxy and returns the bodies of resources, by type and name,
// once it has all that are named in want.
func (l *live) receive(p offline.Proxy, want map[string][]string) map[string]map[string]*anypb.Any {
	l.t.Helper()
	conn, err := grpc.NewClient("unix:"+l.xds, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithPerRPCCredentials(token(p.ID.Name)))
	if err != nil {
		l.t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(l.t.Context(), patience)
	defer cancel()
	got := map[string]map[string]*anypb.Any{}
	id := p.ID
	id.Domain = id.Namespace + ".svc.cluster.local"
	client := xds.New(xds.Options{
		Conn: conn, Node: &corev3.Node{Id: id.String(), Metadata: p.Meta.Struct()}, Logger: slog.New(slog.DiscardHandler),
		Handler: func(u xds.Update) []xds.Rejection {
			if got[u.Type] == nil {
				got[u.Type] = map[string]*anypb.Any{}
			}
			for _, r := range u.Set {
				got[u.Type][r.Name] = r.Body
			}
			whole := true
			for url, names := range want {
				whole = whole && len(got[url]) >= len(names)
			}
			if whole {
				cancel()
			}
			return nil
		},
	})
	for url, names := range want {
		if url == wire.TypeListener || url == wire.TypeCluster {
			client.SubscribeAll(url)
		} else {
			client.Subscribe(url, names...)
		}
	}
	_ = client.Run(ctx)
	return got
}

// TestTranslateIsWhatIsServed: `weft translate` shows, byte for byte, what a control
// plane that runs sends.
func TestTranslateIsWhatIsServed(t *testing.T) {
	dir := t.TempDir()
	if err := copyYAML("../../examples/bookstore", dir); err != nil {
		t.Fatal(err)
	}
	l := startControl(t, dir)
	for _, name := range []string{"default/web-0", "default/stock-0", "gateway/istio-ingressgateway-0"} {
		found, err := l.mesh.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string][]string{}
		bodies := map[string]map[string]*anypb.Any{}
		l.mesh.Each(found, func(_ offline.Proxy, r *translate.Resources, _ []model.Finding) {
			for _, url := range []string{wire.TypeListener, wire.TypeRoute, wire.TypeCluster, wire.TypeEndpoint} {
				bodies[url] = map[string]*anypb.Any{}
				for _, x := range r.Of(url) {
					want[url] = append(want[url], x.Name)
					bodies[url][x.Name] = x.Body
				}
			}
		})
		got := l.receive(found[0], want)
		for url, list := range bodies {
			if !slices.Equal(slices.Sorted(maps.Keys(list)), slices.Sorted(maps.Keys(got[url]))) {
				t.Errorf("%s: of %s, translated are %v, served %v", name, url, slices.Sorted(maps.Keys(list)), slices.Sorted(maps.Keys(got[url])))
				continue
			}
			for n, body := range list {
				if !bytes.Equal(body.Value, got[url][n].Value) {
					t.Errorf("%s: %s %s is translated to something else than what is served", name, url, n)
				}
			}
		}
	}
}

// until runs a command until it ends with an exit code: what it waits for is news
// that travels from a file, or from a process that starts.
func (l *live) until(code int, args ...string) (stdout string) {
	l.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		out, errs, got := l.weft(args...)
		if got == code {
			return out
		}
		if time.Now().After(deadline) {
			l.t.Fatalf("weft %v: exit code %d, want %d\n%s%s", args, got, code, out, errs)
		}
	}
}

// TestDiffOfARunningMesh: what a diff against a control plane that runs says is what
// one against its folder says; and when the edit is made there is none any more.
func TestDiffOfARunningMesh(t *testing.T) {
	l := startControl(t, "../../examples/bookstore")
	split, deny := "../../examples/bookstore/try/split.yaml", "../../examples/bookstore/try/deny.yaml"
	if err := os.RemoveAll(filepath.Join(l.folder, "try")); err != nil {
		t.Fatal(err)
	}
	running := l.until(diffSome, "diff", "-f", split, "--delete", "dr/ratings", "--console", l.console, "-o", "json")
	files := l.until(diffSome, "diff", "-f", split, "--delete", "dr/ratings", "--against", l.folder, "-o", "json")
	if d := cmp.Diff(files, running); d != "" || len(running) < 1000 {
		t.Errorf("-against the folder +against the control plane:\n%s", d)
	}
	l.until(diffSome, "diff", "-f", deny, "--console", l.console)
	if err := copyFile(deny, filepath.Join(l.folder, "deny.yaml")); err != nil {
		t.Fatal(err)
	}
	l.until(0, "diff", "-f", deny, "--console", l.console)
	if out, errs, code := l.weft("diff", "-f", deny, "--console", l.console+".none"); code != diffError || out != "" {
		t.Errorf("without a control plane: %d, %s%s", code, out, errs)
	}
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o600)
}

// TestExplainOfARunningMesh: what is explained of a control plane that runs is what is
// explained of its folder, for requests and for objects.
func TestExplainOfARunningMesh(t *testing.T) {
	l := startControl(t, "../../examples/bookstore")
	for _, args := range [][]string{
		{"request", "GET", "reviews:9080/reviews/1", "--from", "web.default"},
		{"request", "GET", "http://shop.example.com:8080/", "--gateway", "istio-ingressgateway"},
		{"virtualservice/reviews"},
	} {
		running := l.until(0, append([]string{"explain", "--console", l.console}, args...)...)
		files := l.until(0, append([]string{"explain", "-f", l.folder}, args...)...)
		if d := cmp.Diff(files, running); d != "" || len(running) < 200 {
			t.Errorf("%v, -of the folder +of the control plane:\n%s", args, d)
		}
	}
}
