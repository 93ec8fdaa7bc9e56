package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weftmesh/weft/control/console"
	"github.com/weftmesh/weft/host/rundir"
	"github.com/weftmesh/weft/proxy/xds"
	"github.com/weftmesh/weft/wire"
)

const shop = `apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: web, namespace: shop, labels: {app: web}}
spec: {command: [web]}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: client, namespace: shop, labels: {app: client}}
spec: {command: [client], replicas: 2}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: till, namespace: bank, labels: {app: till}}
spec: {command: [till]}
`

const route = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec:
  hosts: [web]
  exportTo: ["."]
  http: [{timeout: TIMEOUT, route: [{destination: {host: web}}]}]
`

// consume is a proxy's own ADS client, which takes what comes but for what refuse or
// wait say.
func (l *live) consume(ctx context.Context, name string, refuse, wait func(xds.Update) bool) {
	l.t.Helper()
	found, err := l.mesh.Find(name)
	if err != nil {
		l.t.Fatal(err)
	}
	p := found[0]
	conn, err := grpc.NewClient("unix:"+l.xds, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithPerRPCCredentials(token(p.ID.Name)))
	if err != nil {
		l.t.Fatal(err)
	}
	id := p.ID
	id.Domain = id.Namespace + ".svc.cluster.local"
	client := xds.New(xds.Options{
		Conn: conn, Node: &corev3.Node{Id: id.String(), Metadata: p.Meta.Struct()}, Logger: slog.New(slog.DiscardHandler),
		Handler: func(u xds.Update) []xds.Rejection {
			if wait(u) {
				<-ctx.Done()
			}
			if refuse(u) {
				return []xds.Rejection{{Name: u.Set[0].Name, Err: errors.New("a timeout of 7s is not for me")}}
			}
			return nil
		},
	})
	client.SubscribeAll(wire.TypeListener)
	client.SubscribeAll(wire.TypeCluster)
	client.Subscribe(wire.TypeRoute, "80")
	var g sync.WaitGroup
	g.Go(func() { _ = client.Run(ctx) })
	l.t.Cleanup(func() { g.Wait(); conn.Close() })
}

// status is what `weft status` says of one object.
func (l *live) status(args ...string) (o console.ObjectSummary, text string, code int) {
	l.t.Helper()
	text, _, code = l.weft(append([]string{"status", "--mesh", "m"}, args...)...)
	raw, _, _ := l.weft(append([]string{"status", "--mesh", "m", "-o", "json"}, args...)...)
	var list []console.ObjectSummary
	if json.Unmarshal([]byte(raw), &list) == nil && len(list) == 1 {
		o = list[0]
	}
	return o, text, code
}

func (l *live) write(name, text string) {
	l.t.Helper()
	tmp := filepath.Join(l.dir, "tmp")
	if err := errors.Join(os.WriteFile(tmp, []byte(text), 0o600), os.Rename(tmp, filepath.Join(l.folder, name))); err != nil {
		l.t.Fatal(err)
	}
}

// TestObjectStatus: of three proxies of a namespace one takes a change, one refuses it,
// and one does not answer. The status of the object says so of each; then it is made
// wrong, and the version before stays.
func TestObjectStatus(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"shop.yaml": shop, "route.yaml": strings.ReplaceAll(route, "TIMEOUT", "5s")} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l := startControl(t, dir)
	t.Setenv("XDG_RUNTIME_DIR", l.dir)
	run := rundir.DefaultRoot().Dir("m")
	if err := errors.Join(os.MkdirAll(run, 0o700), os.Symlink(l.console, filepath.Join(run, wire.ConsoleSocket))); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var changed atomic.Bool
	never := func(xds.Update) bool { return false }
	routes := func(u xds.Update) bool { return changed.Load() && u.Type == wire.TypeRoute && len(u.Set) > 0 }
	l.consume(ctx, "shop/web-0", never, never)
	l.consume(ctx, "shop/client-0", routes, never)
	l.consume(ctx, "shop/client-1", never, routes)
	l.consume(ctx, "bank/till-0", never, never)
	l.untilSays("service", "all have the service", "on 4 of 4 proxies")
	l.untilSays("vs", "all have the route", "Programmed    True     on 3 of 3 proxies")

	changed.Store(true)
	l.write("route.yaml", strings.ReplaceAll(route, "TIMEOUT", "7s"))
	l.untilSays("vs", "one has taken the change, and one refused it", "on 1 of 3 proxies: client-0.shop rejected: ")
	o, text, code := l.status("vs", "web", "-n", "shop")
	if o.Status == nil || o.Status.Reach == nil {
		t.Fatalf("no status: %+v\n%s", o, text)
	}
	if r := o.Status.Reach; code != 5 || r.Programmed != 1 || r.Of != 3 || len(r.Pending) != 2 || !r.Pending[0].Rejected || r.Pending[1].Why != "has not taken it yet" {
		t.Errorf("exit code %d\n%s", code, text)
	}
	for _, want := range []string{
		"VirtualService shop/web  ", "Accepted      True", "ResolvedRefs  True", "Programmed    False    on 1 of 3 proxies: client-0.shop rejected: ",
		"client-1.shop has not taken it yet", "Reconciled    False    1/3 proxies up to date.",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if _, text, code := l.status("service", "web", "-n", "shop"); code != 0 || !strings.Contains(text, "on 4 of 4 proxies") {
		t.Errorf("the service, which has not changed: exit code %d\n%s", code, text)
	}
	if out, _, _ := l.weft("get", "vs", "-n", "shop", "--mesh", "m"); !strings.Contains(out, "1/3") {
		t.Errorf("get does not say on how many proxies:\n%s", out)
	}

	l.write("route.yaml", strings.ReplaceAll(route, "TIMEOUT", "soon"))
	l.untilSays("vs", "the new version is refused", "Accepted      False    the version before stays in force: ")
	l.write("late.yaml", "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: late, namespace: shop}\nspec: {hosts: web}\n")
	for deadline := time.Now().Add(patience); ; {
		_, text, code := l.status("vs", "late", "-n", "shop")
		if code == 5 && strings.Contains(text, "Accepted      False") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("an object that never was in force has no status: exit code %d\n%s", code, text)
		}
	}
	if list, _, code := l.weft("analyze", "--console", l.console); code != 6 || !strings.Contains(list, "WEFT0106") {
		t.Errorf("analyze of the running one: exit code %d\n%s", code, list)
	}
}

// untilSays waits for the status of the object "web" of a kind to say something.
func (l *live) untilSays(kind, what, says string) {
	l.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		_, text, _ := l.status(kind, "web", "-n", "shop")
		if strings.Contains(text, says) {
			return
		}
		if time.Now().After(deadline) {
			l.t.Fatalf("%s: not within %s:\n%s", what, patience, text)
		}
	}
}
