package mesh

import (
	"errors"
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
	const target = "http://server:9080/echo/name"
	m.within(5*time.Minute, "a first answer", func() error {
		return m.answers("/echo/call?" + url.Values{"url": {target}}.Encode())
	})
	agent := m.instance("client-0").ProxyPID
	before := resident(t, agent)
	// From now on the client asks by itself. Its proxy is killed, and started again: how
	// soon an answer comes does not depend on who else has heard of that.
	m.within(time.Minute, "the client asks", func() error { return m.asks(target) })
	command, killed := commandOf(agent), time.Now()
	kill(t, agent)
	var next, own int
	var began, proxy time.Time
	m.within(time.Minute, "a new proxy", func() error {
		if next == 0 {
			if next = likewise(command, agent); next == 0 {
				return errors.New("it is not there")
			}
			began, own = startOf(t, next), next
			proxy = began
		}
		if engine == "envoy" { // which the agent starts
			if own = childOf(next); own == 0 {
				return errors.New("the agent has not started Envoy")
			}
			proxy = startOf(t, own)
		}
		return nil
	})
	var after []attempts
	m.within(2*time.Minute, "an answer of a new proxy", func() error {
		var err error
		if after, err = m.asked(killed); err == nil && (len(after) == 0 || after[len(after)-1].what != "200 OK") {
			err = fmt.Errorf("until now: %v", after)
		}
		return err
	})
	first := after[len(after)-1]
	stages := ""
	for _, x := range after {
		stages += fmt.Sprintf("; %d to %d ms %d x %s", x.ended.Sub(proxy).Milliseconds(), x.last.Sub(proxy).Milliseconds(), x.n, x.what)
	}
	t.Logf("%d services, %s, %s: resident %d MiB, of it private %d; killed, the agent there after %d ms, the proxy %d ms later; first answer %d ms after the proxy's start to what was asked at %d, by then resident %d MiB%s",
		n, engine, mode, before.all>>10, before.private>>10, began.Sub(killed).Milliseconds(), proxy.Sub(began).Milliseconds(),
		first.ended.Sub(proxy).Milliseconds(), first.sent.Sub(proxy).Milliseconds(), resident(t, next).all>>10, stages)
}

// attempts are those of the client's own requests that ended alike one after the other.
type attempts struct {
	what              string
	n                 int
	sent, ended, last time.Time // the first of them, and the last
}

// asks has the client ask by itself, and waits until it is answered.
func (m *mesh) asks(target string) error {
	if a, err := m.try("/echo/ask?"+url.Values{"url": {target}}.Encode(), ""); err != nil || a.code != 200 {
		return fmt.Errorf("%d %s %w", a.code, a.body, err)
	}
	m.within(time.Minute, "the client is answered", func() error {
		got, err := m.asked(time.Time{})
		if err == nil && (len(got) == 0 || got[len(got)-1].what != "200 OK") {
			err = fmt.Errorf("until now: %v", got)
		}
		return err
	})
	return nil
}

// asked is what became of the client's own requests since a moment.
func (m *mesh) asked(since time.Time) (out []attempts, err error) {
	a, err := m.try("/echo/asked", "")
	if err == nil && a.code != 200 {
		err = fmt.Errorf("%d %s", a.code, last(a.body, 200))
	}
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(a.body) {
		var x attempts
		var sent, ended, last int64
		if _, err := fmt.Sscanf(line, "%d %d %d %d %q", &sent, &ended, &last, &x.n, &x.what); err != nil {
			m.t.Fatalf("%q: %v", line, err)
		}
		x.sent, x.ended, x.last = time.Unix(0, sent), time.Unix(0, ended), time.Unix(0, last)
		if x.ended.After(since) {
			out = append(out, x)
		}
	}
	return out, nil
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
