package mesh

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/control/fleet"
)

// load sends requests until stop is called, which returns how many there were
// and what went wrong.
func (m *mesh) load(path string) (stop func() (int, []string)) {
	var sent atomic.Int64
	var mu sync.Mutex
	var bad []string
	end := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-end:
					return
				default:
				}
				a, err := m.try(path, "")
				sent.Add(1)
				if err != nil || a.code != 200 {
					mu.Lock()
					bad = append(bad, fmt.Sprintf("%v %d %s", err, a.code, last(a.body, 200)))
					mu.Unlock()
				}
			}
		})
	}
	return func() (int, []string) {
		close(end)
		wg.Wait()
		return int(sent.Load()), bad
	}
}

// route sends all requests for reviews to a subset.
func route(subset string) string {
	return `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews]
  http:
  - route: [{destination: {host: reviews, subset: ` + subset + `}}]
`
}

func rewriting(t *testing.T, m *mesh, s *shop) {
	stop := m.load("/api/reviews/loom")
	for i := range 100 {
		s.write(t, "now.yaml", route([]string{"v1", "v3"}[i%2]))
		m.must("apply", "-f", filepath.Join(s.dir, "now.yaml"))
	}
	if err := os.Remove(filepath.Join(s.dir, "now.yaml")); err != nil {
		t.Fatal(err)
	}
	if n, bad := stop(); len(bad) > 0 || n < 20 {
		t.Errorf("%d of %d requests failed: %v", len(bad), n, bad[:min(3, len(bad))])
	}
}

func killedControl(t *testing.T, m *mesh, _ *shop) {
	stop := m.load("/api/reviews/loom")
	for range 2 {
		before := m.instance("control")
		if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		m.eventually("the control plane is back and all are in sync", func() error {
			st := m.status()
			if !slices.ContainsFunc(st.Proxies, func(p fleet.ProxyStatus) bool { return p.Connected }) || !st.Healthy {
				return fmt.Errorf("healthy %v", st.Healthy)
			}
			if now := m.instance("control"); now.PID == before.PID {
				return fmt.Errorf("still process %d", now.PID)
			}
			return nil
		})
	}
	if n, bad := stop(); len(bad) > 0 || n < 20 {
		t.Errorf("%d of %d requests failed: %v", len(bad), n, bad[:min(3, len(bad))])
	}
	m.apply("header") // and it takes changes again
	m.want("/api/reviews/loom", "end-user: ada", 200, `"version":"v3"`)
}

// tables: each table also as JSON and YAML, and exit codes that scripts can use.
func tables(t *testing.T, m *mesh, _ *shop) {
	for _, args := range [][]string{
		{"status"}, {"get", "virtualservices"}, {"get", "all", "-A"}, {"config", "web-0"},
		{"graph", "--once", "--interval", "50ms"}, {"tax", "--interval", "50ms"},
	} {
		var v any
		if out := m.must(append(args, "-o", "json")...); json.Unmarshal([]byte(out), &v) != nil {
			t.Errorf("%v -o json: %s", args, last(out, 300))
		}
		if out := m.must(append(args, "-o", "yaml")...); yaml.Unmarshal([]byte(out), &v) != nil {
			t.Errorf("%v -o yaml: %s", args, last(out, 300))
		}
		if out := m.must(args...); strings.Contains(out, "\x1b") || len(strings.TrimSpace(out)) == 0 {
			t.Errorf("%v: %q", args, out)
		}
	}
	if out := m.must("status", "vs", "catalog", "--wait", "30s"); !regexp.MustCompile(`Programmed +True +on ([1-9]\d*) of ([1-9]\d*) proxies\n`).MatchString(out) {
		t.Errorf("status of an object: %q", out)
	}
	if out := m.must("analyze", "--failure-threshold", "warning"); !strings.Contains(out, "in order") {
		t.Errorf("analyze of the running mesh: %q", out)
	}
	for code, args := range map[int][]string{
		1: {"get", "vs", "nobody"}, 2: {"get", "bananas"}, 4: {"apply", "-f", "testdata/bad.yaml"},
	} {
		if out, got := m.weft(args...); got != code {
			t.Errorf("%v: exit code %d, want %d\n%s", args, got, code, out)
		}
	}
	if out := m.must("logs", "reviews-v1-0"); !strings.Contains(out, "listens on") {
		t.Errorf("logs: %q", out)
	}
	if out := m.must("get", "vs", "catalog", "-o", "yaml"); !strings.Contains(out, "hosts: [catalog]") {
		t.Errorf("get -o yaml: %q", out)
	}
}

// TestEditing: a saved file takes effect, and one line says what
// changed and how many proxies got it. A broken one is named and changes nothing.
func TestEditing(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	m := s.open(t, options{engine: "go"})
	s.write(t, "routing.yaml", strings.Replace(s.read(t, "routing.yaml"), "subset: v1}}]", "subset: v3}}]", 1))
	m.want("/api/reviews/loom", "", 200, `"version":"v3"`)
	said := regexp.MustCompile(`VirtualService default/reviews changed \(routing\.yaml\): \d+ proxies updated in \d+ ms`)
	m.eventually("the line that says so", func() error {
		if !said.MatchString(m.out.String()) {
			return fmt.Errorf("no %s", said)
		}
		return nil
	})
	s.write(t, "routing.yaml", strings.Replace(s.read(t, "routing.yaml"), "subset: v3}}]", "subset: v3}, wieght: 5}]", 1))
	m.eventually("the mistake is named", func() error {
		for line := range strings.Lines(m.out.String()) {
			if containsAll(line, "routing.yaml:", "VirtualService default/reviews", "wieght", "weight") {
				return nil
			}
		}
		return fmt.Errorf("no such line")
	})
	if a := m.get("/api/reviews/loom", ""); a.code != 200 || byVersion(a) != "v3" {
		t.Errorf("with a broken file: %d %s", a.code, a.body)
	}
}

// TestCertificatesRotate: certificates that live for seconds, under load.
func TestCertificatesRotate(t *testing.T) {
	t.Parallel()
	s := newShop(t, "reviews-v1")
	m := s.open(t, options{engine: "go", args: []string{"--cert-ttl", "6s"}})
	m.apply("strict")
	m.want("/api/books", "", 200, `"catalog":"v1"`)
	serial := func() string { return m.admin("web-0", "/certs") }
	before := serial()
	stop := m.load("/api/reviews/loom")
	m.eventually("the certificate changes", func() error {
		if serial() == before {
			return fmt.Errorf("still the same")
		}
		return nil
	})
	after := serial()
	m.eventually("and again", func() error {
		if serial() == after {
			return fmt.Errorf("still the same")
		}
		return nil
	})
	if n, bad := stop(); len(bad) > 0 || n < 20 {
		t.Errorf("%d of %d requests failed: %v", len(bad), n, bad[:min(3, len(bad))])
	}
}
