package mesh

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/freeport"
)

// TestLargeMesh measures, when WEFT_LARGE says how many services a mesh has, what
// proxies of both engines hold in either mode, and how soon after its start one answers:
// `make bench-ondemand`.
func TestLargeMesh(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("WEFT_LARGE"))
	if err != nil {
		t.Skip("a measurement: WEFT_LARGE=10000")
	}
	for _, engine := range []string{"envoy", "go"} {
		for _, mode := range []string{"on-demand", "eager"} {
			t.Run(engine+" "+mode, func(t *testing.T) { large(t, engine, mode, n) })
		}
	}
}

func large(t *testing.T, engine, mode string, n int) {
	dir, port := filepath.Join(work(t), "d"), int(freeport.Port(t))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"mesh.yaml": strings.NewReplacer("BIN", bin, "INGRESS", fmt.Sprint(port), "mode: REGISTRY_ONLY", "mode: ALLOW_ANY").Replace(demanding)}
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: s%d, namespace: default}\nspec:\n  hosts: [s%d.large.example]\n  location: MESH_INTERNAL\n  resolution: STATIC\n  ports: [{number: 80, name: http, protocol: HTTP}]\n  endpoints:\n", i, i)
		for e := range 10 {
			fmt.Fprintf(&b, "  - {address: 11.%d.%d.%d}\n", i>>8, i&255, e+1)
		}
		b.WriteString("---\n")
		if i%100 == 99 || i == n-1 {
			files[fmt.Sprintf("s%d.yaml", i/100)] = b.String()
			b.Reset()
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m := start(t, dir, options{engine: engine, args: []string{"--config-mode", mode}, unready: true})
	m.base = fmt.Sprintf("http://127.0.0.1:%d", port)
	call := "/echo/call?" + url.Values{"url": {"http://server:9080/echo/name"}}.Encode()
	m.within(5*time.Minute, "a first answer", func() error { return m.answers(call) })
	proxy := m.instance("client-0").ProxyPID
	before := resident(t, proxy)
	// It is started again, and asked for as long as it takes. `weft status` would be in the
	// way: it takes seconds to tell of so many services.
	command := commandOf(proxy)
	kill(t, proxy)
	var began time.Time
	var said []refusal // until the answer
	m.within(2*time.Minute, "a first answer of a new proxy", func() error {
		if began.IsZero() {
			next := likewise(command, proxy)
			if next == 0 {
				return fmt.Errorf("it is not there")
			}
			began, proxy = startOf(t, next), next
		}
		asked := time.Since(began)
		err := m.answers(call)
		what := fmt.Sprint(err)
		if len(said) == 0 || said[len(said)-1].what != what {
			said = append(said, refusal{what: what, first: asked})
		}
		said[len(said)-1].last = time.Since(began)
		return err
	})
	first := time.Since(began)
	t.Logf("%d services, %s, %s: resident %d MiB, of it private %d; first answer %d ms after its start, by then resident %d MiB; until then: %s",
		n, engine, mode, before.all>>10, before.private>>10, first.Milliseconds(), resident(t, proxy).all>>10, fmt.Sprint(said))
}

// refusal is what was answered from one moment on, until another.
type refusal struct {
	what        string
	first, last time.Duration
}

// String names the times in milliseconds.
func (r refusal) String() string {
	return fmt.Sprintf("%s (asked %d, answered %d ms)", r.what, r.first.Milliseconds(), r.last.Milliseconds())
}

// answers asks through the gateway and wants the server's name.
func (m *mesh) answers(path string) error {
	a, err := m.try(path, "")
	if err == nil && (a.code != 200 || !strings.HasPrefix(a.body, "200 v")) {
		err = fmt.Errorf("%d %s", a.code, last(a.body, 200))
	}
	return err
}

func kill(t *testing.T, pid int) {
	t.Helper()
	p, err := os.FindProcess(pid)
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// memory is in KiB.
type memory struct{ all, private int }

// resident reads what a proxy holds: Envoy runs under its agent.
func resident(t *testing.T, pid int) (m memory) {
	t.Helper()
	if child := childOf(pid); child != 0 {
		pid = child
	}
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(raw)) {
		f := strings.Fields(l)
		switch {
		case strings.HasPrefix(l, "VmRSS:"):
			m.all, _ = strconv.Atoi(f[1])
		case strings.HasPrefix(l, "RssAnon:"):
			m.private, _ = strconv.Atoi(f[1])
		}
	}
	return m
}

// commandOf is the command line of a process; "": it has ended.
func commandOf(pid int) string {
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return string(raw)
}

// likewise is another process with a command line; 0: there is none.
func likewise(command string, but int) int {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		if pid, _ := strconv.Atoi(filepath.Base(d)); pid != but && commandOf(pid) == command {
			return pid
		}
	}
	return 0
}

// childOf is a process that another has started; 0: none.
func childOf(pid int) int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		raw, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		f := strings.Fields(string(raw)[strings.LastIndexByte(string(raw), ')')+2:])
		if f[1] == strconv.Itoa(pid) {
			child, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			return child
		}
	}
	return 0
}

// startOf is when a process was started, as the time of its folder in /proc.
func startOf(t *testing.T, pid int) time.Time {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	up, err := os.ReadFile("/proc/uptime")
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(raw)[strings.LastIndexByte(string(raw), ')')+2:])
	ticks, _ := strconv.ParseFloat(f[19], 64)
	now, _ := strconv.ParseFloat(strings.Fields(string(up))[0], 64)
	return time.Now().Add(-time.Duration((now - ticks/100) * float64(time.Second)))
}
