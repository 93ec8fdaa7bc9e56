package oracle

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// listedIn is the page of differences.
const listedIn = "../../../../docs/ISTIO_DIFFERENCES.md"

// TestIstiod gives every case to istiod and to `weft control`. What differs must be in
// docs/ISTIO_DIFFERENCES.md, and what is in there must differ.
func TestIstiod(t *testing.T) {
	istiod := os.Getenv("WEFT_ISTIOD")
	if istiod == "" {
		t.Skip("WEFT_ISTIOD is not set: `make test-istiod` builds istiod and sets it")
	}
	weft := filepath.Join(t.TempDir(), "weft")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", weft, "github.com/weftmesh/weft/cmd/weft")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build weft: %v\n%s", err, out)
	}
	page, err := os.ReadFile(listedIn)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := ParseDifferences(string(page))
	if err != nil {
		t.Fatalf("%s: %v", listedIn, err)
	}
	l := &ledger{entries: entries, occurred: make([]int, len(entries)), used: map[protoreflect.FullName]bool{}}
	cases := corpus(t)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			theirs := underIstiod(t, istiod, c)
			ours := underWeft(t, weft, c)
			for _, n := range Nodes {
				l.judge(t, c, n.Name, theirs[n.Name], ours[n.Name])
			}
		})
	}
	if l.compared == len(cases)*len(Nodes) { // not when -run has picked some
		l.close(t)
	}
	t.Logf("%d listed differences in %d of %d comparisons", l.listed, l.differing, l.compared)
}

// ledger holds what was found against the list.
type ledger struct {
	entries                     []Entry
	occurred                    []int
	used                        map[protoreflect.FullName]bool
	listed, compared, differing int
}

// judge compares what a node gets.
func (l *ledger) judge(t *testing.T, c Case, node string, istiod, weft *Form) {
	t.Helper()
	for _, f := range []*Form{istiod, weft} {
		for name := range f.used {
			l.used[name] = true
		}
	}
	found := Compare(istiod, weft)
	l.compared++
	if len(found) > 0 {
		l.differing++
	}
	for _, d := range found {
		known := false
		for i, e := range l.entries {
			if e.Covers(c.Name, node, d) {
				l.occurred[i]++
				known = true
			}
		}
		if known {
			l.listed++
		} else {
			t.Errorf("%s %s", node, d)
		}
	}
}

// close finds entries and rules that nothing needs any more.
func (l *ledger) close(t *testing.T) {
	t.Helper()
	for i, n := range l.occurred {
		if n == 0 {
			t.Errorf("%s:%d: this difference occurs no more: remove the line", filepath.Base(listedIn), l.entries[i].Line)
		}
	}
	for name := range rules {
		if !l.used[name] {
			t.Errorf("rules.go: nothing needs the rule of %s: remove it", name)
		}
	}
}

// starts is how often istiod may be started: now and then one never puts its endpoints
// together.
const starts = 5

// underIstiod returns what istiod gives the nodes, run without Kubernetes.
func underIstiod(t *testing.T, binary string, c Case) map[string]*Form {
	t.Helper()
	for range starts {
		if forms := startIstiod(t, binary, c); forms != nil {
			return forms
		}
	}
	t.Fatalf("%d times istiod had no endpoints", starts)
	return nil
}

// settling is how long a ready istiod may have no endpoints.
const settling = 10 * time.Second

// startIstiod starts one and returns what it gives; nil: it has no endpoints.
func startIstiod(t *testing.T, binary string, c Case) map[string]*Form {
	t.Helper()
	dir := t.TempDir()
	if err := c.Write(dir, "configSources: [{address: \"fs://"+filepath.Join(dir, "config")+"\"}]\n"); err != nil {
		t.Fatal(err)
	}
	address, monitoring, web := freeFor(t), freeFor(t), freeFor(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	cmd := exec.CommandContext(ctx, binary, "discovery", "--registries=", "--meshConfig", filepath.Join(dir, "mesh.yaml"), "--networksConfig", "/nonexistent",
		"--grpcAddr", address, "--secureGRPCAddr=", "--httpsAddr=", "--httpAddr", web, "--monitoringAddr", monitoring, "--ctrlz_port", "0")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "ENABLE_CA_SERVER=false", "PILOT_CERT_PROVIDER=none", "XDS_AUTH=false", "POD_NAME=istiod", "POD_NAMESPACE=istio-system",
		"REVISION=default", "PILOT_ENABLE_STATUS=false")
	log := run(t, cmd)
	for deadline := time.Now().Add(patience); !strings.Contains(log.String(), "marking server ready"); {
		if time.Now().After(deadline) {
			t.Fatalf("istiod is not ready:\n%s", log)
		}
		time.Sleep(20 * time.Millisecond) // a poll of another process, which nobody tells us of
	}
	// Ready it is before it has put all endpoints together.
	forms := collectFor(t, address)
	for deadline := time.Now().Add(settling); !settled(forms); forms = collectFor(t, address) {
		if time.Now().After(deadline) {
			return nil
		}
		time.Sleep(100 * time.Millisecond) // a poll, as above
	}
	return forms
}

// settled tells whether the services of base.yaml have endpoints, for all nodes that are
// to be told of some.
func settled(forms map[string]*Form) bool {
	for _, f := range forms {
		for _, service := range []string{"web.shop", "client.shop", "pay.bank"} {
			name := "outbound|80||" + service + ".svc.cluster.local"
			told := f.leaves[join(join("cluster", name), "type")] == "EDS"
			if told && !f.has(join(join("endpoint", name), "endpoints")) {
				return false
			}
		}
	}
	return true
}

// has tells whether there is anything below a path.
func (f *Form) has(path string) bool {
	for p := range f.leaves {
		if strings.HasPrefix(p, path+Separator) {
			return true
		}
	}
	return false
}

// underWeft returns what `weft control` gives the nodes.
func underWeft(t *testing.T, binary string, c Case) map[string]*Form {
	t.Helper()
	dir := t.TempDir()
	if err := c.Write(dir, ""); err != nil {
		t.Fatal(err)
	}
	address := freeFor(t)
	cmd := exec.CommandContext(t.Context(), binary, "control", "--config", filepath.Join(dir, "config"), "--config", filepath.Join(dir, "mesh.yaml"),
		"--config-mode", "eager", "--ipv4-only", "--xds-plaintext", address, "--console-socket", filepath.Join(dir, "c"), "--state-dir", filepath.Join(dir, "s"))
	cmd.Dir = dir
	run(t, cmd)
	return collectFor(t, address)
}

func freeFor(t *testing.T) string {
	t.Helper()
	address, err := free()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

func collectFor(t *testing.T, address string) map[string]*Form {
	t.Helper()
	forms, err := collect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	return forms
}

// run starts a program that ends with the test.
func run(t *testing.T, cmd *exec.Cmd) *log {
	t.Helper()
	l := &log{}
	cmd.Stdout, cmd.Stderr = l, l
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patience
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() && os.Getenv("WEFT_ORACLE_LOGS") != "" {
			t.Logf("%s:\n%s", cmd.Path, l)
		}
	})
	return l
}

// log keeps what a program has written.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
