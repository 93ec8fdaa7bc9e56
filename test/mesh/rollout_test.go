package mesh

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// trio is a small mesh: four sidecars, three of them of one app, and a gateway.
const trio = `apiVersion: v1
kind: Service
metadata: {name: echo, namespace: default}
spec: {selector: {app: echo}, ports: [{name: http, port: 9080}]}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: echo, namespace: default, labels: {app: echo}}
spec:
  replicas: 3
  command: [BIN/echo]
  ports: [{name: http, containerPort: 9080}]
  readinessProbe: {timeoutSeconds: 60, httpGet: {path: /healthz, port: 9080}}
---
apiVersion: weft.dev/v1alpha1
kind: Process
metadata: {name: other, namespace: default, labels: {app: other}}
spec:
  command: [BIN/echo]
  ports: [{name: http, containerPort: 9080}]
  readinessProbe: {timeoutSeconds: 60, httpGet: {path: /healthz, port: 9080}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: in, namespace: default}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: INGRESS, name: http, protocol: HTTP}
    hosts: ["*"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: in, namespace: default}
spec:
  hosts: ["*"]
  gateways: [in]
  http:
  - route: [{destination: {host: echo}}]
    retries: {attempts: 0}
`

// TestRollout upgrades the proxies of a mesh in part and in steps, with every
// flag that says which and when, while requests go through them.
func TestRollout(t *testing.T) {
	t.Parallel()
	m := startText(t, trio, options{engine: "go"})
	m.want("/echo/headers", "", 200, "X-Request-Id")
	stop := m.load("/echo/headers")

	first := m.version("echo-0")
	next := nextVersion(t)
	steps := func(args ...string) string {
		t.Helper()
		return inSteps(m.must(append([]string{"upgrade", "--all"}, args...)...))
	}

	if got := steps("--selector", "app=echo", "--partition", "1", "--binary", next); got != "SUSU 2/2" {
		t.Errorf("two of the three of one app: %s", got)
	}
	m.generations(t, "echo-0:1 echo-1:1 echo-2:0 other-0:0 istio-ingressgateway-0:0")
	if v := m.version("echo-0"); v != "next" {
		t.Errorf("after the upgrade echo-0 is %s", v)
	}

	// Back to where it was is an upgrade like any other.
	if got := steps("--selector", "app=echo", "--partition", "34%"); got != "SU 1/1" {
		t.Errorf("back, but for a third, rounded up: %s", got)
	}
	m.generations(t, "echo-0:2 echo-1:1 echo-2:0 other-0:0 istio-ingressgateway-0:0")
	if v := m.version("echo-0"); v != first {
		t.Errorf("after going back echo-0 is %s, was %s", v, first)
	}

	if got := steps("--max-unavailable", "60%"); got != "SSSUUUSSUU 5/5" {
		t.Errorf("three at a time: %s", got)
	}
	m.generations(t, "echo-0:3 echo-1:2 echo-2:1 other-0:1 istio-ingressgateway-0:1")

	out, code := m.weft("upgrade", "--all", "--binary", breaksSecond(t))
	if got := inSteps(out); code != 1 || got != "SUSF" || !strings.Contains(out, "stopped after 1 of 5: an upgrade failed") {
		t.Errorf("the second fails: exit code %d, %s\n%s", code, got, out)
	}
	m.generations(t, "echo-0:4 echo-1:2 echo-2:1 other-0:1 istio-ingressgateway-0:1")

	m.interrupted(t)
	m.generations(t, "echo-0:5 echo-1:2 echo-2:1 other-0:1 istio-ingressgateway-0:1")
	// Nothing is under way any more, or this would be refused.
	m.must("upgrade", "other-0")

	if sent, bad := stop(); len(bad) > 0 || sent == 0 {
		t.Errorf("%d of %d requests failed: %q", len(bad), sent, bad[:min(len(bad), 5)])
	}
}

// interrupted upgrades with a pause that nobody waits for, and breaks it off there.
func (m *mesh) interrupted(t *testing.T) {
	t.Helper()
	cmd := m.command(context.WithoutCancel(t.Context()), "upgrade", "--all", "--pause", "1h")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), ": upgraded") {
			_ = cmd.Process.Signal(syscall.SIGINT)
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Error("an upgrade that was broken off ended as if it were whole")
	}
}

// version is what a proxy says of itself.
func (m *mesh) version(instance string) string {
	m.t.Helper()
	p := m.instance(instance).Proxy
	if p == nil {
		m.t.Fatalf("%s has no proxy", instance)
	}
	return p.Version
}

// generations compares how often each proxy was replaced.
func (m *mesh) generations(t *testing.T, want string) {
	t.Helper()
	var got []string
	for _, i := range m.status().Instances {
		if i.Proxy != nil {
			got = append(got, fmt.Sprintf("%s:%d", i.Name, i.Proxy.Generation))
		}
	}
	if s := strings.Join(got, " "); s != want {
		t.Errorf("generations: got %s, want %s", s, want)
	}
}

// inSteps writes what an upgrade says as a line: S started, U upgraded, F failed,
// then what it says last of their number.
func inSteps(out string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(out, "\n") {
		switch {
		case strings.HasSuffix(line, ": starting a new proxy"):
			b.WriteByte('S')
		case strings.Contains(line, ": upgraded ("):
			b.WriteByte('U')
		case strings.Contains(line, ": failed: "):
			b.WriteByte('F')
		case strings.HasSuffix(line, " upgraded"):
			b.WriteString(" " + strings.Replace(strings.TrimSuffix(line, " upgraded"), " of ", "/", 1))
		}
	}
	return b.String()
}

// nextVersion builds weft as a release that calls itself "next".
func nextVersion(t *testing.T) string {
	t.Helper()
	path := filepath.Join(work(t), "weft")
	cmd := exec.Command("go", "build", "-ldflags", "-s -w -X main.version=next", "-o", path, "./cmd/weft")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// breaksSecond is a program that is weft the first time that it is run, and
// nothing of use afterwards.
func breaksSecond(t *testing.T) string {
	t.Helper()
	dir := work(t)
	path := filepath.Join(dir, "weft")
	script := fmt.Sprintf("#!/bin/sh\nmkdir %s/ran && exec %s/weft \"$@\"\nexit 3\n", dir, bin)
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
