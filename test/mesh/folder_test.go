package mesh

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/weftmesh/weft/test/freeport"
)

// shop is a copy of the bookstore's folder: built programs, ports of its own,
// and a few things more to test with.
type shop struct {
	dir                      string
	gateway, secure, outside int
}

// extra is what the tests add to the bookstore.
const extra = `apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    accessLogFile: /dev/stdout
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: default}
spec: {selector: {app: echo}, ports: [{name: http, port: 9080}]}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: echo, namespace: default, labels: {app: echo, version: v1}}
spec:
  command: [go, run, ./echo]
  ports: [{name: http, containerPort: 9080}]
  readinessProbe: {httpGet: {path: /healthz, port: 9080}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bookstore, namespace: default}
spec:
  hosts: ["*"]
  gateways: [bookstore]
  http:
  - match: [{uri: {prefix: /echo}}]
    route: [{destination: {host: echo}}]
  - route: [{destination: {host: web, port: {number: 8080}}}]
    retries: {attempts: 0}
`

var (
	goRun      = regexp.MustCompile(`\[go, run, \./(\w+)\]`)
	workingDir = regexp.MustCompile(`workingDir: (\S+)`)
)

// TestBookstoreCommands: what the examples run is there, seen from their files.
// The other tests run programs that were built before.
func TestBookstoreCommands(t *testing.T) {
	for _, pattern := range []string{"*.yaml", "try/*.yaml"} {
		files, err := filepath.Glob(filepath.Join(root, "examples/bookstore", pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		for _, f := range files {
			raw, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			for doc := range strings.SplitSeq(string(raw), "---\n") {
				run := goRun.FindStringSubmatch(doc)
				if run == nil {
					continue
				}
				dir := "."
				if w := workingDir.FindStringSubmatch(doc); w != nil {
					dir = w[1]
				}
				if _, err := os.Stat(filepath.Join(filepath.Dir(f), dir, run[1], "main.go")); err != nil {
					t.Errorf("%s: go run ./%s: %v", filepath.Base(f), run[1], err)
				}
			}
		}
	}
}

// newShop copies the bookstore. Processes whose name is in envoys get that
// engine.
func newShop(t *testing.T, envoys ...string) *shop {
	t.Helper()
	s := &shop{dir: filepath.Join(work(t), "shop"), gateway: int(freeport.Port(t)), secure: int(freeport.Port(t)), outside: int(freeport.Port(t))}
	from := filepath.Join(root, "examples/bookstore")
	for _, sub := range []string{"", "try"} {
		if err := os.MkdirAll(filepath.Join(s.dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(from, sub, "*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			raw, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			s.write(t, filepath.Join(sub, filepath.Base(f)), s.adapt(string(raw), envoys))
		}
	}
	s.write(t, ".weftignore", "try\n")
	s.write(t, "extra.yaml", s.adapt(extra, envoys))
	// The gateway's route is part of extra.
	gw, _, _ := strings.Cut(s.read(t, "gateway.yaml"), "---")
	s.write(t, "gateway.yaml", gw)
	return s
}

// adapt replaces commands and host ports, sets engines, and has probes wait: programs do
// not leave the endpoints because the machine is busy.
func (s *shop) adapt(text string, envoys []string) string {
	text = strings.ReplaceAll(text, "readinessProbe: {", "readinessProbe: {timeoutSeconds: 60, ")
	text = goRun.ReplaceAllString(text, "["+bin+"/$1]")
	text = strings.ReplaceAll(text, "{number: 8080, name: http, protocol: HTTP}", fmt.Sprintf("{number: %d, name: http, protocol: HTTP}", s.gateway))
	text = strings.ReplaceAll(text, "number: 443,", fmt.Sprintf("number: %d,", s.secure))
	text = strings.ReplaceAll(text, "targetPort: 9999", fmt.Sprintf("targetPort: %d", s.outside))
	docs := strings.Split(text, "---\n")
	for i, d := range docs {
		for _, name := range envoys {
			if strings.Contains(d, "kind: Process") && strings.Contains(d, "name: "+name+",") {
				docs[i] = strings.TrimRight(d, "\n") + "\n  sidecar: {engine: envoy}\n"
			}
		}
	}
	return strings.Join(docs, "---\n")
}

func (s *shop) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (s *shop) read(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// open starts the shop.
func (s *shop) open(t *testing.T, o options) *mesh {
	t.Helper()
	m := start(t, s.dir, o)
	m.base = fmt.Sprintf("http://127.0.0.1:%d", s.gateway)
	catalog := `"catalog":"v1"`
	if o.capture == "proxy" {
		catalog = `"catalog":"v` // gRPC goes through a CONNECT there, inside of which routes do not apply
	}
	m.want("/api/books", "", 200, catalog)
	return m
}
