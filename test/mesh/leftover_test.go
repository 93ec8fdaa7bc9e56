package mesh

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/freeport"
)

// left lists what a mesh left: processes that carry its mark, files, network
// devices and rules of this namespace that were not there before.
func (m *mesh) left(before string) []string {
	var out []string
	dirs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		m.t.Fatal(err)
	}
	for _, d := range dirs {
		raw, err := os.ReadFile(d)
		if err != nil {
			continue
		}
		if bytes.Contains(raw, []byte("WEFT_RUN_DIR="+m.runtim)) {
			out = append(out, "process "+filepath.Base(filepath.Dir(d)))
		}
	}
	files, err := os.ReadDir(m.runtim)
	if err != nil {
		m.t.Fatal(err)
	}
	for _, f := range files {
		out = append(out, "file "+f.Name())
	}
	if now := network(m.t); now != before {
		out = append(out, "network: was\n"+before+"now\n"+now)
	}
	return out
}

// network describes this namespace's devices and named namespaces.
func network(t *testing.T) string {
	t.Helper()
	list, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, i := range list {
		b.WriteString(i.Name + "\n")
	}
	names, _ := filepath.Glob("/run/netns/*")
	b.WriteString(strings.Join(names, "\n"))
	if rules, err := exec.Command("nft", "list", "tables").Output(); err == nil {
		b.Write(rules)
	}
	return b.String()
}

func (m *mesh) clean(before string) {
	m.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		l := m.left(before)
		if len(l) == 0 {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("left behind: %s", strings.Join(l, "\n"))
		}
	}
}

func TestNothingIsLeftAfterCtrlC(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"go", "envoy"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			before := network(t)
			m := newShop(t).open(t, options{engine: engine})
			m.stop()
			m.clean(before)
		})
	}
}

func TestNothingIsLeftAfterAKill(t *testing.T) {
	t.Parallel()
	for _, user := range []bool{false, true} {
		t.Run(fmt.Sprintf("ordinary user %v", user), func(t *testing.T) {
			t.Parallel()
			before := network(t)
			m := newShop(t, "web").open(t, options{engine: "go", user: user})
			if err := m.cmd.Process.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			<-m.ended
			m.must("down")
			m.clean(before)
			if out := m.must("down"); !strings.Contains(out, "nothing to do") {
				t.Errorf("a second down says %q", out)
			}
		})
	}
}

func TestDown(t *testing.T) {
	t.Parallel()
	before := network(t)
	m := newShop(t).open(t, options{engine: "go"})
	m.must("down")
	<-m.ended
	m.clean(before)
	if out, code := m.weft("status"); code != 3 {
		t.Errorf("status without a mesh: exit code %d, want 3\n%s", code, out)
	}
}

// TestCaptureProxy: without namespaces, the HTTP part of the mesh works.
func TestCaptureProxy(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.write(t, "fixed.yaml", `apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: fixed, namespace: default, labels: {app: fixed}}
spec:
  command: [sh, -c, "PORT=`+fmt.Sprint(int(freeport.Port(t)))+` exec `+bin+`/echo"]
  replicas: 2
  ports: [{name: http, containerPort: 9080}]
`)
	m := start(t, s.dir, options{engine: "go", capture: "proxy", unready: true})
	m.base = fmt.Sprintf("http://127.0.0.1:%d", s.gateway)
	m.eventually("the shop serves", func() error {
		a, err := m.try("/api/books", "")
		if err == nil && (a.code != 200 || !strings.Contains(a.body, `"reviews":{"version":"v1"`)) {
			err = fmt.Errorf("%d %s", a.code, last(a.body, 300))
		}
		return err
	})
	if urls := m.status().Mesh.URLs; len(urls) == 0 || urls[0].Note != "" || urls[0].URL != m.base {
		t.Errorf("URLs %+v, want %s first, which nobody else has taken", urls, m.base)
	}
	m.apply("header")
	m.want("/api/reviews/loom", "end-user: ada", 200, `"version":"v3"`)
	explained := m.must("explain", "request", "GET", "reviews:9080/reviews/loom", "--from", "web", "-H", "end-user: ada")
	for _, part := range []string{"mode proxy: the program finds the proxy by HTTP_PROXY", "matches (header end-user = ada)", "\nforwarded\n", "  reviews-v3-0.default  "} {
		if !strings.Contains(explained, part) {
			t.Errorf("explain does not say %q:\n%s", part, explained)
		}
	}
	explained = m.must("explain", "request", "TCP", "reviews:9080", "--from", "web")
	for _, part := range []string{"by CONNECT, inside of which routes do not apply", "\nforwarded\n", "  reviews-v1-0.default  ", "  reviews-v3-0.default  "} {
		if !strings.Contains(explained, part) {
			t.Errorf("explain of a CONNECT does not say %q:\n%s", part, explained)
		}
	}
	// gRPC goes by CONNECT, inside of which routes do not apply: any version may answer.
	m.want("/api/quote/loom", "", 200, "[1")
	m.apply("retries")
	m.eventually("retries", func() error {
		if got := m.many(30, "/api/orders", "", byCode); got["200"] != 30 {
			return fmt.Errorf("%v", got)
		}
		return nil
	})
	m.eventually("the program with a fixed port and two replicas is named", func() error {
		for line := range strings.Lines(m.out.String()) {
			if strings.Contains(line, "fixed-") && (strings.Contains(line, "port") || strings.Contains(line, "PORT")) {
				return nil
			}
		}
		return fmt.Errorf("no such line")
	})
}
